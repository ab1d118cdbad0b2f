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

"""The figures of one frame, and the table that they are gathered in."""

from array import array
from collections.abc import Mapping
from collections.abc import Sequence

from fedefm_ros import labels
from fedefm_ros.evaluation import metrics
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

#: Tolerances of centreline precision and recall in pixels; the second one leads.
TOLERANCES = (1, 3, 5)
_CLASSES = ((labels.CATHETER, 'catheter'), (labels.GUIDEWIRE, 'guidewire'))
_NAN = float('nan')


def mask_row(found: np.ndarray, truth: np.ndarray, *, shape: bool = True) -> dict[str, float]:
    """
    Return the figures of one frame's masks, (H, W) uint8 labels each.

    :param shape: also clDice and HD95, which cost some milliseconds.
    """
    return confusion_row(metrics.confusion(found, truth)) | (
        shape_row(found, truth) if shape else {})


def confusion_row(counts: np.ndarray) -> dict[str, float]:
    """Return pixel counts, Dice and IoU by class of (3, 3) counts, true label by row."""
    row = {}
    for label, name in _CLASSES:
        both = float(counts[label, label])
        found, truth = float(counts[:, label].sum()), float(counts[label].sum())
        row |= {f'{name}_both': both, f'{name}_found': found, f'{name}_truth': truth,
                f'{name}_dice': metrics.dice(both, found, truth),
                f'{name}_iou': metrics.iou(both, found, truth)}
    both = float(counts[1:, 1:].sum())
    return row | {'instrument_dice': metrics.dice(both, float(counts[:, 1:].sum()),
                                                  float(counts[1:].sum()))}


def shape_row(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return clDice and HD95 by class, and clDice of both classes together."""
    row = {}
    found, truth = metrics.cropped(found, truth)
    for label, name in _CLASSES:
        a, b = found == label, truth == label
        row |= {f'{name}_cldice': metrics.cl_dice(a, b),
                f'{name}_hd95_px': metrics.hausdorff_95(a, b)}
    return row | {'instrument_cldice': metrics.cl_dice(found > 0, truth > 0)}


def line_row(found: Sequence[Instrument], truth: Sequence[Instrument]) -> dict[str, float]:
    """Return the figures of one frame's instruments, but for the tips."""
    match = metrics.match_lines(found, truth)
    right, near = match.class_hits()
    distances = np.concatenate([match.to_truth, match.to_found])
    row = {'line_found': float(len(match.to_truth)), 'line_truth': float(len(match.to_found)),
           'line_right': float(right), 'line_near': float(near),
           'line_distance_px': float(np.median(distances)) if len(distances) else _NAN,
           'instruments': float(len(found)), 'true_instruments': float(len(truth)),
           'false_instruments': float(match.false_instruments())}
    for tolerance in TOLERANCES:
        precise, _, recalled, _ = match.hits(tolerance)
        row[f'line_precise_{tolerance}px'] = float(precise)
        row[f'line_recalled_{tolerance}px'] = float(recalled)
    return row


class FrameTable:
    """
    Frames' figures by column, and the errors of their tips; 8 bytes a figure.

    Columns that a frame lacks hold NaN.
    """

    def __init__(self):
        """Start with no frames."""
        self._columns: dict[str, array] = {}
        self._tip_rows = array('q')
        self._tip_errors = array('d')
        self._tip_errors_mm = array('d')
        self.rows = 0

    def add(self, row: Mapping[str, float], tips: Sequence[float] = (),
            mm_per_px: float = _NAN) -> None:
        """
        Add a frame.

        :param tips: error of each visible true tip in pixels, infinite where it was missed.
        :param mm_per_px: at the patient.
        """
        for name, value in row.items():
            if name not in self._columns:
                self._columns[name] = array('d', [_NAN]) * self.rows
            self._columns[name].append(value)
        for name, column in self._columns.items():
            if name not in row:
                column.append(_NAN)
        for error in tips:
            self._tip_rows.append(self.rows)
            self._tip_errors.append(error)
            self._tip_errors_mm.append(error * mm_per_px)
        self.rows += 1

    @property
    def names(self) -> tuple[str, ...]:
        """Return the columns' names."""
        return tuple(self._columns)

    def __contains__(self, name: str) -> bool:
        """Return whether any frame has had this figure."""
        return name in self._columns

    def column(self, name: str) -> np.ndarray:
        """Return one figure of all frames, (rows,) float64; NaN where it is missing."""
        if name not in self._columns:
            return np.full(self.rows, _NAN)
        return np.array(self._columns[name])

    @property
    def tips(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each tip's row, error in pixels and error in millimetres."""
        return (np.array(self._tip_rows, int), np.array(self._tip_errors),
                np.array(self._tip_errors_mm))
