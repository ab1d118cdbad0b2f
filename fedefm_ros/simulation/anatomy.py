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
What the beam meets besides the devices: patients, animals, phantoms.

Each builder returns the line integrals of one scene as two layers (H, W) float32 without unit:
what stays with the table (spine, ribs, phantom box) and what moves with breath.
"""

from dataclasses import dataclass

import cv2

from fedefm_ros.simulation import anatomy_settings as settings
from fedefm_ros.simulation import bones, clutter
from fedefm_ros.simulation.anatomy_settings import KINDS
from fedefm_ros.simulation.fields import (
    blobs, coordinates, noise_field, soft_step, WavyLine)
from fedefm_ros.simulation.ranges import happens

import numpy as np

__all__ = ['Anatomy', 'build', 'KINDS']

#: Widths of a bell curve from its middle beyond which it is left out: exp(-25) is nothing.
_FADED = 5.0


@dataclass
class Anatomy:
    """Line integrals of a scene."""

    fixed: np.ndarray
    moving: np.ndarray


def build(ranges, rng: np.random.Generator, size: int) -> Anatomy:
    """
    Return a random scene.

    :param ranges: one of ``anatomy_settings.ANATOMIES``.
    :param size: width and height in pixels.
    """
    scene = _BUILDERS[type(ranges)](ranges, rng, (size, size), size / 512.0)
    return Anatomy(np.asarray(scene.fixed, np.float32), np.asarray(scene.moving, np.float32))


def _body(ranges, rng, shape):
    """Return a smooth thickness map: the trunk thins out towards its sides."""
    base = ranges.thickness.draw(rng) \
        + ranges.unevenness * noise_field(rng, shape, rng.uniform(250, 500), 2)
    x, y = coordinates(shape)
    tilt = rng.normal(0.0, ranges.tilt, 2) / shape[0]
    return base + tilt[0] * (x - shape[1] / 2) + tilt[1] * (y - shape[0] / 2)


def _tissue(ranges, rng, shape, scale):
    """Return fine texture: lung vessels, fat, bowel wall."""
    coarse = noise_field(rng, shape, ranges.period_px.draw(rng) * scale, 4,
                         ranges.persistence.draw(rng))
    return ranges.factor * (ranges.strength.draw(rng) * coarse)


def _ribs(ranges, rng, shape, scale):
    """Return a fan of curved bands with dense rims (cortical bone)."""
    scale = scale * ranges.scale.draw(rng)
    y, x = (np.arange(size, dtype=np.float32) for size in shape)
    layer = np.zeros(shape, np.float32)
    for _ in range(ranges.fans.draw(rng)):
        count = ranges.count.draw(rng)
        angle = rng.uniform(-1.1, 1.1) + rng.choice((0, np.pi))
        bow = rng.normal(0.0, 0.0022) / scale
        gap = ranges.gap_px.draw(rng) * scale
        width = gap * ranges.width.draw(rng)
        strength, rim = ranges.strength.draw(rng), ranges.rim.draw(rng)
        rim_width = rng.uniform(1.2, 4.0) * scale
        first = -0.5 * gap * count + rng.uniform(-gap, gap)
        centre = np.array(shape[::-1]) * rng.uniform(0.3, 0.7, 2)
        step = np.array([-np.sin(angle), np.cos(angle)])
        reach = soft_step(noise_field(rng, shape, 260 * scale) + rng.uniform(-0.2, 1.0), 0.5)
        for index in range(count):
            through = centre + step * (first + index * gap * rng.uniform(0.9, 1.1))
            line = WavyLine(rng, angle + rng.normal(0, 0.06), through,
                            bow * rng.uniform(0.7, 1.3), rng.uniform(0, 4) * scale)
            for rows, cols in line.parts_near(shape, 0.5 * width + _FADED * rim_width):
                # In place: ribs are most of a thorax's cost.
                d = line.distance(x[cols], y[rows])
                np.abs(d, out=d)
                border = d - 0.5 * width
                border /= rim_width
                np.square(border, out=border)
                np.exp(np.negative(border, out=border), out=border)
                border *= rim * strength * 3.0
                bone = soft_step(np.subtract(0.5 * width, d, out=d), 1.5 * scale)
                bone *= strength
                bone += border
                bone *= reach[rows, cols]
                layer[rows, cols] += bone
    return ranges.factor * layer


def _spine(ranges, rng, shape, scale):
    """Return a column of vertebrae: bodies, end plates, pedicles, spinous processes."""
    scale = scale * ranges.scale.draw(rng)
    angle = np.pi / 2 + rng.normal(0.0, 0.18)
    through = (shape[1] * rng.uniform(0.0, 1.0), shape[0] / 2)
    line = WavyLine(rng, angle, through, rng.normal(0, 0.0006) / scale, 0.0)
    pitch = ranges.pitch_px.draw(rng) * scale
    half = pitch * ranges.half_width.draw(rng)
    disc = rng.uniform(0.1, 0.22) * pitch
    first = rng.uniform(0, pitch)
    edge_px, disc_px = rng.uniform(1.5, 5) * scale, rng.uniform(1.5, 4) * scale
    strength = ranges.strength.draw(rng)
    plate_px, plate_strength = rng.uniform(1.0, 2.5) * scale, ranges.plate.draw(rng)
    side_px, side_strength = rng.uniform(1.2, 3.0) * scale, ranges.side.draw(rng)
    ring_r, pedicle = pitch * rng.uniform(0.09, 0.15), ranges.pedicle.draw(rng)
    process_strength = ranges.process.draw(rng)
    grain = rng.uniform(0, 0.05)
    texture = noise_field(rng, shape, 9 * scale, 2)

    layer = np.zeros(shape)
    y, x = (np.arange(size, dtype=np.float32) for size in shape)
    beside = max(half + _FADED * side_px, 0.55 * half + ring_r + 2 * _FADED * scale)
    for part in line.parts_near(shape, beside):
        rows, cols = part
        across = line.distance(x[cols], y[rows])
        along = line.along(x[cols], y[rows])
        u = np.mod(along + first + 0.04 * across**2 / half, pitch) - pitch / 2
        np.abs(across, out=across)
        away = np.abs(u)
        # A waist: vertebral bodies are narrower in their middle.
        edge = half * (0.86 + 0.14 * (2 * away / pitch) ** 2) - across
        away -= (pitch - disc) / 2
        body = soft_step(edge, edge_px)
        bone = soft_step(-away, disc_px)
        column = strength * body * (0.55 + 0.45 * bone)
        column += plate_strength * body * np.exp(-(away / plate_px) ** 2)
        column += side_strength * np.exp(-(edge / side_px) ** 2) * bone
        ring = np.hypot((across - half * 0.55) * 1.3, u + pitch * 0.12) - ring_r
        column += pedicle * np.exp(-(ring / (1.8 * scale)) ** 2)
        process = soft_step(pitch * 0.07 - across, 3 * scale) \
            * soft_step(pitch * 0.25 - np.abs(u - pitch * 0.1), 4 * scale)
        column += process_strength * process
        column += grain * body * texture[part]
        layer[part] = column
    return ranges.factor * layer


def _dome(ranges, rng, shape, scale):
    """Return a large dense region with one long sharp border: diaphragm, heart shadow, liver."""
    x, y = coordinates(shape)
    radius = ranges.radius.draw(rng) * shape[0]
    angle = rng.uniform(0.15 * np.pi, 0.85 * np.pi)
    rim = shape[0] * rng.uniform(0.3, 0.9)
    cx = shape[1] / 2 + np.cos(angle) * radius + rng.normal(0, 0.2) * shape[1]
    cy = rim + radius
    d = radius - np.hypot((x - cx) * rng.uniform(0.7, 1.2), y - cy)
    d = d + rng.uniform(0, 6) * scale * noise_field(rng, shape, 120 * scale)
    return ranges.strength.draw(rng) * soft_step(d, ranges.edge_px.draw(rng) * scale)


def _brighten(ranges, layer, rng, scale):
    """Take soft-edged regions out of a layer: lung, bowel gas; in place."""
    for _ in range(ranges.count.draw(rng)):
        layer -= ranges.strength.draw(rng) * blobs(
            rng, layer.shape, ranges.period_px.draw(rng) * scale, ranges.share.draw(rng),
            ranges.edge_px.draw(rng) * scale)


def _add_shells(ranges, layer, rng, scale):
    """Add broad bony shells with sharp rims, what skull base and pelvic ring have alike."""
    for _ in range(ranges.count.draw(rng)):
        shell = noise_field(rng, layer.shape, ranges.period_px.draw(rng) * scale, 2)
        d = (shell - rng.normal(0, 0.5)) / (np.std(shell) * 2.5 / (150 * scale))
        layer += ranges.strength.draw(rng) * soft_step(d, 2 * scale)
        layer += ranges.rim.draw(rng) * np.exp(-(d / (rng.uniform(1.5, 5) * scale)) ** 2)


def _human(ranges, rng, shape, scale):
    fixed = _body(ranges.body, rng, shape)
    moving = _tissue(ranges.tissue, rng, shape, scale)
    region = ranges.regions.draw(rng)
    if region == 'thorax':
        if happens(rng, ranges.thorax.ribs):
            fixed += _ribs(ranges.ribs, rng, shape, scale)
        if happens(rng, ranges.thorax.spine):
            fixed += _spine(ranges.spine, rng, shape, scale)
        for _ in range(ranges.thorax.domes.draw(rng)):
            moving += _dome(ranges.dome, rng, shape, scale)
        _brighten(ranges.thorax.lung, moving, rng, scale)
    elif region == 'abdomen':
        if happens(rng, ranges.abdomen.spine):
            fixed += _spine(ranges.spine, rng, shape, scale)
        _brighten(ranges.abdomen.gas, moving, rng, scale)
    elif region == 'pelvis' and happens(rng, ranges.pelvis.chance):
        fixed += bones.pelvis(ranges.pelvis, rng, shape, scale)
    elif region == 'head' and happens(rng, ranges.head.chance):
        fixed += bones.head(ranges.head, rng, shape, scale)
    else:
        _add_shells(ranges.shells, fixed, rng, scale)
    clutter.add_patient_clutter(rng, ranges.clutter, fixed, moving, scale)
    return Anatomy(fixed, moving)


def _animal(ranges, rng, shape, scale):
    fixed = _body(ranges.body, rng, shape)
    moving = _tissue(ranges.tissue, rng, shape, scale)
    if happens(rng, ranges.spine_chance):
        fixed += _spine(ranges.spine, rng, shape, scale)
    if happens(rng, ranges.ribs_chance):
        fixed += _ribs(ranges.ribs, rng, shape, scale)
    mottle = ranges.mottle
    for _ in range(mottle.count.draw(rng)):
        region = blobs(rng, shape, mottle.period_px.draw(rng) * scale, mottle.share.draw(rng), 10)
        grain = 0.5 + 0.5 * np.tanh(
            2 * noise_field(rng, shape, mottle.grain_px.draw(rng) * scale, 2))
        moving += rng.choice((-1, 1)) * mottle.strength.draw(rng) * region * grain
    if happens(rng, ranges.dome_chance):
        moving += _dome(ranges.dome, rng, shape, scale)
    clutter.add_patient_clutter(rng, ranges.clutter, fixed, moving, scale)
    return Anatomy(fixed, moving)


def _phantom(ranges, rng, shape, scale):
    fixed = ranges.thickness.draw(rng) + ranges.unevenness * noise_field(rng, shape, 350 * scale)
    moving = ranges.ripple.draw(rng) * noise_field(rng, shape, 40 * scale, 3)
    clutter.add_phantom_parts(rng, ranges, fixed, scale)
    return Anatomy(fixed.astype(np.float32), moving)


def _simulation(ranges, rng, shape, scale):
    fixed = np.full(shape, ranges.background.draw(rng), np.float32)
    if happens(rng, ranges.shading_chance):
        fixed += ranges.shading.draw(rng) * noise_field(rng, shape, 300 * scale)
    clutter.add_vessel_walls(rng, ranges.vessels, fixed, scale)
    if happens(rng, ranges.spine_chance):
        fixed += _spine(ranges.spine, rng, shape, scale)
    fixed = cv2.GaussianBlur(fixed, (0, 0), 0.8)
    return Anatomy(fixed, np.zeros(shape, np.float32))


_BUILDERS = {settings.Human: _human, settings.Animal: _animal, settings.Phantom: _phantom,
             settings.Simulation: _simulation}
