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
Catheters and guidewires: their shapes, their build and how dark they are.

Sizes are in millimetres at the patient and become pixels by the sequence's spacing; attenuation
is the line integral (no unit) through the thickest place at the beam's mean energy.
"""

from dataclasses import dataclass, replace

from fedefm_ros import labels
from fedefm_ros.simulation.curves import integrate, smooth_noise
from fedefm_ros.simulation.fields import soft_step
from fedefm_ros.simulation.ranges import happens, Weights
from fedefm_ros.simulation.rendering import cylinder, hollow_cylinder, near_curve
from fedefm_ros.simulation.settings import Devices

import numpy as np

FRENCH_MM = 1.0 / 3.0
INCH_MM = 25.4

#: Distal shapes: (turn in degrees, length in mm) pieces from the shaft to the tip; positive turns
#: are mirrored at random. After the drawings in manufacturers' catalogues.
CATHETER_SHAPES = {
    'straight': ((0, 20),),
    'vertebral': ((0, 20), (40, 10), (0, 6)),
    'judkins_right': ((-25, 40), (20, 25), (85, 14), (0, 8)),
    'judkins_left': ((-20, 30), (150, 22), (0, 35), (85, 12), (0, 8)),
    'amplatz': ((-60, 30), (200, 50), (-50, 12)),
    'multipurpose': ((0, 25), (65, 18), (0, 10)),
    'simmons': ((-30, 40), (185, 25), (0, 45), (-40, 14)),
    'cobra': ((-70, 45), (150, 40), (0, 8)),
    'pigtail': ((0, 25), (420, 48)),
}
GUIDEWIRE_SHAPES = {
    'straight': ((0, 15),),
    'angled': ((0, 18), (45, 5), (0, 4)),
    'shaped': ((0, 12), (60, 3), (0, 2)),
    'j': ((0, 20), (185, 10)),
    'wide_j': ((0, 20), (190, 18)),
}


@dataclass(frozen=True)
class Band:
    """A stretch of a device that is denser than the rest: a marker band, a transducer."""

    from_tip_px: float
    """Of its middle."""
    length_px: float
    factor: float
    """Attenuation, of the shaft's."""


@dataclass(frozen=True)
class Device:
    """One device in one image; ``points`` may run beyond the image."""

    kind: int
    points: np.ndarray
    """(N, 2) x, y in pixels, 1 pixel apart, proximal end first."""
    radius_px: float
    wall: float
    """Share of the radius that is wall; 1 is solid."""
    attenuation: float
    tip_length_px: float
    """Length of the distal part whose attenuation differs (radiopaque coil, soft tip, marker)."""
    tip_factor: float
    filling: float = 0.0
    """Attenuation of what fills the lumen (contrast agent)."""
    texture: float = 0.0
    """Strength of the braid or coil pattern, 0 to 1."""
    texture_period_px: float = 4.0
    bands: tuple[Band, ...] = ()
    over_wire: bool = False
    """Runs over a thin wire that shows in it (monorail)."""
    start: int = 0
    """First sample that is drawn: a wire in a catheter may be seen only beyond its tip."""
    hidden_until: int = 0
    """First sample with a label: inside a catheter the pixels are the catheter's."""
    shaped: int = 0
    """How many of the last samples are the distal shape."""
    thickness: np.ndarray | None = None
    """(shaped,) what the beam meets of the distal shape, of what it would meet if the shape lay in
    the picture's plane: it is longer where it points at the detector. None: 1."""

    def moved(self, points: np.ndarray) -> 'Device':
        """Return the same device along other points."""
        return replace(self, points=points)


