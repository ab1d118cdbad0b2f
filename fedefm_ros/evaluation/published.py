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

"""
Three ways in which others' published figures were computed, by the name of their code.

They differ in what an absent class counts and in whether the background does, so a published
"Dice 92" can be 84 for the wire alone. They are here to be compared with those figures only;
the measures of ``metrics`` are the ones to judge by.
"""

import numpy as np

_EPSILON = 1e-6


class Published:
    """
    The figures of three released evaluations over all frames together.

    ``endovascular_challenge``: Dice and Jaccard are means over the classes that occur, background
    included; mIoU is the mean of catheter and guidewire, a class that never occurs counting 0.
    ``fedefm_downstream``: Dice is the mean over frames of the mean of catheter and guidewire,
    absent on both sides counting 1; Jaccard and mIoU as before.
    ``fl_endovascular``: Jaccard of the pixels whose truth is an instrument, over the instrument
    classes that occur (what is found on the background does not count); mIoU as before.
    """

    def __init__(self):
        """Start at nothing."""
        self._counts = np.zeros((3, 3), np.int64)
        self._dice_sum = 0.0
        self._frames = 0

    def add(self, confusion: np.ndarray) -> None:
        """Add one frame's (3, 3) counts, true label by row, found label by column."""
        self._counts += confusion
        both, found, truth = _sides(confusion)
        self._dice_sum += float(np.mean(((2.0 * both + _EPSILON)
                                         / (found + truth + _EPSILON))[1:]))
        self._frames += 1

    def values(self) -> dict[str, dict[str, float]]:
        """Return the figures by code and name; NaN where there were no frames."""
        if not self._frames:
            nan = float('nan')
            jaccard = miou = dice = dice_frames = jaccard_truth = nan
        else:
            both, found, truth = _sides(self._counts)
            union = found + truth - both
            dice = _mean_of_present(2.0 * both, found + truth)
            jaccard = _mean_of_present(both, union)
            miou = float(np.mean(both[1:] / np.maximum(union[1:], 1)))
            dice_frames = self._dice_sum / self._frames
            kept = self._counts.copy()
            kept[0] = 0
            both, found, truth = _sides(kept)
            jaccard_truth = _mean_of_present(both[1:], (found + truth - both)[1:])
        return {
            'endovascular_challenge': {'dice': dice, 'jaccard': jaccard, 'miou': miou},
            'fedefm_downstream': {'dice': dice_frames, 'jaccard': jaccard, 'miou': miou},
            'fl_endovascular': {'jaccard': jaccard_truth, 'miou': miou}}


def _sides(counts):
    return np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)


def _mean_of_present(part, whole):
    present = whole > 0
    return float(np.mean(part[present] / whole[present])) if present.any() else 0.0
