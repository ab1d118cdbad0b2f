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

"""How steady a segmentation is from frame to frame; needs no ground truth."""

from collections.abc import Sequence

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np


class Steadiness:
    """
    Measures of consecutive frames; keeps two frames, no more.

    - *Tip jitter*: length of the second difference of a kind's leading visible tip,
      ``|t[k] - 2 t[k-1] + t[k-2]|`` in pixels. Steady motion gives 0; a single frame's tip that
      is off by e gives e, 2e, e.
    - *Flicker*: pixels whose label in the middle frame differs from that before and after, where
      those two agree, over the instrument pixels of the three frames' mean.
    - *Overlap*: intersection over union of the instrument pixels of two consecutive frames.
    - *Count change*: 1 where the number of instruments differs from the frame before, else 0.

    Motion contributes to all of them: compare with the same measures of the truth, or of another
    model on the same frames.
    """

    def __init__(self):
        """Start at nothing."""
        self._masks: list[np.ndarray] = []
        self._tips: list[dict[int, np.ndarray]] = []
        self._count: int | None = None

    def reset(self) -> None:
        """Forget the frames so far: the next one does not follow them."""
        self.__init__()

    def add(self, mask: np.ndarray, instruments: Sequence[Instrument]) -> dict[str, float]:
        """
        Take the next frame; return its measures by name, NaN where they need more frames.

        :param mask: (H, W) uint8 labels; kept, so not to be changed afterwards.
        :param instruments: the leading one first.
        """
        nan = float('nan')
        values = {f'tip_jitter_{name}_px': nan for name in labels.NAMES[1:]}
        values.update(flicker_px=nan, flicker_of_px=nan, temporal_iou=nan, count_change=nan)
        if self._masks and self._masks[-1].shape != mask.shape:
            self.reset()
        tips = _leading_tips(instruments)
        if self._count is not None:
            values['count_change'] = float(self._count != len(instruments))
        if self._masks:
            last = self._masks[-1]
            union = cv2.countNonZero(cv2.max(last, mask))
            if union:
                values['temporal_iou'] = cv2.countNonZero(cv2.min(last, mask)) / union
        if len(self._masks) == 2:
            first, middle = self._masks
            values['flicker_px'] = float(cv2.countNonZero(cv2.bitwise_and(
                cv2.compare(first, mask, cv2.CMP_EQ), cv2.compare(middle, mask, cv2.CMP_NE))))
            values['flicker_of_px'] = sum(cv2.countNonZero(m)
                                          for m in (first, middle, mask)) / 3.0
            for kind, tip in tips.items():
                if all(kind in before for before in self._tips):
                    bend = tip - 2.0 * self._tips[1][kind] + self._tips[0][kind]
                    values[f'tip_jitter_{labels.NAMES[kind]}_px'] = float(np.linalg.norm(bend))
        self._masks = [*self._masks[-1:], mask]
        self._tips = [*self._tips[-1:], tips]
        self._count = len(instruments)
        return values


def _leading_tips(instruments):
    tips = {}
    for instrument in instruments:
        if instrument.tip_visible:
            tips.setdefault(instrument.kind, instrument.tip)
    return tips
