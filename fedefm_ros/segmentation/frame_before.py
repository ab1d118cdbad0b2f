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

"""What is remembered of the frame before, and what makes it forgotten."""

from __future__ import annotations

from dataclasses import dataclass
import math

from fedefm_ros.segmentation.engine import RawSegmentation
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.judgement import Opinion

import numpy as np

#: After which the instruments of the frame before say nothing of the next.
_MEMORY_SECONDS = 0.5


@dataclass(frozen=True)
class _Last:
    """A frame, and what was found in it."""

    stamp: int
    shape: tuple[int, int]
    spacing: tuple[float, float] | None
    model_id: str
    instruments: tuple[Instrument, ...]

    def is_like(self, raw: RawSegmentation, spacing: tuple[float, float] | None) -> bool:
        """Return whether another frame has its size, its model and, to 1/1000, its spacing."""
        if (self.shape, self.model_id) != (raw.mask.shape, raw.model_id):
            return False
        if self.spacing is None or spacing is None:
            return self.spacing is spacing
        return all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(self.spacing, spacing))


@dataclass(frozen=True)
class _Judged:
    """A frame, and what the judge said of its pieces."""

    stamp: int
    shape: tuple[int, int]
    model_id: str
    opinions: tuple[Opinion, ...]


class FrameBefore:
    """
    What was said and found of the frame before, for as long as it says something of the next.

    It does where that came after less than half a second and has its size, model and, for
    instruments, pixel spacing; whether it can be of the same scene the engine finds out. A frame
    without a mask in between changes nothing. ``infer`` may
    be called in one thread while ``instruments`` runs in another.
    """

    def __init__(self):
        """Know of no frame."""
        self._last: _Last | None = None
        self._judged: _Judged | None = None

    def forget(self) -> None:
        """Forget the frame before: the next one does not follow it."""
        self._last = self._judged = None

    def infer(self, engine: SegmentationEngine, image: np.ndarray, stamp: int) -> RawSegmentation:
        """
        Return an engine's segmentation of a frame, told of the one before; remember it.

        :param stamp: nanoseconds by the sequence's clock.
        Raises FedefmError as the engine's does.
        """
        opinions = ()
        last = self._judged
        if last is not None and 0.0 < 1e-9 * (stamp - last.stamp) < _MEMORY_SECONDS \
                and (last.shape, last.model_id) == (image.shape, engine.info.model_id):
            opinions = last.opinions
        raw = engine.infer(image, opinions)
        self._judged = _Judged(stamp, raw.mask.shape, raw.model_id, raw.opinions)
        return raw

    def instruments(self, engine: SegmentationEngine, raw: RawSegmentation,
                    spacing_mm: tuple[float, float] | None,
                    stamp: int) -> tuple[Instrument, ...]:
        """
        Return what an engine finds in a frame, told of the one before; remember it.

        :param spacing_mm: pixel pitch at the patient (row, column) in millimetres.
        :param stamp: nanoseconds by the sequence's clock.
        """
        last, elapsed = self._last, 0.0
        if last is not None:
            elapsed = 1e-9 * (stamp - last.stamp)
            if not (0.0 < elapsed < _MEMORY_SECONDS and last.is_like(raw, spacing_mm)):
                last = None
        found = engine.instruments(
            raw, spacing_mm, previous=last.instruments if last else (), elapsed=elapsed)
        self._last = _Last(stamp, raw.mask.shape, spacing_mm, raw.model_id, found)
        return found
