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
A rod that a drive pushes through the introducer into the phantom, and the wire in its lumen.

Wire and catheter are two rods that slide over each other. Neither stretches, so the wire's point
at a distance from the introducer lies in the catheter's point at that distance: it is pushed
towards that point's axis as a wall would push it, and the catheter is pushed back.
"""

from dataclasses import dataclass

from fedefm_ros.simulation.robot.rod import Rod, RodBuild
from fedefm_ros.simulation.robot.walls import DistanceField

import numpy as np


@dataclass(frozen=True)
class DriveLimits:
    """What a drive can do; commands beyond it are cut. The defaults are the wire's."""

    insertion_speed: float = 0.04
    """m/s, in either direction."""
    rotation_speed: float = 6.3
    """rad/s, in either direction."""
    shortest: float = 0.030
    """Metres beyond the introducer that are never drawn back."""
    longest: float = 0.200
    """Metres beyond the introducer."""

    def cut(self, insertion: float, rotation: float) -> np.ndarray:
        """Return m/s and rad/s within the limits, (2,)."""
        most = [self.insertion_speed, self.rotation_speed]
        return np.clip([insertion, rotation], np.negative(most), most)


CATHETER_LIMITS = DriveLimits(insertion_speed=0.02, rotation_speed=3.15, shortest=0.0,
                              longest=0.110)
"""A catheter follows the wire: more slowly, not as far, and all the way back."""


@dataclass(frozen=True)
class Surroundings:
    """What is around points of a rod: the vessel, or a tube that holds them."""

    distance: np.ndarray
    """(N,) metres of the axis from the wall, positive in the lumen."""
    inward: np.ndarray
    """(N, 3) unit vectors away from the wall."""
    held: np.ndarray
    """(N,) whether it is another tube than the vessel."""


class DrivenRod:
    """One rod with its drive: how far it is in, how far it is turned, and its own clock's step."""

    def __init__(self, build: RodBuild, limits: DriveLimits, entry: np.ndarray, sheath: float,
                 timestep: float, angle: float = 0.0):
        """
        Lay the rod straight into the introducer.

        :param entry: (3,) metres, where the introducer ends.
        :param sheath: radius in metres of the introducer's lumen.
        :param timestep: seconds of one step.
        :param angle: radians it is turned at first.
        """
        self.build, self.limits = build, limits
        self._entry, self._sheath, self._timestep = entry, sheath, timestep
        behind = build.length - limits.shortest
        self.rod = Rod(build, entry + np.array([0.0, behind, 0.0]), timestep)
        self._from_tip = build.length - np.cumsum(self.rod.lengths) + 0.5 * self.rod.lengths
        self.start_angle = angle
        self.drives = np.array([0.0, angle])
        self.rod.positions[:2] = self.drives
        self.rod.refresh()

    @property
    def inserted(self) -> float:
        """Return the metres beyond the introducer."""
        return float(self.drives[0]) + self.limits.shortest

    @property
    def rotation(self) -> float:
        """Return the radians turned since the start; not wrapped."""
        return float(self.drives[1]) - self.start_angle

    @property
    def arcs(self) -> np.ndarray:
        """Return how far beyond the introducer each link's middle is along the rod, (N,) m."""
        return self.inserted - self._from_tip

    def advance(self, forces: np.ndarray, rates: np.ndarray, seconds: float) -> None:
        """
        Step once.

        :param forces: (N, 3) N on the links' middles.
        :param rates: insertion m/s and rotation rad/s, (2,).
        :param seconds: for which the drive moves at these rates during the step.
        """
        goal = self.drives + rates * seconds
        longest = min(self.limits.longest, self.build.length) - self.limits.shortest
        goal[0] = np.clip(goal[0], 0.0, longest)
        self.rod.advance(forces, goal, (goal - self.drives) / self._timestep)
        self.drives = goal

    def surroundings(self, field: DistanceField) -> Surroundings:
        """Return what is around each link's middle: vessel, or introducer below its end."""
        middles = self.rod.middles
        distance, inward = field.at(middles)
        off = middles - self._entry
        inside = off[:, 1] > 0.0
        off[:, 1] = 0.0
        apart = np.sqrt((off * off).sum(axis=1))
        distance = np.where(inside, self._sheath - apart, distance)
        inward = np.where(inside[:, None], -off / np.maximum(apart, 1e-9)[:, None], inward)
        return Surroundings(distance, inward, inside)

    def outside(self) -> np.ndarray:
        """Return the rod from the introducer's end to its tip, (M, 3) metres, M >= 2."""
        nodes = self.rod.nodes
        out = int((nodes[:, 1] <= self._entry[1]).argmax())
        # Where it leaves the introducer, between two nodes.
        before, after = nodes[max(out - 1, 0)], nodes[out]
        part = (before[1] - self._entry[1]) / max(before[1] - after[1], 1e-9)
        leaves = before + np.clip(part, 0.0, 1.0) * (after - before)
        return np.vstack([leaves, nodes[out:]])


@dataclass(frozen=True)
class Contact:
    """Where a wire runs in a catheter's lumen."""

    wire: np.ndarray
    """(K,) which of the wire's links."""
    catheter: np.ndarray
    """(K,) in which of the catheter's links each of them is."""
    distance: np.ndarray
    """(K,) metres of the wire's axis from the lumen's wall."""
    inward: np.ndarray
    """(K, 3) unit vectors to the lumen's axis."""


def in_lumen(wire: DrivenRod, catheter: DrivenRod, lumen_radius: float) -> Contact:
    """Return where the wire is in the part of the catheter that is beyond the introducer."""
    arcs = wire.arcs
    chosen = np.nonzero((arcs > 0.0) & (arcs < catheter.inserted))[0]
    nodes, lengths = catheter.rod.nodes, catheter.rod.lengths
    starts = catheter.inserted - catheter.build.length + np.concatenate(
        [[0.0], np.cumsum(lengths)])
    link = np.clip(np.searchsorted(starts, arcs[chosen], side='right') - 1, 0, len(lengths) - 1)
    along = (nodes[link + 1] - nodes[link]) / lengths[link, None]
    axis = nodes[link] + (arcs[chosen] - starts[link])[:, None] * along
    off = wire.rod.middles[chosen] - axis
    # It slides along: only what is across the lumen counts.
    off -= (off * along).sum(axis=1, keepdims=True) * along
    apart = np.sqrt((off * off).sum(axis=1))
    return Contact(chosen, link, lumen_radius - apart, -off / np.maximum(apart, 1e-9)[:, None])
