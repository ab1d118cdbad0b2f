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
What looks like an instrument and is none: vessels full of contrast, leads, wires, clips, tubing.

These are the hard negatives: a network that never met them calls each of them a guidewire.
"""

from fedefm_ros.simulation.curves import integrate, smooth_noise
from fedefm_ros.simulation.fields import coordinates, soft_step
from fedefm_ros.simulation.rendering import cylinder, hollow_cylinder, near_curve

import numpy as np


def _stroke(layer, points, radius, strength, profile=cylinder, fade=(0.0, 0.0)):
    """Add a tube; ``fade`` gives the lengths in pixels over which its two ends come and go."""
    for tube in near_curve(points, layer.shape, float(np.max(radius)) + 1.0):
        r = radius if np.isscalar(radius) else \
            radius[np.clip(tube.arc.astype(int), 0, len(radius) - 1)]
        value = strength * profile(tube.distance, r)
        if fade[0]:
            value = value * np.clip(tube.arc / fade[0], 0.0, 1.0)
        if fade[1]:
            value = value * np.clip((len(points) - 1 - tube.arc) / fade[1], 0.0, 1.0)
        layer[tube.rows, tube.cols] += value.astype(np.float32)


def add_vessel_tree(rng: np.random.Generator, layer: np.ndarray, scale: float,
                    strength: float, wall: bool = False) -> None:
    """
    Add a branching, tapering vessel tree.

    :param strength: attenuation at the trunk's axis.
    :param wall: draw vessel walls (silicone) in place of filled vessels.
    """
    height, width = layer.shape
    start = np.array([rng.uniform(0.1, 0.9) * width, rng.uniform(-0.05, 0.6) * height])
    stack = [(start, rng.uniform(0, 2 * np.pi), rng.uniform(3.0, 9.0) * scale, 0)]
    drawn = 0
    while stack and drawn < 14:
        point, heading, radius, depth = stack.pop()
        length = int(rng.uniform(60, 330) * scale)
        taper = rng.uniform(0.4, 0.8)
        radii = np.linspace(radius, max(radius * taper, 0.7), length + 1)
        points = integrate(point, heading, smooth_noise(rng, length, 35 * scale) * 0.022 / scale)
        # Contrast agent thins out at both ends; only devices end bluntly.
        fade = (rng.uniform(15, 60) * scale if depth == 0 else 0.0, rng.uniform(10, 60) * scale)
        if wall:
            outer = float(radii.mean())
            _stroke(layer, points, outer, strength,
                    lambda d, r: hollow_cylinder(d, r, r * 0.85), fade)
        else:
            _stroke(layer, points, radii, strength * min(1.0, radius / (4 * scale)), fade=fade)
        drawn += 1
        if depth < 4:
            for _ in range(rng.integers(1, 4)):
                at = int(rng.uniform(0.15, 1.0) * length)
                step = points[min(at + 1, length)] - points[at - 1 if at else 0]
                turn = rng.choice((-1, 1)) * rng.uniform(0.3, 1.2)
                stack.append((points[at], np.arctan2(step[1], step[0]) + turn,
                              max(radii[at] * rng.uniform(0.5, 0.85), 0.7), depth + 1))


def _leads(rng, layer, scale):
    """Add ECG leads: on the skin, across the whole field or ending in a snap electrode."""
    height, width = layer.shape
    for _ in range(rng.integers(1, 4)):
        side = rng.integers(0, 4)
        at = rng.uniform(0, 1)
        start = np.array([(at * width, -5), (at * width, height + 5), (-5, at * height),
                          (width + 5, at * height)][side], float)
        heading = (np.pi / 2, -np.pi / 2, 0.0, np.pi)[side] + rng.normal(0, 0.6)
        ends = rng.random() < 0.45
        length = int(rng.uniform(0.15, 0.7) * height) if ends else int(2.2 * height)
        points = integrate(start, heading, smooth_noise(rng, length, 160 * scale) * 0.006 / scale)
        radius, strength = rng.uniform(0.8, 2.2) * scale, rng.uniform(0.05, 0.35)
        _stroke(layer, points, radius, strength)
        if ends:
            x, y = coordinates(layer.shape)
            d = np.hypot(x - points[-1, 0], y - points[-1, 1])
            outer = rng.uniform(7, 16) * scale
            layer += rng.uniform(0.1, 0.5) * soft_step(outer * 0.5 - d, 1.0)
            layer += rng.uniform(0.02, 0.2) * soft_step(outer - d, 1.0)


def _sternal_wires(rng, layer, scale):
    height, width = layer.shape
    x0, gap = rng.uniform(0.1, 0.9) * width, rng.uniform(55, 120) * scale
    radius = rng.uniform(0.9, 1.7) * scale
    for index in range(rng.integers(2, 6)):
        centre = np.array([x0 + rng.normal(0, 5), rng.uniform(0, gap) + index * gap])
        turn = rng.uniform(6, 16) * scale
        points = integrate(centre, rng.uniform(0, 6.3),
                           np.full(int(turn * rng.uniform(4, 7)), 1.0 / turn))
        points = centre + (points - centre) * np.array([rng.uniform(0.8, 1.6), 1.0])
        _stroke(layer, points, radius, rng.uniform(0.4, 1.2))


def _clips(rng, layer, scale):
    height, width = layer.shape
    for _ in range(rng.integers(1, 8)):
        start = rng.uniform(0, 1, 2) * (width, height)
        points = integrate(start, rng.uniform(0, 6.3), np.zeros(int(rng.uniform(3, 14) * scale)))
        _stroke(layer, points, rng.uniform(0.8, 2.0) * scale, rng.uniform(0.3, 1.2))


def _pacemaker(rng, layer, scale):
    """Add a generator in a corner and a coiled lead with ring electrodes near its end."""
    height, width = layer.shape
    x, y = coordinates(layer.shape)
    corner = np.array([rng.choice((0.0, 1.0)) * width, rng.uniform(0, 0.3) * height])
    radius = rng.uniform(50, 90) * scale
    d = radius - np.hypot(x - corner[0], y - corner[1])
    layer += rng.uniform(0.8, 2.0) * soft_step(d, 1.5)
    heading = np.arctan2(height / 2 - corner[1], width / 2 - corner[0]) + rng.normal(0, 0.3)
    count = int(rng.uniform(0.5, 1.1) * height)
    points = integrate(corner, heading, smooth_noise(rng, count, 140 * scale) * 0.012 / scale)
    _stroke(layer, points, rng.uniform(1.4, 2.6) * scale, rng.uniform(0.15, 0.5))
    for start in (len(points) - 8, len(points) - int(35 * scale)):
        _stroke(layer, points[max(start, 0):start + int(7 * scale)],
                rng.uniform(2.2, 3.2) * scale, 0.5)


def add_patient_clutter(rng: np.random.Generator, fixed: np.ndarray, moving: np.ndarray,
                        scale: float, density: float = 1.0) -> None:
    """Add, each with its own chance, what lies in and on a patient; in place."""
    for chance, layer, add in (
            (0.1, fixed, _leads), (0.06, fixed, _sternal_wires), (0.08, fixed, _clips),
            (0.03, moving, _pacemaker)):
        if rng.random() < chance * density:
            add(rng, layer, scale)
    if rng.random() < 0.2 * density:
        # From the last of a bolus to arteries that are as black as a wire.
        strength = float(np.exp(rng.uniform(np.log(0.1), np.log(0.9))))
        for _ in range(rng.integers(1, 3)):
            add_vessel_tree(rng, moving, scale, strength)


def add_phantom_parts(rng: np.random.Generator, layer: np.ndarray, scale: float) -> None:
    """Add silicone vessels, an acrylic box, tubing, screws and connectors; in place."""
    height, width = layer.shape
    for _ in range(rng.integers(1, 4)):
        turn = rng.uniform(0, 2 * np.pi)
        start = np.array([width, height]) * (0.5 + 0.8 * np.array([np.cos(turn), np.sin(turn)]))
        heading = np.arctan2(height / 2 - start[1], width / 2 - start[0]) + rng.normal(0, 0.4)
        count = int(rng.uniform(1.2, 2.5) * height)
        points = integrate(start, heading, smooth_noise(rng, count, 110 * scale) * 0.012 / scale)
        outer = rng.uniform(10, 45) * scale
        inner = outer * rng.uniform(0.78, 0.94)
        _stroke(layer, points, outer, rng.uniform(0.05, 0.4),
                lambda d, r, k=inner / outer: hollow_cylinder(d, r, r * k),
                fade=(0.0, rng.uniform(20, 80) * scale))
    if rng.random() < 0.5:
        add_vessel_tree(rng, layer, 3.0 * scale, strength=rng.uniform(0.05, 0.3), wall=True)
    x, y = coordinates(layer.shape)
    for _ in range(rng.integers(0, 4)):
        angle = rng.choice((0, np.pi / 2)) + rng.normal(0, 0.06)
        at = rng.uniform(0, 1) * width
        d = (x - at) * np.cos(angle) + (y - at) * np.sin(angle)
        if rng.random() < 0.5:
            layer += rng.uniform(0.05, 0.4) * soft_step(d, rng.uniform(0.8, 3))
        else:
            layer += rng.uniform(0.05, 0.4) * soft_step(rng.uniform(2, 9) * scale - np.abs(d), 1)
    if rng.random() < 0.4:
        start = np.array([rng.uniform(0, 1) * width, -20.0])
        points = integrate(start, np.pi / 2 + rng.normal(0, 0.7), smooth_noise(
            rng, int(2.2 * height), 200) * 0.008)
        outer = rng.uniform(4, 12) * scale
        _stroke(layer, points, outer, rng.uniform(0.05, 0.25),
                lambda d, r: hollow_cylinder(d, r, r * 0.7))
    for _ in range(rng.integers(0, 5)):
        cx, cy = rng.uniform(0, 1, 2) * (width, height)
        d = np.hypot(x - cx, y - cy)
        layer += rng.uniform(0.3, 1.5) * soft_step(rng.uniform(3, 14) * scale - d, 1.0)
    if rng.random() < 0.4:
        _clips(rng, layer, scale)
