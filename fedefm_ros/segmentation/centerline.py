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

"""From a path of skeleton pixels to a smooth sub-pixel centreline that reaches the mask's end."""

from dataclasses import dataclass
from functools import cache

import cv2

from fedefm_ros.segmentation.tracing import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

# Half the width of the smoothing window in pixels: wide enough for the skeleton's stairs, narrow
# enough for a pigtail of 8 px radius.
_HALF_WINDOW = 6
# A cross-section this much wider than those around it belongs to a crossing.
_TOO_WIDE = 1.5


@dataclass
class Line:
    """A centreline sampled every pixel."""

    points: np.ndarray
    """(N, 2) float64: x, y in pixels, N >= 2."""
    normals: np.ndarray
    """(N, 2) float64 unit vectors."""
    widths: np.ndarray
    """(N,) float64: width of the mask across the line in pixels; 0 outside the mask."""
    plain: np.ndarray
    """(N,) bool: the cross-section shows this instrument alone, no crossing and no gap."""


@cache
def _smoother(count: int, degree: int) -> np.ndarray:
    """Return the (count, count) matrix that maps samples to their least-squares polynomial."""
    x = np.linspace(-1.0, 1.0, count)
    basis, _ = np.linalg.qr(np.vander(x, degree + 1))
    return basis @ basis.T


def smooth(points: np.ndarray, half_window: int = _HALF_WINDOW) -> np.ndarray:
    """
    Smooth an evenly sampled line with moving parabolas (Savitzky and Golay).

    ``points`` is (N, 2). The ends take the values of the first and the last whole parabola, so
    the line does not shrink.
    """
    count = len(points)
    window = 2 * half_window + 1
    if count <= window:
        return _smoother(count, min(2, count - 1)) @ points if count > 2 else points.copy()
    matrix = _smoother(window, 2)
    kernel = matrix[half_window]
    result = np.empty_like(points)
    inner = slice(half_window, count - half_window)
    result[inner, 0] = np.convolve(points[:, 0], kernel, 'valid')
    result[inner, 1] = np.convolve(points[:, 1], kernel, 'valid')
    result[:half_window] = matrix[:half_window] @ points[:window]
    result[-half_window:] = matrix[-half_window:] @ points[-window:]
    return result


def resample(points: np.ndarray, spacing: float) -> np.ndarray:
    """
    Return a line sampled evenly, ``spacing`` pixels apart or a little less or more.

    The first and the last point stay; a line of no length gives two equal points.
    """
    along = _along(points)
    return _evenly(points, along, max(2, int(round(along[-1] / spacing)) + 1))


def by_count(points: np.ndarray, count: int) -> np.ndarray:
    """Return a line by so many points, the same way from each to the next; the ends stay."""
    return _evenly(points, _along(points), count)


def _along(points: np.ndarray) -> np.ndarray:
    steps = np.diff(points, axis=0)
    return np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


def _evenly(points: np.ndarray, along: np.ndarray, count: int) -> np.ndarray:
    wanted = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(wanted, along, points[:, 0]),
                     np.interp(wanted, along, points[:, 1])], axis=1)


def normals_of(points: np.ndarray) -> np.ndarray:
    """Return the (N, 2) unit normals of a line; zero where neighbours coincide."""
    tangents = np.empty_like(points)
    tangents[1:-1] = points[2:] - points[:-2]
    tangents[0] = points[1] - points[0]
    tangents[-1] = points[-1] - points[-2]
    norm = np.hypot(tangents[:, 0], tangents[:, 1])
    norm[norm == 0] = 1.0
    return np.stack([-tangents[:, 1] / norm, tangents[:, 0] / norm], axis=1)


