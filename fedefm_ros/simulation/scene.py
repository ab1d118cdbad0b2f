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

"""A patient (or phantom) with devices in it, and what the X-ray chain makes of them."""

from dataclasses import dataclass, replace

import cv2

from fedefm_ros import labels
from fedefm_ros.imaging.frame import GroundTruth
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.simulation import anatomy, devices
from fedefm_ros.simulation.curves import resample
from fedefm_ros.simulation.detector import Detector, random_chain

import numpy as np


@dataclass(frozen=True)
class Pose:
    """Where things are at one moment of a sequence."""

    breath_px: tuple[float, float] = (0.0, 0.0)
    """Shift of the moving layer, x and y in pixels."""
    beat: float = 0.0
    """Phase of the heart's displacement, -1 to 1."""
    advance_px: tuple[float, ...] = ()
    """For each device, how much of its distal end is not yet in view; empty: all of it is."""


class Scene:
    """One random set-up of a kind; ``render`` it at any number of poses."""

    def __init__(self, kind: str, rng: np.random.Generator, size: int, spacing_mm: float,
                 device_count: int | None = None):
        """
        Draw the set-up.

        :param kind: one of ``anatomy.KINDS``.
        :param size: width and height in pixels.
        :param spacing_mm: pixel pitch at the patient in millimetres.
        :param device_count: how many catheters or wires on their own; None draws it.
        """
        self.kind = kind
        self.size = size
        self.spacing_mm = spacing_mm
        self._anatomy = anatomy.build(kind, rng, size)
        self._seen_through = _Background(self._anatomy.fixed + self._anatomy.moving)
        self._chain = random_chain(rng, kind, (size, size))
        self._heart = rng.uniform(0.3, 0.7, 2) * size
        self._heart_radius = rng.uniform(0.15, 0.4) * size
        self._beat_px = rng.normal(0.0, 0.012, 2) * size
        self.devices = self._draw_devices(rng, device_count)

    def redraw_devices(self, rng: np.random.Generator, device_count: int | None = None) -> None:
        """Put other devices and another acquisition into the same anatomy."""
        self._chain = random_chain(rng, self.kind, (self.size, self.size))
        self.devices = self._draw_devices(rng, device_count)

    def _draw_devices(self, rng, count):
        drawn = _random_devices(rng, self.kind, self.size, self.spacing_mm, count)
        return [_bright_enough(device, self._chain, self._seen_through) for device in drawn]

    def detector(self, rng: np.random.Generator) -> Detector:
        """Return a detector with this acquisition's settings."""
        return Detector(self._chain, rng)

    def render(self, detector: Detector, pose: Pose = Pose()) -> tuple[np.ndarray, GroundTruth]:
        """Return the frame (H, W) uint8 at a pose, and the truth."""
        dx, dy = pose.breath_px
        attenuation = self._anatomy.moving
        if dx or dy:
            shift = np.float32([[1, 0, dx], [0, 1, dy]])
            attenuation = cv2.warpAffine(attenuation, shift, (self.size, self.size),
                                         borderMode=cv2.BORDER_REFLECT_101)
        attenuation = cv2.add(attenuation, self._anatomy.fixed)
        placed = self._place(pose)
        for device in placed:
            devices.draw_attenuation(device, attenuation)
        return detector.expose(attenuation), self._truth(placed)

    def _place(self, pose):
        placed = []
        for index, device in enumerate(self.devices):
            points = device.points
            if pose.advance_px:
                keep = len(points) - int(pose.advance_px[index])
                points = points[:max(keep, device.start + 2, 2)]
            if pose.beat:
                pull = np.exp(-((points - self._heart) ** 2).sum(axis=1, keepdims=True)
                              / (2 * self._heart_radius**2))
                points = points + pose.beat * pull * self._beat_px
            placed.append(device.moved(points))
        return placed

    def _truth(self, placed):
        mask = np.zeros((self.size, self.size), np.uint8)
        # Catheters last: a wire is not told apart from the catheter that covers it.
        for device in sorted(placed, key=lambda d: -d.kind):
            devices.draw_label(device, mask)
        mask[self._chain.field < 0.25] = labels.BACKGROUND
        instruments = []
        for device in placed:
            instruments.extend(self._visible(device))
        return GroundTruth(mask, tuple(instruments))

    def _visible(self, device):
        """Return the device's part within the field as one instrument, or none."""
        points = device.points[max(device.start, device.hidden_until):]
        cells = np.rint(points).astype(int)
        inside = ((cells >= 0) & (cells < self.size)).all(axis=1)
        clipped = np.clip(cells, 0, self.size - 1)
        inside &= self._chain.field[clipped[:, 1], clipped[:, 0]] >= 0.25
        where = np.nonzero(inside)[0]
        if len(where) < 4:
            return []
        # The last stretch in view: a device that leaves and comes back counts from there on.
        breaks = np.nonzero(np.diff(where) > 1)[0]
        first = where[breaks[-1] + 1] if len(breaks) else where[0]
        seen = points[first:where[-1] + 1]
        if len(seen) < 4:
            return []
        curve = resample(seen, 2.0)
        length = float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum())
        return [Instrument(device.kind, curve, tip_visible=bool(inside[-1]),
                           length_mm=length * self.spacing_mm)]


