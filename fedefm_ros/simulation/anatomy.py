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
what stays with the table (spine, ribs, phantom box) and what moves with breath and heart.
"""

from dataclasses import dataclass

import cv2

from fedefm_ros.simulation import clutter
from fedefm_ros.simulation.fields import (
    blobs, coordinates, noise_field, soft_step, wavy_distance)

import numpy as np


@dataclass
class Anatomy:
    """Line integrals of a scene."""

    fixed: np.ndarray
    moving: np.ndarray


def build(kind: str, rng: np.random.Generator, size: int) -> Anatomy:
    """
    Return a random scene.

    :param kind: ``human``, ``animal``, ``phantom`` or ``simulation``.
    :param size: width and height in pixels.
    """
    scene = _BUILDERS[kind](rng, (size, size), size / 512.0)
    return Anatomy(np.asarray(scene.fixed, np.float32), np.asarray(scene.moving, np.float32))


def _body(rng, shape):
    """Return a smooth thickness map: the trunk thins out towards its sides."""
    base = rng.uniform(0.8, 1.6) + 0.22 * noise_field(rng, shape, rng.uniform(250, 500), 2)
    x, y = coordinates(shape)
    tilt = rng.normal(0.0, 0.5, 2) / shape[0]
    return base + tilt[0] * (x - shape[1] / 2) + tilt[1] * (y - shape[0] / 2)


def _tissue(rng, shape, scale):
    """Return fine texture: lung vessels, fat, bowel wall."""
    coarse = noise_field(rng, shape, rng.uniform(25, 70) * scale, 4, rng.uniform(0.45, 0.8))
    return rng.uniform(0.01, 0.06) * coarse


def _ribs(rng, shape, scale):
    """Return a fan of curved bands with dense rims (cortical bone)."""
    x, y = coordinates(shape)
    layer = np.zeros(shape, np.float32)
    for _ in range(rng.choice((1, 2))):
        count = int(rng.integers(3, 9))
        angle = rng.uniform(-1.1, 1.1) + rng.choice((0, np.pi))
        bow = rng.normal(0.0, 0.0022) / scale
        gap = rng.uniform(45, 110) * scale
        width = gap * rng.uniform(0.2, 0.42)
        strength, rim = rng.uniform(0.03, 0.22), rng.uniform(0.0, 0.2)
        rim_width = rng.uniform(1.2, 4.0) * scale
        first = -0.5 * gap * count + rng.uniform(-gap, gap)
        centre = np.array(shape[::-1]) * rng.uniform(0.3, 0.7, 2)
        step = np.array([-np.sin(angle), np.cos(angle)])
        reach = soft_step(noise_field(rng, shape, 260 * scale) + rng.uniform(-0.2, 1.0), 0.5)
        for index in range(count):
            through = centre + step * (first + index * gap * rng.uniform(0.9, 1.1))
            d = wavy_distance(rng, x, y, angle + rng.normal(0, 0.06), through,
                              bow * rng.uniform(0.7, 1.3), rng.uniform(0, 4) * scale)
            inside = soft_step(0.5 * width - np.abs(d), 1.5 * scale)
            border = np.exp(-((np.abs(d) - 0.5 * width) / rim_width) ** 2)
            layer += reach * (strength * inside + rim * strength * 3.0 * border)
    return layer


def _spine(rng, shape, scale):
    """Return a column of vertebrae: bodies, end plates, pedicles, spinous processes."""
    x, y = coordinates(shape)
    angle = np.pi / 2 + rng.normal(0.0, 0.18)
    through = (shape[1] * rng.uniform(0.0, 1.0), shape[0] / 2)
    across = wavy_distance(rng, x, y, angle, through, rng.normal(0, 0.0006) / scale, 0.0)
    along = (x - through[0]) * np.cos(angle) + (y - through[1]) * np.sin(angle)
    pitch = rng.uniform(65, 150) * scale
    half = pitch * rng.uniform(0.45, 0.8)
    disc = rng.uniform(0.1, 0.22) * pitch
    u = np.mod(along + rng.uniform(0, pitch) + 0.04 * across**2 / half, pitch) - pitch / 2
    # A waist: vertebral bodies are narrower in their middle.
    edge = half * (0.86 + 0.14 * (2 * np.abs(u) / pitch) ** 2) - np.abs(across)
    body = soft_step(edge, rng.uniform(1.5, 5) * scale)
    bone = soft_step((pitch - disc) / 2 - np.abs(u), rng.uniform(1.5, 4) * scale)
    strength = rng.uniform(0.1, 0.45)
    layer = strength * body * (0.55 + 0.45 * bone)
    plate = np.exp(-((np.abs(u) - (pitch - disc) / 2) / (rng.uniform(1.0, 2.5) * scale)) ** 2)
    layer += rng.uniform(0.02, 0.22) * body * plate
    side = np.exp(-(edge / (rng.uniform(1.2, 3.0) * scale)) ** 2)
    layer += rng.uniform(0.0, 0.16) * side * bone
    ring_r = pitch * rng.uniform(0.09, 0.15)
    ring = np.hypot((np.abs(across) - half * 0.55) * 1.3, u + pitch * 0.12) - ring_r
    layer += rng.uniform(0.0, 0.25) * np.exp(-(ring / (1.8 * scale)) ** 2)
    process = soft_step(pitch * 0.07 - np.abs(across), 3 * scale) \
        * soft_step(pitch * 0.25 - np.abs(u - pitch * 0.1), 4 * scale)
    layer += rng.uniform(0.0, 0.25) * process
    return layer + rng.uniform(0, 0.05) * body * noise_field(rng, shape, 9 * scale, 2)


def _dome(rng, shape, scale):
    """Return a large dense region with one long sharp border: diaphragm, heart shadow, liver."""
    x, y = coordinates(shape)
    radius = rng.uniform(0.35, 1.2) * shape[0]
    angle = rng.uniform(0.15 * np.pi, 0.85 * np.pi)
    rim = shape[0] * rng.uniform(0.3, 0.9)
    cx = shape[1] / 2 + np.cos(angle) * radius + rng.normal(0, 0.2) * shape[1]
    cy = rim + radius
    d = radius - np.hypot((x - cx) * rng.uniform(0.7, 1.2), y - cy)
    d = d + rng.uniform(0, 6) * scale * noise_field(rng, shape, 120 * scale)
    return rng.uniform(0.15, 0.75) * soft_step(d, rng.uniform(2, 25) * scale)


def _human(rng, shape, scale):
    fixed = _body(rng, shape)
    moving = _tissue(rng, shape, scale)
    region = rng.choice(('thorax', 'abdomen', 'pelvis', 'head'), p=(0.6, 0.18, 0.1, 0.12))
    if region == 'thorax':
        if rng.random() < 0.8:
            fixed += _ribs(rng, shape, scale)
        if rng.random() < 0.55:
            fixed += _spine(rng, shape, scale)
        for _ in range(rng.choice((0, 1, 2), p=(0.2, 0.5, 0.3))):
            moving += _dome(rng, shape, scale)
        moving -= rng.uniform(0.0, 0.8) * blobs(
            rng, shape, rng.uniform(150, 330) * scale, rng.uniform(0.15, 0.5),
            rng.uniform(3, 40) * scale)
    elif region == 'abdomen':
        if rng.random() < 0.85:
            fixed += _spine(rng, shape, scale)
        for _ in range(rng.integers(1, 5)):
            moving -= rng.uniform(0.05, 0.4) * blobs(
                rng, shape, rng.uniform(40, 130) * scale, rng.uniform(0.03, 0.2),
                rng.uniform(1.5, 8) * scale)
    else:
        # Skull base or pelvic ring: broad bony shells with sharp rims.
        for _ in range(rng.integers(2, 6)):
            shell = noise_field(rng, shape, rng.uniform(90, 300) * scale, 2)
            d = (shell - rng.normal(0, 0.5)) / (np.std(shell) * 2.5 / (150 * scale))
            fixed += rng.uniform(0.03, 0.2) * soft_step(d, 2 * scale)
            fixed += rng.uniform(0.0, 0.18) * np.exp(-(d / (rng.uniform(1.5, 5) * scale)) ** 2)
    clutter.add_patient_clutter(rng, fixed, moving, scale)
    return Anatomy(fixed, moving)


def _animal(rng, shape, scale):
    fixed = _body(rng, shape)
    moving = 1.3 * _tissue(rng, shape, scale)
    if rng.random() < 0.8:
        fixed += _spine(rng, shape, scale * rng.uniform(0.5, 0.9))
    if rng.random() < 0.6:
        fixed += 0.8 * _ribs(rng, shape, scale * rng.uniform(0.5, 0.9))
    for _ in range(rng.integers(1, 5)):
        mottle = blobs(rng, shape, rng.uniform(60, 160) * scale, rng.uniform(0.05, 0.25), 10)
        grain = 0.5 + 0.5 * np.tanh(2 * noise_field(rng, shape, rng.uniform(6, 22) * scale, 2))
        moving += rng.choice((-1, 1)) * rng.uniform(0.05, 0.35) * mottle * grain
    if rng.random() < 0.5:
        moving += _dome(rng, shape, scale)
    clutter.add_patient_clutter(rng, fixed, moving, scale, density=0.5)
    return Anatomy(fixed, moving)


def _phantom(rng, shape, scale):
    fixed = rng.uniform(0.3, 1.2) + 0.06 * noise_field(rng, shape, 350 * scale)
    moving = rng.uniform(0.0, 0.015) * noise_field(rng, shape, 40 * scale, 3)
    clutter.add_phantom_parts(rng, fixed, scale)
    return Anatomy(fixed.astype(np.float32), moving)


def _simulation(rng, shape, scale):
    fixed = np.full(shape, rng.uniform(0.05, 0.5), np.float32)
    if rng.random() < 0.5:
        fixed += rng.uniform(0.02, 0.1) * noise_field(rng, shape, 300 * scale)
    if rng.random() < 0.6:
        # Simulators show the vessels a catheter fits into: many times as wide as it is.
        clutter.add_vessel_tree(rng, fixed, 3.0 * scale, strength=rng.uniform(0.03, 0.3),
                                wall=True)
    if rng.random() < 0.3:
        fixed += 0.3 * _spine(rng, shape, scale)
    fixed = cv2.GaussianBlur(fixed, (0, 0), 0.8)
    return Anatomy(fixed, np.zeros(shape, np.float32))


_BUILDERS = {'human': _human, 'animal': _animal, 'phantom': _phantom, 'simulation': _simulation}
KINDS = tuple(_BUILDERS)
