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

"""Which frames a judge learnt of, in its last training and in all before."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fedefm_ros.backbones.spec import ModelSpec
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.pieces import Collection, collection_from
from fedefm_ros.segmentation.judge import BACKBONE


def learnt_of(provenance: dict, judge: Path) -> list[Collection]:
    """
    Return the collections that a judge learnt of, as its file tells them.

    One that an earlier version trained tells those of its last training only.

    :raises FedefmError: what it tells are none.
    """
    try:
        told = provenance.get('learnt_of', provenance.get('collections', [])[:-1])
        return [collection_from(one) for one in told]
    except (TypeError, ValueError, KeyError) as error:
        raise FedefmError(f'{judge} does not tell what it was trained on: {error!r}') from error


def also_of(before: Sequence[Collection], training: Sequence[Collection]) -> list[dict]:
    """Return the collections of all trainings, each once, as a judge's file tells them."""
    every = [*before, *training]
    return [asdict(one) for number, one in enumerate(every) if one not in every[:number]]


def check_can_tell(collection: Collection, spec: ModelSpec, judge: Path) -> None:
    """Raise FedefmError where the pieces of a collection cannot tell what a judge is worth."""
    if spec.backbone != BACKBONE:
        raise FedefmError(f'{judge} is a model {spec.backbone!r}, no judge')
    if spec.provenance.get('made_for') != collection.made_for:
        raise FedefmError(f'{judge} is a judge of what other models find than those of the '
                          'validation pieces')
    if any(collection.shows_frames_of(one) for one in learnt_of(spec.provenance, judge)):
        raise FedefmError(f'the validation pieces show frames that {judge} was trained on')
