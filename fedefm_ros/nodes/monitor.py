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
A receiver that watches a station as a robot controller would and keeps the score.

It subscribes to masks, instruments, images and ground truth, and is what ``demo`` and
``bench`` measure with: latency counts from the image's stamp to the mask's arrival here.
"""

from collections import Counter
from collections import OrderedDict
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray

from fedefm_ros.evaluation.scoring import Scores
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.nodes.conversion import instruments_from_message

import numpy as np

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time

from sensor_msgs.msg import Image

#: Frames that wait for their mask or their truth before they are forgotten.
PENDING = 90


@dataclass
class Sample:
    """One frame and what the station made of it."""

    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    instruments: tuple | None = None
    truth_mask: np.ndarray | None = None
    truth_instruments: tuple | None = None


@dataclass
class Tally:
    """What has been received so far; times in seconds."""

    stamps: list[int] = field(default_factory=list)
    """Stamps of the masks in the order of arrival, nanoseconds."""
    latencies: list[float] = field(default_factory=list)
    instrument_latencies: list[float] = field(default_factory=list)
    out_of_order: int = 0
    diagnostics: dict[str, dict[str, str]] = field(default_factory=dict)
    """Latest values of each diagnostics name."""
    diagnostics_seen: Counter[str] = field(default_factory=Counter)
    """How often each diagnostics name has come."""

    def told_again(self, before: Counter[str]) -> bool:
        """
        Return whether every diagnostics name has come twice since ``diagnostics_seen`` was so.

        Once may have been under way; the second was counted afterwards.
        """
        return bool(self.diagnostics_seen) and all(
            count >= before[name] + 2 for name, count in self.diagnostics_seen.items())

    def values(self, ending: str) -> dict[str, str]:
        """Return the latest values of the diagnostics name with an ending; empty: none came."""
        return next((values for name, values in self.diagnostics.items()
                     if name.endswith(ending)), {})


class StationMonitor(Node):
    """Receives a station's output; ``tally`` and ``scores`` hold what it saw."""

    def __init__(self, namespace: str = '', images: bool = True, **node_options):
        """
        Subscribe.

        :param namespace: the station's.
        :param images: also take images and truth: for pictures and scores, at a cost.
        """
        super().__init__('monitor', namespace=namespace, **node_options)
        self.tally = Tally()
        self.scores = Scores()
        self.latest: Sample | None = None
        self._pending: OrderedDict[int, Sample] = OrderedDict()
        self._images = images
        reliable = QoSProfile(depth=10)
        newest = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(Image, 'segmentation/mask', self._on_mask, reliable)
        self.create_subscription(
            InstrumentArray, 'segmentation/instruments', self._on_instruments, reliable)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, reliable)
        if images:
            self.create_subscription(Image, 'fluoroscopy/image_raw', self._on_image, newest)
            self.create_subscription(Image, 'ground_truth/mask', self._on_truth_mask, reliable)
            self.create_subscription(InstrumentArray, 'ground_truth/instruments',
                                     self._on_truth_instruments, reliable)

    def _age(self, header):
        return (self.get_clock().now() - Time.from_msg(header.stamp)).nanoseconds * 1e-9

    def _sample(self, header):
        stamp = Time.from_msg(header.stamp).nanoseconds
        sample = self._pending.get(stamp)
        if sample is None:
            sample = self._pending[stamp] = Sample()
            while len(self._pending) > PENDING:
                self._pending.popitem(last=False)
        return sample

    def _on_mask(self, message):
        self.tally.latencies.append(self._age(message.header))
        stamp = Time.from_msg(message.header.stamp).nanoseconds
        if self.tally.stamps and stamp <= self.tally.stamps[-1]:
            self.tally.out_of_order += 1
        self.tally.stamps.append(stamp)
        if self._images:
            sample = self._sample(message.header)
            sample.mask = np.array(image_to_array(message))
            self._complete(sample)

    def _on_instruments(self, message):
        self.tally.instrument_latencies.append(self._age(message.header))
        if self._images:
            sample = self._sample(message.header)
            sample.instruments = instruments_from_message(message)
            self._complete(sample)

    def _on_image(self, message):
        self._sample(message.header).image = np.array(image_to_array(message))

    def _on_truth_mask(self, message):
        sample = self._sample(message.header)
        sample.truth_mask = np.array(image_to_array(message))
        self._complete(sample)

    def _on_truth_instruments(self, message):
        sample = self._sample(message.header)
        sample.truth_instruments = instruments_from_message(message)
        self._complete(sample)

    def _complete(self, sample):
        if sample.mask is None or sample.instruments is None:
            return
        if sample.image is not None:
            self.latest = sample
        if sample.truth_mask is not None and sample.truth_instruments is not None:
            self.scores.add_mask(sample.mask, sample.truth_mask)
            self.scores.add_instruments(sample.instruments, sample.truth_instruments)
            # Counted once.
            sample.truth_mask = sample.truth_instruments = None

    def _on_diagnostics(self, message):
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            values['message'] = status.message
            self.tally.diagnostics[status.name] = values
            self.tally.diagnostics_seen[status.name] += 1
