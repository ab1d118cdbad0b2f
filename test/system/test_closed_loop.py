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

"""The closed loop in real processes: whatever fails, the drive stands within two frame periods."""

import math
import signal
import time

from fedefm_ros.learning.datasets import aioz
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.navigation.way import way_to_text
from fedefm_ros.simulation.robot.camera import RobotCamera
from fedefm_ros.simulation.robot.phantom import Phantom
from fedefm_ros.simulation.robot.trial import target_way
from fedefm_ros.station import NAVIGATION
from fedefm_ros.station import ROBOT
from fedefm_ros.station import SEGMENTATION

from geometry_msgs.msg import TwistStamped
from geometry_msgs.msg import WrenchStamped

from harness import LATCHED, RELIABLE, stamp_of, wait_until

from lifecycle_msgs.msg import State
from lifecycle_msgs.msg import Transition

import pytest

from sensor_msgs.msg import JointState, Joy

from std_msgs.msg import Bool, String

from std_srvs.srv import Trigger

pytest.importorskip('mujoco')
RATE = 5.0
PERIOD_NS = int(1e9 / RATE)
SEED = 0


def way():
    phantom = Phantom(SEED)
    return way_to_text(target_way(RobotCamera(phantom, seed=SEED), phantom, 'LSA'))


class Relay:
    """Stands in for the segmentation: passes the ground truth on, or something worse."""

    def __init__(self, node):
        self.mode = 'silent'
        self.since = 0
        self._last = None
        self._publisher = node.create_publisher(InstrumentArray, 'segmentation/instruments',
                                                RELIABLE)
        node.create_subscription(InstrumentArray, 'ground_truth/instruments', self._pass, RELIABLE)

    def switch(self, mode):
        """Change what is passed on from the next result on; return when, in nanoseconds."""
        self.mode = mode
        return time.time_ns()

    def _pass(self, message):
        mode = self.mode
        if mode == 'silent':
            return
        if mode == 'stale':
            message.header.stamp.sec -= 2
        elif mode == 'frozen':
            message.instruments = self._last.instruments
        elif mode == 'nothing in it':
            message.instruments = []
        elif mode == 'unsure':
            for found in message.instruments:
                found.confidence = 0.2
        else:
            self._last = message
        self._publisher.publish(message)


@pytest.fixture(scope='module')
def loop(harness):
    """Return the harness with an active robot and navigation; nobody segments yet."""
    node = harness.node
    node.listen('robot/joint_states', JointState, RELIABLE)
    node.listen('robot/contact_force', WrenchStamped, RELIABLE)
    node.listen('navigation/status', String, LATCHED)
    node.listen('ground_truth/reached', Bool, LATCHED)
    harness.relay = Relay(node)
    harness.drive = node.create_publisher(TwistStamped, 'robot/cmd_drive', RELIABLE)
    harness.catheter = node.create_publisher(TwistStamped, 'robot/cmd_catheter', RELIABLE)
    harness.joy = node.create_publisher(Joy, 'robot/joy', RELIABLE)
    harness.start(ROBOT, rate=RATE, seed=SEED, size=512)
    harness.start(NAVIGATION, frame_rate=RATE, way=way(), patience=1.0,
                  max_age=0.9, insertion_speed=0.003)  # slow: it must not get there
    for name in ('navigation', 'robot'):
        harness.bring_up(name)
    wait_until(lambda: joints(harness), 'joint states')
    return harness


def joints(loop):
    return loop.node.got('robot/joint_states')


def moves(message):
    return any(abs(rate) > 1e-9 for rate in message.velocity)


def resume(loop):
    assert loop.call(Trigger, 'navigation/resume', Trigger.Request()).success


def wait_moving(loop):
    """Wait until the newest joint states all move; lift stops that a busy machine makes."""
    seen = len(joints(loop))

    def moving():
        if status(loop).startswith('stopped'):
            resume(loop)
        return len(joints(loop)) > seen + 3 and all(map(moves, joints(loop)[-3:]))
    wait_until(moving, 'motion')


