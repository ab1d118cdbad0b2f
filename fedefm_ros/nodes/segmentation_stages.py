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

"""What the segmentation node's worker does with a frame: image, mask, instruments, overlay."""

from collections.abc import Callable
import copy
from dataclasses import dataclass, field
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.messages import compressed_to_array
from fedefm_ros.imaging.messages import fill_compressed
from fedefm_ros.imaging.messages import fill_image
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.nodes.conversion import centerline_to_message
from fedefm_ros.nodes.conversion import instruments_to_message
from fedefm_ros.nodes.conversion import tip_to_message
from fedefm_ros.nodes.declaration import Parameters
from fedefm_ros.segmentation.engine import RawSegmentation
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.frame_before import FrameBefore
from fedefm_ros.segmentation.judge import COUNTS
from fedefm_ros.segmentation.overlay import draw_overlay
from fedefm_ros.segmentation.pipeline import Job
from fedefm_ros.segmentation.recent import Recent

from geometry_msgs.msg import PoseArray
from geometry_msgs.msg import PoseStamped

import numpy as np

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import LivelinessPolicy
from rclpy.qos import QoSPolicyKind
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

SMALLEST_SIDE = 16
LIVELINESS_LEASE = 1.0


@dataclass
class Meters:
    """Figures of the last seconds."""

    arrived: Recent = field(default_factory=Recent)
    latency: Recent = field(default_factory=Recent)
    """Milliseconds from the stamp to the mask's publication, by this machine's clock."""
    processing: Recent = field(default_factory=Recent)
    """Milliseconds from the slot to the mask's publication."""
    inference: Recent = field(default_factory=Recent)
    geometry: Recent = field(default_factory=Recent)
    """Milliseconds from the mask's publication to that of the instruments."""

    def clear(self) -> None:
        """Forget everything."""
        for meter in vars(self).values():
            meter.clear()


