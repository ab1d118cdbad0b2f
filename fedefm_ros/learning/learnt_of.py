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

from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.pieces import Collection, collection_from


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