def draw_attenuation(device: Device, attenuation: np.ndarray) -> None:
    """Add a device's line integral to a map (H, W) float32, in place."""
    points = device.points[device.start:]
    if len(points) < 2:
        return
    reach = device.radius_px + 1.0
    for tube in near_curve(points, attenuation.shape, reach):
        if device.wall >= 1.0:
            profile = cylinder(tube.distance, device.radius_px)
        else:
            inner = device.radius_px * (1.0 - device.wall)
            profile = hollow_cylinder(tube.distance, device.radius_px, inner)
            if device.filling:
                profile = profile + device.filling / max(device.attenuation, 1e-6) \
                    * cylinder(tube.distance, max(inner, 0.5))
        to_tip = len(points) - 1 - tube.arc
        blend = np.clip((device.tip_length_px - to_tip) / 3.0, 0.0, 1.0)
        strength = device.attenuation * (1.0 + blend * (device.tip_factor - 1.0))
        for band in device.bands:
            inside = 0.5 * band.length_px - np.abs(to_tip - band.from_tip_px)
            strength = strength * (1.0 + soft_step(inside, 1.0) * (band.factor - 1.0))
        if device.thickness is not None and len(device.thickness):
            # Before the shape a strip of a few pixels leads to it, so that no edge shows.
            at = np.arange(1 - len(device.thickness), 1)
            strength = strength * np.interp(-to_tip, np.r_[at[0] - 4, at],
                                            np.r_[1.0, device.thickness])
        if device.texture:
            # A braid is two helices: its pattern leans with the distance from the axis.
            phase = 2 * np.pi / device.texture_period_px
            wave = np.cos(phase * (tube.arc + tube.distance)) \
                * np.cos(phase * (tube.arc - tube.distance))
            strength = strength * (1.0 + device.texture * wave)
        attenuation[tube.rows, tube.cols] += (strength * profile).astype(np.float32)


def draw_label(device: Device, mask: np.ndarray) -> None:
    """Write a device's label into a mask (H, W) uint8, in place."""
    points = device.points[max(device.start, device.hidden_until):]
    if len(points) < 2:
        return
    # A label is at least 3 px wide, as people draw them: thinner ones are lost to any resampling,
    # and half a pixel beside them would count as a miss.
    half = max(device.radius_px, 1.5)
    for tube in near_curve(points, mask.shape, half):
        mask[tube.rows, tube.cols] = device.kind


def random_shape(rng: np.random.Generator, shape, spacing_mm: float, length_px: int,
                 bend: float, scale: float = 1.0) -> tuple[np.ndarray, int]:
    """
    Return a curvature profile: a winding shaft, then a distal shape as it comes from the shelf.

    :param shape: pieces (turn in degrees, length in mm), see ``CATHETER_SHAPES``.
    :param length_px: length of the shaft in pixels.
    :param bend: how much the shaft winds, radians per 100 pixels (standard deviation).
    :param scale: how many pixels there are for each of an image of 512.
    :returns: (N,) radians per pixel, and how many of the last ones are the distal shape.
    """
    side = rng.choice((-1.0, 1.0))
    shaft = smooth_noise(rng, max(length_px, 8), rng.uniform(70, 220) * scale) * bend \
        / (70.0 * scale)
    distal = []
    for turn, length_mm in shape:
        # The same product looks smaller when it points at the detector, and no two bend alike.
        count = max(2, int(length_mm / spacing_mm * rng.uniform(0.5, 1.1)))
        angle = side * np.deg2rad(turn * rng.uniform(0.6, 1.15))
        distal.append(np.full(count, angle / count))
    distal = np.concatenate(distal)
    kernel = np.hanning(min(15, len(distal) | 1) + 2)[1:-1]
    distal = np.convolve(distal, kernel / kernel.sum(), mode='same')
    return np.concatenate([shaft, distal]), len(distal)


def random_entry(rng: np.random.Generator, size: int) -> tuple[np.ndarray, float]:
    """Return where a device enters a square image, (2,) x, y in pixels, and its heading."""
    side = rng.choice(4, p=(0.4, 0.3, 0.15, 0.15))  # top, bottom, left, right
    along = rng.uniform(0.08, 0.92) * size
    lean = rng.normal(0.0, 0.45)
    start, heading = (
        (np.array([along, -6.0]), np.pi / 2),
        (np.array([along, size + 5.0]), -np.pi / 2),
        (np.array([-6.0, along]), 0.0),
        (np.array([size + 5.0, along]), np.pi))[side]
    # Aim at the middle rather than out of the image.
    towards = np.arctan2(size / 2 - start[1], size / 2 - start[0])
    turn = np.angle(np.exp(1j * (towards - heading)))
    return start, heading + 0.5 * turn + lean


