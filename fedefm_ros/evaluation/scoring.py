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

"""Scores of a sequence or a set of frames, gathered frame by frame."""

from collections.abc import Sequence

from fedefm_ros import labels
from fedefm_ros.evaluation import metrics
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np


class Scores:
    """
    Sums over frames; memory does not grow with their size.

    Dice and IoU come twice: of the pixels of all frames together, and as the mean over frames in
    which the class is in the truth or was found (a frame with neither says nothing).
    """

    def __init__(self, tolerance_px: float = 3.0):
        """Start at nothing."""
        self._tolerance = tolerance_px
        self._counts = {label: [] for label in (labels.CATHETER, labels.GUIDEWIRE)}
        self._centerline = np.zeros(4)
        self._class = np.zeros(2)
        self._tips = []
        self._false = 0
        self.frames = 0

    def add_mask(self, found: np.ndarray, truth: np.ndarray) -> None:
        """Add one frame's masks, (H, W) uint8 labels each."""
        for label, counts in self._counts.items():
            counts.append(metrics.overlap_counts(found, truth, label))

    def add_instruments(self, found: Sequence[Instrument], truth: Sequence[Instrument]) -> None:
        """Add one frame's instruments."""
        self.frames += 1
        self._centerline += metrics.centerline_hits(found, truth, self._tolerance)
        self._class += metrics.class_hits(found, truth, self._tolerance)
        self._tips += metrics.tip_errors(found, truth)
        self._false += metrics.false_instruments(found, truth)

    def summary(self) -> dict:
        """Return the figures by name; NaN where nothing was there to measure."""
        classes = {}
        for label, counts in self._counts.items():
            rows = np.array(counts, float).reshape(-1, 3)
            per_frame = [(metrics.dice(*row), metrics.iou(*row)) for row in rows
                         if row[1] + row[2]]
            means = np.mean(per_frame, axis=0) if per_frame else (float('nan'),) * 2
            classes[labels.NAMES[label]] = {
                'dice': metrics.dice(*rows.sum(axis=0)), 'iou': metrics.iou(*rows.sum(axis=0)),
                'dice_frame_mean': float(means[0]), 'iou_frame_mean': float(means[1])}
        near_truth, found, near_found, truth = self._centerline
        tips = np.array(self._tips)
        return {
            'frames': max(self.frames, max(len(c) for c in self._counts.values())),
            'classes': classes,
            'union': {'precision_3px': _ratio(near_truth, found),
                      'recall_3px': _ratio(near_found, truth),
                      'right_class': _ratio(*self._class)},
            'tip_error_px': {
                'median': float(np.median(tips)) if len(tips) else float('nan'),
                'missed': _ratio(np.isinf(tips).sum(), len(tips)), 'tips': len(tips)},
            'false_instruments_per_frame': _ratio(self._false, self.frames)}


def _ratio(part, whole):
    return float(part / whole) if whole else float('nan')