def assert_stands_after(loop, begun, periods=2):
    """Check that the last motion was at most so many frame periods after ``begun``, ns."""
    def settled():
        later = [message for message in joints(loop) if stamp_of(message) > begun]
        return len(later) > 8 and not any(map(moves, later[-5:]))
    wait_until(settled, 'standing')
    last = max((stamp_of(m) for m in joints(loop) if moves(m)), default=begun)
    assert last - begun <= periods * PERIOD_NS, f'{(last - begun) / 1e6:.0f} ms'


def status(loop):
    messages = loop.node.got('navigation/status')
    return messages[-1].data if messages else ''


def test_nothing_moves_before_it_is_told_to(loop):
    loop.relay.switch('good')
    wait_until(lambda: len(joints(loop)) > 10, 'joint states')
    assert not any(map(moves, joints(loop)))
    assert status(loop).startswith('stopped: not started')


@pytest.mark.parametrize('fault, word', [
    ('stale', 'old'), ('frozen', 'frozen'), ('nothing in it', 'no instrument'),
    ('unsure', 'confidence'), ('silent', 'no result')])
def test_a_fault_stands_the_drive_and_only_a_word_moves_it_again(loop, fault, word):
    loop.relay.switch('good')
    resume(loop)
    wait_moving(loop)
    assert_stands_after(loop, loop.relay.switch(fault))

    def stopped():
        # A busy machine may have been late at first, which is another reason to stop.
        if status(loop).startswith('stopped') and word not in status(loop):
            resume(loop)
        return status(loop).startswith('stopped') and word in status(loop)
    wait_until(stopped, 'the stop')
    begun = loop.relay.switch('good')
    wait_until(lambda: sum(stamp_of(m) > begun for m in joints(loop)) > 8, 'joint states')
    assert not any(moves(m) for m in joints(loop) if stamp_of(m) > begun)


def test_the_force_is_told_with_every_step(loop):
    wait_until(lambda: len(loop.node.got('robot/contact_force')) > 1, 'forces')
    forces = loop.node.got('robot/contact_force')
    assert all(0.0 <= m.wrench.force.x <= 2.0 and m.wrench.force.x <= m.wrench.force.y + 0.5
               for m in forces)
    wait_until(lambda: stamp_of(forces[-2]) in {stamp_of(m) for m in joints(loop)}, 'its joints')


def test_the_segmentation_killed_stands_the_drive(loop):
    loop.relay.switch('silent')
    process = loop.start_active(SEGMENTATION, runtime='openvino', threads=1)
    # A first result, so that the navigation does not resume into silence.
    wait_until(lambda: len(loop.node.got('segmentation/instruments')) > 3, 'results')
    resume(loop)
    wait_moving(loop)
    begun = time.time_ns()
    process.send_signal(signal.SIGKILL)
    assert_stands_after(loop, begun)
    wait_until(lambda: status(loop).startswith('stopped: no result'), 'the stop')


def test_the_navigation_deactivated_stands_the_drive(loop):
    loop.relay.switch('good')
    resume(loop)
    wait_moving(loop)
    begun = time.time_ns()
    assert loop.change('navigation', Transition.TRANSITION_DEACTIVATE)
    assert_stands_after(loop, begun)


def command(loop, insertion, rotation=0.0, age_ns=0, drive='drive'):
    message = TwistStamped()
    stamp = time.time_ns() - age_ns
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    message.twist.linear.x, message.twist.angular.x = insertion, rotation
    getattr(loop, drive).publish(message)


@pytest.mark.parametrize('insertion, age_ns', [
    (0.01, 2_000_000_000), (math.nan, 0), (math.inf, 0)])
def test_the_drive_refuses_old_commands_and_nonsense(loop, insertion, age_ns):
    begun = time.time_ns()

    def sent():
        command(loop, insertion, age_ns=age_ns)
        return sum(stamp_of(m) > begun for m in joints(loop)) > 5
    wait_until(sent, 'joint states')
    assert not any(moves(m) for m in joints(loop) if stamp_of(m) > begun)


