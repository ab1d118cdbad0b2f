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

"""What a drive is told: the newest command, for as long as it counts."""

from collections.abc import Callable
from dataclasses import dataclass
import math
import time

from geometry_msgs.msg import TwistStamped

from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.time import Time

from sensor_msgs.msg import Joy

_STANDING = (0.0, 0.0)
#: As for images and masks, a newer command makes an older one worthless.
_NEWEST = QoSProfile(depth=1)


@dataclass(frozen=True)
class Drive:
    """How one drive is commanded."""

    topic: str
    """TwistStamped: linear.x insertion in m/s, angular.x rotation in rad/s."""
    button: int
    """Of the joystick, that has to be held to drive it with axes 1 and 0."""


WIRE = Drive('robot/cmd_drive', 0)
CATHETER = Drive('robot/cmd_catheter', 1)


class DriveCommands:
    """
    Subscribes a drive's topic or ``robot/joy``; no command for a while means zero.

    A command counts from its stamp on, so that one which waited here does not count longer. One
    that is not finite, or whose stamp is older than it may be, zeroes the drive at once.
    """

    def __init__(self, node: Node, drive: Drive, master: str, timeout: float, limits,
                 expired: Callable[[], None]):
        """
        Subscribe.

        :param drive: which one.
        :param master: 'cmd_drive' or 'joy'.
        :param timeout: seconds after its stamp for which a command counts.
        :param limits: ``DriveLimits``: what a joystick's full swing means.
        :param expired: called when a moving drive was stopped because no command came.
        """
        self._node = node
        self._drive = drive
        self._timeout = timeout
        self._limits = limits
        self._expired = expired
        self._command = _STANDING
        self._given = -math.inf
        #: For diagnostics.
        self.counts = {'commands': 0, 'refused': 0, 'watchdog': 0}
        if master == 'joy':
            self._subscription = node.create_subscription(Joy, 'robot/joy', self._on_joy, _NEWEST)
        else:
            self._subscription = node.create_subscription(
                TwistStamped, drive.topic, self._on_twist, _NEWEST)
        # Steady: simulated time that stands still must not keep a drive going.
        self._watchdog = node.create_timer(
            timeout, self._on_watchdog, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_timer(self._watchdog)
        self._command = _STANDING

    @property
    def moving(self) -> bool:
        """Return whether the drive is asked to move."""
        return self._command != _STANDING

    def newest(self) -> tuple[float, float]:
        """Return insertion (m/s) and rotation (rad/s) to drive with now."""
        if self.moving and time.monotonic() - self._given > self._timeout:
            self._on_watchdog()
        return self._command

    def _on_twist(self, message: TwistStamped) -> None:
        age = (self._node.get_clock().now() - Time.from_msg(message.header.stamp)).nanoseconds
        self._take(message.twist.linear.x, message.twist.angular.x, age * 1e-9)

    def _on_joy(self, message: Joy) -> None:
        # Let go of the button, and it stands.
        button = self._drive.button
        held = len(message.buttons) > button and message.buttons[button] and len(message.axes) > 1
        insertion, rotation = (message.axes[1], message.axes[0]) if held else _STANDING
        age = (self._node.get_clock().now() - Time.from_msg(message.header.stamp)).nanoseconds
        self._take(insertion * self._limits.insertion_speed,
                   rotation * self._limits.rotation_speed, age * 1e-9)

    def _take(self, insertion: float, rotation: float, age: float) -> None:
        self.counts['commands'] += 1
        if not (math.isfinite(insertion) and math.isfinite(rotation)
                and abs(age) <= self._timeout):
            self.counts['refused'] += 1
            self._command = _STANDING
            self._node.get_logger().warning(
                f'{self._drive.topic}: command refused: {insertion} m/s, {rotation} rad/s, '
                f'{age:.3f} s old',
                throttle_duration_sec=2.0)
            return
        self._command = (insertion, rotation)
        # By a clock that is ahead of this one it does not count longer.
        self._given = time.monotonic() - max(age, 0.0)
        self._watchdog.reset()

    def _on_watchdog(self) -> None:
        if self.moving:
            self._command = _STANDING
            self.counts['watchdog'] += 1
            self._expired()
