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

"""Record topics into a bag, without rosbag2: messages are stored as they arrive, undecoded."""

from collections import Counter
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import re
import threading

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag_storage import Topic
from fedefm_ros.imaging.bag_types import definition
from fedefm_ros.imaging.bag_writer import BagWriter
from fedefm_ros.nodes.recorder_topics import message_class
from fedefm_ros.nodes.recorder_topics import offered_profiles
from fedefm_ros.nodes.recorder_topics import subscription_qos

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node

#: What a station says, relative to its namespace, and what all stations share.
STATION_TOPICS = (
    'fluoroscopy/image_raw', 'fluoroscopy/camera_info', 'segmentation/mask',
    'segmentation/instruments', 'segmentation/tip', 'segmentation/centerline',
    'segmentation/label_info', 'ground_truth/mask', 'ground_truth/instruments',
    'procedure_active', 'federation/status', '/federation/announcements', '/diagnostics')

#: Seconds between looks at which topics there are.
_LOOK_PERIOD = 0.1
#: Seconds between two warnings about drops.
_WARN_PERIOD = 5.0


@dataclass(frozen=True)
class Choice:
    """Which topics to record."""

    names: tuple[str, ...] = ()
    """Full names."""
    pattern: str = ''
    """Regular expression for whole names."""

    def __contains__(self, name: str) -> bool:
        """Return whether a topic is meant."""
        return name in self.names or bool(self.pattern and re.fullmatch(self.pattern, name))


def station_topics(namespace: str, compressed: bool = False) -> Choice:
    """
    Return the topics of a station.

    :param compressed: the images as PNG instead of raw.
    """
    station = '/' + namespace.strip('/') if namespace.strip('/') else ''
    names = [name if name.startswith('/') else f'{station}/{name}' for name in STATION_TOPICS]
    if compressed:
        names[0] += '/compressed'
    return Choice(tuple(names))


class Recorder:
    """
    Subscribes to topics as they appear and writes in a thread of its own.

    A subscription's callback only queues: where the disk is slower than the topics, messages are
    dropped here and counted, and nobody waits. The node's executor has to be spun by another
    thread.
    """

    def __init__(self, node: Node, writer: BagWriter, choice: Choice,
                 queue_bytes: int = 256 * 2**20):
        """
        Start recording.

        :param queue_bytes: messages that wait for the disk take no more memory than this.
        """
        self._node = node
        self._writer = writer
        self._choice = choice
        self._room = self._queue_bytes = queue_bytes
        self._queue: deque[tuple[str, int, bytes]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._subscriptions: dict[str, tuple] = {}
        self._profiles: dict[str, tuple] = {}
        self._types: dict[str, str] = {}
        self.received: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        """Messages that found the queue full, by topic."""
        self.lost: Counter[str] = Counter()
        """Messages that the transport says it lost on the way here, by topic."""
        self.refused: dict[str, str] = {}
        """Topics that cannot be recorded, and why."""
        self.fullest = 0.0
        """Share of the queue that was in use at worst, 0 to 1."""
        self.failure: FedefmError | None = None
        """Why writing ended before it was asked to."""
        self._look()
        self._timer = node.create_timer(_LOOK_PERIOD, self._look)
        self._thread = threading.Thread(target=self._write_all, name='recorder', daemon=True)
        self._thread.start()

    @property
    def topics(self) -> list[str]:
        """Return what is subscribed to."""
        return sorted(self._subscriptions)

    def close(self) -> None:
        """Stop receiving, write what is queued and complete the bag; may be called twice."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._node.destroy_timer(self._timer)

    def _look(self):
        """Subscribe to topics that are new, anew where their publishers' QoS asks for it."""
        if self._closing:
            return
        for name, types in self._node.get_topic_names_and_types():
            if name not in self._choice or name in self.refused:
                continue
            publishers = self._node.get_publishers_info_by_topic(name)
            if not publishers:
                continue
            self._profiles[name] = offered_profiles(publishers)
            qos = subscription_qos(publishers)
            kept = self._subscriptions.get(name)
            if kept and kept[0] == qos:
                continue
            if kept:
                self._node.destroy_subscription(kept[1])
            self._subscribe(name, types[0], qos)

    def _subscribe(self, name, msgtype, qos):
        try:
            kind = message_class(msgtype)
            definition(msgtype)
        except FedefmError as error:
            self.refused[name] = str(error)
            self._node.get_logger().warning(f'{name} is not recorded: {error}')
            return
        self._types[name] = msgtype

        def on_lost(info):
            self.lost[name] += info.total_count_change

        self._subscriptions[name] = qos, self._node.create_subscription(
            kind, name, partial(self._on_message, name), qos, raw=True,
            event_callbacks=SubscriptionEventCallbacks(message_lost=on_lost))

    def _on_message(self, name, data):
        self.received[name] += 1
        now = self._node.get_clock().now().nanoseconds
        with self._wake:
            if self._closing or self.failure:
                return
            if full := len(data) > self._room:
                self.dropped[name] += 1
            else:
                self._put(name, now, data)
        if full:
            self._node.get_logger().warning(
                f'a message of {name} was dropped: the disk is too slow, what waits for it fills '
                f'the queue of {self._queue_bytes / 2**20:.0f} MiB; {self.dropped.total()} '
                'dropped so far', throttle_duration_sec=_WARN_PERIOD)

    def _put(self, name, now, data):
        self._room -= len(data)
        self.fullest = max(self.fullest, 1.0 - self._room / self._queue_bytes)
        self._queue.append((name, now, data))
        self._wake.notify()

    def _write_all(self):
        """Write until the end; runs in the thread."""
        try:
            while True:
                with self._wake:
                    if not self._queue and not self._closing:
                        self._wake.wait(0.2)
                    item = self._queue.popleft() if self._queue else None
                    if item is None and self._closing:
                        break
                if item is None:
                    self._writer.flush_if_due()
                    continue
                name, stamp, data = item
                if not self._writer.has(name):
                    self._writer.add_topic(Topic(name, self._types[name], self._profiles[name]))
                self._writer.write(name, stamp, data)
                with self._wake:
                    self._room += len(data)
            self._writer.close()
        except FedefmError as error:
            with self._wake:
                self.failure = error
                self._queue.clear()


@contextmanager
def recording(path: Path | None, node: Node, namespace: str) -> Iterator[Recorder | None]:
    """
    Record a station into a new bag (MCAP) while the block lasts.

    :param path: folder of the bag, which must not exist; None records nothing.
    :param node: whose executor delivers the messages; another thread spins it.
    :raises FedefmError: the bag exists, cannot be written, or the disk became full.
    """
    if path is None:
        yield None
        return
    recorder = Recorder(node, BagWriter(path), station_topics(namespace))
    try:
        yield recorder
    finally:
        recorder.close()
    if recorder.failure:
        raise recorder.failure