class SegmentationStages:
    """The stages of the pipeline, with the node's publishers and newest parameters."""

    def __init__(self, node: LifecycleNode, settings: Parameters, engine: SegmentationEngine):
        """Create the publishers, switched off until the node is active."""
        self._node = node
        self._settings = settings
        self.engine = engine
        self.meters = Meters()
        self.camera_info: CameraInfo | None = None
        self.largest_message = 0
        #: What the judge did to pieces since the node was configured, for diagnostics.
        self.judged = dict.fromkeys(COUNTS, 0)
        self._frame_before = FrameBefore()
        self._last_overlay = 0.0
        qos = QoSProfile(depth=1, liveliness=LivelinessPolicy.AUTOMATIC,
                         liveliness_lease_duration=Duration(seconds=LIVELINESS_LEASE))
        if settings['deadline']:
            qos.deadline = Duration(seconds=settings['deadline'])
        overlay_qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._mask = self._publisher(Image, 'mask', qos)
        self._instruments = self._publisher(InstrumentArray, 'instruments', qos)
        self._tip = self._publisher(PoseStamped, 'tip', qos)
        self._centerline = self._publisher(PoseArray, 'centerline', qos)
        self._overlay = self._publisher(Image, 'overlay', overlay_qos)
        self._overlay_compressed = self._publisher(
            CompressedImage, 'overlay/compressed', overlay_qos)
        self._publishers = (self._mask, self._instruments, self._tip, self._centerline,
                            self._overlay, self._overlay_compressed)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = ()

    def prepare(self, job: Job) -> np.ndarray:
        """Return the grey image of a message; FedefmError where it cannot be segmented."""
        max_age = self._settings['max_age']
        if max_age and self._age_ms(job) > 1e3 * max_age:
            raise FedefmError(f'{self._age_ms(job):.0f} ms old on arrival, at most '
                              f'{1e3 * max_age:.0f} are accepted (parameter max_age)')
        message = job.message
        self.largest_message = len(message.data)
        if isinstance(message, CompressedImage):
            image = compressed_to_array(message)
        else:
            self._check_size(message.height, message.width)
            image = image_to_array(message)
        self._check_size(*image.shape)
        return image

    def infer(self, job: Job, image: np.ndarray) -> RawSegmentation:
        """Return the segmentation of an image, wholly by the model that runs now."""
        result = self._frame_before.infer(self.engine, image, job.stamp)
        for what in self.judged:
            self.judged[what] += getattr(result, what)
        return result

    def deliver(self, job: Job, image: np.ndarray, result: RawSegmentation,
                started: float) -> Callable[[], None]:
        """Return the call that publishes the mask."""
        message = Image(header=job.message.header)
        fill_image(message, result.mask, 'mono8')

        def publish() -> None:
            self._mask.publish(message)
            self.meters.latency.add(self._age_ms(job))
            self.meters.processing.add(1e3 * (time.monotonic() - started))
            self.meters.inference.add(result.inference_ms)
        return publish

    def finish(self, job: Job, image: np.ndarray, result: RawSegmentation,
               started: float) -> Callable[[], None]:
        """Find the instruments; return the call that publishes them, and what is drawn of them."""
        begun = time.monotonic()
        header = job.message.header
        spacing = self._spacing_mm(image.shape)
        instruments = self._frame_before.instruments(self.engine, result, spacing, job.stamp)
        leading = instruments[0] if instruments else None
        message = instruments_to_message(header, image.shape, instruments, spacing_mm=spacing,
                                         model_id=result.model_id)
        centerline = centerline_to_message(header, leading)
        drawn = self._drawn(header, image, result, instruments)

        def publish() -> None:
            message.processing_time = time.monotonic() - started
            self._instruments.publish(message)
            if leading is not None and leading.tip_visible:
                self._tip.publish(tip_to_message(header, leading))
            self._centerline.publish(centerline)
            self.meters.geometry.add(1e3 * (time.monotonic() - begun))
            for publisher, picture in drawn:
                publisher.publish(picture)
        return publish

    def _drawn(self, header, image, result, instruments) -> list[tuple]:
        """Return publishers and overlay messages for those who watch, not too many a second."""
        raw, compressed = (publisher.get_subscription_count() > 0 for publisher in (
            self._overlay, self._overlay_compressed))
        now = time.monotonic()
        # A little less than the period: frames that come at just this rate are all drawn.
        if not (raw or compressed) or \
                now - self._last_overlay < 0.9 / self._settings['overlay_rate']:
            return []
        self._last_overlay = now
        text = None
        if self._settings['overlay_text']:
            text = f'{header.stamp.sec}.{header.stamp.nanosec // 1_000_000:03d}  {result.model_id}'
        picture = draw_overlay(image, result.mask, instruments, text,
                               opacity=self._settings['overlay_opacity'])
        drawn = []
        if raw:
            message = Image(header=header)
            fill_image(message, picture, 'rgb8')
            drawn.append((self._overlay, message))
        if compressed:
            message = CompressedImage(header=header)
            fill_compressed(message, picture, 'rgb8', kind='jpeg',
                            quality=self._settings['overlay_quality'])
            drawn.append((self._overlay_compressed, message))
        return drawn

    def _publisher(self, kind: type, name: str, qos: QoSProfile):
        options = QoSOverridingOptions((
            QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DEADLINE, QoSPolicyKind.LIVELINESS,
            QoSPolicyKind.LIVELINESS_LEASE_DURATION))
        # A copy, since overrides are written into it.
        return self._node.create_lifecycle_publisher(
            kind, f'segmentation/{name}', copy.copy(qos), qos_overriding_options=options)

    def _check_size(self, height: int, width: int) -> None:
        largest = self._settings['max_side']
        if not (SMALLEST_SIDE <= height <= largest and SMALLEST_SIDE <= width <= largest):
            raise FedefmError(f'the image has {width} x {height} pixels; each side must have '
                              f'{SMALLEST_SIDE} to {largest} (parameter max_side)')

    def _age_ms(self, job: Job) -> float:
        return (self._node.get_clock().now().nanoseconds - job.stamp) * 1e-6

    def _spacing_mm(self, shape: tuple[int, int]) -> tuple[float, float] | None:
        """Return the pixel pitch at the patient (row, column); None where it is unknown."""
        given = self._settings['pixel_spacing_mm']
        if given:
            return given, given
        info, distance = self.camera_info, self._settings['source_isocenter_mm']
        if info is None or not distance or info.k[0] <= 0 or info.k[4] <= 0:
            return None
        # The image may have been resized on its way.
        return (distance / info.k[4] * info.height / shape[0],
                distance / info.k[0] * info.width / shape[1])
