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

"""What is reported of many frames: each measure's name, meaning and how it is summed up."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedefm_ros import labels
from fedefm_ros.evaluation.rows import FrameTable
from fedefm_ros.evaluation.rows import TOLERANCES

import numpy as np


@dataclass(frozen=True)
class Measure:
    """
    A figure of many frames.

    A *ratio* is the sum of ``part`` over the sum of ``whole``, both weighted sums of columns, so
    that long instruments count more than short ones. A *mean* is that of a column over the frames
    that have it; a *median* likewise, or of all tips.
    """

    key: str
    """Where it stands in the JSON, with dots."""
    title: str
    higher_is_better: bool | None
    part: tuple[tuple[float, str], ...] = ()
    whole: tuple[tuple[float, str], ...] = ()
    mean: str = ''
    median: str = ''

    def in_table(self, table: FrameTable) -> bool:
        """Return whether the table has what this is made of."""
        if self.median == 'tips_mm':
            return not np.isnan(table.tips[2]).all()
        if self.median == 'tips_px' or self.key == 'tip_error_px.missed':
            return bool(len(table.tips[0]))
        names = [name for _, name in (*self.part, *self.whole)] or [self.mean or self.median]
        return all(name in table for name in names)


def _per_class(name):
    both, found, truth = (f'{name}_{side}' for side in ('both', 'found', 'truth'))
    return (
        Measure(f'classes.{name}.dice', f'{name} Dice, all pixels together', True,
                part=((2.0, both),), whole=((1.0, found), (1.0, truth))),
        Measure(f'classes.{name}.iou', f'{name} IoU, all pixels together', True,
                part=((1.0, both),), whole=((1.0, found), (1.0, truth), (-1.0, both))),
        Measure(f'classes.{name}.dice_frame_mean', f'{name} Dice, mean of frames', True,
                mean=f'{name}_dice'),
        Measure(f'classes.{name}.iou_frame_mean', f'{name} IoU, mean of frames', True,
                mean=f'{name}_iou'),
        Measure(f'classes.{name}.cldice', f'{name} clDice, mean of frames', True,
                mean=f'{name}_cldice'),
        Measure(f'classes.{name}.hd95_px.median', f'{name} HD95, median, px', False,
                median=f'{name}_hd95_px'))


def _centerline():
    made = []
    for tolerance in TOLERANCES:
        made += [
            Measure(f'union.precision_{tolerance}px', f'centreline precision, {tolerance} px',
                    True, part=((1.0, f'line_precise_{tolerance}px'),),
                    whole=((1.0, 'line_found'),)),
            Measure(f'union.recall_{tolerance}px', f'centreline recall, {tolerance} px', True,
                    part=((1.0, f'line_recalled_{tolerance}px'),), whole=((1.0, 'line_truth'),))]
    return made


#: Measures against ground truth, in the order of the tables.
AGAINST_TRUTH = (
    *_per_class('catheter'), *_per_class('guidewire'),
    Measure('union.dice_frame_mean', 'any instrument Dice, mean of frames', True,
            mean='instrument_dice'),
    Measure('union.cldice', 'any instrument clDice, mean of frames', True,
            mean='instrument_cldice'),
    *_centerline(),
    Measure('union.distance_px.median', 'centreline distance, median of frames, px', False,
            median='line_distance_px'),
    Measure('union.right_class', 'right class on the centreline', True,
            part=((1.0, 'line_right'),), whole=((1.0, 'line_near'),)),
    Measure('tip_error_px.median', 'tip error, median, px', False, median='tips_px'),
    Measure('tip_error_mm.median', 'tip error, median, mm', False, median='tips_mm'),
    Measure('tip_error_px.missed', 'tips missed', False,
            part=((1.0, 'tips_missed'),), whole=((1.0, 'tips'),)),
    Measure('false_instruments_per_frame', 'false instruments a frame', False,
            mean='false_instruments'))

#: Measures that need no ground truth.
CONSISTENCY = (
    *(Measure(f'temporal.tip_jitter_px.{name}', f'{name} tip jitter, median, px', False,
              median=f'tip_jitter_{name}_px') for name in labels.NAMES[1:]),
    Measure('temporal.flicker', 'flicker, share of instrument pixels', False,
            part=((1.0, 'flicker_px'),), whole=((1.0, 'flicker_of_px'),)),
    Measure('temporal.overlap', 'overlap with the frame before (IoU)', True,
            mean='temporal_iou'),
    Measure('temporal.count_changes', 'frames where the number of instruments changes', False,
            mean='count_change'),
    Measure('instruments_per_frame', 'instruments a frame', None, mean='instruments'))

ALL = (*AGAINST_TRUTH, *CONSISTENCY)


def values(table: FrameTable, measures: Sequence[Measure] = ALL,
           rows: np.ndarray | None = None) -> dict[str, float]:
    """
    Return each measure by key, NaN where nothing was there to measure.

    :param rows: (rows,) bool, the frames to use; all where None.
    """
    weights = np.ones(table.rows) if rows is None else rows.astype(float)
    return {measure.key: weighted(table, measure)(weights) for measure in measures}


def weighted(table: FrameTable, measure: Measure):
    """Return a function from frame weights, (rows,) of whole numbers, to the measure's value."""
    if measure.median:
        return _weighted_median(table, measure.median)
    part, whole = part_and_whole(table, measure)

    def ratio(weights):
        total = whole @ weights
        return float(part @ weights / total) if total else float('nan')
    return ratio


def part_and_whole(table: FrameTable, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Return what each frame adds to a ratio's or mean's numerator and denominator."""
    if measure.mean:
        column = table.column(measure.mean)
        there = ~np.isnan(column)
        return np.where(there, column, 0.0), there.astype(float)
    if measure.key == 'tip_error_px.missed':
        rows, errors, _ = table.tips
        return (np.bincount(rows, np.isinf(errors), minlength=table.rows),
                np.bincount(rows, minlength=table.rows).astype(float))
    return tuple(np.nan_to_num(sum(factor * table.column(name) for factor, name in terms))
                 for terms in (measure.part, measure.whole))


def _weighted_median(table, column):
    if column.startswith('tips'):
        rows, errors, errors_mm = table.tips
        found = errors if column == 'tips_px' else errors_mm
    else:
        found = table.column(column)
        rows = np.arange(table.rows)
    there = ~np.isnan(found)
    found, rows = found[there], rows[there]
    order = np.argsort(found, kind='stable')
    found, rows = found[order], rows[order]

    def median(weights):
        """Return what numpy.median gives of each value repeated as often as its frame counts."""
        upto = np.cumsum(weights[rows])
        total = int(upto[-1]) if len(upto) else 0
        if not total:
            return float('nan')
        low, high = np.searchsorted(upto, ((total - 1) // 2, total // 2), side='right')
        return float(found[low] if low == high else (found[low] + found[high]) / 2.0)
    return median


def nested(figures: dict[str, float]) -> dict:
    """Return figures by dotted key as a tree."""
    tree: dict = {}
    for key, value in figures.items():
        *path, last = key.split('.')
        place = tree
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return tree