@pytest.mark.parametrize('age_ns', [0, 180_000_000])
def test_without_commands_the_drive_stands_by_the_age_of_the_last(loop, age_ns):
    if loop.state('navigation') == State.PRIMARY_STATE_ACTIVE:  # it commands, too
        assert loop.change('navigation', Transition.TRANSITION_DEACTIVATE)

    def moving():
        command(loop, 0.01, age_ns=age_ns)
        return moves(joints(loop)[-1])
    wait_until(moving, 'motion')
    assert_stands_after(loop, time.time_ns() - age_ns, periods=1.5)


def test_wire_and_catheter_are_driven_apart_and_the_catheter_has_a_watchdog_too(loop):
    joint = {name: index for index, name in enumerate(joints(loop)[-1].name)}
    assert list(joint) == ['insertion', 'rotation', 'catheter_insertion', 'catheter_rotation']

    def driven():
        command(loop, 0.01, 0.5, drive='catheter')
        newest = joints(loop)[-1]
        return newest.position[joint['catheter_insertion']] > 0.002 \
            and newest.velocity[joint['catheter_rotation']] == pytest.approx(0.5)
    wait_until(driven, 'the catheter')
    assert joints(loop)[-1].velocity[:2].tolist() == [0.0, 0.0]
    assert_stands_after(loop, time.time_ns())

    def back():
        command(loop, -0.02, drive='catheter')
        return joints(loop)[-1].position[joint['catheter_insertion']] == 0.0
    wait_until(back, 'the catheter drawn back')


def test_a_joystick_drives_only_while_its_button_is_held_and_the_run_is_kept(loop, tmp_path):
    for step in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert loop.change('robot', step)
    assert loop.set_parameters('robot', master='joy', record_folder=str(tmp_path),
                               record_every=2) == ['', '', '']
    for step in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert loop.change('robot', step)

    def push(*held):
        message = Joy(axes=[0.0, 0.2], buttons=list(held))
        stamp = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        loop.joy.publish(message)
        return stamp

    for buttons, joint in (((1, 0), 0), ((0, 1), 2)):
        wait_until(lambda: push(*buttons) and joints(loop)[-1].velocity[joint] > 0.0, 'motion')
        assert joints(loop)[-1].velocity[2 - joint] == 0.0
        begun = push(0, 0)
        wait_until(lambda: push(0, 0) and sum(stamp_of(m) > begun for m in joints(loop)) > 4,
                   'joints')
        assert not moves(joints(loop)[-1])
    assert loop.change('robot', Transition.TRANSITION_DEACTIVATE)
    kept = aioz.read(tmp_path)
    assert len(kept) > 4 and len(kept.groups) == 1
    # The first and the last image differ by what was driven; both have instruments.
    masks = [mask for _, mask in kept]
    assert (masks[0] != masks[-1]).any() and all(mask.any() for mask in masks)


def test_a_force_over_its_limit_stands_the_drive_until_it_is_told(loop):
    if loop.state('robot') == State.PRIMARY_STATE_ACTIVE:
        assert loop.change('robot', Transition.TRANSITION_DEACTIVATE)
    assert loop.set_parameters('robot', master='cmd_drive', force_limit=0.01) == ['', '']
    assert loop.change('robot', Transition.TRANSITION_ACTIVATE)
    if loop.state('navigation') == State.PRIMARY_STATE_ACTIVE:
        assert loop.change('navigation', Transition.TRANSITION_DEACTIVATE)
    # Fast, so that it soon touches the wall.
    assert loop.set_parameters('navigation', force_limit=0.01, insertion_speed=0.02) == ['', '']
    assert loop.change('navigation', Transition.TRANSITION_ACTIVATE)
    loop.relay.switch('good')
    resume(loop)

    def stopped():
        if status(loop).startswith('stopped') and 'contact force' not in status(loop):
            resume(loop)  # for a busy machine's sake
        return 'contact force' in status(loop)
    wait_until(stopped, 'the stop')
    assert_stands_after(loop, time.time_ns())
    # It is told by the robot's diagnostics as well, not by the controller alone.
    wait_until(lambda: float(loop.status('robot: drive')[2].get('over_limit', 0)) > 0, 'the count')
