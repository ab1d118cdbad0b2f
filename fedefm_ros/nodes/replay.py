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

"""Publish a bag's messages with their own stamps, and its time on /clock, without rosbag2."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
import math
import struct
import threading
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag_pace import Pace
from fedefm_ros.imaging.bag_reader import BagReader
from fedefm_ros.imaging.bag_reader import Message
from fedefm_ros.nodes.recorder_topics import message_class
from fedefm_ros.nodes.replay_readers import wait_for_readers

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.time import Time

from rosbags.interfaces import QosDurability

from rosgraph_msgs.msg import Clock

from sensor_msgs.msg import Image

#: Seconds between two messages on /clock at most.
_CLOCK_PERIOD = 0.025
#: Messages that are kept for a reader that is late.
_DEPTH = 30
#: Seconds for discovery to tell who else publishes.
_DISCOVERY = 1.0
#: For the last messages to arrive before the publishers are gone.
_DELIVERY = Duration(seconds=2)
#: What a station's nodes say themselves while they run.
_OUTPUTS = ('/segmentation/', '/federation/')


@dataclass(frozen=True)
class Plan:
    """What to publish, and when."""

    image: str
    """The topic of the bag whose messages are the frames."""
    names: dict[str, str]
    """Topic of the bag -> name to publish it by."""
    start: int
    """Nanoseconds of the bag's time, first and (excluded) last."""
    stop: int
    rate: float = 1.0
    loop: bool = False
    paused: bool = False
    mask: str = ''
    """Lock-step: the next frame waits for its mask on this topic; '': no lock-step."""
    patience: float = 2.0
    """Seconds to wait for a mask before it counts as missed."""


