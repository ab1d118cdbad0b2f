# Copyright 2026 fedefm_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""What a station's new models are good for: to be carried on, to be used, or neither."""

from collections.abc import Sequence
from dataclasses import dataclass
import math


@dataclass(frozen=True)
class Candidate:
    """A model that was tried on the station's own held-out data."""

    model: str
    #: `score`, 0 to 1, greater is better.
    scores: dict
    #: Time of an inference as a multiple of that of the model in use, on this station.
    slowdown: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """Which of the candidates, if any; and where none is used, why."""

    carried: Candidate | None
    used: Candidate | None
    why: str = ''


def judge(candidates: Sequence[Candidate], before: float, peer_margin: float,
          gate_margin: float, slowest: float) -> Verdict:
    """
    Decide what the federation goes on with, and what the station itself uses.

    A mean may know more of others' data and less of the own: it is carried on where it is not
    plainly bad, and used where it is neither worse nor slower.

    :param candidates: the first that will do is taken.
    :param before: score of the model in use; minus infinity: none yet.
    :param peer_margin: how much lower the score of what is carried on may be,
    :param gate_margin: and of what is used.
    :param slowest: greatest slowdown of what is used.
    """
    carried = used = None
    faults = []
    for one in candidates:
        score = one.scores['score']
        # A score that is NaN passes none of the two.
        if carried is None and score >= before - peer_margin:
            carried = one
        if used is not None:
            continue
        if not score >= before - gate_margin:
            faults.append(f'scores {score:.4f}, the one in use {before:.4f}')
        elif not one.slowdown <= slowest:
            faults.append(f'takes {one.slowdown:.2f} times as long as the one in use')
        else:
            used = one
    return Verdict(carried, used, '' if used else f'the new model {faults[0]}')


def objection(result: dict[str, float], agreement: float) -> str:
    """
    Return why a candidate is not to be used after a comparison, '' where it may be.

    :param agreement: the least that will do.
    """
    found = result['agreement']
    if found >= agreement and math.isfinite(found):
        return ''
    return (f'in shadow on {result["frames"]} frames of the last procedure the new model agrees '
            f'with the one in use by {found:.3f}, at least {agreement:g} was expected; it sees '
            f'{result["new_instruments"]:.2f} instruments a frame that the other does not')