def random_catheter(rng: np.random.Generator, size: int, spacing_mm: float,
                    ranges: Devices, scale: float = 1.0) -> Device:
    """
    Return a random guide, diagnostic, micro or imaging catheter that enters a square image.

    :param scale: how many pixels there are for each of an image of 512.
    """
    build, contrast = ranges.catheter, ranges.contrast
    roles = {name: role for name, role in build.roles.items() if role.weight}
    name = Weights({name: role.weight for name, role in roles.items()}).draw(rng)
    french = {name: role.french.draw(rng) for name, role in roles.items()}[name]
    role = roles[name]
    radius = max(0.5 * french * FRENCH_MM / spacing_mm, 1.1)
    shape = CATHETER_SHAPES[role.shapes.draw(rng)]
    start, heading = random_entry(rng, size)
    length = int(size * build.shaft.draw(rng))
    bend = abs(rng.normal(0.0, role.bend))
    curvature, shaped = random_shape(rng, shape, spacing_mm, length, bend, scale)
    attenuation = contrast * build.attenuation.draw(rng)
    filled = happens(rng, build.filled)
    if role.transducer:  # a core in place of a lumen
        attenuation, filled = attenuation * role.transducer.shaft.draw(rng), False
    return Device(
        labels.CATHETER, integrate(start, heading, curvature), radius,
        wall=build.wall.draw(rng), attenuation=attenuation,
        tip_length_px=build.tip_mm.draw(rng) / spacing_mm, tip_factor=build.tip_factor.draw(rng),
        filling=contrast * build.filling.draw(rng) if filled else 0.0,
        texture=build.braid.draw(rng), texture_period_px=build.braid_period_px.draw(rng) * scale,
        bands=tuple(_bands(rng, role, spacing_mm)), over_wire=role.transducer is not None,
        shaped=shaped)


def _bands(rng, role, spacing_mm):
    """Yield a catheter's marker bands and its transducer."""
    if role.bands and happens(rng, role.bands.chance):
        count, from_tip = role.bands.count.draw(rng), role.bands.from_tip_mm.draw(rng)
        gap, length = role.bands.gap_mm.draw(rng), role.bands.length_mm.draw(rng)
        factor = role.bands.factor.draw(rng)
        for index in range(count):
            yield Band((from_tip + index * gap) / spacing_mm, length / spacing_mm, factor)
    if role.transducer:
        yield Band(role.transducer.from_tip_mm.draw(rng) / spacing_mm,
                   role.transducer.length_mm.draw(rng) / spacing_mm,
                   role.transducer.factor.draw(rng))


def random_guidewire(rng: np.random.Generator, size: int, spacing_mm: float, ranges: Devices,
                     inside: Device | None = None, scale: float = 1.0) -> Device:
    """
    Return a random guidewire: on its own, or through a catheter and out of its tip.

    :param inside: the catheter whose lumen guides the wire.
    :param scale: how many pixels there are for each of an image of 512.
    """
    build = ranges.guidewire
    over_wire = inside is not None and inside.over_wire
    thin = over_wire or happens(rng, build.thin)
    diameter = rng.choice(build.thin_inch if thin else build.thick_inch)
    radius = max(0.5 * diameter * INCH_MM / spacing_mm, 0.55)
    shape = GUIDEWIRE_SHAPES[build.shapes.draw(rng)]
    beyond = int(size * build.free.draw(rng))
    bend = abs(rng.normal(0.0, build.bend)) + 0.1
    curvature, shaped = random_shape(rng, shape, spacing_mm, beyond, bend, scale)
    hidden = start = 0
    if inside is None:
        entry, heading = random_entry(rng, size)
        points = integrate(entry, heading, np.concatenate([
            smooth_noise(rng, int(size * rng.uniform(0.05, 0.5)) + 8, 120 * scale) * 0.004 / scale,
            curvature]))
    else:
        shared = inside.points
        # It leaves in the direction of the catheter's last few pixels.
        step = shared[-1] - shared[-4]
        heading = np.arctan2(step[1], step[0])
        free = integrate(shared[-1], heading, curvature)
        points = np.vstack([shared, free[1:]])
        hidden = len(shared) - 1
        start = 0 if over_wire or happens(rng, build.seen_in_lumen) else hidden
    tip = build.attenuation.draw(rng) * (1.0 if thin else build.thick_factor)
    shaft = build.shaft.draw(rng)
    return Device(
        labels.GUIDEWIRE, points, radius, wall=1.0, attenuation=ranges.contrast * tip * shaft,
        tip_length_px=build.tip_mm.draw(rng) / spacing_mm, tip_factor=1.0 / shaft,
        texture=build.coil.draw(rng), texture_period_px=build.coil_period_px.draw(rng) * scale,
        start=start, hidden_until=hidden, shaped=shaped)
