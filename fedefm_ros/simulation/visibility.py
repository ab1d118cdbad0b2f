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

"""How plain a device is against what lies around it, and what makes it plain enough."""

from dataclasses import replace

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.simulation.curves import resample
from fedefm_ros.simulation.detector import scale_of, XrayChain
from fedefm_ros.simulation.devices import Device
from fedefm_ros.simulation.settings import Visibility

import numpy as np

#: Samples of a part below which it is too short to be an instrument.
_SHORTEST = 4


class Background:
    """What a device must stand out from: how much light is left, and how uneven the anatomy is."""

    def __init__(self, attenuation: np.ndarray):
        """Look at line integrals (H, W) of all but devices."""
        light = cv2.exp(-attenuation)
        #: Light that comes straight through relative to its mean, (H, W).
        self.light = light / max(float(light.mean()), 1e-6)
        #: Line integrals without what varies slowly, (H, W).
        self.uneven = attenuation - cv2.GaussianBlur(
            attenuation, (0, 0), 6.0 * scale_of(attenuation.shape))

    def along(self, points: np.ndarray, chain: XrayChain) -> tuple[float, float] | None:
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


def bright_enough(device: Device, visible: Visibility, chain: XrayChain,
                  background: Background, margin: int, share_of_limits: float = 1.0) -> Device:
    """
    Return the device, made denser where noise and anatomy would bury it.

    An operator who cannot see the wire turns the dose up; a label on what nobody can see would
    only teach guessing. The limit is a contrast of about two standard deviations a pixel of what
    lies around it, at which an eye finds the line at a glance, and a few grey levels.

    :param margin: how much farther the device's pixels count than the picture's.
    :param share_of_limits: share of the limits that is enough.
    """
    points = device.points[max(device.start, device.hidden_until):] - margin
    around = background.along(points, chain)
    if around is None:
        return device
    share, spread = around
    blurred = 2.0 * device.radius_px / (2.0 * device.radius_px + 2.0 * chain.blur_px)
    seen = min(device.attenuation, device.attenuation * device.tip_factor) + device.filling
    contrast = seen * blurred * share
    wanted = share_of_limits * max(
        visible.deviations * spread,
        visible.guidewire if device.kind == labels.GUIDEWIRE else visible.catheter)
    if contrast >= wanted:
        return device
    return replace(device, attenuation=device.attenuation * min(wanted / contrast, visible.denser))


def seen_parts(kind: int, points: np.ndarray, field: np.ndarray,
               spacing_mm: float) -> list[Instrument]:
    """
    Return the parts of a device that lie within the field, from its entry to its tip.

    One that leaves the field and comes back is seen as several instruments, of which only the
    last may end in the tip.

    :param points: (N, 2) x, y in pixels.
    :param field: (S, S), how much of the beam passes the collimator, 0 to 1.
    :param spacing_mm: pixel pitch at the patient in millimetres.
    """
    size = len(field)
    cells = np.rint(points).astype(int)
    inside = ((cells >= 0) & (cells < size)).all(axis=1)
    clipped = np.clip(cells, 0, size - 1)
    inside &= field[clipped[:, 1], clipped[:, 0]] >= 0.25
    where = np.nonzero(inside)[0]
    parts = []
    for part in np.split(where, np.nonzero(np.diff(where) > 1)[0] + 1):
        if len(part) < _SHORTEST:
            continue
        curve = resample(points[part[0]:part[-1] + 1], 2.0)
        length = float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum())
        parts.append(Instrument(kind, curve, tip_visible=bool(part[-1] == len(points) - 1),
                                length_mm=length * spacing_mm))
    return parts
