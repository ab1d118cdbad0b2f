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
Guidewire and catheter as elastic rods in MuJoCo: capsules on universal joints with springs.

Each joint is two hinges across the rod with the stiffness EI / length; the rod does not twist
(good wires turn one to one), so the drive's rotation turns the tip at once where friction lets
it. Springs pull the tip's joints towards its shape from the shelf. MuJoCo 4 has no cable plugin
any more, and ball joints would cost half as many degrees of freedom again for twist alone.
"""

from dataclasses import dataclass

from fedefm_ros.errors import FedefmError

import numpy as np


@dataclass(frozen=True)
class RodBuild:
    """What an elastic rod is made of: the same quantities for wires and catheters."""

    length: float
    """Metres that can be driven in."""
    diameter: float
    """Outer, metres."""
    shaft_stiffness: float
    """EI of the shaft in N m^2."""
    tip_stiffness: float
    """EI of the soft tip in N m^2."""
    soft_length: float
    """Metres of soft tip, before the stiffness begins to rise."""
    taper_length: float
    """Metres over which it rises to the shaft's."""
    bend: float
    """Angle of the shaped tip in degrees; 45 is angled, 180 a J."""
    bend_length: float
    """Metres over which the tip bends."""
    bend_from_tip: float
    """Metres of straight tip beyond the bend."""
    mass: float
    """kg/m: some 300 times that of steel, so that steps of milliseconds are stable; motion is
    so slow that inertia does not matter."""
    relaxation: float
    """Seconds in which a bent rod straightens when free (its inner damping)."""
    tip_links: tuple[tuple[int, float], ...]
    """(count, metres) of the links from the tip on."""
    link: float
    """Greatest length of all other links, metres."""


@dataclass(frozen=True)
class Guidewire(RodBuild):
    """Build of a wire; the defaults are a 0.014 inch steel wire with an angled soft tip."""

    length: float = 0.200
    diameter: float = 0.00036
    shaft_stiffness: float = 1.6e-4
    tip_stiffness: float = 1.5e-5
    soft_length: float = 0.020
    taper_length: float = 0.045
    bend: float = 72.0
    bend_length: float = 0.010
    bend_from_tip: float = 0.007
    mass: float = 0.25
    relaxation: float = 0.012
    tip_links: tuple[tuple[int, float], ...] = ((10, 0.003), (8, 0.0045))
    link: float = 0.006


@dataclass(frozen=True)
class Catheter(RodBuild):
    """Build of a catheter; the defaults are a soft 5 F one with a slightly angled tip."""

    length: float = 0.120
    diameter: float = 0.005 / 3.0
    shaft_stiffness: float = 3.0e-4
    tip_stiffness: float = 1.0e-4
    soft_length: float = 0.015
    taper_length: float = 0.030
    bend: float = 25.0
    bend_length: float = 0.012
    bend_from_tip: float = 0.005
    mass: float = 0.6
    relaxation: float = 0.012
    tip_links: tuple[tuple[int, float], ...] = ((6, 0.005),)
    link: float = 0.0075
    lumen: float = 0.00105
    """Diameter of the hole for the wire, metres."""


def import_mujoco():
    """Return the module; raises FedefmError where it is not installed."""
    try:
        import mujoco
    except ImportError as error:
        raise FedefmError(f'the robot simulator needs MuJoCo ({error}); install it with '
                          'pip install "fedefm_ros[sim]" or pip install mujoco') from None
    return mujoco


def segment_lengths(wire: RodBuild) -> np.ndarray:
    """Return the lengths of the links from the base to the tip: short ones where it bends most."""
    tip = [length for count, length in wire.tip_links for _ in range(count)]
    rest = wire.length - sum(tip)
    count = max(1, int(np.ceil(rest / wire.link)))
    return np.array([rest / count] * count + tip[::-1])


def bending_stiffness(wire: RodBuild, from_tip: np.ndarray) -> np.ndarray:
    """Return EI in N m^2 at distances from the tip in metres: soft, then a smooth rise."""
    part = np.clip((from_tip - wire.soft_length) / wire.taper_length, 0.0, 1.0)
    ratio = wire.shaft_stiffness / wire.tip_stiffness
    return wire.tip_stiffness * ratio ** (part * part * (3.0 - 2.0 * part))


