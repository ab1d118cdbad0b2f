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
An example to copy: drive a wire's tip to a point in the image by what the segmentation publishes.

What decides is in ``fedefm_ros.navigation``: ``Guard`` (may one act on this result?) and
``Steering`` (what to do about it). This node only connects them. It never moves before service
``navigation/resume`` was called, and after each stop it waits for that again.
"""

import sys
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.navigation.guard import Guard
from fedefm_ros.navigation.guard import GuardParameters
from fedefm_ros.navigation.steering import Command
from fedefm_ros.navigation.steering import Steering
from fedefm_ros.navigation.steering import SteeringParameters
from fedefm_ros.navigation.steering import STOP
from fedefm_ros.navigation.way import way_from_text
from fedefm_ros.nodes import diagnostics
from fedefm_ros.nodes.conversion import instruments_from_message
from fedefm_ros.nodes.declaration import Parameters
from fedefm_ros.nodes.diagnostics import Diagnostics
from fedefm_ros.nodes.diagnostics import Status
from fedefm_ros.nodes.lifecycle import run
from fedefm_ros.nodes.lifecycle import StationNode
from fedefm_ros.nodes.parameters import NAVIGATION

from geometry_msgs.msg import PoseArray
from geometry_msgs.msg import TwistStamped
from geometry_msgs.msg import WrenchStamped

import numpy as np

from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.time import Time

from std_msgs.msg import String

from std_srvs.srv import Trigger

# Depth 1 for what is acted on: what is not the newest is not worth it.
_NEWEST = QoSProfile(depth=1)
# Forces all count, or a peak is missed; from a sensor that is reliable and from one that is not.
_FORCES = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class NavigationNode(StationNode):
    """One command for every result, and zero when there is none."""

    def __init__(self) -> None:
        """Declare parameters; everything else waits for configure."""
        super().__init__('navigation')
        self.settings = Parameters(self, NAVIGATION)
        self._taken, self._offered = [], []
        self._timer = self._drive = self._status = None
        self._guard = Guard()
        self._way: np.ndarray | None = None
        self._steering: Steering | None = None
        self._command = STOP
        self._word = 'not active'
        self._commands = 0
        self._diagnostics = Diagnostics(self, {'navigation': self._navigation_status})

    def configure(self) -> None:
        """Make the publishers and check the way."""
        way_from_text(self.settings['way'])
        self._drive = self.create_lifecycle_publisher(TwistStamped, 'robot/cmd_drive', _NEWEST)
        self._status = self.create_publisher(String, 'navigation/status', _LATCHED)

    def activate(self) -> None:
        """Look, but do not move yet."""
        settings = self.settings
        self._guard = Guard(GuardParameters(
            frame_period=1.0 / settings['frame_rate'], max_age=settings['max_age'],
            min_confidence=settings['min_confidence'], max_jump_px=settings['max_jump_px'],
            force_limit=settings['force_limit'], patience=settings['patience']))
        self._set_way(way_from_text(settings['way']))
        self._taken = [
            self.create_subscription(
                InstrumentArray, 'segmentation/instruments', self._on_instruments, _NEWEST),
            self.create_subscription(
                WrenchStamped, 'robot/contact_force', self._on_force, _FORCES),
            self.create_subscription(PoseArray, 'navigation/way', self._on_way, _LATCHED)]
        self._offered = [
            self.create_service(Trigger, 'navigation/resume', self._on_resume),
            self.create_service(Trigger, 'navigation/stop', self._on_stop)]
        # Silence has no callback: look often whether a result is due.
        self._timer = self.create_timer(0.25 / settings['frame_rate'], self._on_timer,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._say(f'stopped: {self._guard.stopped}')

    def deactivate(self) -> None:
        """Stop; the drive's own watchdog would do it as well."""
        if self._timer is not None:
            self._send(STOP)
            self.destroy_timer(self._timer)
            self._timer = None
        while self._taken:
            self.destroy_subscription(self._taken.pop())
        while self._offered:
            self.destroy_service(self._offered.pop())
        self._say('not active')

    def cleanup(self) -> None:
        """Free the publishers."""
        if self._drive is not None:
            self.destroy_lifecycle_publisher(self._drive)
            self.destroy_publisher(self._status)
        self._drive = self._status = None

    def _on_instruments(self, message: InstrumentArray) -> None:
        """Decide: exactly one command for each result."""
        stamp = Time.from_msg(message.header.stamp)
        age = (self.get_clock().now() - stamp).nanoseconds * 1e-9
        now = time.monotonic()
        wire = self._guard.see(now, stamp.nanoseconds * 1e-9, age,
                               instruments_from_message(message), self._command.moves)
        if wire is None:
            self._stand()
        elif self._way is None:
            self._send(STOP)
            self._say('no way to follow')
        else:
            if self._steering is None:
                self._steering = self._make_steering(wire.tip)
            command, word = self._steering.command(now, wire.centerline,
                                                   self._guard.force_share)
            self._send(command)
            self._say(word)

    def _on_force(self, message: WrenchStamped) -> None:
        self._guard.feel(message.wrench.force.x)
        if self._guard.stopped:
            self._stand()

    def _on_timer(self) -> None:
        if not self._guard.tick(time.monotonic()):
            self._stand()

    def _on_resume(self, request, response):
        """Go on after a look at what was wrong, along the way as if it had just been given."""
        response.message = f'was stopped: {self._guard.stopped}' if self._guard.stopped \
            else 'was not stopped'
        response.success = True
        self._guard.resume()
        if self._way is not None:
            self._set_way(self._way)
        self._say('resumed')
        return response

    def _on_stop(self, request, response):
        self._guard.stop('told to')
        self._stand()
        response.success, response.message = True, 'stopped'
        return response

    def _on_way(self, message: PoseArray) -> None:
        """Take another way; nobody should be surprised by it, so stop first."""
        why = 'another way'
        points = [(pose.position.x, pose.position.y) for pose in message.poses]
        try:
            self._set_way(np.array(points, float).reshape(-1, 2))
        except FedefmError as error:
            self._way = self._steering = None
            why = f'way refused, {error}'
            self.get_logger().error(f'navigation/way: {error}')
        self._guard.stop(why)
        self._stand()

    def _set_way(self, way: np.ndarray) -> None:
        """Take a way of one or more finite points; none means nowhere."""
        if not np.isfinite(way).all():
            raise FedefmError('a way has to be of finite points (x, y) in pixels')
        self._way, self._steering = (way if len(way) else None), None
        if len(way) > 1:
            self._steering = self._make_steering(way[0])

    def _make_steering(self, tip: np.ndarray) -> Steering:
        """Return what follows the way; to a single point straight from the tip."""
        settings = self.settings
        way = self._way if len(self._way) > 1 else np.vstack([tip, self._way])
        return Steering(way, SteeringParameters(
            insertion_speed=settings['insertion_speed'],
            rotation_speed=settings['rotation_speed'],
            look_ahead_px=settings['look_ahead_px'], goal_px=settings['goal_px'],
            longest_step=2.0 / settings['frame_rate']))

    def _stand(self) -> None:
        """Zero the drive, and say why."""
        self._send(STOP)
        stopped = self._guard.stopped
        self._say(f'stopped: {stopped}' if stopped else f'holding: {self._guard.fault}')

    def _send(self, command: Command) -> None:
        message = TwistStamped()
        message.header.stamp = self.get_clock().now().to_msg()
        message.twist.linear.x = float(command.insertion)
        message.twist.angular.x = float(command.rotation)
        self._drive.publish(message)
        self._command = command
        self._commands += 1

    def _say(self, word: str) -> None:
        """Publish the status when its kind has changed."""
        kind = word.rstrip('0123456789. s')
        if kind != self._word and self._status is not None:
            self._status.publish(String(data=word))
            if word.startswith('stopped'):
                self.get_logger().warning(word)
        self._word = kind

    def _navigation_status(self) -> Status:
        values = {'stopped': self._guard.stopped, 'fault': self._guard.fault,
                  'insertion': self._command.insertion, 'rotation': self._command.rotation,
                  'force_share': self._guard.force_share, 'commands': self._commands}
        stopped = self._timer is not None and self._guard.stopped
        return Status(diagnostics.WARN if stopped else diagnostics.OK,
                      self._word, values)


def main() -> None:
    """Run the node."""
    sys.exit(run(NavigationNode))


if __name__ == '__main__':
    main()
