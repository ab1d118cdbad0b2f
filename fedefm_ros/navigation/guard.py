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
When to stop: what a controller must not drive on, and how it is told to go on.

Every fault zeroes the drive at once and is a stop: it stays until somebody says ``resume``. With
``patience``, a short fault is only a hold; a force over its limit stops at once all the same.
"""

from dataclasses import dataclass

from fedefm_ros import labels
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np


@dataclass(frozen=True)
class GuardParameters:
    """Limits; times in seconds."""

    frame_period: float = 1.0 / 15.0
    """Between pictures; silence of two of them zeroes the drive, and of three without a force."""
    max_age: float = 0.25
    """Of a picture, by its stamp, when it is to be acted on."""
    min_confidence: float = 0.6
    """Of the wire, 0 to 1."""
    max_jump_px: float = 60.0
    """Farther than this from where the tip was a picture before, it is not the same tip."""
    force_limit: float = 0.5
    """Greatest contact force, N."""
    patience: float = 0.0
    """How long a fault may last before it becomes a stop. 0: every fault is one at once, and
    somebody has to say that it goes on; more lets the drive go on by itself after a short one."""


class Guard:
    """
    Looks at every result before it is acted on.

    ``see`` gives the wire to act on or None; ``fault`` says why there is none, '' where there
    is; ``stopped`` is the fault that has become a stop, '' while there is none. Begins stopped:
    nothing moves before somebody says so.
    """

    def __init__(self, parameters: GuardParameters = GuardParameters()):
        """Begin stopped."""
        self.parameters = parameters
        self.stopped = 'not started'
        self.fault = ''
        #: Contact force over its limit, 0 to 1 while it is allowed.
        self.force_share = 0.0
        self._fault_since = None
        self._last_seen = None
        self._last_stamp = -np.inf
        self._tip = None
        self._before = None
        # Whether only another picture than the last one is a good one.
        self._frozen = False
        # Forces bring no time of their own: they count from the next look on, which is soon.
        self._felt = False
        self._last_force = None

    def resume(self) -> None:
        """Go on; what is still wrong, or a force sensor that is still silent, stops again."""
        self.stopped = self.fault = ''
        self._frozen = False
        self._fault_since = None
        self._last_seen = None
        self._last_stamp = -np.inf
        self._tip = self._before = None
        self.force_share = 0.0

    def stop(self, why: str) -> None:
        """Stop until ``resume``; the first reason stays."""
        self.stopped = self.stopped or why

    def feel(self, force: float) -> None:
        """Take a contact force in N; not a number or over the limit stops at once."""
        self._felt = True
        self.force_share = force / self.parameters.force_limit
        if not self.force_share <= 1.0:
            self.stop(f'contact force of {force:.2f} N, limit {self.parameters.force_limit:g} N')

    def see(self, now: float, stamp: float, age: float, instruments: tuple[Instrument, ...],
            driving: bool) -> Instrument | None:
        """
        Return the wire to act on, or None.

        :param now: seconds of a clock that nobody sets.
        :param stamp: of the picture, seconds of the camera's clock.
        :param age: of the picture, seconds.
        :param driving: whether the drive is asked to move; then the picture has to change.
        """
        self._last_seen = now
        instruments = tuple(found for found in instruments if _is_line(found.centerline))
        wire = self._same_wire(instruments)
        # Noise alone changes every picture a little. Once suspected, any change clears it.
        self._frozen = (driving or self._frozen) and _equal(instruments, self._before)
        fault = self._fault(stamp, age, wire) or self._no_force(now)
        self._last_stamp = max(self._last_stamp, stamp)
        self._before = instruments
        if wire is not None and fault != 'tip lost':
            # Followed during other faults as well: it was seen, if not to be acted on.
            self._tip = wire.tip
        self._note(now, fault)
        return None if fault or self.stopped else wire

    def tick(self, now: float) -> bool:
        """Return whether picture and force are recent enough to drive on; to be asked often."""
        if self._last_seen is None:
            self._last_seen = now
        silence = now - self._last_seen
        if silence > 2.0 * self.parameters.frame_period:
            self._note(now, f'no result for {silence:.2f} s', since=self._last_seen)
            # What comes now may be the last picture once more, and the drive stands already.
            self._frozen = True
            return False
        no_force = self._no_force(now)
        if no_force:
            self._note(now, no_force)
        return not (no_force or self.stopped)

    def _no_force(self, now):
        """Return for how long no force has been told, '' while forces come."""
        if self._felt:
            self._felt, self._last_force = False, now
        if self._last_force is None:
            return 'no force yet'
        silence = now - self._last_force
        return f'no force for {silence:.2f} s' if silence > 3.0 * self.parameters.frame_period \
            else ''

    def _fault(self, stamp, age, wire):
        """Return what is wrong with a result, '' where nothing is."""
        p = self.parameters
        if not -p.frame_period <= age <= p.max_age:
            return f'picture {age:.2f} s old'
        if stamp <= self._last_stamp:
            return 'stamps do not advance'
        if wire is None:
            return 'no instrument'
        if not wire.confidence >= p.min_confidence:
            return f'confidence {wire.confidence:.2f}'
        if not wire.tip_visible:
            return 'tip out of view'
        if self._tip is not None and np.linalg.norm(wire.tip - self._tip) > p.max_jump_px:
            return 'tip lost'
        return 'frozen picture' if self._frozen else ''

    def _same_wire(self, instruments):
        """Return the longest guidewire at first, then whose tip is nearest to the last one."""
        if self._tip is None:
            wires = [found for found in instruments if found.kind == labels.GUIDEWIRE]
            return max(wires, key=lambda wire: wire.length_px, default=None)

        def distance(found):
            # A piece of wire that is taken for a catheter is still where the tip is.
            doubt = 0.0 if found.kind == labels.GUIDEWIRE else 0.4 * self.parameters.max_jump_px
            return np.linalg.norm(found.tip - self._tip) + doubt
        return min(instruments, key=distance, default=None)

    def _note(self, now, fault, since=None):
        self.fault = fault
        if not fault:
            self._fault_since = None
            return
        if self._fault_since is None:
            self._fault_since = now if since is None else since
        if now - self._fault_since >= self.parameters.patience:
            self.stop(fault)


def _is_line(points):
    """Return whether a centreline is one: at least two points, all finite."""
    return len(points) >= 2 and bool(np.isfinite(points).all())


def _equal(found, before):
    """Return whether two results are the same to a thousandth of a pixel."""
    return before is not None and len(found) == len(before) and all(
        a.kind == b.kind and a.centerline.shape == b.centerline.shape
        and np.abs(a.centerline - b.centerline).max() < 1e-3 for a, b in zip(found, before))
