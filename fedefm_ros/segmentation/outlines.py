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
Outlines: how far an instrument reaches to each side of its line, and masks drawn that way.

An instrument is as wide at one place as beside it. The segmentation network tells each pixel by
itself; a judge that sees a whole line straightened tells its two walls more exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.parts import REACH
from fedefm_ros.segmentation.piece_network import GRAIN
from fedefm_ros.segmentation.strips import HALF
from fedefm_ros.segmentation.strips import Sections
from fedefm_ros.segmentation.strips import STEPS

import numpy as np

#: Pixels from a line up to which a strip shows what lies beside it most finely.
BESIDE = HALF * STEPS[0]
# Pixels from point to point of an outline, and from place to place beside it: no pixel lies
# between them, even 7 px outside a bend of 10 px radius.
_DENSE = 0.5
# What walls can be: so far apart that pixels between them hang together, no further than a strip
# shows, and with the line between them, or nearly.
_LEAST_WIDTH, _MOST_WIDTH, _OFF_LINE = 1.2, 2.0 * BESIDE - 2.0, 1.0
# Pixels from a line up to which foreground stays, whatever is said: no instrument is broken.
_CORE = 0.75
# Pixels by which the edge of a mask may move: what is further away was no question of the edge.
_FARTHEST = 3
_AROUND = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _FARTHEST + 1,) * 2)
# Pixels from a line up to which a mask may change, and places beside a line, the nearest one last.
_REACH = int(BESIDE) + 1
_ASIDE = np.outer(np.arange(_REACH, -_DENSE, -_DENSE), (1.0, -1.0))
_ASIDE = _ASIDE.astype(np.float32).reshape(-1, 1)


@dataclass(frozen=True)
class Outline:
    """The walls of an instrument."""

    points: np.ndarray
    """(N, 2) float32: its line, in pixels, less than a pixel from point to point, and how it would
    go on beyond its ends."""
    normals: np.ndarray
    """(N, 2) float32 of length 1."""
    walls: np.ndarray
    """(N, 2) float32: pixels along the normal to one wall and the other; NaN: not known."""
    values: np.ndarray
    """(N,) uint8: what is between them, a ``labels`` value; 0: no instrument is there."""


def outline_of(line: Sections, of_columns: np.ndarray, walls: np.ndarray) -> Outline:
    """
    Return the outline of an instrument.

    :param line: where the columns of its strip lie.
    :param of_columns: (LENGTH,) what it is in each of them, ``labels`` values.
    :param walls: (places, 2), of each ``GRAIN`` columns.
    """
    points, normals = line.points, line.normals
    columns = np.flatnonzero(line.inside)
    if not len(columns):  # shorter than a column
        return Outline(points[:0], normals[:0], points[:0], np.zeros(0, np.uint8))
    # Columns of a long line are some pixels apart.
    apart = max(float(np.hypot(*(points[1] - points[0]))), 1e-3)
    beyond = int(np.ceil(BESIDE / apart))
    first = max(int(columns[0]) - beyond, 0)
    last = min(int(columns[-1]) + beyond, len(points) - 1)
    places = np.linspace(first, last, int(np.ceil((last - first) * apart / _DENSE)) + 1)

    def at(what: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(places, known, column) for column in what.T],
                        1).astype(np.float32)

    value = of_columns[np.rint(places).astype(int)]
    value[(places < columns[0]) | (places > columns[-1])] = labels.BACKGROUND
    # What is said of a place that shows hardly any of it was never learnt.
    learnt = np.count_nonzero(of_columns.reshape(-1, GRAIN), 1) > GRAIN // 2
    found = np.full((len(places), 2), np.nan, np.float32)
    if learnt.any():
        middles = GRAIN * np.flatnonzero(learnt) + (GRAIN - 1) / 2.0
        # Neither do places beside one that cannot be have walls.
        found = at(np.where(_can_be(walls)[:, None], walls, np.nan)[learnt], middles)
        found[(value == labels.BACKGROUND) | ~_can_be(found)] = np.nan
    every = np.arange(len(points))
    return Outline(at(points, every), at(normals, every), found, value)


def _can_be(walls: np.ndarray) -> np.ndarray:
    """Return which of (N, 2) may be those of an instrument; NaN may not."""
    width = walls[:, 1] - walls[:, 0]
    return ((width >= _LEAST_WIDTH) & (width <= _MOST_WIDTH) & (walls[:, 0] < _OFF_LINE)
            & (walls[:, 1] > -_OFF_LINE) & (np.abs(walls) <= BESIDE).all(1))


def in_two(outline: Outline) -> list[Outline]:
    """Return the outlines of the two instruments that one line is, or the only one."""
    there = outline.values[outline.values > 0]
    if not len(there) or there[0] == there[-1]:
        return [outline]
    second = int(np.flatnonzero(outline.values == there[-1])[0])
    return [Outline(outline.points[part], outline.normals[part], outline.walls[part],
                    outline.values[part]) for part in (slice(second), slice(second, None))]