class _Background:
    """What a device must stand out from: how much light is left, and how uneven the anatomy is."""

    def __init__(self, attenuation):
        light = cv2.exp(-attenuation)
        #: Light that comes straight through relative to its mean, (H, W).
        self.light = light / max(float(light.mean()), 1e-6)
        #: Line integrals without what varies slowly, (H, W).
        self.uneven = attenuation - cv2.GaussianBlur(attenuation, (0, 0), 6.0)

    def along(self, points, chain):
        """
        Return what a curve passes through, or None where no part of it is in the field.

        :returns: the primary light's share of all, which is what scatter leaves of any contrast,
            and the standard deviation of the surroundings' logarithm, noise and anatomy.
        """
        cells = np.rint(points).astype(int)
        cells = cells[((cells >= 0) & (cells < chain.field.shape[0])).all(axis=1)]
        cells = cells[chain.field[cells[:, 1], cells[:, 0]] > 0.25]
        if len(cells) < 4:
            return None
        light = max(float(np.quantile(self.light[cells[:, 1], cells[:, 0]], 0.1)), 0.02)
        share = light / (light + chain.scatter)
        noise = np.sqrt((1.0 + chain.scatter) / (chain.photons * (light + chain.scatter)))
        uneven = float(self.uneven[cells[:, 1], cells[:, 0]].std())
        return share, float(np.hypot(noise, share * uneven))


def _bright_enough(device, chain, background):
    """
    Return the device, made denser where noise and anatomy would bury it.

    An operator who cannot see the wire turns the dose up; a label on what nobody can see would
    only teach guessing. The limit is a contrast of about two standard deviations a pixel of what
    lies around it, at which an eye finds the line at a glance, and a few grey levels.
    """
    around = background.along(device.points[max(device.start, device.hidden_until):], chain)
    if around is None:
        return device
    share, spread = around
    blurred = 2.0 * device.radius_px / (2.0 * device.radius_px + 2.0 * chain.blur_px)
    seen = min(device.attenuation, device.attenuation * device.tip_factor) + device.filling
    contrast = seen * blurred * share
    wanted = max(2.2 * spread, 0.05 if device.kind == labels.GUIDEWIRE else 0.1)
    if contrast >= wanted:
        return device
    return replace(device, attenuation=device.attenuation * min(wanted / contrast, 20.0))


def _random_devices(rng, kind, size, spacing_mm, count):
    contrast = {'simulation': 2.0, 'phantom': 1.3}.get(kind, 1.0)
    if count is None:
        count = int(rng.choice((0, 1, 2), p=(0.07, 0.75, 0.18)))
    chosen = []
    for _ in range(count):
        if rng.random() < 0.2:
            chosen.append(devices.random_guidewire(rng, size, spacing_mm, contrast=contrast))
            continue
        catheter = devices.random_catheter(rng, size, spacing_mm, contrast)
        chosen.append(catheter)
        if rng.random() < 0.62:
            wire = devices.random_guidewire(rng, size, spacing_mm, catheter, contrast)
            if wire.radius_px > 0.7 * catheter.radius_px:
                wire = replace(wire, radius_px=max(0.55, 0.6 * catheter.radius_px))
            chosen.append(wire)
    return chosen
