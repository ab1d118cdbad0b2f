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

"""What a frame source yields: an image, when it was taken, and the truth where it is known."""

from dataclasses import dataclass

from fedefm_ros.segmentation.instrument import Instrument

import numpy as np


@dataclass(frozen=True)
class GroundTruth:
    """What is really in a frame."""

    mask: np.ndarray
    """(H, W) uint8 of ``labels`` values."""
    instruments: tuple[Instrument, ...]


@dataclass(frozen=True)
class Frame:
    """One fluoroscopy frame: grey, dark instruments on a lighter background."""

    image: np.ndarray
    """(H, W) uint8 (mono8) or uint16 (mono16, full range 0 to 65535)."""
    index: int
    """Position in the sequence, from 0; goes on counting when a source loops."""
    time: float
    """Seconds since the first frame, by the sequence's own clock."""
    truth: GroundTruth | None = None
    name: str = ''
    """Its file's, where it has one of its own."""
