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

"""The simulated drive and wire: what is pushed in stays whole, inside, and is felt."""

import sys

from fedefm_ros.errors import FedefmError
from fedefm_ros.simulation.robot.robot import EndovascularRobot
from fedefm_ros.simulation.robot.rod import Guidewire
from fedefm_ros.simulation.robot.rod import import_mujoco

import numpy as np

import pytest

pytest.importorskip('mujoco')
PERIOD = 1.0 / 15.0


@pytest.fixture(scope='module')
def pushed():
    """Return a robot and its states while the wire is pushed 120 mm and turned."""
    robot = EndovascularRobot(1)
    states = [robot.step(PERIOD, 0.04, 1.0) for _ in range(45)]
    return robot, states


def length(nodes):
    return float(np.linalg.norm(np.diff(nodes, axis=0), axis=1).sum())


def test_what_is_pushed_in_is_as_long_as_it_was_outside(pushed):
    _, states = pushed
    for state in states:
        assert length(state.nodes) == pytest.approx(state.inserted, abs=1.5e-3)
    assert states[-1].inserted == pytest.approx(0.030 + 45 * PERIOD * 0.04)


def test_nothing_blows_up(pushed):
    _, states = pushed
    for before, after in zip(states, states[1:]):
        assert np.isfinite(after.nodes).all()
        # The tip may snap over an edge, but not fly.
        assert np.linalg.norm(after.tip - before.tip) < 0.02


def test_the_wire_stays_within_the_wall(pushed):
    robot, states = pushed
    for state in states:
        distance, _ = robot.field.at(state.nodes[1:])
        # At the drive's top speed; the silicone gives.
        assert distance.min() > -0.0035
        assert np.quantile(distance, 0.1) > -0.001


def test_the_wall_is_felt_where_the_wire_touches_it(pushed):
    _, states = pushed
    assert states[-1].force_sum > 0.001
    assert all(0.0 <= state.force_max < 2.0 for state in states)
    assert EndovascularRobot(1).step(PERIOD, 0.0, 0.0).force_sum < states[-1].force_sum


def test_pushing_against_an_end_is_felt_more(pushed):
    robot = EndovascularRobot(0, 'LSA')
    free = max(robot.step(PERIOD, 0.04, 0.0).force_max for _ in range(15))
    for _ in range(50):
        pressed = robot.step(PERIOD, 0.04, 0.0).force_max
    assert pressed > 2.0 * free


def test_equal_seeds_and_commands_give_equal_motion():
    def nodes(seed):
        robot = EndovascularRobot(seed)
        return [robot.step(PERIOD, 0.03, 2.0).nodes for _ in range(4)][-1]
    assert np.array_equal(nodes(4), nodes(4))
    assert not np.allclose(nodes(4)[-1], nodes(5)[-1])


def test_turning_the_drive_swings_the_bent_tip_around():
    robot = EndovascularRobot(2)
    tips = np.array([robot.step(0.1, 0.0, 2.0 * np.pi / 3.0).tip for _ in range(30)])
    swing = tips - tips.mean(axis=0)
    for axis in (0, 2):
        assert swing[:, axis].max() > 0.003 and swing[:, axis].min() < -0.003
    # A whole turn ends where it began.
    assert np.linalg.norm(tips[-1] - robot.step(0.3, 0.0, 0.0).tip) < 0.003
    assert robot.state.rotation == pytest.approx(2.0 * np.pi)


def test_the_drive_keeps_its_limits():
    robot = EndovascularRobot(0)
    fast = robot.step(0.1, 9.0, 99.0)
    assert fast.inserted == pytest.approx(0.030 + 0.1 * robot.limits.insertion_speed)
    assert fast.rotation == pytest.approx(0.1 * robot.limits.rotation_speed)
    back = robot.step(0.5, -9.0, 0.0)
    assert back.inserted == pytest.approx(robot.limits.shortest)


@pytest.mark.parametrize('values', [
    (0.05, np.nan, 0.0), (0.05, 0.0, np.inf), (0.0, 0.0, 0.0), (5.0, 0.0, 0.0)])
def test_a_command_that_makes_no_sense_is_refused(values):
    robot = EndovascularRobot(0)
    with pytest.raises(FedefmError, match='cannot drive'):
        robot.step(*values)
    assert robot.state.time == 0.0


def test_an_unknown_target_is_refused():
    with pytest.raises(FedefmError, match='known: LSA, LCCA, RCCA'):
        EndovascularRobot(0, 'aorta')


def test_a_stiffer_tip_presses_harder_on_the_arch():
    def greatest(factor):
        wire = Guidewire(shaft_stiffness=2e-4 * factor, tip_stiffness=2e-5 * factor)
        robot = EndovascularRobot(0, wire=wire)
        return max(robot.step(0.1, 0.04, 0.0).force_max for _ in range(22))
    assert greatest(3.0) > 1.2 * greatest(0.5)


def test_without_mujoco_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mujoco', None)
    with pytest.raises(FedefmError, match=r'fedefm_ros\[sim\]'):
        import_mujoco()
