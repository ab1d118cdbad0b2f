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
An aortic arch with its three arteries, made from a few numbers.

Coordinates are those of the image's optical frame with the origin at the isocentre: x right, y
down, z away from the X-ray source, in metres. The view is the one in which the arch lies open
(about 40 degrees left anterior oblique): the descending aorta on the right, the arch above, the
ascending aorta on the left. Sizes are those of adults (arch 24 mm wide, subclavian 9, carotid 7).
"""

from dataclasses import dataclass

from fedefm_ros.errors import FedefmError

import numpy as np

from scipy.interpolate import make_interp_spline

TARGETS = ('LSA', 'LCCA', 'RCCA')
"""Left subclavian, left common carotid, right common carotid artery."""
STEP = 0.0005
"""Metres between samples of a centreline."""
_MM = 1e-3
# The arch is half an ellipse; branches leave it at these angles from the descending side.
_ARCH_ANGLES = {'LSA': 62.0, 'LCCA': 88.0, 'BCT': 114.0}
_REACHED_DEPTH = 0.010


@dataclass(frozen=True)
class Vessel:
    """A tube; what lies inside its parent is not counted as part of it."""

    name: str
    points: np.ndarray
    """(N, 3) centreline in metres, ``STEP`` apart, away from the heart's side or the parent."""
    radii: np.ndarray
    """(N,) metres."""
    parent: str = ''
    ostium: int = 0
    """First sample outside the parent's wall."""


class Phantom:
    """One phantom; equal seeds give equal ones."""

    def __init__(self, seed: int = 0):
        """
        Build the vessels.

        :param seed: varies branching angles, courses and widths by up to 10 percent.
        """
        rng = np.random.default_rng((seed, 0xA0))
        self.seed = seed
        aorta = _aorta(rng)
        self.vessels = {'aorta': aorta}
        for vessel in _branches(rng, aorta):
            self.vessels[vessel.name] = _with_ostium(vessel, self.vessels[vessel.parent])
        #: Where the introducer ends, (3,): the wire comes out of it upwards, against y.
        self.entry = np.array([aorta.points[0, 0], 45.0 * _MM, aorta.points[0, 2]])

    def route(self, target: str) -> np.ndarray:
        """
        Return the way from the introducer's end to the end of an artery.

        :param target: one of ``TARGETS``.
        :returns: (N, 3) metres, ``STEP`` apart.
        :raises FedefmError: unknown target.
        """
        if target not in TARGETS:
            raise FedefmError(f'target {target!r} is unknown; known: {", ".join(TARGETS)}')
        names = [target]
        while self.vessels[names[0]].parent:
            names.insert(0, self.vessels[names[0]].parent)
        pieces = []
        for name, following in zip(names, [*names[1:], None]):
            points = self.vessels[name].points
            end = len(points)
            if following:
                start = self.vessels[following].points[0]
                end = int(np.argmin(np.linalg.norm(points - start, axis=1)))
            pieces.append(points[:end])
        way = np.vstack(pieces)
        begin = int(np.argmin(np.linalg.norm(way - self.entry, axis=1)))
        return _smooth_corners(way[begin:])

    def locate(self, point: np.ndarray) -> tuple[str, float]:
        """Return the vessel a point (3,) is in or nearest to, and the way from its ostium, m."""
        best, name, depth = np.inf, 'aorta', 0.0
        for vessel in self.vessels.values():
            apart = np.linalg.norm(vessel.points[vessel.ostium:] - point, axis=1)
            ratio = apart / vessel.radii[vessel.ostium:]
            nearest = int(np.argmin(ratio))
            if ratio[nearest] < best:
                best, name, depth = ratio[nearest], vessel.name, nearest * STEP
        return name, float(depth)

    def reached(self, point: np.ndarray, target: str) -> bool:
        """Return whether a wire's tip (3,) lies in a target artery, 10 mm past its ostium."""
        name, depth = self.locate(point)
        return name == target and depth >= _REACHED_DEPTH


def _aorta(rng):
    half_width, height = rng.uniform(30.0, 33.0), rng.uniform(31.0, 35.0)
    centre = np.array([rng.uniform(-1.0, 3.0), 15.0])
    turn = np.deg2rad(np.linspace(0.0, 180.0, 13))
    arch = centre + np.stack([half_width * np.cos(turn), -height * np.sin(turn)], axis=1)
    # The arch runs from behind on the left to the front on the right.
    depth = np.linspace(rng.uniform(3.0, 7.0), -rng.uniform(3.0, 7.0), len(arch))
    descending = [[arch[0, 0], y, depth[0]] for y in (85.0, 60.0, 45.0, 30.0)]
    ascending = [[arch[-1, 0] + 2.0, centre[1] + 15.0, depth[-1]],
                 [arch[-1, 0] + 5.0, centre[1] + 30.0, depth[-1] + 2.0]]
    points = _curve([*descending, *np.column_stack([arch, depth]), *ascending])
    along = np.linspace(0.0, 1.0, len(points))
    radii = np.interp(along, (0.0, 0.35, 0.7, 1.0), (10.5, 11.5, 12.5, 14.0)) \
        * rng.uniform(0.94, 1.06)
    return Vessel('aorta', points, radii * _MM)


