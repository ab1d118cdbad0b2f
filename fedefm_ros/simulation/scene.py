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
from fedefm_ros.simulation import anatomy, devices
from fedefm_ros.simulation.bolus import Bolus
from fedefm_ros.simulation.config import find, SceneConfig
from fedefm_ros.simulation.detector import Detector, random_chain, scale_of
from fedefm_ros.simulation.placing import drawn_back, through, turned
from fedefm_ros.simulation.ranges import happens
from fedefm_ros.simulation.visibility import Background, bright_enough, seen_parts

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
    retracted_px: float = 0.0
    """How far all devices together are drawn back along their paths."""
    turn: float = 0.0
    """Angle in radians by which shaped tips are turned about their shafts."""
    table_px: tuple[float, float] = (0.0, 0.0)
    """Shift of all that lies on the table, x and y in pixels; the collimator stays."""
    seconds: float = 0.0
    """Time in the sequence: how far a bolus has come."""


class Scene:
    """One random set-up of a kind; ``render`` it at any number of poses."""

    def __init__(self, kind: SceneConfig | str, rng: np.random.Generator, size: int,
                 spacing_mm: float, device_count: int | None = None, margin: int = 0):
        """
        Draw the set-up.

        :param kind: what it is drawn from, or one of ``anatomy.KINDS`` as it is by default.
        :param size: width and height in pixels.
        :param spacing_mm: pixel pitch at the patient in millimetres.
        :param device_count: how many catheters or wires on their own; None draws it.
        :param margin: pixels beyond each side that there is something, for a table that moves.
        """
        self.config = config = find(kind)
        self.kind = config.kind
        self.size = size
        self.spacing_mm = spacing_mm
        self._margin = margin
        self._anatomy = anatomy.build(config.anatomy, rng, size + 2 * margin)
        seen = np.s_[margin:margin + size, margin:margin + size]
        self._seen_through = Background((self._anatomy.fixed + self._anatomy.moving)[seen])
        self._bolus = None
        self._chain = random_chain(rng, config.xray, (size, size))
        self._heart = rng.uniform(0.3, 0.7, 2) * size + margin
        self._heart_radius = config.motions.heart.radius.draw(rng) * size
        self._beat_px = rng.normal(0.0, config.motions.heart.shift, 2) * size
        self.devices = self._draw_devices(rng, device_count)

    def redraw_devices(self, rng: np.random.Generator, device_count: int | None = None) -> None:
        """Put other devices and another acquisition into the same anatomy."""
        self._chain = random_chain(rng, self.config.xray, (self.size, self.size))
        self.devices = self._draw_devices(rng, device_count)

    def inject(self, rng: np.random.Generator) -> None:
        """Let a bolus run from the first catheter's tip; without one, from anywhere."""
        root = None
        for points in (d.points for d in self.devices[:1] if d.kind == labels.CATHETER):
            root = points[-1], np.arctan2(*(points[-1] - points[-4])[::-1])
        size = self.size + 2 * self._margin
        self._bolus = Bolus(self.config.motions.bolus, rng, size, self.size / 512.0,
                            self.spacing_mm, root)

    @property
    def tips(self) -> np.ndarray:
        """Return where the devices end, (N, 2) x, y in pixels of the picture."""
        return np.array([device.points[-1] for device in self.devices]) - self._margin

    def _draw_devices(self, rng, count):
        ranges = self.config.devices
        drawn = _random_devices(rng, ranges, self.size + 2 * self._margin, self.spacing_mm, count,
                                scale_of((self.size, self.size)))
        return [bright_enough(
            device, ranges.visible, self._chain, self._seen_through, self._margin,
            ranges.visible.faint_wire.draw(rng) if device.kind == labels.GUIDEWIRE else 1.0)
            for device in drawn]

    def detector(self, rng: np.random.Generator) -> Detector:
        """Return a detector with this acquisition's settings."""
        return Detector(self._chain, rng)

    def render(self, detector: Detector, pose: Pose = Pose()) -> tuple[np.ndarray, GroundTruth]:
        """Return the frame (H, W) uint8 at a pose, and the truth."""
        table = np.array(pose.table_px) - self._margin
        breath = table + pose.breath_px
        attenuation = cv2.add(self._shifted(self._anatomy.moving, breath),
                              self._shifted(self._anatomy.fixed, table))
        if self._bolus:
            attenuation += self._shifted(self._bolus.at(pose.seconds), breath)
        placed = [device.moved(device.points + table) for device in self._place(pose)] \
            if table.any() else self._place(pose)
        for device in placed:
            devices.draw_attenuation(device, attenuation)
        return detector.expose(attenuation), self._truth(placed)

    def _shifted(self, layer, by):
        if not by.any():
            return layer
        shift = np.float32([[1, 0, by[0]], [0, 1, by[1]]])
        return cv2.warpAffine(layer, shift, (self.size, self.size),
                              borderMode=cv2.BORDER_REFLECT_101)

    def _place(self, pose):
        """Return the devices at a pose, in pixels of the anatomy."""
        placed = []
        for index, device in enumerate(self.devices):
            if pose.advance_px:
                keep = len(device.points) - int(pose.advance_px[index])
                points = device.points[:max(keep, device.start + 2, 2)]
                cut = len(device.points) - len(points)
                shaped = max(device.shaped - cut, 0)
                device = replace(device, points=points, shaped=shaped, thickness=None
                                 if device.thickness is None else device.thickness[:shaped])
            if pose.retracted_px or pose.turn:
                if device.hidden_until:  # a wire follows its catheter, which is before it
                    device = through(device, self.devices[index - 1], placed[-1].points)
                else:
                    device = drawn_back(device, pose.retracted_px)
                device = turned(device, pose.turn)
            placed.append(device)
        return [device.moved(self._beaten(device.points, pose.beat)) for device in placed] \
            if pose.beat else placed

    def _beaten(self, points, beat):
        pull = np.exp(-((points - self._heart) ** 2).sum(axis=1, keepdims=True)
                      / (2 * self._heart_radius**2))
        return points + beat * pull * self._beat_px

    def _truth(self, placed):
        mask = np.zeros((self.size, self.size), np.uint8)
        # Catheters last: a wire is not told apart from the catheter that covers it.
        for device in sorted(placed, key=lambda d: -d.kind):
            devices.draw_label(device, mask)
        mask[self._chain.field < 0.25] = labels.BACKGROUND
        instruments = []
        for device in placed:
            instruments.extend(seen_parts(
                device.kind, device.points[max(device.start, device.hidden_until):],
                self._chain.field, self.spacing_mm))
        return GroundTruth(mask, tuple(instruments))


def _random_devices(rng, ranges, size, spacing_mm, count, scale):
    if count is None:
        count = int(ranges.count.draw(rng))
    chosen = []
    for _ in range(count):
        if happens(rng, ranges.lone_wire):
            chosen.append(_turned(rng, devices.random_guidewire(
                rng, size, spacing_mm, ranges, scale=scale), ranges.turned))
            continue
        catheter = _turned(rng, devices.random_catheter(rng, size, spacing_mm, ranges, scale),
                           ranges.turned)
        chosen.append(catheter)
        if catheter.over_wire or happens(rng, ranges.wire_in_catheter):
            wire = devices.random_guidewire(rng, size, spacing_mm, ranges, catheter, scale)
            if wire.radius_px > 0.7 * catheter.radius_px:
                wire = replace(wire, radius_px=max(0.55, 0.6 * catheter.radius_px))
            chosen.append(_turned(rng, wire, ranges.turned))
    return chosen


def _turned(rng, device, chance):
    if not happens(rng, chance):
        return device
    angle = rng.uniform(0.0, 2.0 * np.pi)
    # Nobody works in a view in which the tip lies on the shaft.
    return turned(device, angle) if abs(np.cos(angle)) > 0.15 else device
