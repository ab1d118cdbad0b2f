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

"""One endovascular instrument as seen in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def length_in_mm(centerline: np.ndarray, spacing_mm: tuple[float, float] | None) -> float:
    """
    Return the length of a line, (N, 2) pixels, at the patient; NaN where the spacing is unknown.

    :param spacing_mm: pixel pitch between rows (y) and between columns (x), in millimetres.
    """
    if spacing_mm is None:
        return float('nan')
    steps = np.diff(centerline, axis=0)
    return float(np.hypot(steps[:, 0] * spacing_mm[1], steps[:, 1] * spacing_mm[0]).sum())


@dataclass(frozen=True)
class Instrument:
    """
    A catheter or guidewire in pixels: x right, y down, origin at the centre of the top-left pixel.

    The centreline runs from where the instrument enters the image (or where it is first seen) to
    its tip. The simulator's ground truth and the segmentation's result are both of this type.
    """

    kind: int
    """``labels.CATHETER`` or ``labels.GUIDEWIRE``."""
    centerline: np.ndarray
    """(N, 2) float64, N >= 2: x, y in pixels, entry first, tip last, about 2 pixels apart."""
    confidence: float = 1.0
    """Mean foreground probability along the centreline, 0 to 1."""
    tip_visible: bool = True
    """False where the tip lies outside the image (or the collimated field)."""
    length_mm: float = float('nan')
    """Length at the patient in millimetres; NaN where the pixel spacing is unknown."""

    @property
    def tip(self) -> np.ndarray:
        """Return the last centreline point, (2,) x, y in pixels."""
        return self.centerline[-1]

    @property
    def heading(self) -> float:
        """Return the direction in which the tip points: radians from +x towards +y (clockwise)."""
        back = self.centerline[-min(len(self.centerline), 6)]
        dx, dy = self.centerline[-1] - back
        return float(np.arctan2(dy, dx))

    @property
    def length_px(self) -> float:
        """Return the length of the visible centreline in pixels."""
        return float(np.linalg.norm(np.diff(self.centerline, axis=0), axis=1).sum())
