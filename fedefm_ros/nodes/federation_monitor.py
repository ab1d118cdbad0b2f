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

"""The statuses of several stations' federation nodes, for commands that watch them."""

from fedefm_ros.msg import FederationStatus

from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile


class FederationMonitor(Node):
    """`statuses`: station -> its newest FederationStatus."""

    def __init__(self, stations: list[str], context: Context | None = None):
        """Subscribe to the stations' statuses."""
        super().__init__('federation_monitor', context=context)
        self.statuses: dict[str, FederationStatus] = {}
        for name in stations:
            self.create_subscription(
                FederationStatus, f'/{name}/federation/status',
                lambda message, name=name: self.statuses.__setitem__(name, message),
                QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))

    @staticmethod
    def phase(message: FederationStatus) -> str:
        """Return a phase for people."""
        return _PHASES.get(message.phase, str(message.phase))


_PHASES = {getattr(FederationStatus, name): name.removeprefix('PHASE_').lower() for name in (
    'PHASE_IDLE', 'PHASE_LOCAL', 'PHASE_OVERSEAS', 'PHASE_TRANSFER', 'PHASE_DISTIL',
    'PHASE_GATE', 'PHASE_PAUSED')}
