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
Measures of a segmentation against the truth; pure functions of masks and instruments.

Dice depends on how wide a line is drawn, so centrelines and tips lead: a wire two pixels wide
that is found one pixel too thick has a Dice of 0.8 and a centreline that is right.
"""

from collections.abc import Sequence

from fedefm_ros.segmentation.instrument import Instrument

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree


def overlap_counts(found: np.ndarray, truth: np.ndarray, label: int) -> tuple[int, int, int]:
    """
    Return pixels in both, in ``found`` and in ``truth`` for one label.

    :param found: (H, W) uint8 labels.
    :param truth: (H, W) uint8 labels.
    """
    a, b = found == label, truth == label
    return int(np.count_nonzero(a & b)), int(np.count_nonzero(a)), int(np.count_nonzero(b))


def dice(both: float, found: float, truth: float) -> float:
    """Return 2 both / (found + truth); NaN where neither has the class."""
    return 2.0 * both / (found + truth) if found + truth else float('nan')


def iou(both: float, found: float, truth: float) -> float:
    """Return both / union (the Jaccard index); NaN where neither has the class."""
    union = found + truth - both
    return both / union if union else float('nan')


def centerline_hits(found: Sequence[Instrument], truth: Sequence[Instrument],
                    tolerance_px: float = 3.0) -> tuple[int, int, int, int]:
    """
    Return how many centreline points lie near the other side's centrelines, of any kind.

    :returns: found points that are near truth, all found points, truth points that are near
        something found, all truth points. Points are resampled at 1 pixel.
    """
    a, b = _points(found), _points(truth)
    if not len(a) or not len(b):
        return 0, len(a), 0, len(b)
    near_truth = cKDTree(b).query(a)[0] <= tolerance_px
    near_found = cKDTree(a).query(b)[0] <= tolerance_px
    return int(near_truth.sum()), len(a), int(near_found.sum()), len(b)


def class_hits(found: Sequence[Instrument], truth: Sequence[Instrument],
               tolerance_px: float = 3.0) -> tuple[int, int]:
    """Return how many truth centreline points are found with the right kind, of those found."""
    right = near = 0
    a = _points(found)
    if not len(a):
        return 0, 0
    kinds = np.concatenate([np.full(len(_dense(i.centerline)), i.kind) for i in found])
    tree = cKDTree(a)
    for instrument in truth:
        distance, index = tree.query(_dense(instrument.centerline))
        hit = distance <= tolerance_px
        near += int(hit.sum())
        right += int((kinds[index[hit]] == instrument.kind).sum())
    return right, near


def tip_errors(found: Sequence[Instrument], truth: Sequence[Instrument]) -> list[float]:
    """
    Return for each visible true tip the distance in pixels to its match; infinite where none.

    Tips of one kind are matched so that the total distance is least (Hungarian method).
    """
    errors = []
    for kind in {instrument.kind for instrument in truth}:
        a = np.array([i.tip for i in truth if i.kind == kind and i.tip_visible]).reshape(-1, 2)
        b = np.array([i.tip for i in found if i.kind == kind and i.tip_visible]).reshape(-1, 2)
        if not len(b):
            errors += [float('inf')] * len(a)
            continue
        distance = np.linalg.norm(a[:, None] - b[None], axis=2)
        rows, cols = linear_sum_assignment(distance)
        errors += [float(d) for d in distance[rows, cols]]
        errors += [float('inf')] * (len(a) - len(rows))
    return errors


def false_instruments(found: Sequence[Instrument], truth: Sequence[Instrument],
                      tolerance_px: float = 5.0) -> int:
    """Return how many found instruments lie with less than half of their length on any true."""
    b = _points(truth)
    if not len(b):
        return len(found)
    tree = cKDTree(b)
    return sum(bool((tree.query(_dense(i.centerline))[0] <= tolerance_px).mean() < 0.5)
               for i in found)


def _dense(centerline):
    lengths = np.linalg.norm(np.diff(centerline, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.arange(0.0, arc[-1] + 0.5)
    return np.stack([np.interp(at, arc, centerline[:, axis]) for axis in (0, 1)], axis=1)


def _points(instruments):
    if not instruments:
        return np.empty((0, 2))
    return np.concatenate([_dense(instrument.centerline) for instrument in instruments])
