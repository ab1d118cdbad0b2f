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

"""What a station can see of its peers over ROS, without taking part."""

from collections.abc import Callable
from dataclasses import dataclass
import hashlib
import time

from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.msg import ModelManifest
from fedefm_ros.nodes.federation_messages import message_to_manifest
from fedefm_ros.nodes.federation_monitor import FederationMonitor
from fedefm_ros.nodes.federation_transport import ANNOUNCEMENTS
from fedefm_ros.nodes.federation_transport import BUSY
from fedefm_ros.nodes.federation_transport import LATCHED
from fedefm_ros.srv import GetModelChunk

from rclpy.context import Context
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile

from std_srvs.srv import Trigger


@dataclass(frozen=True)
class Answer:
    """What came of a question for a chunk: seconds it took, bytes, and what was said instead."""

    seconds: float
    size: int
    busy: bool
    #: Bytes came, and they fit the hash that came with them.
    sound: bool


class FederationProbe(FederationMonitor):
    """`statuses` as FederationMonitor, `announced`: station -> its newest manifests, unchecked."""

    def __init__(self, own: str, peers: list[str], context: Context | None = None):
        """Listen to all; ask nobody yet."""
        super().__init__([own, *peers], context=context)
        self.announced: dict[str, list[Manifest]] = {}
        self._own = own
        self._clients_of = {name: self.create_client(
            GetModelChunk, f'/{name}/federation/get_chunk') for name in peers}
        self._start_round = self.create_client(Trigger, f'/{own}/federation/start_round')
        self.create_subscription(
            ModelManifest, ANNOUNCEMENTS, self._on_manifest,
            QoSProfile(depth=LATCHED, durability=DurabilityPolicy.TRANSIENT_LOCAL))

    def nodes_named(self, station: str) -> int:
        """Return how many federation nodes call themselves so."""
        return self.count_publishers(f'/{station}/federation/status')

    def answers(self, station: str) -> bool:
        """Return whether a station's chunks can be asked for."""
        return self._clients_of[station].service_is_ready()

    def ask(self, station: str, sha256: str, index: int, patience: float) -> Answer | None:
        """Ask for a chunk and wait, from another thread than the executor's; None: no answer."""
        began = time.monotonic()
        found = _wait(self._clients_of[station].call_async(
            GetModelChunk.Request(sha256=sha256, index=index)), patience)
        if found is None:
            return None
        sound = found.success and hashlib.sha256(found.data).hexdigest() == found.sha256
        return Answer(time.monotonic() - began, len(found.data),
                      found.message.startswith(BUSY), sound)

    def start_round(self, patience: float) -> str | None:
        """Ask the own node for a round; return what it says, None: no answer."""
        if not self._start_round.wait_for_service(patience):
            return None
        found = _wait(self._start_round.call_async(Trigger.Request()), patience)
        return found.message if found else None

    def _on_manifest(self, message) -> None:
        try:
            manifest = message_to_manifest(message)
        except Refused:
            return
        self.announced.setdefault(manifest.sender, []).append(manifest)
        del self.announced[manifest.sender][:-LATCHED]


def _wait(future, patience: float):
    deadline = time.monotonic() + patience
    while not future.done() and time.monotonic() < deadline:
        time.sleep(0.005)
    return future.result() if future.done() else None


def until(condition: Callable[[], bool], patience: float) -> bool:
    """Wait for a condition; return whether it came to hold."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
