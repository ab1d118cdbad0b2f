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
    # Instruments cover few pixels: counting only those is many times cheaper than counting all.
    covered = np.flatnonzero(found.ravel() | truth.ravel())
    codes = truth.ravel()[covered].astype(np.intp) * _CLASSES + found.ravel()[covered]
    counts = np.bincount(codes, minlength=_CLASSES ** 2).reshape(_CLASSES, _CLASSES)
    counts[0, 0] = truth.size - len(covered)
    return counts


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
    return max(float(np.percentile(cKDTree(one).query(other)[0], 95))
               for one, other in ((a, b), (b, a)))


def centerline_hits(found: Sequence[Instrument], truth: Sequence[Instrument],
                    tolerance_px: float = 3.0) -> tuple[int, int, int, int]:
    """
    Return how many centreline points lie near the other side's centrelines, of any kind.

    :returns: found points that are near truth, all found points, truth points that are near
        something found, all truth points. Points are resampled at 1 pixel.
    """
    to_truth, to_found = centerline_distances(found, truth)
    return (int((to_truth <= tolerance_px).sum()), len(to_truth),
            int((to_found <= tolerance_px).sum()), len(to_found))


def centerline_distances(found: Sequence[Instrument],
                         truth: Sequence[Instrument]) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the distance of each centreline point to the other side's nearest, of any kind.

    :returns: of the found points to the truth, and of the truth to what was found, in pixels;
        infinite where the other side has none. Points are resampled at 1 pixel.
    """
    a, b = _points(found), _points(truth)
    if not len(a) or not len(b):
        return np.full(len(a), np.inf), np.full(len(b), np.inf)
    return cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]


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


def _skeleton_pixels(mask):
    """Return rows and columns of the skeleton (Zhang and Suen's thinning)."""
    from skimage.morphology import skeletonize  # slow to import, and not needed by all
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    rows, columns = np.nonzero(skeletonize(mask[top:top + height, left:left + width])) \
        if width else (np.empty(0, int),) * 2
    return rows + top, columns + left


def _outline(mask):
    """Return (N, 2) the pixels of a mask that have a side to the outside or to the border."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return np.empty((0, 2))
    part = np.ascontiguousarray(mask[top:top + height, left:left + width]).view(np.uint8)
    inside = cv2.erode(part, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)),
                       borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.argwhere(part > inside) + (top, left)


def _dense(centerline):
    lengths = np.linalg.norm(np.diff(centerline, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.arange(0.0, arc[-1] + 0.5)
    return np.stack([np.interp(at, arc, centerline[:, axis]) for axis in (0, 1)], axis=1)


def _points(instruments):
    if not instruments:
        return np.empty((0, 2))
    return np.concatenate([_dense(instrument.centerline) for instrument in instruments])
