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

"""Devices moved by an operator: drawn back along their path, turned about their shaft."""

from dataclasses import replace

from fedefm_ros.simulation.curves import resample
from fedefm_ros.simulation.devices import Device

import numpy as np

#: Samples of a shaft that are never drawn back, and over which its direction is taken.
_SHORTEST = 8
#: A tube that points at the detector is no longer than a bend of it.
_THICKEST = 3.0


def drawn_back(device: Device, pixels: float) -> Device:
    """
    Return a device whose shaft has been drawn back along its path.

    The distal shape keeps its form and follows; it is not drawn out of the picture altogether.
    """
    whole, first = device.points, len(device.points) - device.shaped
    keep = max(first - int(round(pixels)), min(_SHORTEST, first))
    if keep >= first:
        return device
    shape = attached(whole[first - 1:], whole[:first], whole[:keep])
    return device.moved(np.vstack([whole[:keep], shape[1:]]))


def turned(device: Device, angle: float) -> Device:
    """
    Return a device whose distal shape is turned about the shaft's end by an angle in radians.

    Shapes are flat; seen by parallel rays, one that is turned keeps its extent along the axis,
    and across it only the cosine's share. What thereby looks shorter is darker.
    """
    first = len(device.points) - device.shaped
    if not device.shaped or first < 2 or len(device.points) - first < 2:
        return device
    axis = _direction(device.points[:first])
    from_start = device.points[first - 1:] - device.points[first - 1]
    across = from_start @ np.array([-axis[1], axis[0]])
    shape = device.points[first - 1:] \
        + (np.cos(angle) - 1.0) * across[:, None] * np.array([-axis[1], axis[0]])
    shorter = np.linalg.norm(np.diff(shape, axis=0), axis=1)
    thickness = np.linalg.norm(np.diff(from_start, axis=0), axis=1) / np.maximum(shorter, 1e-3)
    if device.thickness is not None:
        thickness = thickness * device.thickness
    # A wire's samples are a pixel apart, however it is seen.
    even = resample(shape)
    arc = np.cumsum(shorter)
    thickness = np.interp(np.linspace(0.0, arc[-1], len(even))[1:], arc,
                          np.minimum(thickness, _THICKEST))
    return replace(device, points=np.vstack([device.points[:first], even[1:]]),
                   shaped=len(even) - 1, thickness=thickness)


def through(wire: Device, guide: Device, path: np.ndarray) -> Device:
    """
    Return a wire that comes out of a catheter which has been moved.

    :param guide: the catheter where it was when the wire was put into it.
    :param path: (N, 2) points of the catheter now.
    """
    free = attached(wire.points[wire.hidden_until:], guide.points, path)
    tip = len(path) - 1
    return replace(wire, points=np.vstack([path, free[1:]]), hidden_until=tip,
                   start=tip if wire.start else 0)


def attached(curve: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """
    Return a curve (N, 2) that began at the end of one path, moved to the end of another.

    It goes on in the direction of the path, as it did before.
    """
    old, new = _direction(before), _direction(now)
    cos, sin = old @ new, old[0] * new[1] - old[1] * new[0]
    return (curve - curve[0]) @ np.array([[cos, sin], [-sin, cos]]) + now[-1]


def _direction(path):
    """Return the direction of a path's end, a unit vector (2,)."""
    step = path[-1] - path[-min(4, len(path))]
    return step / max(np.hypot(*step), 1e-9)
