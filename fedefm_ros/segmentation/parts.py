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

"""Parts of a mask that become something else: out of it, or of another class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

#: Pixels from a centreline, of an image of about 512 x 512, up to which foreground is the piece's:
#: half a wide catheter and its edge.
REACH = 20.0
# The owner of pixels that are no piece's.
_NOBODY = 255


@dataclass(frozen=True)
class Part:
    """A piece, or what lies on one side of the place where it is divided."""

    number: int
    """That of the piece."""
    first: int
    """Its first point's number in the piece."""
    centerline: np.ndarray
    of: Instrument
    becomes: int | None
    """The value of all of its pixels; None: they stay as they are."""

    @property
    def kind(self) -> int:
        """Return what it is, a ``labels`` value; where it stays, some pixels may be another's."""
        return self.of.kind if self.becomes is None else self.becomes


def with_classes(mask: np.ndarray, otherwise: np.ndarray, parts: Sequence[Part],
                 others: Sequence[np.ndarray], reach: float) -> np.ndarray:
    """
    Return a mask of which each part's pixels are what becomes of it; see ``judgement.judged``.

    :param others: lines that keep their pixels, whatever becomes of what is near.
    :param reach: pixels from a line up to which foreground is its own.
    """
    changed = [part.centerline for part in parts if part.becomes is not None]
    window = _where_it_may_change(mask, otherwise, changed, reach)
    if window is None:
        return mask
    here = mask[window]
    corner = (window[1].start, window[0].start)
    # Last, over the others, what stays: where lines cross, the crossing is theirs.
    parts = sorted(parts, key=lambda part: (part.becomes != labels.BACKGROUND, part.of.confidence))
    others = others[:_NOBODY - len(parts)]
    lines = [part.centerline for part in parts]
    order = [*range(len(lines), len(lines) + len(others)), *range(len(lines))]
    owner = _owners(here.shape, corner, [*lines, *others], order, reach)
    # What becomes of each class of each owner's pixels.
    become = np.tile(np.arange(len(labels.NAMES), dtype=np.uint8), (_NOBODY + 1, 1))
    for number, part in enumerate(parts):
        if part.becomes is not None:
            become[number, 1:] = part.becomes
    result = mask.copy()
    result[window] = np.where(owner < len(parts), become[owner, here], otherwise[window])
    return result


def _where_it_may_change(mask: np.ndarray, otherwise: np.ndarray, lines: Sequence[np.ndarray],
                         reach: float) -> tuple[slice, slice] | None:
    """
    Return rows and columns beyond which a mask stays as it is; None where it does everywhere.

    With what decides: foreground up to ``reach`` from one of these lines is its own unless another
    one is nearer, which lies up to twice as far; what ``otherwise`` tells of counts where no line
    is within reach.
    """
    # Distances are measured in steps to neighbours, which are up to a tenth wrong.
    boxes = [(line.min(0) - 2.2 * reach, line.max(0) + 2.2 * reach) for line in lines]
    left, top, width, height = cv2.boundingRect((mask != otherwise).view(np.uint8))
    if width:
        corner = np.array([left, top])
        boxes.append((corner - 1.1 * reach, corner + (width, height) + 1.1 * reach))
    if not boxes:
        return None
    first, last = (np.array(corners) for corners in zip(*boxes))
    (left, top), (right, bottom) = np.floor(first.min(0)), np.ceil(last.max(0)) + 1.0
    height, width = mask.shape
    return (slice(max(0, int(top)), min(height, int(bottom))),
            slice(max(0, int(left)), min(width, int(right))))


def _owners(shape: tuple[int, int], corner: tuple[int, int], centerlines: Sequence[np.ndarray],
            order: Sequence[int], reach: float) -> np.ndarray:
    """
    Return the number of the centreline that is nearest, (H, W) uint8.

    :param order: in which lines are drawn, over each other.
    :param reach: in pixels; beyond it ``_NOBODY``.
    """
    lines = np.full(shape, _NOBODY, np.uint8)
    for number in order:
        points = np.rint(centerlines[number] - corner).astype(np.int32)
        cv2.polylines(lines, [points], False, number)
    drawn = lines != _NOBODY
    if not drawn.any():
        return lines
    distance, nearest = cv2.distanceTransformWithLabels(
        (~drawn).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3, labelType=cv2.DIST_LABEL_PIXEL)
    of_label = np.full(int(nearest.max()) + 1, _NOBODY, np.uint8)
    of_label[nearest[drawn]] = lines[drawn]
    owner = of_label[nearest]
    owner[distance > reach] = _NOBODY
    return owner
