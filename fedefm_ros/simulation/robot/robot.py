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

"""The follower: drives that push and turn a guidewire and a catheter in a phantom, and sensors."""

from dataclasses import dataclass, replace

from fedefm_ros.errors import FedefmError
from fedefm_ros.simulation.robot.driven_rod import CATHETER_LIMITS, DriveLimits, DrivenRod
from fedefm_ros.simulation.robot.driven_rod import in_lumen
from fedefm_ros.simulation.robot.phantom import Phantom, TARGETS
from fedefm_ros.simulation.robot.rod import Catheter, Guidewire
from fedefm_ros.simulation.robot.walls import DistanceField, wall_forces, WallLaw

import numpy as np

_SUBSTEP = 0.002
_SETTLE_SECONDS = 0.4
#: The introducer's lumen, metres: it holds the wire straight until it is in the aorta.
INTRODUCER_RADIUS = 0.0007
#: The same for the catheter around it.
_SHEATH_RADIUS = 0.0009
#: N/m at each link in the catheter's lumen: steps of 2 ms are stable to some 700.
_LUMEN_STIFFNESS = 500.0
_STANDING = np.zeros(2)


@dataclass(frozen=True)
class RobotState:
    """What the drives and sensors know after a step, and where wire and catheter really are."""

    time: float
    """Simulated seconds since the start."""
    inserted: float
    """Metres of wire beyond the introducer."""
    rotation: float
    """Radians the wire was turned since the start; not wrapped."""
    force_max: float
    """Greatest normal force of the vessel's wall on one link of either during the step, N."""
    force_sum: float
    """Sum of the normal forces on all links at the end of the step, N."""
    nodes: np.ndarray
    """(N, 3) the wire from the introducer's end to its tip, metres."""
    vessel: str
    """In which the wire's tip is: aorta, LSA, LCCA, BCT, RCCA or RSA."""
    depth: float
    """Metres from that vessel's ostium."""
    reached: bool
    """Whether the wire's tip lies in the target."""
    catheter: np.ndarray
    """(M, 3) the catheter from the introducer's end to its tip; one point while it is not out."""
    catheter_inserted: float = 0.0
    """Metres of catheter beyond the introducer."""
    catheter_rotation: float = 0.0
    """Radians the catheter was turned since the start; not wrapped."""

    @property
    def tip(self) -> np.ndarray:
        """Return where the wire's tip is, (3,) metres."""
        return self.nodes[-1]


