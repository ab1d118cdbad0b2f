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

from collections.abc import Iterator
from dataclasses import dataclass

from fedefm_ros.simulation import anatomy_settings as settings
from fedefm_ros.simulation.curves import integrate, smooth_noise
from fedefm_ros.simulation.fields import coordinates, soft_step
from fedefm_ros.simulation.ranges import happens
from fedefm_ros.simulation.rendering import cylinder, hollow_cylinder, near_curve

import numpy as np


def strokes(points, shape, radius, strength, profile=cylinder, fade=(0.0, 0.0)):
    """
    Yield the pixels near a tube's axis and its line integral at each.

    :param fade: lengths in pixels over which its two ends come and go.
    """
    for tube in near_curve(points, shape, float(np.max(radius)) + 1.0):
        r = radius if np.isscalar(radius) else \
            radius[np.clip(tube.arc.astype(int), 0, len(radius) - 1)]
        value = strength * profile(tube.distance, r)
        if fade[0]:
            value = value * np.clip(tube.arc / fade[0], 0.0, 1.0)
        if fade[1]:
            value = value * np.clip((len(points) - 1 - tube.arc) / fade[1], 0.0, 1.0)
        yield tube, value.astype(np.float32)


def _stroke(layer, points, radius, strength, profile=cylinder, fade=(0.0, 0.0)):
    """Add a tube, see ``strokes``."""
    for tube, value in strokes(points, layer.shape, radius, strength, profile, fade):
        layer[tube.rows, tube.cols] += value


@dataclass(frozen=True)
class Branch:
    """A piece of a vessel tree."""

    points: np.ndarray
    """(N, 2) x, y in pixels, from the root's side."""
    radii: np.ndarray
    """(N,) pixels."""
    fade: tuple[float, float]
    """Lengths in pixels over which contrast agent thins out at its ends."""
    from_root: float
    """Way from the root to its first point, pixels."""


def vessel_branches(rng: np.random.Generator, shape: tuple[int, int], scale: float,
                    root: tuple[np.ndarray, float] | None = None) -> Iterator[Branch]:
    """
    Yield the branches of a tapering tree.

    :param root: start (2,) in pixels and heading; None draws them.
    """
    height, width = shape
    if root is None:
        start = np.array([rng.uniform(0.1, 0.9) * width, rng.uniform(-0.05, 0.6) * height])
        root = start, rng.uniform(0, 2 * np.pi)
    stack = [(*root, rng.uniform(3.0, 9.0) * scale, 0, 0.0)]
    drawn = 0
    while stack and drawn < 14:
        point, heading, radius, depth, from_root = stack.pop()
        length = int(rng.uniform(60, 330) * scale)
        taper = rng.uniform(0.4, 0.8)
        radii = np.linspace(radius, max(radius * taper, 0.7), length + 1)
        points = integrate(point, heading, smooth_noise(rng, length, 35 * scale) * 0.022 / scale)
        # Contrast agent thins out at both ends; only devices end bluntly.
        fade = (rng.uniform(15, 60) * scale if depth == 0 else 0.0, rng.uniform(10, 60) * scale)
        yield Branch(points, radii, fade, from_root)
        drawn += 1
        if depth < 4:
            for _ in range(rng.integers(1, 4)):
                at = int(rng.uniform(0.15, 1.0) * length)
                step = points[min(at + 1, length)] - points[at - 1 if at else 0]
                turn = rng.choice((-1, 1)) * rng.uniform(0.3, 1.2)
                stack.append((points[at], np.arctan2(step[1], step[0]) + turn,
                              max(radii[at] * rng.uniform(0.5, 0.85), 0.7), depth + 1,
                              from_root + at))


def filled(branch: Branch, shape: tuple[int, int], scale: float, strength: float):
    """Yield the strokes of a branch full of contrast agent; thin ones hold less."""
    yield from strokes(branch.points, shape, branch.radii,
                       strength * min(1.0, float(branch.radii[0]) / (4 * scale)), fade=branch.fade)


