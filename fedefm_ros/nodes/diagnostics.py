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

"""What a node says on /diagnostics once a second (REP 107)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue

from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.node import Node

OK = DiagnosticStatus.OK
WARN = DiagnosticStatus.WARN
ERROR = DiagnosticStatus.ERROR

PERIOD = 1.0


@dataclass(frozen=True)
class Status:
    """How one subsystem is."""

    level: bytes
    """OK, WARN or ERROR: a ROS byte is ``bytes`` of length one."""
    message: str
    values: Mapping[str, object] = field(default_factory=dict)


class Diagnostics:
    """Asks each subsystem once a second and publishes the answers, in every lifecycle state."""

    def __init__(self, node: Node, subsystems: Mapping[str, Callable[[], Status]]):
        """Start; the names become ``NODE: SUBSYSTEM``."""
        self._node = node
        self._subsystems = dict(subsystems)
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Steady: a bag that is paused stops ROS time, but not the need to know.
        self._timer = node.create_timer(PERIOD, self.publish,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publish now."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name().lstrip('/')
        for subsystem, ask in self._subsystems.items():
            status = ask()
            message.status.append(DiagnosticStatus(
                level=status.level, name=f'{name}: {subsystem}', message=status.message,
                hardware_id=self._node.get_namespace().strip('/'),
                values=[KeyValue(key=key, value=_text(value))
                        for key, value in status.values.items()]))
        self._publisher.publish(message)


def _text(value: object) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)
