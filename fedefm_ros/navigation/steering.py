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
Steer a wire with a bent tip along a way in the image, by what can be seen alone.

A bent tip goes where it points. One picture does not tell to which side a turn of the wire will
swing it (the bend may point at the viewer or away), so the wire is turned until the picture shows
the tip pointing along the way, and only then pushed. A way that has fallen behind means a wrong
branch or an ostium missed: draw back until it lies ahead again.
"""

from dataclasses import dataclass

from fedefm_ros.errors import FedefmError

import numpy as np


@dataclass(frozen=True)
class Command:
    """What the drive is asked for."""

    insertion: float = 0.0
    """m/s, positive is forwards."""
    rotation: float = 0.0
    """rad/s."""

    @property
    def moves(self) -> bool:
        """Return whether anything is asked for at all."""
        return bool(self.insertion or self.rotation)


STOP = Command()


@dataclass(frozen=True)
class SteeringParameters:
    """Speeds and distances; the defaults suit 0.27 mm a pixel and 15 to 30 frames a second."""

    insertion_speed: float = 0.015
    """m/s."""
    rotation_speed: float = 2.0
    """rad/s."""
    look_ahead_px: float = 45.0
    """How far ahead on the way the tip is aimed."""
    tolerance_deg: float = 32.0
    """How far the tip may point beside that and still be pushed."""
    behind_deg: float = 105.0
    """A way that lies further than this beside both shaft and tip is behind."""
    behind_seconds: float = 0.15
    """How long that has to be seen: one picture may be wrong."""
    astray_px: float = 62.0
    """A tip further than this from the way is in a wrong vessel."""
    goal_px: float = 14.0
    """How near to the last point of the way is there."""
    stuck_seconds: float = 1.6
    """Pushing without progress for so long means stuck."""
    progress_px: float = 6.0
    """What counts as progress."""
    back_seconds: float = 0.8
    """How long to draw back when stuck."""
    miss_seconds: float = 0.4
    """How much longer to draw back after each miss of the same place, at most five times."""
    on_seconds: float = 4.0
    """How long it tries to go on where it can draw back no further."""
    longest_step: float = 2.0 / 15.0
    """Seconds from one picture to the next that count at most: two periods. While the drive was
    held or stopped, it neither turned nor got stuck."""
    ease_force: float = 0.6
    """Share of the force limit from which on it draws back."""


class Steering:
    """Follows one way; ``command`` once for every picture."""

    def __init__(self, way: np.ndarray, parameters: SteeringParameters = SteeringParameters()):
        """
        Take a way.

        :param way: (N, 2) x, y in pixels from where the wire comes in to the target, N >= 2; a
            polyline with points as far apart as one likes.
        :raises FedefmError: fewer than two points, or not finite.
        """
        way = np.asarray(way, float)
        if way.ndim != 2 or way.shape[1] != 2 or len(way) < 2 or not np.isfinite(way).all():
            raise FedefmError('a way has to be two or more finite points (x, y) in pixels, '
                              f'got {way.shape[0] if way.ndim else 0}')
        self.parameters = parameters
        self.way = _evenly(way)
        self._turned = 0.0
        self._turn = 1.0
        self._behind = False
        self._behind_since = None
        self._at = self._tip = None
        self._misses = 0
        self._farthest = 0
        self._back_until = self._on_until = -np.inf
        self._anchor = (-np.inf, np.zeros(2))
        # Its own clock, which stands while it is not asked.
        self._now, self._last_time = 0.0, None

    def command(self, now: float, centerline: np.ndarray, force_share: float = 0.0,
                ) -> tuple[Command, str]:
        """
        Return what to do, and why in a word.

        :param now: seconds, of any clock that does not go back.
        :param centerline: (N, 2) of the wire in pixels, tip last.
        :param force_share: contact force over its limit, 0 to 1.
        :returns: the command; 'there' with a zero command once the target is reached.
        """
        p = self.parameters
        elapsed = 0.0 if self._last_time is None else min(now - self._last_time, p.longest_step)
        self._last_time = now
        now = self._now = self._now + elapsed
        tip = centerline[-1]
        if np.linalg.norm(self.way[-1] - tip) <= p.goal_px:
            return STOP, 'there'
        at = self._along(tip)
        astray = np.linalg.norm(self.way[at] - tip) > p.astray_px
        aim = self.way[min(at + int(p.look_ahead_px), len(self.way) - 1)]
        tip_heading, shaft_heading = headings(centerline)
        # Half as much back to the way as along it: in wide vessels the tip runs along a wall.
        wanted = np.arctan2(*(aim - 0.5 * (tip + self.way[at]))[::-1])
        if now < self._back_until:
            return Command(-p.insertion_speed, self._turn * p.rotation_speed), 'drawing back'
        # Hysteresis, or it would go to and fro at an ostium.
        beside = min(abs(_wrapped(wanted - heading)) for heading in (shaft_heading, tip_heading))
        behind = (astray or beside > np.deg2rad(p.behind_deg - (25.0 if self._behind else 0.0))) \
            and now > self._on_until
        if not behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        behind = behind and (self._behind or now - self._behind_since >= p.behind_seconds)
        if behind and not self._behind:
            self._miss(at)
        if self._behind and not behind:
            # From further back the next attempt goes another way than the last.
            self._back_until = now + p.miss_seconds * min(self._misses - 1, 5)
        self._behind = behind
        stuck = self._stuck(now, tip)
        if self._behind and not stuck:
            return Command(-p.insertion_speed), 'the way is behind'
        if self._behind:
            # The drive is at its end: it has to go on from here.
            self._on_until = now + p.on_seconds
        elif stuck or force_share > p.ease_force:
            return self._draw_back(now)
        error = abs(_wrapped(wanted - tip_heading))
        # No turn points the tip better than its bend allows: after a while take what there is.
        tolerance = np.deg2rad(p.tolerance_deg) * (1.0 + self._turned / (2.0 * np.pi))
        if self._misses > 1:
            tolerance *= 0.6
        if error > tolerance:
            self._turned += p.rotation_speed * elapsed
            self._anchor = (now, tip)
            return Command(0.0, self._turn * p.rotation_speed), 'turning'
        self._turned = max(0.0, self._turned - 0.5 * p.rotation_speed * elapsed)
        return Command(p.insertion_speed), 'pushing'

    def _along(self, tip):
        """
        Return the sample of the way that the tip is at.

        Near to where it was before, by how far it moved since: beside a wrong branch runs a part
        of the way that is not due, and a tip in that branch must not count as being there.
        """
        low, high = 0, len(self.way)
        if self._at is not None:
            reach = min(25, 4 + int(2.0 * np.linalg.norm(tip - self._tip)))
            low, high = max(0, self._at - reach), self._at + reach + 1
        self._tip = tip
        self._at = low + int(np.argmin(((self.way[low:high] - tip) ** 2).sum(axis=1)))
        return self._at

    def _miss(self, at):
        """Count that the way was lost; anew once the tip had come farther than ever before."""
        if at > self._farthest + self.parameters.look_ahead_px:
            self._farthest, self._misses = at, 0
        self._misses += 1
        # What was good enough led here.
        self._turned = 0.0

    def _draw_back(self, now):
        """Begin to draw back, turning the other way than last time."""
        self._back_until = now + self.parameters.back_seconds
        self._turn = -self._turn
        self._anchor = (-np.inf, np.zeros(2))
        return Command(-self.parameters.insertion_speed), 'stuck'

    def _stuck(self, now, tip):
        since, where = self._anchor
        if not np.isfinite(since) or np.linalg.norm(tip - where) > self.parameters.progress_px:
            self._anchor = (now, tip)
            return False
        return now - since > self.parameters.stuck_seconds


def headings(centerline: np.ndarray, tip_px: float = 16.0, bend_px: float = 64.0,
             shaft_px: float = 105.0) -> tuple[float, float]:
    """
    Return where the tip and the shaft behind its bend point, radians from +x towards +y.

    :param centerline: (N, 2) pixels, tip last.
    :param tip_px: length of tip that is looked at.
    :param bend_px: distance from the tip at which the bend has begun.
    :param shaft_px: distance from the tip where the shaft's piece begins.
    """
    steps = np.linalg.norm(np.diff(centerline, axis=0), axis=1)
    to_tip = np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])

    def point(distance):
        return centerline[int(np.argmin(np.abs(to_tip - distance)))]
    tip = centerline[-1] - point(tip_px)
    shaft = point(bend_px) - point(shaft_px)
    if np.linalg.norm(shaft) < 8.0:
        shaft = tip  # a piece too short to have a shaft
    return float(np.arctan2(tip[1], tip[0])), float(np.arctan2(shaft[1], shaft[0]))


def _wrapped(angle):
    return (angle + np.pi) % (2.0 * np.pi) - np.pi


def _evenly(way):
    """Return the way with points 1 px apart."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    at = np.linspace(0.0, arc[-1], max(2, int(round(arc[-1])) + 1))
    return np.stack([np.interp(at, arc, axis) for axis in way.T], axis=1)
