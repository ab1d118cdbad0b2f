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
from dataclasses import dataclass

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

_CLASSES = len(labels.NAMES)


def overlap_counts(found: np.ndarray, truth: np.ndarray, label: int) -> tuple[int, int, int]:
    """
    Return pixels in both, in ``found`` and in ``truth`` for one label.

    :param found: (H, W) uint8 labels.
    :param truth: (H, W) uint8 labels.
    """
    a, b = found == label, truth == label
    return int(np.count_nonzero(a & b)), int(np.count_nonzero(a)), int(np.count_nonzero(b))


def confusion(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """
    Return (3, 3) int64: how many pixels of true label [row] were given label [column].

    :param found: (H, W) uint8 labels.
    :param truth: (H, W) uint8 labels.
    """
    size = truth.size
    found, truth = cropped(found, truth)
    codes = (truth * np.uint8(_CLASSES) + found).ravel()
    counts = np.bincount(codes, minlength=_CLASSES ** 2).reshape(_CLASSES, _CLASSES)
    counts[0, 0] += size - truth.size
    return counts


def cropped(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the part of two masks, (H, W) uint8, outside of which both are empty.

    Instruments cover little of an image: all measures of masks say the same of this part, and
    cost a fraction. Views, of no pixels where both are empty.
    """
    left, top, width, height = cv2.boundingRect(cv2.bitwise_or(found, truth))
    part = slice(top, top + height), slice(left, left + width)
    return found[part], truth[part]


def dice(both: float, found: float, truth: float) -> float:
    """Return 2 both / (found + truth); NaN where neither has the class."""
    return 2.0 * both / (found + truth) if found + truth else float('nan')


def iou(both: float, found: float, truth: float) -> float:
    """Return both / union (the Jaccard index); NaN where neither has the class."""
    union = found + truth - both
    return both / union if union else float('nan')


def cl_dice(found: np.ndarray, truth: np.ndarray) -> float:
    """
    Return the centreline Dice of two masks, (H, W) bool, 0 to 1; NaN where both are empty.

    Harmonic mean of how much of the found skeleton lies in the truth and how much of the true
    skeleton lies in what was found (Shit et al. 2021, arXiv 2003.07311, equations 1 to 3). It
    hardly depends on how wide a line is drawn.
    """
    if not found.any() and not truth.any():
        return float('nan')
    a, b = _skeleton_pixels(found), _skeleton_pixels(truth)
    if not len(a[0]) or not len(b[0]):
        return 0.0
    precision, sensitivity = float(truth[a].mean()), float(found[b].mean())
    total = precision + sensitivity
    return 2.0 * precision * sensitivity / total if total else 0.0


def hausdorff_95(found: np.ndarray, truth: np.ndarray) -> float:
    """
    Return the 95th percentile of the distances between the outlines of two masks, in pixels.

    The larger of the two directions. NaN where both are empty, infinite where one is.

    :param found: (H, W) bool.
    :param truth: (H, W) bool.
    """
    a, b = _outline(found), _outline(truth)
    if not len(a) or not len(b):
        return float('inf') if len(a) or len(b) else float('nan')
    return max(float(np.percentile(_tree(one).query(other)[0], 95))
               for one, other in ((a, b), (b, a)))


@dataclass(frozen=True)
class LineMatch:
    """The centrelines of two sides as points 1 pixel apart, each with the other side's nearest."""

    to_truth: np.ndarray
    """(N,) of each found point the distance to the truth in pixels; infinite where none is."""
    to_found: np.ndarray
    """(M,) of each true point the distance to what was found."""
    of_found: np.ndarray
    """(N,) int: the number of the found instrument that a point belongs to."""
    same_kind: np.ndarray
    """(M,) bool: the found point that is nearest to a true one is of its kind."""

    def hits(self, tolerance_px: float = 3.0) -> tuple[int, int, int, int]:
        """Return found points near the truth, found points, true points found, true points."""
        return (int((self.to_truth <= tolerance_px).sum()), len(self.to_truth),
                int((self.to_found <= tolerance_px).sum()), len(self.to_found))

    def class_hits(self, tolerance_px: float = 3.0) -> tuple[int, int]:
        """Return how many true points are found with the right kind, of those found."""
        near = self.to_found <= tolerance_px
        return int((self.same_kind & near).sum()), int(near.sum())

    def false_instruments(self, tolerance_px: float = 5.0) -> int:
        """Return how many found instruments lie with less than half of their length on a true."""
        points = np.bincount(self.of_found)
        near = np.bincount(self.of_found, self.to_truth <= tolerance_px)
        return int((near < 0.5 * points).sum())


def match_lines(found: Sequence[Instrument], truth: Sequence[Instrument]) -> LineMatch:
    """Return how the centrelines of two sides, of any kind, lie to each other."""
    a, b = (_points(side) for side in (found, truth))
    of_a, of_b = (np.repeat(np.arange(len(each)), [len(points) for points in each])
                  if each else np.empty(0, int) for each in (a, b))
    if not a or not b:
        return LineMatch(np.full(len(of_a), np.inf), np.full(len(of_b), np.inf), of_a,
                         np.zeros(len(of_b), bool))
    a, b = np.concatenate(a), np.concatenate(b)
    to_found, nearest = _tree(a).query(b)
    kinds_a, kinds_b = (np.array([each.kind for each in side]) for side in (found, truth))
    return LineMatch(_tree(b).query(a)[0], to_found, of_a, kinds_a[of_a[nearest]] == kinds_b[of_b])


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


def _skeleton_pixels(mask):
    """Return rows and columns of the skeleton (Zhang and Suen's thinning)."""
    from skimage.morphology import skeletonize  # slow to import, and not needed by all
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    rows, columns = np.nonzero(skeletonize(mask[top:top + height, left:left + width])) \
        if width else (np.empty(0, int),) * 2
    return rows + top, columns + left


def _outline(mask):
    """Return (N, 2) the pixels of a mask that have a side to the outside or to the border."""
    if not mask.any():
        return np.empty((0, 2))
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    inside = cv2.erode(pixels, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)),
                       borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.findNonZero(cv2.subtract(pixels, inside)).reshape(-1, 2).astype(float)


def _tree(points):
    # Not balanced: made in a fraction of the time, and as exact.
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def _dense(centerline):
    steps = np.diff(centerline, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.arange(0.0, arc[-1] + 0.5)
    return np.stack([np.interp(at, arc, centerline[:, axis]) for axis in (0, 1)], axis=1)


def _points(instruments):
    """Return the centrelines, (N, 2) each, with a point every pixel."""
    return [_dense(instrument.centerline) for instrument in instruments]
