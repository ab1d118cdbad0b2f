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
The vessel's wall: how far a point is from it and with what force it pushes back.

The lumen is the union of all tubes. Its signed distance lies on a voxel grid, and a wire's nodes
are pushed by a spring along the distance's gradient. Chosen over MuJoCo's own contacts because a
tube that is hollow and branches has no convex parts: it would take thousands of small boxes or a
mesh, whose inner edges catch a thin capsule; the field is smooth, costs the same for any anatomy,
and gives the force that a sensor would read without asking a solver.
"""

from dataclasses import dataclass

from fedefm_ros.simulation.robot.phantom import Phantom, STEP

import numpy as np

from scipy.ndimage import gaussian_filter

VOXEL = 0.001
"""Metres between grid points."""
_OUTSIDE = -0.004
_MARGIN = 0.008


@dataclass(frozen=True)
class WallLaw:
    """What the wall is like; silicone with a wet, hydrophilic wire."""

    stiffness: float = 250.0
    """N/m at each node."""
    damping: float = 0.1
    """N s/m along the normal."""
    friction: float = 0.04
    """Coefficient, 0 to 1."""
    slip: float = 0.004
    """m/s above which friction is full; below it grows with the speed, so that it is stable."""


class DistanceField:
    """Signed distance to the wall of a phantom, positive in the lumen."""

    def __init__(self, phantom: Phantom):
        """Fill the grid (about 0.2 s)."""
        points = np.vstack([vessel.points for vessel in phantom.vessels.values()])
        self.origin = points.min(axis=0) - 0.014 - _MARGIN
        shape = np.ceil((points.max(axis=0) + 0.014 + _MARGIN - self.origin) / VOXEL).astype(int)
        grid = np.full(shape, _OUTSIDE, np.float32)
        for vessel in phantom.vessels.values():
            # Balls so near to each other that the tube is smooth to 0.05 mm.
            near = max(1, int(0.17 * vessel.radii.min() / STEP))
            for point, radius in zip(vessel.points[::near], vessel.radii[::near]):
                _paint_ball(grid, (point - self.origin) / VOXEL, radius)
        # Rounds the edges where tubes meet, as casts are.
        grid = gaussian_filter(grid, 0.7)
        self.grid = grid
        slopes = np.gradient(grid, VOXEL)
        self._table = np.stack([grid, *slopes], axis=-1).reshape(-1, 4)
        steps = np.array([shape[1] * shape[2], shape[2], 1])
        self._steps = steps
        corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        self._corners = corners
        self._offsets = corners @ steps
        self._last = np.array(shape) - 2

    def at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        Look up.

        :param points: (N, 3) metres.
        :returns: distances (N,) in metres (at least -4 mm) and unit vectors into the lumen (N, 3).
        """
        cells = (points - self.origin) / VOXEL
        low = np.clip(cells.astype(int), 0, self._last)
        part = np.clip(cells - low, 0.0, 1.0)[:, None, :]
        weights = np.where(self._corners, part, 1.0 - part).prod(axis=2)
        values = self._table[(low @ self._steps)[:, None] + self._offsets]
        mean = np.einsum('nc,ncv->nv', weights, values)
        slope = mean[:, 1:]
        length = np.sqrt((slope * slope).sum(axis=1, keepdims=True))
        return mean[:, 0], slope / np.maximum(length, 1e-6)


def wall_forces(law: WallLaw, distance: np.ndarray, inward: np.ndarray, velocity: np.ndarray,
                radius: float) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the wall's forces on nodes and their normal parts.

    :param distance: (N,) metres of the axis from the wall, positive in the lumen.
    :param inward: (N, 3) unit vectors away from the wall.
    :param velocity: (N, 3) m/s.
    :param radius: of the wire, metres.
    :returns: forces (N, 3) and normal forces (N,), at least 0, in N.
    """
    depth = radius - distance
    normal_speed = (velocity * inward).sum(axis=1)
    normal = np.where(depth > 0.0, law.stiffness * depth - law.damping * normal_speed, 0.0)
    normal = np.maximum(normal, 0.0)
    sliding = velocity - normal_speed[:, None] * inward
    speed = np.sqrt((sliding * sliding).sum(axis=1) + law.slip**2)
    return normal[:, None] * inward - (law.friction * normal / speed)[:, None] * sliding, normal


def _paint_ball(grid, centre, radius):
    """Raise the grid to the distance inside a ball; ``centre`` is in voxels."""
    reach = (radius - _OUTSIDE) / VOXEL
    low = np.maximum(np.floor(centre - reach).astype(int), 0)
    high = np.minimum(np.ceil(centre + reach).astype(int) + 1, grid.shape)
    x, y, z = (np.arange(a, b) - c for a, b, c in zip(low, high, centre))
    apart = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
    box = grid[low[0]:high[0], low[1]:high[1], low[2]:high[2]]
    np.maximum(box, radius - apart * VOXEL, out=box)