def _branches(rng, aorta):
    """Yield the arteries; each starts on its parent's centreline."""
    def at(name):
        # The sample of the arch at an angle from its descending side.
        angle = np.deg2rad(_ARCH_ANGLES[name] + rng.uniform(-3.0, 3.0))
        arch = aorta.points[(aorta.points[:, 1] < 15.0 * _MM)]
        middle = np.array([arch[:, 0].mean(), 15.0 * _MM])
        directions = np.arctan2(middle[1] - arch[:, 1], arch[:, 0] - middle[0])
        return arch[np.argmin(np.abs(directions - angle))] / _MM

    def off(*offset):
        return np.array(offset) + rng.uniform(-1.0, 1.0, 3)

    start = at('LSA')
    yield _vessel(rng, 'LSA', 'aorta', (4.8, 4.2), [
        start, start + off(4.0, -13.0, 0.0), start + off(8.0, -27.0, 1.0),
        start + off(16.0, -42.0, 2.0), start + off(30.0, -52.0, 3.0)])
    start = at('LCCA')
    yield _vessel(rng, 'LCCA', 'aorta', (4.2, 3.6), [
        start, start + off(-0.5, -13.0, 0.0), start + off(-1.0, -28.0, -1.0),
        start + off(1.0, -43.0, -2.0), start + off(3.0, -62.0, -3.0)])
    start = at('BCT')
    trunk = [start, start + off(-3.0, -9.0, 0.0), start + off(-6.0, -17.0, -1.0),
             start + off(-8.5, -24.0, -2.0)]
    yield _vessel(rng, 'BCT', 'aorta', (6.4, 6.0), trunk)
    fork, back = trunk[-1], trunk[-2]
    lead = fork - 0.3 * (fork - back)
    yield _vessel(rng, 'RCCA', 'BCT', (4.2, 3.6), [
        lead, fork + off(-0.5, -8.0, 0.0), fork + off(2.0, -20.0, 0.0),
        fork + off(3.0, -38.0, 0.0)])
    yield _vessel(rng, 'RSA', 'BCT', (4.4, 3.8), [
        lead, fork + off(-8.0, -1.5, 0.0), fork + off(-18.0, -2.0, 1.0),
        fork + off(-32.0, 2.0, 3.0)])


def _vessel(rng, name, parent, radii, points):
    curve = _curve(points)
    widths = np.linspace(radii[0], radii[1], len(curve)) * rng.uniform(0.92, 1.08)
    return Vessel(name, curve, widths * _MM, parent)


def _curve(points_mm):
    """Return a smooth curve through points (K, 3) in mm as (N, 3) in metres, ``STEP`` apart."""
    points = np.asarray(points_mm, float) * _MM
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    dense = make_interp_spline(arc, points, k=3)(np.linspace(0.0, arc[-1], 40 * len(points)))
    return evenly(dense, STEP)


def evenly(points: np.ndarray, step: float) -> np.ndarray:
    """Return a polyline (N, D) at an even step, (M, D); the last point is kept."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0.0, arc[-1], max(2, int(round(arc[-1] / step)) + 1))
    return np.stack([np.interp(at, arc, axis) for axis in points.T], axis=1)


def _with_ostium(vessel, parent):
    """Return a vessel with the first sample outside its parent's wall marked."""
    apart = np.linalg.norm(vessel.points[:, None] - parent.points[None, ::4], axis=2)
    outside = (apart > parent.radii[None, ::4]).all(axis=1)
    return Vessel(vessel.name, vessel.points, vessel.radii, vessel.parent, int(outside.argmax()))


def _smooth_corners(way):
    """Return the way with the corners at branchings rounded off, as a wire would take them."""
    kernel = np.hanning(43)[1:-1]
    kernel /= kernel.sum()
    half = len(kernel) // 2
    padded = np.vstack([np.repeat(way[:1], half, axis=0), way, np.repeat(way[-1:], half, axis=0)])
    rounded = np.stack([np.convolve(axis, kernel, mode='valid') for axis in padded.T], axis=1)
    return evenly(rounded, STEP)
