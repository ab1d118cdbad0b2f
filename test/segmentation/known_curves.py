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

"""Known curves and the masks of instruments that follow them, for tests of the geometry."""

from dataclasses import dataclass

import cv2

from fedefm_ros import labels

import numpy as np

from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Known:
    """An instrument whose course is known."""

    curve: np.ndarray
    """(N, 2) x, y in pixels, entry first, about half a pixel apart."""
    width: float
    kind: int = labels.CATHETER

    @property
    def length(self) -> float:
        return float(np.linalg.norm(np.diff(self.curve, axis=0), axis=1).sum())


def draw(mask: np.ndarray, known: Known) -> np.ndarray:
    """
    Draw an instrument with flat ends into a mask, in place.

    A pixel belongs to it where its centre is nearer than half the width to the curve, so the mask
    says exactly where the curve is, to a fraction of a pixel.
    """
    curve = known.curve
    near = np.zeros(mask.shape, np.uint8)
    cv2.polylines(near, [np.rint(curve).astype(np.int32)], False, 1, int(known.width) + 5)
    rows, columns = np.nonzero(near)
    pixels = np.stack([columns, rows], axis=1).astype(float)
    distance, nearest = cKDTree(curve).query(pixels)
    inside = distance <= known.width / 2.0
    for end, inner in ((0, 1), (len(curve) - 1, -2)):
        outwards = curve[end] - curve[inner]
        inside &= ~((nearest == end) & ((pixels - curve[end]) @ outwards > 0))
    mask[rows[inside], columns[inside]] = known.kind
    return mask


def wander(rng: np.random.Generator, start, heading: float, length: float, *,
           radius: float = 40.0, size: int = 512, margin: float = 12.0) -> np.ndarray:
    """
    Return a smooth random curve that stays in the image, no tighter than ``radius``.

    It steers away from the edge of the image and may cross itself.
    """
    step = 0.5
    count = int(length / step)
    knots = rng.normal(0.0, 1.0, count // 60 + 5)
    noise = np.interp(np.arange(count) / 60.0, np.arange(len(knots)), knots)
    limit = 1.0 / radius
    x, y = start
    curvature = 0.0
    points = np.empty((count, 2))
    for index in range(count):
        points[index] = x, y
        wanted = 0.6 * limit * noise[index]
        ahead_x = x + 2.2 * radius * np.cos(heading)
        ahead_y = y + 2.2 * radius * np.sin(heading)
        if not (margin < ahead_x < size - margin and margin < ahead_y < size - margin) \
                and index > 20:
            inwards = np.arctan2(size / 2.0 - y, size / 2.0 - x) - heading
            wanted = np.copysign(limit, np.sin(inwards))
        curvature += np.clip(wanted - curvature, -limit / 15.0, limit / 15.0)
        heading += step * np.clip(curvature, -limit, limit)
        x += step * np.cos(heading)
        y += step * np.sin(heading)
    return points


def line(start, stop) -> np.ndarray:
    """Return a straight curve."""
    start, stop = np.asarray(start, float), np.asarray(stop, float)
    count = max(2, int(2 * np.linalg.norm(stop - start)) + 1)
    return start + np.linspace(0.0, 1.0, count)[:, None] * (stop - start)


def arc(centre, radius: float, start: float, stop: float) -> np.ndarray:
    """Return an arc from angle to angle, radians from +x towards +y."""
    angles = np.linspace(start, stop, max(2, int(2 * radius * abs(stop - start)) + 1))
    return np.asarray(centre, float) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ragged(rng: np.random.Generator, mask: np.ndarray, strength: float = 0.3) -> np.ndarray:
    """Return the mask with edge pixels added and taken away, as networks leave them."""
    kind = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    binary = (mask > 0).astype(np.float32)
    soft = cv2.GaussianBlur(binary, (0, 0), 0.8)
    noise = cv2.GaussianBlur(rng.normal(0.0, 1.0, mask.shape).astype(np.float32), (0, 0), 1.0)
    noise *= strength / noise.std()
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0
    keep = (soft + 0.5 * noise > 0.5) | inner
    return np.where(keep, np.where(mask > 0, mask, kind), 0).astype(np.uint8)


def distances(points: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Return how far each point is from a densely sampled curve."""
    return cKDTree(curve).query(points)[0]
