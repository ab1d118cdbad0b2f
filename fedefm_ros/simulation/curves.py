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

"""Plane curves for devices and anatomy: made from curvature, resampled, intersected."""

import numpy as np


def smooth_noise(rng: np.random.Generator, count: int, period: float) -> np.ndarray:
    """
    Return smooth random numbers along a line.

    :param count: how many, one a unit of length.
    :param period: typical distance between extrema, in the same units.
    :returns: (count,) float64, mean about 0, standard deviation about 0.7.
    """
    knots = max(4, int(np.ceil(count / period)) + 3)
    values = rng.standard_normal(knots)
    at = np.linspace(0.0, knots - 3.001, count) + 1.0
    left = at.astype(int)
    t = at - left
    a, b, c, d = (values[left + offset] for offset in (-1, 0, 1, 2))
    # Uniform cubic B-spline: smooth in curvature's derivative, no overshoot.
    return ((1 - t) ** 3 * a + (3 * t**3 - 6 * t**2 + 4) * b
            + (-3 * t**3 + 3 * t**2 + 3 * t + 1) * c + t**3 * d) / 6.0


def integrate(start: np.ndarray, heading: float, curvature: np.ndarray) -> np.ndarray:
    """
    Return the curve that starts at a point with a heading and bends by a curvature, step 1 pixel.

    :param start: (2,) x, y in pixels.
    :param heading: radians from +x towards +y.
    :param curvature: (N,) radians per pixel.
    :returns: (N + 1, 2) float64 points.
    """
    angle = heading + np.concatenate([[0.0], np.cumsum(curvature)])
    middle = 0.5 * (angle[1:] + angle[:-1])
    steps = np.stack([np.cos(middle), np.sin(middle)], axis=1)
    return np.vstack([[start], start + np.cumsum(steps, axis=0)])


def resample(points: np.ndarray, spacing: float = 1.0) -> np.ndarray:
    """Return the polyline (N, 2) at an even spacing (its last point is kept), (M, 2)."""
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    count = max(2, int(round(arc[-1] / spacing)) + 1)
    at = np.linspace(0.0, arc[-1], count)
    return np.stack([np.interp(at, arc, points[:, axis]) for axis in (0, 1)], axis=1)


def crossings(points: np.ndarray, stride: int = 4) -> list[tuple[int, int]]:
    """
    Return where a curve crosses itself.

    :param points: (N, 2) pixels, about 1 pixel apart.
    :param stride: every how many points a chord is tested.
    :returns: pairs (i, j), i < j, of the indices of the two passes.
    """
    coarse = points[::stride]
    if len(coarse) < 4:
        return []
    p, r = coarse[:-1], np.diff(coarse, axis=0)
    if (r @ (coarse[-1] - coarse[0]) > 0).all():
        return []  # what never goes back does not meet itself; most wires do not
    gap = p[None] - p[:, None]
    cross = r[:, None, 0] * r[None, :, 1] - r[:, None, 1] * r[None, :, 0]
    with np.errstate(divide='ignore', invalid='ignore'):
        t = (gap[..., 0] * r[None, :, 1] - gap[..., 1] * r[None, :, 0]) / cross
        u = (gap[..., 0] * r[:, None, 1] - gap[..., 1] * r[:, None, 0]) / cross
    hit = (t >= 0) & (t < 1) & (u >= 0) & (u < 1)
    i, j = np.nonzero(np.triu(hit, k=2))
    return [(int(a) * stride, int(b) * stride) for a, b in zip(i, j)]
