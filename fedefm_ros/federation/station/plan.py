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

"""What a station learns and from which data, as plain values; needs no torch."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
import json

from fedefm_ros.errors import FedefmError
from fedefm_ros.simulation.anatomy import KINDS

TASKS = ('foundation', 'segmentation')
#: Who mixes with whom: each with the two beside it, or all with all.
OVERLAYS = ('ring', 'complete')
SIMULATED = 'simulator:'


@dataclass(frozen=True)
class TaskPlan:
    """What decides a station's task; all stations of a federation share task and network."""

    #: 'foundation': which kind of data an image is; 'segmentation': masks, the station's own use.
    task: str = 'segmentation'
    #: 'simulator:human' (kinds by comma), or for segmentation a folder in `layout`.
    data: str = 'simulator:human'
    layout: str = 'folder'
    #: Share of the patients or sequences of a folder that is held out.
    held_out_share: float = 0.25
    #: Simulated images to train on and held out (foundation: of each class).
    images: int = 200
    held_out: int = 40
    #: Side of the images in pixels: frames are shrunk to it.
    size: int = 256
    batch: int = 8
    #: Segmentation: file or name of the model that all start from; '': random weights (seed 0).
    model: str = 'realtime'
    #: Segmentation without a model: keywords of the compact backbone.
    widths: tuple[int, ...] = (8, 16, 32, 64)
    seed: int = 0

    def __post_init__(self):
        if self.task not in TASKS:
            raise FedefmError(f'task {self.task!r}; expected {" or ".join(TASKS)}')
        if min(self.images, self.held_out, self.batch) < 1 or self.size % 32 or self.size < 32:
            raise FedefmError(f'{self}: expected one or more images and a size that is a multiple '
                              'of 32')
        if self.task == 'foundation' and not self.data.startswith(SIMULATED):
            raise FedefmError(f'data {self.data!r}: the foundation task has simulated data only '
                              '(simulator:KIND)')
        if self.data.startswith(SIMULATED):
            kinds_of(self.data)

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TaskPlan:
        """Return the plan of a `to_json` text; raises FedefmError."""
        try:
            values = json.loads(text)
            return cls(**{**values, 'widths': tuple(values.get('widths', cls.widths))})
        except (ValueError, TypeError, AttributeError) as error:
            raise FedefmError(f'the task cannot be read: {error}') from error


def kinds_of(data: str) -> tuple[str, ...]:
    """Return the kinds of 'simulator:human,animal'; raises FedefmError."""
    kinds = tuple(data.removeprefix(SIMULATED).split(','))
    if not set(kinds) <= set(KINDS):
        raise FedefmError(f'data {data!r}: kinds are {", ".join(KINDS)}')
    return kinds
