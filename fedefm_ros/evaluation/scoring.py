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

"""Scores of a sequence or a set of frames, gathered frame by frame while a station runs."""

from collections.abc import Sequence

from fedefm_ros.evaluation import measures
from fedefm_ros.evaluation import metrics
from fedefm_ros.evaluation.rows import FrameTable
from fedefm_ros.evaluation.rows import line_row
from fedefm_ros.evaluation.rows import mask_row
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np


class Scores:
    """
    The cheap measures of masks and instruments against the truth.

    Dice and IoU come twice: of the pixels of all frames together, and as the mean over frames in
    which the class is in the truth or was found (a frame with neither says nothing).
    """

    def __init__(self):
        """Start at nothing."""
        self._masks = FrameTable()
        self._lines = FrameTable()

    @property
    def frames(self) -> int:
        """Return how many frames' instruments were added."""
        return self._lines.rows

    def add_mask(self, found: np.ndarray, truth: np.ndarray) -> None:
        """Add one frame's masks, (H, W) uint8 labels each."""
        self._masks.add(mask_row(found, truth, shape=False))

    def add_instruments(self, found: Sequence[Instrument], truth: Sequence[Instrument]) -> None:
        """Add one frame's instruments."""
        self._lines.add(line_row(found, truth), metrics.tip_errors(found, truth))

    def summary(self) -> dict:
        """Return the figures by name; NaN where nothing was there to measure."""
        of_masks = [m for m in measures.AGAINST_TRUTH if m.key.startswith('classes.')]
        of_lines = [m for m in measures.AGAINST_TRUTH if m not in of_masks]
        return summarise(measures.values(self._masks, of_masks)
                         | measures.values(self._lines, of_lines),
                         max(self._masks.rows, self._lines.rows), len(self._lines.tips[0]))


def summarise(figures: dict[str, float], frames: int, tips: int) -> dict:
    """Return figures by dotted key as a tree, with the number of frames and of true tips."""
    tree = {'frames': frames, **measures.nested(figures)}
    tree.setdefault('tip_error_px', {})['tips'] = tips
    return tree
