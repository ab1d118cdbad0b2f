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

"""The navigation example as a process, fed by hand: no bad result moves the drive or ends it."""

import math
import threading
import time

from fedefm_ros import labels
from fedefm_ros.msg import Instrument, InstrumentArray
from fedefm_ros.navigation.guard import Guard
from fedefm_ros.nodes.navigation_example import NavigationNode
from fedefm_ros.nodes.parameters import NAVIGATION as PARAMETERS
from fedefm_ros.station import NAVIGATION

from geometry_msgs.msg import Point, Point32, Pose, PoseArray
from geometry_msgs.msg import TwistStamped
from geometry_msgs.msg import WrenchStamped

from harness import BEST_EFFORT, LATCHED, RELIABLE, stamp_of, wait_until

import numpy as np

import pytest

from std_msgs.msg import String

from std_srvs.srv import Trigger

# Slow, so that a busy machine is no silence.
RATE = 2.0


class Feed:
    """Sends ten results a second, and forces as a sensor does that is not reliable."""

    def __init__(self, node):
        self.forces, self.nonsense = True, False
        self._node, self._ending, self._sent = node, threading.Event(), 0
        self._results = node.create_publisher(InstrumentArray, 'segmentation/instruments',
                                              RELIABLE)
        self._force = node.create_publisher(WrenchStamped, 'robot/contact_force', BEST_EFFORT)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._ending.set()
        self._thread.join()

    def _run(self):
        while not self._ending.wait(0.1):
            if self.forces:
                self._node.send_message(WrenchStamped(), publisher=self._force)
            self._sent += 1
            x = math.nan if self.nonsense else 100.0 + 0.5 * (self._sent % 2)
            wire = Instrument(kind=labels.GUIDEWIRE, confidence=0.9, tip_visible=True,
                              centerline_px=[Point32(x=x, y=300.0 - 2 * k) for k in range(50)])
            self._node.send_message(InstrumentArray(instruments=[wire]),
                                    publisher=self._results)


@pytest.fixture(scope='module')
def station(harness):
    harness.node.listen('robot/cmd_drive', TwistStamped, RELIABLE)
    harness.node.listen('navigation/status', String, LATCHED)
    harness.way = harness.node.create_publisher(PoseArray, 'navigation/way', LATCHED)
    harness.process = harness.start_active(NAVIGATION, frame_rate=RATE, max_age=5.0,
                                           way='100,400 100,20')
    feed = harness.feed = Feed(harness.node)
    yield harness
    feed.close()


def commands(station, begun=0):
    return [message.twist for message in station.node.got('robot/cmd_drive')
            if stamp_of(message) > begun]


def moves(twist):
    return twist.linear.x != 0.0 or twist.angular.x != 0.0


def status(station):
    messages = station.node.got('navigation/status')
    return messages[-1].data if messages else ''


def resume(station):
    assert station.call(Trigger, 'navigation/resume', Trigger.Request()).success
    return time.time_ns()


def wait_moving(station):
    begun = resume(station)

    def moving():
        if status(station).startswith('stopped'):
            resume(station)
        return [each for each in commands(station, begun) if moves(each)]
    wait_until(moving, 'motion')


def wait_stopped(station, word):
    def stopped():
        if status(station).startswith('stopped') and word not in status(station):
            resume(station)  # a busy machine may have been late first
        return status(station).startswith(f'stopped: {word}')
    wait_until(stopped, f'the stop: {word}')
    begun = time.time_ns()
    wait_until(lambda: len(commands(station, begun)) > 8, 'commands')
    assert not any(map(moves, commands(station, begun)))
    assert station.process.poll() is None


def test_before_a_force_was_told_nothing_moves(station):
    station.feed.forces = False
    resume(station)
    wait_stopped(station, 'no force yet')
    assert not any(map(moves, commands(station)))


def test_the_force_of_a_best_effort_sensor_is_taken_and_its_silence_is_a_stop(station):
    station.feed.forces = True
    wait_moving(station)
    station.feed.forces = False
    wait_stopped(station, 'no force for')
    resume(station)
    wait_stopped(station, 'no force for')


def test_a_wire_that_is_not_a_number_is_none(station):
    station.feed.forces = True
    wait_moving(station)
    station.feed.nonsense = True
    wait_stopped(station, 'no instrument')
    # The first result after it is no better.
    begun = resume(station)
    wait_stopped(station, 'no instrument')
    assert not any(map(moves, commands(station, begun)))
    station.feed.nonsense = False


@pytest.mark.parametrize('points', [1, 2])
def test_a_way_that_is_not_finite_is_refused(station, points):
    station.feed.forces = True
    wait_moving(station)
    poses = [Pose(position=Point(x=math.nan, y=100.0)), Pose(position=Point(x=100.0, y=20.0))]
    station.way.publish(PoseArray(poses=poses[:points]))
    wait_stopped(station, 'way refused')
    begun = resume(station)
    wait_until(lambda: status(station) == 'no way to follow', 'the word')
    assert not any(map(moves, commands(station, begun)))
    station.way.publish(PoseArray(poses=[Pose(position=Point(x=100.0, y=20.0))]))
    wait_stopped(station, 'another way')
    wait_moving(station)


def test_after_a_stop_the_way_is_followed_anew():
    node = object.__new__(NavigationNode)  # without ROS
    node.settings = {parameter.name: parameter.default for parameter in PARAMETERS}
    node._guard, node._status, node._word = Guard(), None, ''
    node._set_way(np.array([(100.0, 400.0), (100.0, 20.0)]))
    before = node._steering
    before.command(0.0, np.array([(100.0, 400.0), (100.0, 300.0)]))
    assert node._on_resume(Trigger.Request(), Trigger.Response()).success
    assert node._steering is not before and node._steering._last_time is None
    assert not node._guard.stopped
