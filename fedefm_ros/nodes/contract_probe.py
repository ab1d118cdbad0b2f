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

"""What the contract check sees and sends: frames, answers, diagnostics, QoS events."""

import time

from diagnostic_msgs.msg import DiagnosticArray

from fedefm_ros.imaging.messages import fill_image
from fedefm_ros.msg import InstrumentArray

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState

import numpy as np

from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile

from sensor_msgs.msg import Image

_COUNTS = ('received', 'published', 'skipped', 'refused')
_TRANSITIONS = {'activate': Transition.TRANSITION_ACTIVATE,
                'deactivate': Transition.TRANSITION_DEACTIVATE}
_DEADLINE = 0.5
"""Seconds; asked for where the publisher's own is not known yet."""


def stamp_of(message: Image | InstrumentArray) -> int:
    """Return a message's stamp in nanoseconds."""
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec


class Probe(Node):
    """Talks to one segmentation node; spun by another thread."""

    frame_id = 'contract_check'

    def __init__(self, target: str, topic: str, context: Context):
        """
        Subscribe to everything that the node says.

        :param target: the node's full name.
        :param topic: full name of the image topic.
        """
        super().__init__('contract_check', context=context)
        self.target, self.topic = target, topic
        self.diagnostics_name = f'{target.strip("/")}: frames'
        self.masks: list[Image] = []
        self.instruments: list[InstrumentArray] = []
        self.arrivals: dict[str, list[float]] = {'mask': [], 'instruments': []}
        self.deadlines_missed = 0
        self._diagnosed: list[tuple[int, int, str, dict[str, str]]] = []
        self._latest = 0
        self._frames = self.create_publisher(Image, topic, QoSProfile(depth=50))
        reliable = QoSProfile(depth=200)
        self.create_subscription(Image, f'{target}/mask', self._on_mask, reliable)
        self.create_subscription(InstrumentArray, f'{target}/instruments',
                                 self._on_instruments, reliable)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._get_state = self.create_client(GetState, f'{target}/get_state')
        self._change_state = self.create_client(ChangeState, f'{target}/change_state')
        self._watch = None

    def send(self, image: np.ndarray, stamp: int | None = None) -> int:
        """Publish a grey image; return its stamp, by default newer than any before."""
        message = Image()
        fill_image(message, image, 'mono8')
        return self.send_message(message, stamp)

    def send_message(self, message: Image, stamp: int | None = None) -> int:
        """Publish a prepared message; return its stamp."""
        stamp = max(time.time_ns(), self._latest + 1) if stamp is None else stamp
        self._latest = max(stamp, self._latest)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        message.header.frame_id = self.frame_id
        self._frames.publish(message)
        return stamp

    def forget(self) -> None:
        """Forget what has come."""
        self.masks, self.instruments = [], []
        self.arrivals = {'mask': [], 'instruments': []}

    def others(self) -> list[str]:
        """Return who else publishes images to the node."""
        return [f'{each.node_namespace.rstrip("/")}/{each.node_name}'
                for each in self.get_publishers_info_by_topic(self.topic)
                if each.node_name != self.get_name()]

    def profiles(self) -> list:
        """Return the QoS that mask and instruments are published with; watches the deadline."""
        profiles = [each.qos_profile for name in ('mask', 'instruments')
                    for each in self.get_publishers_info_by_topic(f'{self.target}/{name}')]
        if self._watch is None and profiles:
            offered = profiles[0].deadline
            deadline = offered if offered.nanoseconds < 2**62 else Duration(seconds=_DEADLINE)
            self._watch = self.create_subscription(
                Image, f'{self.target}/mask', lambda message: None,
                QoSProfile(depth=1, deadline=deadline),
                event_callbacks=SubscriptionEventCallbacks(
                    deadline=self._on_deadline, incompatible_qos=lambda event: None))
        return profiles

    def state(self) -> str:
        """Return the label of the node's lifecycle state; empty: no answer within 2 s."""
        answer = self._call(self._get_state, GetState.Request(), 2.0)
        return answer.current_state.label if answer else ''

    def change(self, transition: str, patience: float) -> bool:
        """Ask for a transition; return whether it was done."""
        request = ChangeState.Request()
        request.transition.id = _TRANSITIONS[transition]
        answer = self._call(self._change_state, request, patience)
        return answer is not None and answer.success

    def counts(self) -> dict[str, int] | None:
        """Return the newest counts of the diagnostics; None where there are none."""
        if not self._diagnosed:
            return None
        values = self._diagnosed[-1][3]
        if not all(values.get(name, '').isdigit() for name in _COUNTS):
            return None
        return {name: int(values[name]) for name in _COUNTS}

    def settled(self, since: int) -> bool:
        """Return whether diagnostics from after a moment say that no frame is on its way."""
        newer = [entry for entry in self._diagnosed if entry[0] > since]
        # The first may have been made before the last frame was taken in.
        return len(newer) > 1 and newer[-1][3].get('pending', '0') == '0'

    def judged(self) -> str:
        """Return level and message of the newest diagnostics."""
        return 'nothing' if not self._diagnosed else \
            f'{self._diagnosed[-1][2]!r} at level {self._diagnosed[-1][1]}'

    def warned(self, since: int) -> bool:
        """Return whether a warning or an error came after a moment."""
        return any(at > since and level for at, level, _, _ in self._diagnosed)

    def _on_mask(self, message: Image) -> None:
        self.masks.append(message)
        self.arrivals['mask'].append(time.monotonic())

    def _on_instruments(self, message: InstrumentArray) -> None:
        self.instruments.append(message)
        self.arrivals['instruments'].append(time.monotonic())

    def _on_deadline(self, event) -> None:
        self.deadlines_missed += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self.diagnostics_name:
                self._diagnosed.append((
                    stamp_of(message), int.from_bytes(status.level, 'little'), status.message,
                    {pair.key: pair.value for pair in status.values}))

    def _call(self, client, request, patience: float):
        """Return the answer to a request; None if there was none in time."""
        deadline = time.monotonic() + patience
        if not client.wait_for_service(patience):
            return None
        future = client.call_async(request)
        while not future.done():
            if time.monotonic() > deadline:
                client.remove_pending_request(future)
                return None
            time.sleep(0.01)
        return future.result()