def outlined(mask: np.ndarray, outlines: Sequence[Outline],
             others: Sequence[np.ndarray] = ()) -> np.ndarray:
    """
    Return a mask of which the edges are where the walls of its instruments are.

    What lies between the walls is what the instrument is there. A mask stays as it is where no
    walls are known, beyond the ends of lines, where another instrument is near, where foreground
    has no line, and, but for its class, on lines and more than 3 pixels from the edge as it was.

    :param mask: (H, W) uint8 of ``labels`` values; not changed.
    :param outlines: of the instruments in it.
    :param others: lines, (N, 2), of instruments of which no walls are known.
    :returns: the mask itself where nothing changes.
    """
    outlines = [one for one in outlines if one.values.any()]
    if not any(np.isfinite(one.walls).any() for one in outlines):
        return mask
    points = np.concatenate([one.points for one in outlines])
    size = mask.shape[::-1]
    left, top = corner = np.clip(np.floor(points.min(0)).astype(int) - _REACH, 0, size)
    right, bottom = np.clip(np.ceil(points.max(0)).astype(int) + _REACH + 1, 0, size)
    here = mask[top:bottom, left:right]
    if not here.any():
        return mask
    normals, walls, values = (np.concatenate([getattr(one, name) for one in outlines])
                              for name in ('normals', 'walls', 'values'))
    points = points - corner.astype(np.float32)
    rows, columns, at, edge = _in_question(here, points, normals, values)
    owner = np.repeat(np.arange(len(outlines)), [len(one.points) for one in outlines])[at]
    free = ~_crowded(here.shape, outlines, others, corner, rows, columns, owner)
    rows, columns, at, edge = rows[free], columns[free], at[free], edge[free]
    x, y, right, down, first, last = np.hstack([points, normals, walls])[at].T
    aside = (columns - x) * right + (rows - y) * down
    before = here[rows, columns]
    inside = (aside >= first) & (aside <= last) | (before > 0) & (np.abs(aside) <= _CORE)
    after = np.where(inside, values[at], labels.BACKGROUND)
    changes = np.isfinite(first) & (after != before) & (inside | edge)
    if not changes.any():
        return mask
    result = mask.copy()
    result[rows[changes] + top, columns[changes] + left] = after[changes]
    return result


def _in_question(mask: np.ndarray, points: np.ndarray, normals: np.ndarray,
                 values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """
    Return rows and columns of pixels that may change, the nearest point's number, and edges.

    They lie beside a line, and near an edge or have another class than it. An edge is that of
    foreground which a line runs through, towards background that it reaches: an instrument that is
    wider than what is looked at has none.
    """
    number = _nearest(mask.shape, points, normals)
    near = number >= 0
    background = mask == 0
    reached = (background & near).view(np.uint8)
    foreground = _with_lines((~background).view(np.uint8), points)
    edge = (cv2.dilate(foreground, _AROUND) & cv2.dilate(reached, _AROUND)) > 0
    asked = np.flatnonzero(near & (edge & background | (foreground > 0)))
    number, edge = number.ravel()[asked], edge.ravel()[asked]
    wanting = edge | (mask.ravel()[asked] != values[number])
    rows, columns = np.divmod(asked[wanting], mask.shape[1])
    return rows, columns, number[wanting], edge[wanting]


def _nearest(shape: tuple[int, int], points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """
    Return the number of the point beside which each pixel lies, (H, W) int32; -1: beside none.

    Of several, that of which it lies nearest to the line. (A distance transform that tells of the
    nearest pixel takes many times as long.)
    """
    # In an image with a frame no place has to be left out of those beside a point.
    frame = _REACH + 1
    near = ((points > -frame) & (points < np.array(shape[::-1]) - 1 + frame)).all(1)
    numbers = np.flatnonzero(near).astype(np.int32)
    columns, rows = (np.rint(points[near, axis] + _ASIDE * normals[near, axis]).astype(np.int32)
                     + 2 * frame for axis in (0, 1))
    number = np.full((shape[0] + 4 * frame, shape[1] + 4 * frame), -1, np.int32)
    # Of equal indices the last one counts.
    number.ravel()[rows * np.int32(number.shape[1]) + columns] = numbers
    return number[2 * frame:-2 * frame, 2 * frame:-2 * frame]


def _with_lines(foreground: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the connected foreground in which points lie, (H, W) uint8 of 0 and 1."""
    height, width = foreground.shape
    columns, rows = np.rint(points).astype(np.int32).T
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    count, blobs = cv2.connectedComponents(foreground, connectivity=8)
    has = np.zeros(count, np.uint8)
    has[blobs[rows[inside], columns[inside]]] = 1
    has[0] = 0
    return foreground if has[1:].all() else has[blobs]


def _crowded(shape: tuple[int, int], outlines: Sequence[Outline], others: Sequence[np.ndarray],
             corner: np.ndarray, rows: np.ndarray, columns: np.ndarray,
             owner: np.ndarray) -> np.ndarray:
    """Return which pixels another outline than the owner's may reach, too, (N,) bool."""
    found = np.zeros(len(rows), bool)

    def drawn(line: np.ndarray, half: float) -> np.ndarray:
        line = np.rint(line - corner).astype(np.int32)
        band = cv2.polylines(np.zeros(shape, np.uint8), [line], False, 1, int(2.0 * half) + 1)
        return band[rows, columns] > 0

    if len(outlines) > 1:
        for number, one in enumerate(outlines):
            there = one.values > 0
            half = np.nanmax(np.abs(one.walls), initial=0.0) if np.isfinite(
                one.walls[there]).all() else REACH
            found |= drawn(one.points[there], half + _FARTHEST) & (owner != number)
    for line in others:
        found |= drawn(line, REACH)
    return found
