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
How sure a figure is, and whether two of them differ: the bootstrap.

Whole units are drawn with replacement, as often as there are: sequences where there are enough of
them, else one second of a sequence at a time (frames that follow each other are much alike, and
drawing them one by one would make the intervals too narrow), or single frames where they have
nothing to do with each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fedefm_ros.evaluation.measures import Measure
from fedefm_ros.evaluation.measures import part_and_whole
from fedefm_ros.evaluation.measures import weighted
from fedefm_ros.evaluation.rows import FrameTable

import numpy as np

RESAMPLES = 1000
SEED = 20250519
#: From so many sequences on, they are what is drawn; the same for seconds.
ENOUGH = 8


@dataclass(frozen=True)
class Units:
    """What is drawn."""

    of_frame: np.ndarray
    """(frames,) int: the unit that each frame belongs to, from 0."""
    what: str
    """In words."""

    @property
    def count(self) -> int:
        """Return how many units there are."""
        return int(self.of_frame.max()) + 1 if len(self.of_frame) else 0


def units_of(sequences: np.ndarray, times: np.ndarray) -> Units:
    """
    Choose what to draw.

    :param sequences: (frames,) int, the sequence of each frame; -1: it stands alone.
    :param times: (frames,) seconds within the sequence.
    """
    alone = sequences < 0
    if alone.all():
        return Units(np.arange(len(sequences)), 'frames')
    if len(np.unique(sequences[~alone])) >= ENOUGH:
        keys = np.stack([sequences, np.where(alone, np.arange(len(sequences)), 0)], axis=1)
        return Units(np.unique(keys, axis=0, return_inverse=True)[1].ravel(), 'sequences')
    seconds = np.where(alone, np.arange(len(sequences)), np.floor(np.nan_to_num(times)))
    keys = np.stack([sequences, seconds.astype(int)], axis=1)
    of_frame = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    if of_frame.max(initial=-1) + 1 >= ENOUGH:
        return Units(of_frame, 'seconds of a sequence')
    return Units(np.arange(len(sequences)),
                 'frames (too short to draw seconds: intervals are too narrow)')


def resample(tables: Sequence[FrameTable], measures: Sequence[Measure], units: Units, *,
             resamples: int = RESAMPLES, seed: int = SEED,
             rows: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """
    Return (tables, measures, resamples) values; each resample draws the same units of all tables.

    The tables hold the same frames in the same order.

    :param rows: of each measure (frames,) bool, those that count; all where None.
    """
    rng = np.random.default_rng(seed)
    rows = rows or [np.ones(len(units.of_frame), bool)] * len(measures)
    functions = [[_by_unit(table, measure, units, chosen)
                  for measure, chosen in zip(measures, rows)] for table in tables]
    out = np.full((len(tables), len(measures), resamples), np.nan)
    if units.count:
        for draw in range(resamples):
            weights = np.bincount(rng.integers(0, units.count, units.count),
                                  minlength=units.count)
            for row, of_table in enumerate(functions):
                for column, function in enumerate(of_table):
                    out[row, column, draw] = function(weights)
    return out


def interval(samples: np.ndarray) -> list[float]:
    """Return the 95 % percentile interval of one measure's resamples; NaN of none."""
    there = samples[~np.isnan(samples)]
    if not len(there):
        return [float('nan')] * 2
    # Not interpolated: between a number and infinity there is nothing.
    return [float(v) for v in np.percentile(there, (2.5, 97.5), method='nearest')]


def paired_difference(first: np.ndarray, second: np.ndarray) -> dict[str, float | list[float]]:
    """
    Return the interval of second - first and the two-sided p value of no difference.

    Both are the resamples of one measure, drawn alike. p is twice the smaller share of resamples
    on one side of 0, and at least 2 / (resamples + 1).
    """
    with np.errstate(invalid='ignore'):
        difference = second - first
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        return {'ci95': [float('nan')] * 2, 'p': float('nan')}
    tails = ((difference <= 0).sum() + 1, (difference >= 0).sum() + 1)
    return {'ci95': interval(difference), 'p': float(min(1.0, 2.0 * min(tails)
                                                         / (len(difference) + 1)))}


def _by_unit(table, measure, units, chosen):
    """Return a function from unit weights to the measure's value over the chosen frames."""
    if measure.median:
        of_frames = weighted(table, measure)
        return lambda weights: of_frames(weights[units.of_frame] * chosen)
    part, whole = (np.bincount(units.of_frame, side * chosen, minlength=units.count)
                   for side in part_and_whole(table, measure))

    def ratio(weights):
        total = whole @ weights
        return part @ weights / total if total else np.nan
    return ratio