def rod_xml(wire: RodBuild, base: np.ndarray, timestep: float) -> str:
    """
    Return the MJCF of a rod that lies straight, upwards (against y), from its base.

    :param base: (3,) metres, where the proximal end is while the drive is at zero.
    :param timestep: seconds.
    """
    lengths = segment_lengths(wire)
    ends = np.cumsum(lengths)
    from_tip = wire.length - ends + lengths  # of each link's proximal joint
    stiffness = bending_stiffness(wire, from_tip)
    bend_end = wire.bend_from_tip
    shaped = (from_tip > bend_end) & (from_tip <= bend_end + wire.bend_length + 1e-9)
    share = np.deg2rad(wire.bend) / max(int(shaped.sum()), 1)
    radius = wire.diameter / 2
    body, close = [], []
    for index, length in enumerate(lengths):
        spring = stiffness[index] / length
        place = f'{lengths[index - 1]:.9f} 0 0' if index else '0 0 0'
        body.append(f'<body name="link{index}" pos="{place}">')
        if index == 0:
            # Driven: so heavy that nothing but the drive moves them.
            body.append('<joint name="insertion" type="slide" axis="1 0 0" armature="100"/>'
                        '<joint name="rotation" axis="1 0 0" armature="0.1"/>')
        else:
            for name, axis, rest in (('y', '0 1 0', 0.0),
                                     ('z', '0 0 1', share if shaped[index] else 0.0)):
                body.append(
                    f'<joint name="{name}{index}" axis="{axis}" stiffness="{spring:.9g}" '
                    f'damping="{spring * wire.relaxation:.9g}" springref="{rest:.9g}" '
                    'armature="2e-9"/>')
        body.append(f'<geom type="capsule" size="{radius}" mass="{wire.mass * length:.9g}" '
                    f'fromto="0 0 0 {length:.9f} 0 0"/>')
        close.append('</body>')
    x, y, z = base
    # The wire's x axis is the image's -y.
    return (f'<mujoco><compiler angle="radian" boundmass="1e-7" boundinertia="1e-12"/>'
            f'<option timestep="{timestep}" integrator="implicitfast" gravity="0 0 0">'
            '<flag contact="disable" constraint="disable"/></option>'
            f'<worldbody><body name="drive" pos="{x} {y} {z}" '
            'quat="0.70710678118654752 0 0 -0.70710678118654752">'
            + ''.join(body) + ''.join(close) + '</body></worldbody></mujoco>')


class Rod:
    """A rod in MuJoCo; ``advance`` it by steps with forces of one's own on its links."""

    def __init__(self, wire: RodBuild, base: np.ndarray, timestep: float):
        """Compile the model; raises FedefmError where MuJoCo is missing."""
        self._mujoco = import_mujoco()
        self.wire = wire
        self.lengths = segment_lengths(wire)
        self._model = self._mujoco.MjModel.from_xml_string(rod_xml(wire, base, timestep))
        self._data = self._mujoco.MjData(self._model)
        self._links = slice(2, 2 + len(self.lengths))
        self.refresh()

    @property
    def positions(self) -> np.ndarray:
        """Return where insertion (m), rotation (rad) and all joints are; a view."""
        return self._data.qpos

    def refresh(self) -> None:
        """Compute positions and velocities of the links from those of the joints."""
        self._mujoco.mj_step1(self._model, self._data)

    def advance(self, forces: np.ndarray, drives: tuple[float, float],
                rates: tuple[float, float]) -> None:
        """
        Step once.

        :param forces: (N, 3) N on the links' middles.
        :param drives: where insertion (m) and rotation (rad) shall be after the step.
        :param rates: their velocities, m/s and rad/s.
        """
        data = self._data
        data.xfrc_applied[self._links, :3] = forces
        data.qvel[:2] = rates
        self._mujoco.mj_step2(self._model, data)
        data.qpos[:2] = drives
        data.qvel[:2] = rates
        self.refresh()

    @property
    def middles(self) -> np.ndarray:
        """Return the links' middles, (N, 3) metres; a view."""
        return self._data.xipos[self._links]

    @property
    def velocities(self) -> np.ndarray:
        """Return the velocities of the links' middles, (N, 3) m/s."""
        spin_move = self._data.cvel[self._links]
        arm = self.middles - self._data.subtree_com[1]
        spin = spin_move[:, :3]
        turned = np.stack([spin[:, 1] * arm[:, 2] - spin[:, 2] * arm[:, 1],
                           spin[:, 2] * arm[:, 0] - spin[:, 0] * arm[:, 2],
                           spin[:, 0] * arm[:, 1] - spin[:, 1] * arm[:, 0]], axis=1)
        return spin_move[:, 3:] + turned

    @property
    def nodes(self) -> np.ndarray:
        """Return the joints from the base to the tip, (N + 1, 3) metres."""
        starts = self._data.xpos[self._links]
        tip = 2.0 * self.middles[-1] - starts[-1]
        return np.vstack([starts, tip])
