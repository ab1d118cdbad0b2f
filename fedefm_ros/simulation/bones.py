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
Bones of pelvis and head, each of its own shape; line integrals (H, W) float32 without unit.

Both are drawn in a frame of their own, u to the patient's left and v down, in which the pelvis is
2 wide and the head's vault, too. A field shows a part of it.
"""

import cv2

from fedefm_ros.simulation.anatomy_settings import Bones
from fedefm_ros.simulation.fields import coordinates, noise_field, soft_step

import numpy as np

#: Half the width of a pelvis and of a head, pixels of 0.25 mm.
_PELVIS_PX, _HEAD_PX = 540.0, 300.0


def pelvis(ranges: Bones, rng: np.random.Generator, shape: tuple[int, int],
           scale: float) -> np.ndarray:
    """Return wings, sacrum, the ring with its foramina, and the hips, seen from the front."""
    unit = _PELVIS_PX * scale * ranges.scale.draw(rng)
    u, v = _frame(rng, shape, unit, (rng.uniform(-0.75, 0.75), rng.uniform(-0.25, 0.6)))
    bone = _Bone(ranges, rng, shape, unit, scale)
    side = np.abs(u)
    tilt = rng.uniform(0.9, 1.1)  # the pelvis tips forward
    # The hip bone: a thin wing, and a column beside the inlet down to a ring around the foramen.
    inlet = _ellipse(u, v - 0.12, 0.42, 0.34 * tilt)
    foramen = _ellipse(side - 0.26, v - 0.62, 0.13, 0.1 * tilt, -0.5)
    wing = _ellipse(side - 0.62, v + 0.25, 0.36, 0.44, 0.35)
    column = _capsule(side, v, (0.56, 0.0), (0.46, 0.7), 0.12, 0.07)
    bone.add(np.min([np.max([wing, column, foramen + 0.085], axis=0), -foramen, -inlet,
                     side - 0.012], axis=0), 0.6)
    bone.add(np.minimum(np.minimum(inlet + 0.05, -inlet), 0.1 + v), 0.3)
    # The sacrum narrows downwards, and has pairs of holes.
    down = np.clip((v + 0.42) / 0.75, 0.0, 1.0)
    sacrum = np.minimum(0.31 - 0.22 * down - side, np.minimum(v + 0.42, 0.33 - v))
    holes = np.max([_ellipse(side - 0.15 + 0.02 * row, v + 0.27 - 0.13 * row, 0.034, 0.026)
                    for row in range(4)], axis=0)
    bone.add(np.minimum(sacrum, -holes), 0.8)
    # The hip: the femur's head, neck and shaft, and its socket's roof.
    ball = 0.14 - np.hypot(side - 0.6, v - 0.44)
    bone.add(np.max([ball, _capsule(side, v, (0.66, 0.5), (0.86, 0.68), 0.085),
                     _capsule(side, v, (0.88, 0.62), (0.84, 1.6), 0.11, 0.09)], axis=0), 0.8)
    bone.add(np.minimum(np.minimum(ball + 0.05, -0.015 - ball), 0.4 - v), 0.5)
    return bone.layer


def head(ranges: Bones, rng: np.random.Generator, shape: tuple[int, int],
         scale: float) -> np.ndarray:
    """Return the vault's outline, the orbits and the petrous ridges, from any side."""
    unit = _HEAD_PX * scale * ranges.scale.draw(rng)
    turn = rng.uniform(-np.pi / 2, np.pi / 2)
    # Longer from front to back than it is wide.
    across = np.hypot(np.cos(turn), 1.2 * np.sin(turn))
    u, v = _frame(rng, shape, unit, (rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.5)))
    bone = _Bone(ranges, rng, shape, unit, scale)
    # What the beam meets of a hollow shell: two tables of dense bone at its outline.
    out = np.hypot(u / across, v / 1.15)
    chord = np.sqrt(np.clip(1.0 - out**2, 0.0, 1.0)) \
        - np.sqrt(np.clip(rng.uniform(0.9, 0.95) ** 2 - out**2, 0.0, 1.0))
    bone.layer += 2.2 * bone.strength * np.float32(chord)
    for left in (-1.0, 1.0):
        azimuth = left * 0.42 + turn
        if np.cos(azimuth) > -0.2:
            orbit = _ellipse(u - 0.8 * across * np.sin(azimuth), v - 0.3,
                             0.08 + 0.2 * abs(np.cos(azimuth)), 0.22)
            bone.add(np.minimum(orbit + 0.05, -orbit), 0.7)
            pale = 0.3 * bone.strength * soft_step(orbit * unit, bone.edge)
            bone.layer = cv2.max(bone.layer - np.float32(pale), 0.0)
        ends = [(reach * across * np.sin(left * angle + turn), height)
                for reach, angle, height in ((0.85, 1.75, 0.44), (0.2, 0.6, 0.34))]
        bone.add(_capsule(u, v, *ends, 0.12, 0.05), 1.3)
    return bone.layer


class _Bone:
    """A layer to which bones are added, all with the same cortex and marrow."""

    def __init__(self, ranges, rng, shape, unit, scale):
        self.layer = np.zeros(shape, np.float32)
        self.strength = ranges.strength.draw(rng)
        self.edge = ranges.edge_px.draw(rng) * scale
        self._unit, self._rim = unit, ranges.rim.draw(rng)
        self._rim_px = rng.uniform(2.0, 4.5) * scale
        # Trabeculae: without them bones look like card.
        self._marrow = np.maximum(
            1.0 + rng.uniform(0.1, 0.25) * noise_field(rng, shape, 9 * scale, 2), 0.3)

    def add(self, inside, share):
        """Add a bone, from the distance to its border (H, W), positive inside, in units."""
        d = inside * self._unit
        self.layer += np.float32(share * self.strength * soft_step(d, self.edge) * self._marrow)
        self.layer += np.float32(self._rim * cv2.exp(
            -((d - self._rim_px) / self._rim_px) ** 2))


def _frame(rng, shape, unit, centre):
    """Return u and v (H, W) of every pixel; ``centre`` is what lies in the picture's middle."""
    x, y = coordinates(shape)
    # No bone is an ellipse: bend the frame a little.
    x, y = (axis + 0.02 * unit * noise_field(rng, shape, 0.35 * unit) for axis in (x, y))
    x, y = (x - shape[1] / 2) / unit, (y - shape[0] / 2) / unit
    lean = rng.normal(0.0, 0.08)
    return (x * np.cos(lean) + y * np.sin(lean) + centre[0],
            y * np.cos(lean) - x * np.sin(lean) + centre[1])


def _ellipse(u, v, a, b, lean=0.0):
    """Return about the distance to an ellipse around 0, positive inside."""
    along, across = u * np.cos(lean) + v * np.sin(lean), v * np.cos(lean) - u * np.sin(lean)
    return (1.0 - np.hypot(along / a, across / b)) * min(a, b)


def _capsule(u, v, start, end, radius, last=None):
    """Return the distance to a line's border, positive inside; ``last``: radius at its end."""
    way = np.subtract(end, start)
    share = np.clip(((u - start[0]) * way[0] + (v - start[1]) * way[1]) / max(way @ way, 1e-9),
                    0.0, 1.0)
    radius = radius + share * ((radius if last is None else last) - radius)
    return radius - np.hypot(u - start[0] - share * way[0], v - start[1] - share * way[1])