class EndovascularRobot:
    """
    Guidewire and catheter in a phantom of an aortic arch, moved by insertion and rotation.

    The catheter starts with its tip at the introducer's end. Equal seeds and commands give equal
    motion. One link's inertia and all damping are chosen for stable steps of 2 ms, so the shapes
    are those of slow motion.
    """

    def __init__(self, seed: int = 0, target: str = 'LSA', *, wire: Guidewire | None = None,
                 catheter: Catheter = Catheter(), limits: DriveLimits = DriveLimits(),
                 catheter_limits: DriveLimits = CATHETER_LIMITS, law: WallLaw = WallLaw()):
        """
        Set up with the wire's tip just beyond the introducer, turned at random.

        :param seed: of the phantom, the wire's stiffness and friction (+-20 percent).
        :param target: the artery that counts as reached, one of ``phantom.TARGETS``.
        :raises FedefmError: unknown target, or MuJoCo is not installed.
        """
        self.limits, self.catheter_limits = limits, catheter_limits
        self.phantom = Phantom(seed)
        self.target = target
        rng = np.random.default_rng((seed, 0xB0))
        if wire is None:
            factor = rng.uniform(0.8, 1.2)
            wire = replace(Guidewire(), shaft_stiffness=Guidewire.shaft_stiffness * factor,
                           tip_stiffness=Guidewire.tip_stiffness * factor)
            law = replace(law, friction=law.friction * rng.uniform(0.8, 1.2))
        self.wire, self.catheter, self._law = wire, catheter, law
        self._lumen_law = replace(law, stiffness=_LUMEN_STIFFNESS)
        self.field = DistanceField(self.phantom)
        self._wire = DrivenRod(wire, limits, self.phantom.entry, INTRODUCER_RADIUS, _SUBSTEP,
                               rng.uniform(0.0, 2.0 * np.pi))
        self._catheter = DrivenRod(catheter, catheter_limits, self.phantom.entry, _SHEATH_RADIUS,
                                   _SUBSTEP)
        self._time = 0.0
        self.state = self._move(_SETTLE_SECONDS, _STANDING, _STANDING)
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

    def step(self, dt: float, insertion: float, rotation: float, catheter_insertion: float = 0.0,
             catheter_rotation: float = 0.0) -> RobotState:
        """
        Drive for a while.

        :param dt: seconds, 0.001 to 1; done in steps of 2 ms at most.
        :param insertion: of the wire, m/s, positive is forwards; cut to the limits.
        :param rotation: of the wire, rad/s; cut to the limits.
        :param catheter_insertion: of the catheter, m/s; cut to its limits.
        :param catheter_rotation: of the catheter, rad/s; cut to its limits.
        :raises FedefmError: not finite, or the time is out of range.
        """
        rates = [insertion, rotation, catheter_insertion, catheter_rotation]
        if not np.isfinite([dt, *rates]).all() or not 0.001 <= dt <= 1.0:
            raise FedefmError(
                f'cannot drive for {dt} s at {insertion} m/s and {rotation} rad/s, the catheter '
                f'at {catheter_insertion} m/s and {catheter_rotation} rad/s: numbers have to be '
                'finite and the time 0.001 to 1 s')
        self.state = self._move(dt, self.limits.cut(insertion, rotation),
                                self.catheter_limits.cut(catheter_insertion, catheter_rotation))
        return self.state

    def _move(self, dt, rates, catheter_rates):
        count = max(1, int(round(dt / _SUBSTEP)))
        peak, total = 0.0, 0.0
        for _ in range(count):
            # A catheter that is drawn back all the way touches nothing and costs nothing.
            out = self._catheter.inserted > 0.0 or catheter_rates.any()
            peak_now, total = self._substep(rates, catheter_rates, dt / count, out)
            peak = max(peak, peak_now)
        self._time += dt
        return self._sense(peak, total)

    def _substep(self, rates, catheter_rates, seconds, out):
        """Move both by one step; return the wall's greatest force on a link, and the sum, N."""
        wire, catheter = self._wire, self._catheter
        around, velocities = wire.surroundings(self.field), wire.rod.velocities
        radius = 0.5 * self.wire.diameter
        forces, felt = wall_forces(self._law, around.distance, around.inward, velocities, radius)
        felt = np.where(around.held, 0.0, felt)
        if out:
            contact = in_lumen(wire, catheter, 0.5 * self.catheter.lumen)
            moving = catheter.rod.velocities
            held, _ = wall_forces(self._lumen_law, contact.distance, contact.inward,
                                  velocities[contact.wire] - moving[contact.catheter], radius)
            forces[contact.wire], felt[contact.wire] = held, 0.0
            pushed, catheter_felt = self._on_catheter(moving)
            np.subtract.at(pushed, contact.catheter, held)
            felt = np.concatenate([felt, catheter_felt])
            catheter.advance(pushed, catheter_rates, seconds)
        wire.advance(forces, rates, seconds)
        return float(felt.max()), float(felt.sum())

    def _on_catheter(self, velocities):
        """Return the wall's forces on the catheter's links, and the vessel's normal forces."""
        around = self._catheter.surroundings(self.field)
        forces, normal = wall_forces(self._law, around.distance, around.inward, velocities,
                                     0.5 * self.catheter.diameter)
        return forces, np.where(around.held, 0.0, normal)

    def _sense(self, peak, total):
        nodes = self._wire.outside()
        out = self._catheter.inserted > 0.0
        vessel, depth = self.phantom.locate(nodes[-1])
        return RobotState(
            time=self._time, inserted=self._wire.inserted, rotation=self._wire.rotation,
            force_max=peak, force_sum=total, nodes=nodes, vessel=vessel, depth=depth,
            reached=self.phantom.reached(nodes[-1], self._target),
            catheter=self._catheter.outside() if out else self.phantom.entry[None].copy(),
            catheter_inserted=self._catheter.inserted,
            catheter_rotation=self._catheter.rotation)
