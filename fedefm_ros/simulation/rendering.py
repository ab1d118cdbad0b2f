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

"""Draw tubes into attenuation maps: exact distances to a curve near it, at little cost."""

from dataclasses import dataclass

import cv2

from fedefm_ros.simulation.curves import crossings

import numpy as np


@dataclass(frozen=True)
class Tube:
    """The pixels near a curve: where they are, how far from it and how far along it."""

    rows: np.ndarray
    cols: np.ndarray
    distance: np.ndarray
    """Signed perpendicular distance in pixels (positive to the right of the direction)."""
    arc: np.ndarray
    """Position along the curve in samples from its start."""


def near_curve(points: np.ndarray, shape: tuple[int, int], reach: float) -> list[Tube]:
    """
    Return the pixels within ``reach`` of a curve, in one part for each pass through a crossing.

    Parts are to be added up: where a curve crosses itself, X-rays meet it twice.

    :param points: (N, 2) x, y in pixels, about 1 pixel apart, N >= 2.
    :param shape: (height, width) of the image.
    :param reach: half width in pixels.
    """
    bounds = [0, *_cuts_between_passes(points), len(points) - 1]
    tubes = []
    for first, last in zip(bounds[:-1], bounds[1:]):
        if last - first >= 1:
            tube = _near_part(points, first, last, shape, reach)
            if tube is not None:
                tubes.append(tube)
    return tubes


def _cuts_between_passes(points):
    cuts = []
    for i, j in sorted(crossings(points), key=lambda pair: pair[1]):
        # A cut already made between the two passes keeps them apart.
        if j - i > 8 and (not cuts or cuts[-1] <= i + 4):
            cuts.append((i + j) // 2)
    return cuts


def _near_part(points, first, last, shape, reach):
    height, width = shape
    part = points[first:last + 1]
    inside = ((part[:, 0] > -reach) & (part[:, 0] < width + reach)
              & (part[:, 1] > -reach) & (part[:, 1] < height + reach))
    if not inside.any():
        return None
    seen = part[inside]
    margin = int(np.ceil(reach)) + 2
    # The box includes the curve beyond the image, so that the nearest point is always in it.
    low = np.maximum(np.floor(seen.min(axis=0)).astype(int) - margin, -margin)
    high = np.minimum(np.ceil(seen.max(axis=0)).astype(int) + margin + 1,
                      np.array([width, height]) + margin)
    box_width, box_height = high - low
    free = np.full((box_height, box_width), 255, np.uint8)
    cells = np.rint(part - low).astype(int)
    kept = ((cells >= 0) & (cells < (box_width, box_height))).all(axis=1)
    if not kept.any():
        return None
    cells, samples = cells[kept], np.nonzero(kept)[0]
    free[cells[:, 1], cells[:, 0]] = 0
    near, labels = cv2.distanceTransformWithLabels(
        free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    sample_of = np.zeros(labels.max() + 1, np.int32)
    sample_of[labels[cells[:, 1], cells[:, 0]]] = samples
    rows, cols = np.nonzero(near <= reach + 1.0)
    y, x = rows + low[1], cols + low[0]
    visible = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows, cols, x, y = rows[visible], cols[visible], x[visible], y[visible]
    k = sample_of[labels[rows, cols]]
    tangent = np.gradient(part, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    t, p = tangent[k], part[k]
    dx, dy = x - p[:, 0], y - p[:, 1]
    along = dx * t[:, 0] + dy * t[:, 1]
    across = t[:, 0] * dy - t[:, 1] * dx
    # Parts meet without a seam; only the curve's own ends are rounded off by half a pixel.
    start = -0.5 if first == 0 else 0.0
    end = len(part) - 1 + (0.5 if last == len(points) - 1 else 0.0)
    keep = (np.abs(across) <= reach) & (k + along >= start) & (k + along < end)
    return Tube(y[keep], x[keep], across[keep].astype(np.float32),
                (first + k + along)[keep].astype(np.float32))


def cylinder(distance: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """Return the chord through a solid cylinder at a distance from its axis, 1 at the axis."""
    # Pixels are areas: soften the last half pixel so that thin wires do not alias.
    chord = np.sqrt(np.clip(1.0 - (distance / np.maximum(radius, 1e-3)) ** 2, 0.0, 1.0))
    edge = np.clip(radius + 0.5 - np.abs(distance), 0.0, 1.0)
    return np.where(np.asarray(radius) < 1.6, edge * np.minimum(1.0, 0.3 + chord), chord)


def hollow_cylinder(distance: np.ndarray, outer: float, inner: float) -> np.ndarray:
    """Return the chord through a tube's wall, 1 where it is greatest (at the inner edge)."""
    d2 = distance.astype(np.float64) ** 2
    wall = np.sqrt(np.clip(outer**2 - d2, 0, None)) - np.sqrt(np.clip(inner**2 - d2, 0, None))
    return (wall / np.sqrt(max(outer**2 - inner**2, 1e-9))).astype(np.float32)