def _add_filled_tree(rng, layer, scale, strength):
    for branch in vessel_branches(rng, layer.shape, scale):
        for tube, value in filled(branch, layer.shape, scale, strength):
            layer[tube.rows, tube.cols] += value


def _leads(rng, ranges, layer, scale):
    """Add ECG leads: on the skin, across the whole field or ending in a snap electrode."""
    height, width = layer.shape
    for _ in range(ranges.count.draw(rng)):
        side = rng.integers(0, 4)
        at = rng.uniform(0, 1)
        start = np.array([(at * width, -5), (at * width, height + 5), (-5, at * height),
                          (width + 5, at * height)][side], float)
        heading = (np.pi / 2, -np.pi / 2, 0.0, np.pi)[side] + rng.normal(0, 0.6)
        ends = happens(rng, ranges.ends)
        length = int(rng.uniform(0.15, 0.7) * height) if ends else int(2.2 * height)
        points = integrate(start, heading, smooth_noise(rng, length, 160 * scale) * 0.006 / scale)
        radius, strength = ranges.radius_px.draw(rng) * scale, ranges.strength.draw(rng)
        _stroke(layer, points, radius, strength)
        if ends:
            x, y = coordinates(layer.shape)
            d = np.hypot(x - points[-1, 0], y - points[-1, 1])
            outer = rng.uniform(7, 16) * scale
            layer += rng.uniform(0.1, 0.5) * soft_step(outer * 0.5 - d, 1.0)
            layer += rng.uniform(0.02, 0.2) * soft_step(outer - d, 1.0)


def _sternal_wires(rng, ranges, layer, scale):
    height, width = layer.shape
    x0, gap = rng.uniform(0.1, 0.9) * width, rng.uniform(55, 120) * scale
    radius = ranges.radius_px.draw(rng) * scale
    for index in range(ranges.count.draw(rng)):
        centre = np.array([x0 + rng.normal(0, 5), rng.uniform(0, gap) + index * gap])
        turn = rng.uniform(6, 16) * scale
        points = integrate(centre, rng.uniform(0, 6.3),
                           np.full(int(turn * rng.uniform(4, 7)), 1.0 / turn))
        points = centre + (points - centre) * np.array([rng.uniform(0.8, 1.6), 1.0])
        _stroke(layer, points, radius, ranges.strength.draw(rng))


def _clips(rng, ranges, layer, scale):
    height, width = layer.shape
    for _ in range(ranges.count.draw(rng)):
        start = rng.uniform(0, 1, 2) * (width, height)
        points = integrate(start, rng.uniform(0, 6.3), np.zeros(int(rng.uniform(3, 14) * scale)))
        _stroke(layer, points, ranges.radius_px.draw(rng) * scale, ranges.strength.draw(rng))


def _pacemaker(rng, ranges, layer, scale):
    """Add a generator in a corner and a coiled lead with ring electrodes near its end."""
    height, width = layer.shape
    x, y = coordinates(layer.shape)
    corner = np.array([rng.choice((0.0, 1.0)) * width, rng.uniform(0, 0.3) * height])
    radius = rng.uniform(50, 90) * scale
    d = radius - np.hypot(x - corner[0], y - corner[1])
    layer += ranges.generator.draw(rng) * soft_step(d, 1.5)
    heading = np.arctan2(height / 2 - corner[1], width / 2 - corner[0]) + rng.normal(0, 0.3)
    count = int(rng.uniform(0.5, 1.1) * height)
    points = integrate(corner, heading, smooth_noise(rng, count, 140 * scale) * 0.012 / scale)
    _stroke(layer, points, ranges.lead_px.draw(rng) * scale, ranges.lead.draw(rng))
    for start in (len(points) - 8, len(points) - int(35 * scale)):
        _stroke(layer, points[max(start, 0):start + int(7 * scale)],
                rng.uniform(2.2, 3.2) * scale, 0.5)


