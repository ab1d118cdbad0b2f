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

"""One try of the closed loop with real nodes, watched and supervised as an operator would."""

from dataclasses import dataclass, field
import re
import threading
import time

from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.nodes.conversion import instruments_from_message

from geometry_msgs.msg import WrenchStamped

import numpy as np

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy

from sensor_msgs.msg import Image

from std_msgs.msg import Bool
from std_msgs.msg import String

from std_srvs.srv import Trigger

#: A person looks before going on.
_LOOK_SECONDS = 1.0
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass
class Seen:
    """What was received since ``forget``."""

    status: str = ''
    reached: bool = False
    vessel: str = ''
    force_max: float = 0.0
    frames: int = 0
    image: np.ndarray | None = None
    instruments: tuple = ()
    trace: list = field(default_factory=list)
    """Where the tip really was, (2,) pixels each."""


class Supervisor(Node):
    """Watches a robot and its navigation; ``resume`` is the operator's word."""

    def __init__(self, namespace: str, **node_options):
        """Subscribe; ``instruments`` are what the navigation acts on."""
        super().__init__('supervisor', namespace=namespace, **node_options)
        self.seen = Seen()
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        for kind, topic, take, qos in (
                (String, 'navigation/status', self._on_status, _LATCHED),
                (Bool, 'ground_truth/reached', self._on_reached, _LATCHED),
                (String, 'ground_truth/vessel', self._on_vessel, _LATCHED),
                (WrenchStamped, 'robot/contact_force', self._on_force, QoSProfile(depth=10)),
                (InstrumentArray, 'ground_truth/instruments', self._on_truth,
                 QoSProfile(depth=10)),
                (InstrumentArray, 'segmentation/instruments', self._on_instruments,
                 QoSProfile(depth=1)),
                (Image, 'fluoroscopy/image_raw', self._on_image, newest)):
            self.create_subscription(kind, topic, take, qos)
        self._resume = self.create_client(Trigger, 'navigation/resume')

    def forget(self) -> None:
        """Begin another try."""
        self.seen = Seen()

    def resume(self, patience: float = 10.0) -> bool:
        """Tell the navigation to go on; False: it did not answer."""
        if not self._resume.wait_for_service(patience):
            return False
        arrived = threading.Event()
        self.seen.status = ''
        future = self._resume.call_async(Trigger.Request())
        future.add_done_callback(lambda _: arrived.set())
        return arrived.wait(patience)

    def supervise(self, limit_seconds: float, resumes: int, check) -> tuple[float, dict[str, int]]:
        """
        Let it drive until it is there, has stopped too often, or the time is up.

        Stops are lifted after a look; one by force is not. Spun by another thread.

        :param check: called often; raises when a process has died.
        :returns: seconds, and how often each fault became a stop.
        """
        begun, stops = time.monotonic(), {}
        self.resume()
        while time.monotonic() - begun < limit_seconds:
            check()
            status = self.seen.status
            if status == 'there':
                break
            if status.startswith('stopped: '):
                # Without its figures: 'no result for 0.52 s' and 'contact force of 0.6 N'.
                reason = re.sub(r'( for| of)? (-?\d|nan|inf).*', '',
                                status.removeprefix('stopped: '))
                stops[reason] = stops.get(reason, 0) + 1
                if reason == 'contact force' or sum(stops.values()) > resumes:
                    break
                time.sleep(_LOOK_SECONDS)
                self.resume()
            time.sleep(0.02)
        return time.monotonic() - begun, stops

    def _on_status(self, message: String) -> None:
        self.seen.status = message.data

    def _on_reached(self, message: Bool) -> None:
        self.seen.reached = message.data

    def _on_vessel(self, message: String) -> None:
        self.seen.vessel = message.data

    def _on_force(self, message: WrenchStamped) -> None:
        self.seen.force_max = max(self.seen.force_max, message.wrench.force.x)

    def _on_truth(self, message: InstrumentArray) -> None:
        found = instruments_from_message(message)
        if found:
            self.seen.trace.append(found[0].tip)

    def _on_instruments(self, message: InstrumentArray) -> None:
        self.seen.instruments = instruments_from_message(message)

    def _on_image(self, message: Image) -> None:
        self.seen.image = image_to_array(message).copy()
        self.seen.frames += 1