@dataclass(frozen=True)
class Fields:
    """
    The images a line is measured in.

    They are ``factor`` times as large as the mask that the line's coordinates belong to: tracing
    needs no more than 512 x 512, measuring uses all there is.
    """

    solid: np.ndarray
    """(H, W) uint8 of 0 and 255: the foreground."""
    labels: np.ndarray
    """(H, W) uint8: the label mask."""
    probability: np.ndarray | None
    """(H, W) uint8 foreground probability, or None."""
    factor: int = 1

    def across(self, image: np.ndarray, points: np.ndarray, normals: np.ndarray,
               offsets: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
        """
        Sample one of the images across a line.

        The result is (N, M) of the image's type for N points with normals and M offsets.
        """
        return _sampled(image, self._places(points, normals, offsets), interpolation)

    def weights_across(self, points: np.ndarray, normals: np.ndarray,
                       offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the foreground, (N, M) uint8, and how much each place counts, (N, M) float32."""
        places = self._places(points, normals, offsets)
        solid = _sampled(self.solid, places)
        weights = solid.astype(np.float32)
        if self.probability is not None:
            weights *= _sampled(self.probability, places) + np.float32(1.0)
        return solid, weights

    def _places(self, points: np.ndarray, normals: np.ndarray,
                offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y in the images, (N, M) float32 each."""
        points = (points * self.factor + (self.factor - 1) / 2.0).astype(np.float32)
        normals = (normals * self.factor).astype(np.float32)
        offsets = offsets.astype(np.float32)
        return (points[:, :1] + normals[:, :1] * offsets, points[:, 1:] + normals[:, 1:] * offsets)


def _sampled(image: np.ndarray, places: tuple[np.ndarray, np.ndarray],
             interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    # One channel at a time: of two at once OpenCV 5.0 interpolates in steps of 1/32 px, no faster.
    return cv2.remap(image, *places, interpolation, borderMode=cv2.BORDER_REPLICATE)


def refine(path: Path, radii: np.ndarray, fields: Fields, quick: bool = False) -> Line | None:
    """
    Move a path to the middle of the mask and prolong its free ends to the mask's edge.

    ``radii`` (N,) is half the width of the mask at the path's points. Where it has to be
    ``quick``, an end may lie 3 pixels beside the middle. Returns None where too little of the path
    is left for a line.
    """
    points = path.points
    if not path.closed:
        # The last pixels of a skeleton bend to a corner of the end; the extension replaces them.
        reach = min(len(points) // 4, 16)
        first = int(min(reach, radii[reach]))
        last = int(min(reach, radii[-1 - reach]))
        points = points[first:len(points) - last]
    if len(points) < 3:
        points = path.points
    if len(points) < 2:
        return None
    half_width = float(np.sort(radii)[int(0.9 * len(radii))])
    points = _centred(points, fields, half_width)
    if not path.closed:
        points = _prolonged(points, path.free, fields, half_width)
        if len(points) < 2:
            return None
    if not (path.closed or quick):
        # A ray leaves the middle where the end is bent, so the whole line is centred once more;
        # that may move its last points away from the edge or past it.
        points = smooth(resample(_centred(points, fields, half_width), 1.0))
        if len(points) > 12:
            points = points[3 * path.free[0]:len(points) - 3 * path.free[1]]
        points = _prolonged(points, path.free, fields, half_width)
    return _measured(resample(points, 1.0), fields, half_width)


def _centred(points: np.ndarray, fields: Fields, half_width: float) -> np.ndarray:
    """Return a line in the middle of the mask, with crossings and gaps bridged."""
    points = smooth(resample(points, 1.0))
    normals = normals_of(points)
    offsets = _offsets(half_width)
    section, weights = fields.weights_across(points, normals, offsets)
    run, line = _run_of(points, normals, section, half_width)
    weights *= run
    total = weights.sum(axis=1)
    total[total == 0] = 1.0
    middle = (weights @ offsets.astype(np.float32)) / total
    line.points = points + normals * middle[:, None]
    return _bridged(line, half_width)


def _measured(points: np.ndarray, fields: Fields, half_width: float) -> Line:
    """Return a line with what is measured of the mask across it."""
    normals = normals_of(points)
    section = fields.across(fields.solid, points, normals, _offsets(half_width))
    return _run_of(points, normals, section, half_width)[1]


def _offsets(half_width: float) -> np.ndarray:
    """Return places across a line, the middle one on it, that reach beyond its edges."""
    reach = int(np.ceil(1.5 * half_width + 2.0))
    return np.arange(-reach, reach + 1)


def _run_of(points: np.ndarray, normals: np.ndarray, section: np.ndarray,
            half_width: float) -> tuple[np.ndarray, Line]:
    """
    Return what of the foreground across a line is its own, (N, M) bool, and the line measured.

    :param section: (N, M) uint8 of 0 to 255.
    """
    inside = section >= 128
    reach = section.shape[1] // 2
    # Only the run of foreground around the line counts, not the neighbour beside it.
    run = np.empty_like(inside)
    run[:, reach:] = np.logical_and.accumulate(inside[:, reach:], axis=1)
    run[:, reach::-1] = np.logical_and.accumulate(inside[:, reach::-1], axis=1)
    widths = run.sum(axis=1).astype(np.float64)
    usual = _running_median(widths, max(20, int(6.0 * half_width)))
    plain = (widths > 0) & (widths <= _TOO_WIDE * usual + 1.0)
    return run, Line(points, normals, widths, plain)


def _running_median(values: np.ndarray, half_window: int) -> np.ndarray:
    """Return the median around each value, from every third value for speed."""
    sparse = values[::3]
    half_window = min(half_window // 3, (len(sparse) - 1) // 2)
    if half_window < 1:
        return np.full_like(values, np.sort(values)[len(values) // 2])
    padded = np.concatenate([sparse[half_window:0:-1], sparse, sparse[-2:-2 - half_window:-1]])
    windows = sliding_window_view(padded, 2 * half_window + 1)
    medians = np.partition(windows, half_window, axis=1)[:, half_window]
    return np.repeat(medians, 3)[:len(values)]


def _bridged(line: Line, half_width: float) -> np.ndarray:
    """Return the points with those in crossings and gaps replaced by a smooth curve."""
    points, plain = line.points, line.plain
    if plain.all():
        return points
    edges = np.flatnonzero(np.diff(np.concatenate([[1], plain, [1]]).astype(np.int8)))
    longest = 30.0 + 8.0 * half_width
    pieces, last = [], 0
    for start, stop in zip(edges[::2], edges[1::2]):
        # What has been cut out grows by a few points that the crossing still pulls at.
        start, stop = max(int(start) - 2, last), min(int(stop) + 2, len(points))
        if start < 4 or stop > len(points) - 4 or stop - start > longest:
            continue
        pieces += [points[last:start], _hermite(points, start - 1, stop)]
        last = stop
    return np.concatenate([*pieces, points[last:]])


def _hermite(points: np.ndarray, first: int, last: int, tangent: int = 8) -> np.ndarray:
    """Return points on the cubic that leaves one point and arrives at another as the line does."""
    chord = points[last] - points[first]
    length = float(np.hypot(*chord))
    before = points[first] - points[max(0, first - tangent)]
    after = points[min(len(points) - 1, last + tangent)] - points[last]
    before = before * length / max(float(np.hypot(*before)), 1e-9)
    after = after * length / max(float(np.hypot(*after)), 1e-9)
    if before @ chord < 0.5 * length * length or after @ chord < 0.5 * length * length:
        # A corner: the cubic would swing out.
        before = after = chord
    t = np.linspace(0.0, 1.0, max(3, int(length) + 1))[1:-1, None]
    return (points[first] + t * before + t * t * (3.0 * chord - 2.0 * before - after)
            + t ** 3 * (before + after - 2.0 * chord))


def _prolonged(points: np.ndarray, free: list[bool], fields: Fields,
               half_width: float) -> np.ndarray:
    """Return a line with its free ends prolonged straight to the edge of the mask."""
    if free[0]:
        points = _ray(points[::-1], fields, half_width)[::-1]
    if free[1]:
        points = _ray(points, fields, half_width)
    return points


def _ray(points: np.ndarray, fields: Fields, half_width: float) -> np.ndarray:
    """Return a line with points added from its last one straight to the edge of the mask."""
    direction = points[-1] - points[max(0, len(points) - 7)]
    norm = np.hypot(*direction)
    if norm == 0:
        return points
    steps = np.arange(0.5, 3.0 * half_width + 6.0, 0.5)
    ray = points[-1] + steps[:, None] * (direction / norm)
    inside = fields.across(fields.solid, ray, np.zeros((1, 2)), np.zeros(1))[:, 0] >= 128
    count = int(np.logical_and.accumulate(inside).sum())
    return np.concatenate([points, ray[:count]])
