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

"""Whether a model that fits may teach: tried on held-out data; needs no torch."""

from fedefm_ros.federation.trust.refusal import Refused


def held_out_refusal(own_score: float, their_score: float, margin: float) -> Refused | None:
    """
    Return why a peer's weights may not teach, None where they may.

    :param own_score: of the own model on the own held-out data; greater is better.
    :param margin: how much worse theirs may be; they never saw this data.
    """
    if their_score >= own_score - margin:  # false for NaN, too
        return None
    return Refused('held_out', f'scores {their_score:.3g} on the held-out data, the own model '
                   f'{own_score:.3g}; at most {margin:.3g} less was expected')
