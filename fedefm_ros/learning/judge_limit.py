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

"""Choose anew how sure a judge has to be of a piece for it to stay."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from fedefm_ros.backbones.checkpoint import load_checkpoint, save_checkpoint
from fedefm_ros.learning.judge_worth import check_validation, said_in_frames
from fedefm_ros.learning.learnt_of import check_can_tell
from fedefm_ros.learning.piece_measures import limit_leaving
from fedefm_ros.learning.pieces import Collection, Pieces
from fedefm_ros.segmentation.judgement import by_length

import numpy as np


class Limit(NamedTuple):
    """What a limit leaves of the validation pieces."""

    kept: float
    """Share of the true pieces' length."""
    limit: float
    pieces: float
    """Share of the true pieces."""
    false: float
    """Pieces a frame that are none."""


def limits_of(judge: Path, validation: Pieces, collection: Collection,
              shares: Sequence[float]) -> list[Limit]:
    """
    Return the limit of a judge that leaves each share of the true length, and what it costs.

    :param validation: pieces of ``collection``.
    :raises FedefmError: the file is no judge, or the pieces are not of such models, of frames that
        it was trained on, or all of one sort.
    """
    check_validation(validation)
    checkpoint = load_checkpoint(judge)
    check_can_tell(collection, checkpoint.spec, judge)
    chances, *_ = said_in_frames(checkpoint.network().eval(), validation)
    sure, true = by_length(1.0 - chances[:, 0], validation.lengths), validation.answers > 0
    found = []
    for kept in shares:
        limit = limit_leaving(kept, sure, validation)
        stays = sure >= limit
        found.append(Limit(kept, limit, float(stays[true].mean()),
                           float(np.count_nonzero(stays & ~true) / validation.frames)))
    return found


def with_limit(judge: Path, chosen: Limit, collection: Collection, out: Path) -> str:
    """Write a judge with another limit, the rest as it is; return its id."""
    checkpoint = load_checkpoint(judge)
    return save_checkpoint(out, checkpoint.network(), replace(
        checkpoint.spec, min_confidence=chosen.limit, provenance={
            **checkpoint.spec.provenance, 'limit': {
                'judge': checkpoint.model_id, **chosen._asdict(),
                'validation': asdict(collection)}}))
