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

"""What pieces are, by the truth of the frame in which they were found."""

from collections.abc import Sequence

import cv2

from fedefm_ros import labels
from fedefm_ros.imaging.frame import GroundTruth
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.strips import directions_of, LENGTH, sections

import numpy as np

#: Pixels from a true centreline within which a piece's points are right, and how many must be.
TOLERANCE, RIGHT_SHARE = 4.0, 0.5
#: Pixels from a piece's end within which a true tip is told.
TIP_REACH = 24.0
#: What a column of a strip is beyond its piece.
UNTOLD = 255
#: Pixels from a piece's line within which walls are told.
WALL_REACH = 14.0
# Pixels from sample to sample across a line.
_FINE = 0.25
_ACROSS = np.arange(-WALL_REACH, WALL_REACH + _FINE / 2, _FINE, dtype=np.float32)


def answers(pieces: Sequence[Instrument],
            truth: GroundTruth) -> list[tuple[int, np.ndarray]]:
    """
    Return what each piece is, 0 nothing, else its ``labels`` value, and what each point of it is.

    It is an instrument where at least half of its points lie within 4 px of a true centreline in
    the image, and of that kind to which most of these belong. A point, (N,) uint8, is of that
    to which it lies so near, 0 where there is none.
    """
    height, width = truth.mask.shape
    lines, kinds = [], []
    for instrument in truth.instruments:
        line = _by_pixels(instrument.centerline)
        near = np.rint(line).astype(int)
        line = line[(near >= 0).all(1) & (near[:, 0] < width) & (near[:, 1] < height)]
        lines.append(line)
        kinds.append(np.full(len(line), instrument.kind))
    if not sum(map(len, lines)):
        return [(0, np.zeros(len(piece.centerline), np.uint8)) for piece in pieces]
    points, kind = np.concatenate(lines), np.concatenate(kinds)
    result = []
    for piece in pieces:
        away = np.hypot(*(piece.centerline[:, None] - points[None]).transpose(2, 0, 1))
        right = away.min(1) <= TOLERANCE
        part = np.where(right, kind[away.argmin(1)], 0).astype(np.uint8)
        answer = 0
        if right.mean() >= RIGHT_SHARE:
            wire = (part[right] == labels.GUIDEWIRE).mean()
            answer = labels.GUIDEWIRE if wire > 0.5 else labels.CATHETER
        result.append((answer, part))
    return result


def along_strip(piece: Instrument, part: np.ndarray) -> np.ndarray:
    """Return what each column of a piece's strip is, (LENGTH,) uint8; ``UNTOLD`` beyond it."""
    return sections(piece.centerline).along(part, UNTOLD)


def walls_along(piece: Instrument, part: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """
    Return where the walls of the instrument are that each column of a piece's strip shows.

    (LENGTH, 2) float32, pixels along the strip's rows to one wall and to the other; NaN where the
    column shows none, or one that is further away than ``WALL_REACH`` or reaches beyond. Where
    another instrument lies over it, its wall is that one's: there a mask is not changed.

    :param part: what each point of the piece is, see ``answers``.
    :param mask: (H, W) uint8, the true labels.
    """
    result = np.full((LENGTH, 2), np.nan, np.float32)
    line = sections(piece.centerline)
    points, normals = line.points, line.normals
    is_of = line.along(part, UNTOLD)[:len(points)]
    middle = len(_ACROSS) // 2
    close = int(TOLERANCE / _FINE)
    for kind in (labels.CATHETER, labels.GUIDEWIRE):
        columns = np.flatnonzero(line.inside & (is_of == kind))
        if not len(columns):
            continue
        x, y = (points[columns, axis, None] + normals[columns, axis, None] * _ACROSS
                for axis in (0, 1))
        there = cv2.remap((mask == kind).astype(np.float32), x, y, cv2.INTER_LINEAR) >= 0.5
        for column, across in zip(columns, there):
            near = np.flatnonzero(across[middle - close:middle + close + 1])
            if not len(near):
                continue
            place = near[np.abs(near - close).argmin()] + middle - close
            gaps = np.flatnonzero(~across)
            first, last = gaps[gaps < place], gaps[gaps > place]
            if len(first) and len(last):
                result[column] = (_ACROSS[first[-1]] + _FINE / 2, _ACROSS[last[0]] - _FINE / 2)
    return result


def tips_from(piece: Instrument, truth: GroundTruth) -> np.ndarray:
    """
    Return where the true tip nearest to the piece's first and last end lies from there.

    (2, 2) float64, pixels along the strip, outwards, and aside; NaN where no visible tip lies
    within ``TIP_REACH``.
    """
    result = np.full((2, 2), np.nan)
    tips = np.array([one.tip for one in truth.instruments if one.tip_visible])
    if not len(tips):
        return result
    line = piece.centerline
    for row, end, ahead in zip(result, (line[0], line[-1]), directions_of(line)):
        away = tips - end
        nearest = away[np.hypot(*away.T).argmin()]
        if np.hypot(*nearest) <= TIP_REACH:
            row[:] = nearest @ ahead, nearest @ (-ahead[1], ahead[0])
    return result


def _by_pixels(line: np.ndarray) -> np.ndarray:
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    places = np.arange(0.0, along[-1], 1.0)
    return np.stack([np.interp(places, along, line[:, axis]) for axis in (0, 1)], 1)