class Player:
    """Plays in the calling thread; another one spins the node."""

    def __init__(self, node: Node, reader: BagReader, plan: Plan):
        """
        Make the publishers.

        :raises FedefmError: somebody else publishes the frames' topic, or nothing is left.
        """
        self._node = node
        self._reader = reader
        self._plan = plan
        self.published: Counter[str] = Counter()
        self.left_out: dict[str, str] = {}
        """Topics of the bag that are not published, and why."""
        self.masks = self.missed = self.loops = 0
        self.latencies: list[float] = []
        """Lock-step: seconds from each frame to its mask."""
        self.latest_lag = 0.0
        """Seconds by which a message came too late at worst."""
        self._pace = Pace(plan.start, plan.rate, plan.paused)
        self._steps = 0
        self._answer = threading.Condition()
        self._answered: int | None = None
        self._clock = node.create_publisher(Clock, '/clock', 10)
        if plan.mask:
            node.create_subscription(Image, plan.mask, self._on_mask, QoSProfile(depth=10))
        self._publishers = self._make_publishers()

    @property
    def now(self) -> int:
        """Return the bag's time, nanoseconds."""
        return self._pace.now

    @property
    def frames(self) -> int:
        """Return how many frames have been published."""
        return self.published[self._plan.image]

    @property
    def readers(self) -> int:
        """Return how many are known to read the frames."""
        return self._node.count_subscribers(self._plan.names[self._plan.image])

    def wait_for_readers(self, patience: float, count: int = 0,
                         alone: float = math.inf) -> bool:
        """
        Wait until all who are known to read the frames are connected; return whether.

        In lock-step the node that makes the masks has to be one of them; see ``replay_readers``.

        :param count: so many readers at least.
        :param alone: give up after so many seconds if nobody reads by then.
        :raises FedefmError: somebody else publishes the frames' topic.
        """
        there = wait_for_readers(
            self._node, self._publishers[self._plan.image], patience=patience, count=count,
            alone=alone, mask=self._plan.mask)
        self._give_way()
        return there

    def play(self, wait: Callable[[float], str]) -> None:
        """
        Publish until the end, or until the keys say so, and until the readers have it.

        :param wait: waits so many seconds at most; returns ``space`` (pause, go on), ``right``
            (one frame), ``quit`` or ''.
        """
        try:
            self._play(wait)
        finally:
            for publisher in self._publishers.values():
                publisher.wait_for_all_acked(_DELIVERY)

    def _play(self, wait):
        while True:
            self._pace.jump(self._plan.start)
            for message in self._reader.messages(
                    self._publishers, self._plan.start, self._plan.stop):
                if not self._wait_until_due(message, wait):
                    return
                self._publish(message)
            self.loops += 1
            if not self._plan.loop:
                return

    def _make_publishers(self):
        time.sleep(_DISCOVERY)
        made = {}
        for name, target in self._plan.names.items():
            if reason := self._reason_against(name, target):
                self._leave_out(name, reason)
                continue
            topic = self._reader.topics[name].topic
            made[name] = self._node.create_publisher(
                message_class(topic.msgtype), target, _publisher_qos(topic.qos))
        return made

    def _give_way(self):
        """Leave out what turned out to be published by somebody else who was discovered late."""
        for name, publisher in list(self._publishers.items()):
            target = self._plan.names[name]
            names = [each.node_name for each in self._node.get_publishers_info_by_topic(target)]
            if len(names) < 2:  # no one but this node
                continue
            others = [each for each in names if each != self._node.get_name()] or names
            self._leave_out(name, f'{target} is published by {others[0]} already')
            del self._publishers[name]
            self._node.destroy_publisher(publisher)

    def _leave_out(self, name, reason):
        if name == self._plan.image:
            raise FedefmError(f'{name}: {reason}; stop that, or publish by another name '
                              '(--namespace, --remap)')
        self.left_out[name] = reason

    def _reason_against(self, name, target):
        if self._plan.mask and any(each in name for each in _OUTPUTS):
            return 'lock-step has it made anew'
        others = self._node.get_publishers_info_by_topic(target)
        if others:
            return f'{target} is published by {others[0].node_name} already'
        try:
            message_class(self._reader.topics[name].topic.msgtype)
        except FedefmError as error:
            return str(error)
        return ''

    def _wait_until_due(self, message: Message, wait) -> bool:
        """Keep the clock going until a message is due; False: asked to end."""
        while True:
            if self._steps or (self._plan.mask and not self._pace.paused):
                self._pace.jump(message.time)
                key = wait(0.0) if self._plan.mask else ''
                if key:
                    if not self._heed(key):
                        return False
                    continue
                break
            left = self._pace.seconds_until(message.time)
            if left <= 0:
                self.latest_lag = max(self.latest_lag, -left)
                break
            self._tell_time(min(self._pace.now, message.time))
            if not self._heed(wait(min(left, _CLOCK_PERIOD))):
                return False
        return True

    def _heed(self, key: str) -> bool:
        if key == 'space':
            self._pace.pause(not self._pace.paused)
        elif key == 'right':
            self._pace.pause(True)
            self._steps = 1
        return key != 'quit'

    def _publish(self, message: Message) -> None:
        data = self._reader.cdr(message)
        self._tell_time(message.time)
        self._answered = None
        sent = time.monotonic()
        self._publishers[message.topic].publish(data)
        self.published[message.topic] += 1
        if message.topic != self._plan.image:
            return
        self._steps = max(0, self._steps - 1)
        if self._plan.mask:
            if self._mask_came(_stamp(data)):
                self.masks += 1
                self.latencies.append(time.monotonic() - sent)
            else:
                self.missed += 1

    def _tell_time(self, now: int) -> None:
        self._clock.publish(Clock(clock=Time(nanoseconds=now).to_msg()))

    def _mask_came(self, stamp: int) -> bool:
        with self._answer:
            return self._answer.wait_for(
                lambda: self._answered == stamp, self._plan.patience)

    def _on_mask(self, message) -> None:
        with self._answer:
            self._answered = Time.from_msg(message.header.stamp).nanoseconds
            self._answer.notify()


def _publisher_qos(offered) -> QoSProfile:
    """
    Return a profile that any subscription matches.

    Latched stays latched. Deadline, lifespan and liveliness are those of a live station: during
    a pause they would raise alarms.
    """
    latched = bool(offered) and offered[0].durability == QosDurability.TRANSIENT_LOCAL
    depth = max((each.depth for each in offered), default=0)
    return QoSProfile(depth=max(depth, _DEPTH), durability=DurabilityPolicy.TRANSIENT_LOCAL
                      if latched else DurabilityPolicy.VOLATILE)


def _stamp(data: bytes) -> int:
    """Return the stamp of a serialised message that begins with a header, nanoseconds."""
    order = '<' if data[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', data, 4)
    return seconds * 10**9 + nanoseconds


def time_span(reader: BagReader, start: float, duration: float) -> tuple[int, int]:
    """
    Return first and (excluded) last time of a part of a bag, nanoseconds.

    :param start: seconds after its beginning.
    :param duration: seconds; infinity: to its end.
    :raises FedefmError: the bag has no message, or none in this part.
    """
    first, last = reader.span
    begin = first + round(start * 1e9)
    if not first or begin > last:
        raise FedefmError(f'{reader.path}: lasts {(last - first) / 1e9:.1f} s, so there is '
                          f'nothing after {start:g} s')
    end = last + 1 if math.isinf(duration) else min(last + 1, begin + round(duration * 1e9))
    return begin, end
