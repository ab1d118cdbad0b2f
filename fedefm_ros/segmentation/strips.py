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
Straightened strips: what lies along an instrument's centreline, with its surroundings.

A strip is an image whose middle row is the centreline: the same network that sees a curved wire
somewhere in a picture sees a straight one here, always in the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.preprocess import Letterbox
from fedefm_ros.segmentation.preprocess import Prepared

import numpy as np

#: Columns of a strip; a centreline that is longer is seen compressed.
LENGTH = 256
#: Rows to each side of the centreline.
HALF = 16
#: Pixels by which a strip goes on straight beyond each end.
BEYOND = 32
#: Pixels from row to row: fine for the profile of a wire, coarse for what lies around it.
STEPS = (0.5, 1.0, 3.0)
#: Grey level, probability and 'is guidewire' at each step, and where the centreline is.
CHANNELS = 3 * len(STEPS) + 1
#: Grey level of a strip's mean, and how many levels its standard deviation is; 0 is where it ends.
MEAN_GREY, GREYS = 128.0, 32.0
#: Facts that change places when a strip is turned around: what is told of the first and last end.
OF_FIRST_END, OF_LAST_END = (3, 5), (4, 6)
FACTS = 17

# Network pixels from an end within which another piece's line is told.
_NEAR = 64.0
# Pixels from the centreline of each row at each step, one below the other.
_ASIDE = np.outer(STEPS, np.arange(-HALF, HALF + 1)).reshape(-1, 1).astype(np.float32)


@dataclass(frozen=True)
class Sections:
    """Where the columns of a line's strip lie; N of them, at most ``LENGTH``."""

    points: np.ndarray
    """(N, 2) float32: where each one crosses the line."""
    normals: np.ndarray
    """(N, 2) float32 of length 1: which way its rows go."""
    inside: np.ndarray
    """(N,) bool; False beyond the line's ends."""
    spacing: float
    """Pixels from column to column."""
    of_points: np.ndarray
    """(M,) int: the column in which each point of the line lies, ascending."""

    def along(self, values: np.ndarray, beyond: int) -> np.ndarray:
        """
        Return the value of each column, (LENGTH,) uint8.

        :param values: (M,) of the line's points; a column has that of the last one at or before
            it.
        :param beyond: the value of columns that are beyond the line's ends.
        """
        columns = self.of_points
        inside = np.arange(columns[0], columns[-1] + 1)
        result = np.full(LENGTH, beyond, np.uint8)
        result[inside] = values[np.searchsorted(columns, inside, 'right') - 1]
        return result


def sections(centerline: np.ndarray) -> Sections:
    """Return where the columns of a line's strip lie; the line is (M, 2), in pixels."""
    along = _along(centerline)
    total = float(along[-1])
    count = min(LENGTH, round(total) + 2 * BEYOND + 1)
    start, end = centerline[0], centerline[-1]
    behind, ahead = _directions(centerline, along)
    whole = np.concatenate([[start + BEYOND * behind], centerline, [end + BEYOND * ahead]])
    known = np.concatenate([[-BEYOND], along, [total + BEYOND]])
    places = np.linspace(-BEYOND, total + BEYOND, count)
    points = np.stack([np.interp(places, known, whole[:, axis]) for axis in (0, 1)], 1)
    points = points.astype(np.float32)
    spacing = (total + 2 * BEYOND) / (count - 1)
    columns = np.minimum(((along + BEYOND) / spacing + 0.5).astype(int), count - 1)
    return Sections(points, _normals(points), (places >= 0) & (places <= total), spacing, columns)


