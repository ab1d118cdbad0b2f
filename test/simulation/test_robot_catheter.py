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

"""The catheter: it follows the wire, holds it, touches the wall, and comes back."""

from dataclasses import replace

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.simulation.robot.camera import RobotCamera
from fedefm_ros.simulation.robot.robot import EndovascularRobot
from fedefm_ros.simulation.robot.rod import Catheter

import numpy as np

import pytest

pytest.importorskip('mujoco')
PERIOD = 1.0 / 15.0
SEED = 1


def length(nodes):
    return float(np.linalg.norm(np.diff(nodes, axis=0), axis=1).sum())


def apart(point, nodes):
    """Return how far a point is from a polyline of finely spaced samples, metres."""
    fine = np.concatenate([np.linspace(a, b, 20) for a, b in zip(nodes, nodes[1:])])
    return np.linalg.norm(fine - point, axis=1).min()


@pytest.fixture(scope='module')
def run():
    """Return a robot whose catheter followed its wire over the arch, and the states of that."""
    robot = EndovascularRobot(SEED)
    for _ in range(45):
        robot.step(PERIOD, 0.04, 0.5)
    return robot, [robot.step(PERIOD, 0.0, 0.0, 0.02, 0.3) for _ in range(70)]


def test_it_starts_at_the_end_of_the_introducer():
    state = EndovascularRobot(SEED).state
    assert state.catheter_inserted == 0.0 and state.catheter.shape == (1, 3)


def test_what_is_pushed_in_is_as_long_as_it_was_outside(run):
    robot, states = run
    for index, state in enumerate(states):
        assert state.catheter_inserted == pytest.approx((index + 1) * PERIOD * 0.02)
        assert length(state.catheter) == pytest.approx(state.catheter_inserted, abs=1.5e-3)
    assert robot.state.catheter_rotation == pytest.approx(70 * PERIOD * 0.3)
    # The wire was not driven meanwhile.
    assert len({state.inserted for state in states}) == 1


def test_it_follows_the_wire_which_stays_in_its_lumen(run):
    robot, states = run
    wire = states[-1].nodes
    arcs = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(wire, axis=0), axis=1))])
    inner = wire[arcs < states[-1].catheter_inserted - 0.002]
    assert len(inner) > 10
    assert max(apart(node, states[-1].catheter) for node in inner) < 0.5 * Catheter.diameter
    # It went where the wire went, not straight on.
    assert robot.phantom.locate(states[-1].catheter[-1])[0] == robot.phantom.locate(inner[-1])[0]


def test_it_stays_within_the_wall_and_moves_the_wire_in_it(run):
    robot, states = run
    for state in states:
        assert np.isfinite(state.catheter).all()
        distance, _ = robot.field.at(state.catheter)
        assert distance.min() > -0.0035
        assert 0.0 <= state.force_max < 2.0
    bare = EndovascularRobot(SEED)
    for _ in range(45):
        bare.step(PERIOD, 0.04, 0.5)
    for _ in range(70):
        bare.step(PERIOD, 0.0, 0.0)
    # The stiffer of the two has its way.
    moved = np.abs(bare.state.nodes[5:15] - states[-1].nodes[5:15]).max()
    assert 0.0005 < moved < 0.02


def test_a_stiffer_catheter_presses_harder_on_the_wall():
    def greatest(factor):
        made = replace(Catheter(), shaft_stiffness=factor * Catheter.shaft_stiffness,
                       tip_stiffness=factor * Catheter.tip_stiffness)
        # The wire stays behind, so that what is felt is the catheter.
        robot = EndovascularRobot(SEED, catheter=made)
        return max(robot.step(PERIOD, 0.0, 0.0, 0.02).force_sum for _ in range(80))
    assert greatest(4.0) > 1.5 * greatest(0.5) > 0.0


def test_turning_swings_its_angled_tip_around():
    robot = EndovascularRobot(2)
    for _ in range(30):
        robot.step(0.1, 0.0, 0.0, 0.02)  # beyond the wire's soft tip
    tips = np.array([robot.step(0.1, 0.0, 0.0, 0.0, 2.0 * np.pi / 3.0).catheter[-1]
                     for _ in range(30)])
    swing = tips - tips.mean(axis=0)
    for axis in (0, 2):
        assert swing[:, axis].max() > 0.001 and swing[:, axis].min() < -0.001


def test_it_keeps_its_limits_and_comes_back():
    robot = EndovascularRobot(0)
    limits = robot.catheter_limits
    out = robot.step(0.5, 0.0, 0.0, 9.0, 99.0)
    assert out.catheter_inserted == pytest.approx(0.5 * limits.insertion_speed)
    assert out.catheter_rotation == pytest.approx(0.5 * limits.rotation_speed)
    for _ in range(7):
        far = robot.step(1.0, 0.0, 0.0, 9.0)
    assert far.catheter_inserted == pytest.approx(limits.longest)
    for _ in range(7):
        back = robot.step(1.0, 0.0, 0.0, -9.0)
    assert back.catheter_inserted == 0.0
    assert np.isfinite(back.nodes).all() and back.force_max < 0.5


def test_a_command_that_makes_no_sense_is_refused():
    robot = EndovascularRobot(0)
    with pytest.raises(FedefmError, match='catheter at nan'):
        robot.step(PERIOD, 0.0, 0.0, np.nan)
    assert robot.state.time == 0.0


def test_the_picture_shows_it_where_it_is_and_the_wire_beyond_it():
    robot = EndovascularRobot(SEED)
    for _ in range(25):
        robot.step(PERIOD, 0.04, 0.5)
    for _ in range(30):
        state = robot.step(PERIOD, 0.0, 0.0, 0.02)
    camera = RobotCamera(robot.phantom, robot.wire, robot.catheter, seed=2, size=256,
                         field=robot.field)
    frame = camera.frame(state)
    kinds = [one.kind for one in frame.truth.instruments]
    assert kinds == [labels.GUIDEWIRE, labels.CATHETER]
    wire, catheter = frame.truth.instruments
    tip = camera.projection.pixels(state.catheter[-1:])[0]
    assert np.linalg.norm(catheter.tip - tip) < 1.0
    assert np.linalg.norm(wire.centerline[0] - tip) < 3.0
    x, y = np.rint(catheter.centerline).astype(int).T
    assert (frame.truth.mask[y, x] == labels.CATHETER).mean() > 0.98
    image = frame.image.astype(float)
    beside = np.clip(x + 8, 0, 255)
    assert np.median(image[y, x]) < np.median(image[y, beside]) - 5.0


def test_a_wire_drawn_back_into_it_is_not_labelled():
    robot = EndovascularRobot(SEED)
    for _ in range(4):
        state = robot.step(1.0, 0.0, 0.0, 0.02)
    assert state.catheter_inserted > state.inserted + 0.02
    camera = RobotCamera(robot.phantom, robot.wire, robot.catheter, seed=2, size=256,
                         field=robot.field)
    frame = camera.frame(state)
    assert [one.kind for one in frame.truth.instruments] == [labels.CATHETER]
    assert set(np.unique(frame.truth.mask)) == {labels.BACKGROUND, labels.CATHETER}


def test_drawn_back_it_changes_nothing():
    never, back = EndovascularRobot(3), EndovascularRobot(3)
    back.step(0.2, 0.0, 0.0, 0.02)
    back.step(0.4, 0.0, 0.0, -0.02)
    never.step(0.6, 0.0, 0.0)
    for robot in (never, back):
        for _ in range(40):
            robot.step(PERIOD, 0.02, 0.3)
    assert np.abs(never.state.nodes - back.state.nodes).max() < 0.003