def add_patient_clutter(rng: np.random.Generator, ranges: settings.Clutter, fixed: np.ndarray,
                        moving: np.ndarray, scale: float) -> None:
    """Add, each with its own chance, what lies in and on a patient; in place."""
    for part, layer, add in (
            (ranges.leads, fixed, _leads), (ranges.sternal_wires, fixed, _sternal_wires),
            (ranges.clips, fixed, _clips), (ranges.pacemaker, moving, _pacemaker)):
        if happens(rng, part.chance):
            add(rng, part, layer, scale)
    if happens(rng, ranges.vessels.chance):
        # From the last of a bolus to arteries that are as black as a wire.
        strength = ranges.vessels.strength.draw(rng)
        for _ in range(ranges.vessels.trees.draw(rng)):
            _add_filled_tree(rng, moving, scale, strength)


def add_vessel_walls(rng: np.random.Generator, ranges: settings.VesselWalls, layer: np.ndarray,
                     scale: float) -> None:
    """Add, with its chance, a tree of vessel walls; in place."""
    if happens(rng, ranges.chance):
        # Phantoms and simulators show the vessels a catheter fits into: many times as wide.
        strength = ranges.strength.draw(rng)
        for branch in vessel_branches(rng, layer.shape, ranges.width * scale):
            _stroke(layer, branch.points, float(branch.radii.mean()), strength,
                    lambda d, r: hollow_cylinder(d, r, r * 0.85), branch.fade)


def add_phantom_parts(rng: np.random.Generator, ranges: settings.Phantom, layer: np.ndarray,
                      scale: float) -> None:
    """Add silicone vessels, an acrylic box, tubing, screws and connectors; in place."""
    height, width = layer.shape
    tubes = ranges.tubes
    for _ in range(tubes.count.draw(rng)):
        turn = rng.uniform(0, 2 * np.pi)
        start = np.array([width, height]) * (0.5 + 0.8 * np.array([np.cos(turn), np.sin(turn)]))
        heading = np.arctan2(height / 2 - start[1], width / 2 - start[0]) + rng.normal(0, 0.4)
        count = int(rng.uniform(1.2, 2.5) * height)
        points = integrate(start, heading, smooth_noise(rng, count, 110 * scale) * 0.012 / scale)
        outer = tubes.radius_px.draw(rng) * scale
        inner = outer * tubes.lumen.draw(rng)
        _stroke(layer, points, outer, tubes.strength.draw(rng),
                lambda d, r, k=inner / outer: hollow_cylinder(d, r, r * k),
                fade=(0.0, rng.uniform(20, 80) * scale))
    add_vessel_walls(rng, ranges.vessels, layer, scale)
    x, y = coordinates(layer.shape)
    for _ in range(ranges.edges.count.draw(rng)):
        angle = rng.choice((0, np.pi / 2)) + rng.normal(0, 0.06)
        at = rng.uniform(0, 1) * width
        d = (x - at) * np.cos(angle) + (y - at) * np.sin(angle)
        if rng.random() < 0.5:
            layer += ranges.edges.strength.draw(rng) * soft_step(d, rng.uniform(0.8, 3))
        else:
            layer += ranges.edges.strength.draw(rng) \
                * soft_step(rng.uniform(2, 9) * scale - np.abs(d), 1)
    if happens(rng, ranges.tubing.chance):
        start = np.array([rng.uniform(0, 1) * width, -20.0])
        points = integrate(start, np.pi / 2 + rng.normal(0, 0.7), smooth_noise(
            rng, int(2.2 * height), 200) * 0.008)
        outer = ranges.tubing.radius_px.draw(rng) * scale
        _stroke(layer, points, outer, ranges.tubing.strength.draw(rng),
                lambda d, r: hollow_cylinder(d, r, r * 0.7))
    if happens(rng, ranges.screws.chance):
        _screws(rng, ranges.screws, layer, scale)
    if happens(rng, ranges.clips.chance):
        _clips(rng, ranges.clips, layer, scale)


def _screws(rng, ranges, layer, scale):
    height, width = layer.shape
    x, y = coordinates(layer.shape)
    for _ in range(ranges.count.draw(rng)):
        cx, cy = rng.uniform(0, 1, 2) * (width, height)
        d = np.hypot(x - cx, y - cy)
        layer += ranges.strength.draw(rng) * soft_step(ranges.radius_px.draw(rng) * scale - d, 1.0)