def strips(prepared: Prepared, mask: np.ndarray, probability: np.ndarray,
           pieces: Sequence[Instrument],
           lines: Sequence[Sections] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """
    Return what is to be seen along each piece, and what is known of it besides.

    :param prepared: the network's input, (S, S) uint8 and its grey range.
    :param mask: (S, S) uint8 of ``labels`` values.
    :param probability: (S, S) uint8 of any instrument, 255 = sure.
    :param pieces: instruments in pixels of the mask.
    :param lines: the ``sections`` of each, where they are known.
    :returns: (N, CHANNELS, 2 HALF + 1, LENGTH) uint8, 0 where a strip has ended, and
        (N, FACTS) float32, of about 0 to 1.
    """
    seen = np.zeros((len(pieces), CHANNELS, 2 * HALF + 1, LENGTH), np.uint8)
    facts = np.zeros((len(pieces), FACTS), np.float32)
    if not pieces:
        return seen, facts
    wire = np.where(mask == labels.GUIDEWIRE, np.uint8(255), np.uint8(0))
    layers = cv2.merge([prepared.image, probability, wire])
    lengths = [piece.length_px for piece in pieces]
    for number, piece in enumerate(pieces):
        columns = sections(piece.centerline) if lines is None else lines[number]
        strip = seen[number, :, :, :len(columns.points)]
        x, y = (columns.points[:, axis] + _ASIDE * columns.normals[:, axis] for axis in (0, 1))
        sampled = cv2.remap(layers, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for place, rows in enumerate(np.split(sampled, len(STEPS))):
            grey, *others = cv2.split(rows)
            mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
            strip[3 * place] = stretched(grey, mean, deviation, prepared)
            strip[3 * place + 1], strip[3 * place + 2] = others
            if STEPS[place] == 1.0:
                brightness = mean, deviation
        strip[-1] = np.where(columns.inside, np.uint8(255), np.uint8(0))
        facts[number] = _facts(number, pieces, lengths, prepared, columns.spacing, *brightness)
    return seen, facts


def _along(centerline: np.ndarray) -> np.ndarray:
    """Return how far along the line each point lies, (M,) px."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(centerline, axis=0).T))])


def _directions(centerline: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how a line would go on from its first and its last point, (2,) of length 1 each."""
    total = float(along[-1])
    back = min(8.0, total)
    first, last = (np.array([np.interp(place, along, centerline[:, axis]) for axis in (0, 1)])
                   for place in (back, total - back))
    return _unit(centerline[0] - first), _unit(centerline[-1] - last)


def directions_of(centerline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how a strip goes on beyond its line's first and last point, (2,) of length 1 each."""
    return _directions(centerline, _along(centerline))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.hypot(*vector)), 1e-6)


def _normals(points: np.ndarray) -> np.ndarray:
    """Return which way the rows of a strip's columns go, (N, 2) float32 of length 1."""
    smooth = cv2.GaussianBlur(points, (1, 9), 0, borderType=cv2.BORDER_REPLICATE)
    tangents = np.gradient(smooth, axis=0)
    tangents /= np.maximum(np.hypot(*tangents.T), np.float32(1e-6))[:, None]
    return np.stack([-tangents[:, 1], tangents[:, 0]], 1)


def stretched(grey: np.ndarray, mean: float, deviation: float,
              prepared: Prepared) -> np.ndarray:
    """Return a strip's grey levels in terms of their own mean and deviation."""
    gain = GREYS / (deviation + 0.02 * (prepared.high - prepared.low))
    levels = np.clip(MEAN_GREY + (np.arange(256) - mean) * gain, 1.0, 255.0)
    return cv2.LUT(grey, levels.astype(np.uint8))


def _facts(number: int, pieces: Sequence[Instrument], lengths: Sequence[float],
           prepared: Prepared, scale: float, mean: float, deviation: float) -> list[float]:
    piece = pieces[number]
    places = [place for place in range(len(pieces)) if place != number]
    others = [pieces[place] for place in places]
    longest = max(places, key=lengths.__getitem__, default=None)
    spread = prepared.high - prepared.low
    ends = (piece.centerline[0], piece.centerline[-1])
    return [
        scale - 1.0, lengths[number] / 512.0, piece.confidence,
        *(_to_border(end, prepared.box) / 512.0 for end in ends),
        *(_to_others(end, others) / _NEAR for end in ends),
        float(piece.kind == labels.GUIDEWIRE), float(piece.tip_visible),
        (mean - prepared.low) / spread, deviation / spread,
        min(len(others), 8) / 4.0,
        *_of_longest(pieces, lengths, longest),
        float(any(other.kind == labels.CATHETER for other in others)),
        float(any(other.kind == labels.GUIDEWIRE for other in others))]


def _of_longest(pieces: Sequence[Instrument], lengths: Sequence[float],
                place: int | None) -> list[float]:
    if place is None:
        return [0.0, 0.0, 0.0]
    return [lengths[place] / 512.0, pieces[place].confidence,
            float(pieces[place].kind == labels.GUIDEWIRE)]


def _to_border(point: np.ndarray, box: Letterbox) -> float:
    x, y = point
    return float(min(x, y, box.inner_width - 1 - x, box.inner_height - 1 - y))


def _to_others(point: np.ndarray, others: Sequence[Instrument]) -> float:
    """Return the distance to the nearest other piece, at most ``_NEAR``."""
    return min([_NEAR, *(float(np.hypot(*(other.centerline - point).T).min())
                         for other in others)])
