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

"""The follower: a drive that pushes and turns a guidewire in a phantom, and what it senses."""

from dataclasses import dataclass, replace

from fedefm_ros.errors import FedefmError
from fedefm_ros.simulation.robot.phantom import Phantom, TARGETS
from fedefm_ros.simulation.robot.rod import Guidewire, Rod
from fedefm_ros.simulation.robot.walls import DistanceField, wall_forces, WallLaw

import numpy as np

_SUBSTEP = 0.002
_SETTLE_SECONDS = 0.4
#: The introducer's lumen, metres: it holds the wire straight until it is in the aorta.
INTRODUCER_RADIUS = 0.0007


@dataclass(frozen=True)
class DriveLimits:
    """What the drive can do; commands beyond it are cut."""

    insertion_speed: float = 0.04
    """m/s, in either direction."""
    rotation_speed: float = 6.3
    """rad/s, in either direction."""
    shortest: float = 0.030
    """Metres of wire beyond the introducer that are never drawn back."""
    longest: float = 0.200
    """Metres of wire beyond the introducer."""


@dataclass(frozen=True)
class RobotState:
    """What the drive and its sensors know after a step, and where the wire really is."""

    time: float
    """Simulated seconds since the start."""
    inserted: float
    """Metres of wire beyond the introducer."""
    rotation: float
    """Radians turned since the start; not wrapped."""
    force_max: float
    """Greatest normal force of the vessel's wall on one link during the step, N."""
    force_sum: float
    """Sum of the normal forces on all links at the end of the step, N."""
    nodes: np.ndarray
    """(N, 3) the wire from the introducer's end to its tip, metres."""
    vessel: str
    """In which the tip is: aorta, LSA, LCCA, BCT, RCCA or RSA."""
    depth: float
    """Metres from that vessel's ostium."""
    reached: bool
    """Whether the tip lies in the target."""

    @property
    def tip(self) -> np.ndarray:
        """Return where the tip is, (3,) metres."""
        return self.nodes[-1]


class EndovascularRobot:
    """
    A guidewire in a phantom of an aortic arch, moved by insertion and rotation velocities.

    Equal seeds and commands give equal motion. One link's inertia and all damping are chosen for
    stable steps of 2 ms, so the wire's shape is that of slow motion.
    """

    def __init__(self, seed: int = 0, target: str = 'LSA', *, wire: Guidewire | None = None,
                 limits: DriveLimits = DriveLimits(), law: WallLaw = WallLaw()):
        """
        Set up with the tip just beyond the introducer, turned at random.

        :param seed: of the phantom, the wire's stiffness and friction (+-20 percent).
        :param target: the artery that counts as reached, one of ``phantom.TARGETS``.
        :raises FedefmError: unknown target, or MuJoCo is not installed.
        """
        self.limits = limits
        self.phantom = Phantom(seed)
        self.target = target
        rng = np.random.default_rng((seed, 0xB0))
        if wire is None:
            factor = rng.uniform(0.8, 1.2)
            wire = replace(Guidewire(), shaft_stiffness=Guidewire.shaft_stiffness * factor,
                           tip_stiffness=Guidewire.tip_stiffness * factor)
            law = replace(law, friction=law.friction * rng.uniform(0.8, 1.2))
        self.wire, self._law = wire, law
        self.field = DistanceField(self.phantom)
        behind = wire.length - limits.shortest
        self._rod = Rod(wire, self.phantom.entry + np.array([0.0, behind, 0.0]), _SUBSTEP)
        self._start_angle = rng.uniform(0.0, 2.0 * np.pi)
        self._drives = np.array([0.0, self._start_angle])
        self._time = 0.0
        self._rod.positions[:2] = self._drives
        self._rod.refresh()
        self.state = self._move(_SETTLE_SECONDS, np.zeros(2))
        self._time = 0.0
        self.state = replace(self.state, time=0.0)

    @property
    def target(self) -> str:
        """Return the artery that counts as reached."""
        return self._target

    @target.setter
    def target(self, name: str) -> None:
        if name not in TARGETS:
            raise FedefmError(f'target {name!r} is unknown; known: {", ".join(TARGETS)}')
        self._target = name

    def step(self, dt: float, insertion: float, rotation: float) -> RobotState:
        """
        Drive for a while.

        :param dt: seconds, 0.001 to 1; done in steps of 2 ms at most.
        :param insertion: m/s, positive is forwards; cut to the limits.
        :param rotation: rad/s; cut to the limits.
        :raises FedefmError: not finite, or the time is out of range.
        """
        if not np.isfinite([dt, insertion, rotation]).all() or not 0.001 <= dt <= 1.0:
            raise FedefmError(f'cannot drive for {dt} s at {insertion} m/s and {rotation} rad/s: '
                              'numbers have to be finite and the time 0.001 to 1 s')
        limits = self.limits
        rates = np.clip([insertion, rotation], [-limits.insertion_speed, -limits.rotation_speed],
                        [limits.insertion_speed, limits.rotation_speed])
        self.state = self._move(dt, rates)
        return self.state

    def _move(self, dt, rates):
        count = max(1, int(round(dt / _SUBSTEP)))
        longest = min(self.limits.longest, self.wire.length) - self.limits.shortest
        peak, normal = 0.0, np.zeros(1)
        for _ in range(count):
            goal = self._drives + rates * (dt / count)
            goal[0] = np.clip(goal[0], 0.0, longest)
            real = (goal - self._drives) / _SUBSTEP
            forces, normal = self._forces()
            self._rod.advance(forces, goal, real)
            self._drives = goal
            peak = max(peak, float(normal.max()))
        self._time += dt
        return self._sense(peak, float(normal.sum()))

    def _forces(self):
        """Return the walls' forces on all links, and the vessel's normal forces."""
        middles = self._rod.middles
        distance, inward = self.field.at(middles)
        off = middles - self.phantom.entry
        inside = off[:, 1] > 0.0
        off[:, 1] = 0.0
        apart = np.sqrt((off * off).sum(axis=1))
        distance = np.where(inside, INTRODUCER_RADIUS - apart, distance)
        inward = np.where(inside[:, None], -off / np.maximum(apart, 1e-9)[:, None], inward)
        forces, normal = wall_forces(self._law, distance, inward, self._rod.velocities,
                                     self.wire.diameter / 2)
        return forces, np.where(inside, 0.0, normal)

    def _sense(self, peak, total):
        nodes = self._rod.nodes
        entry = self.phantom.entry
        out = int((nodes[:, 1] <= entry[1]).argmax())
        # Where the wire leaves the introducer, between two nodes.
        before, after = nodes[max(out - 1, 0)], nodes[out]
        part = (before[1] - entry[1]) / max(before[1] - after[1], 1e-9)
        leaves = before + np.clip(part, 0.0, 1.0) * (after - before)
        vessel, depth = self.phantom.locate(nodes[-1])
        return RobotState(
            time=self._time, inserted=float(self._drives[0]) + self.limits.shortest,
            rotation=float(self._drives[1]) - self._start_angle, force_max=peak,
            force_sum=total, nodes=np.vstack([leaves, nodes[out:]]), vessel=vessel, depth=depth,
            reached=self.phantom.reached(nodes[-1], self._target))
