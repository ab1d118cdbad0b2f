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

"""Lifecycle node that publishes the frames of any source on an even clock."""

from dataclasses import dataclass
import sys
import time

from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.messages import fill_camera_info
from fedefm_ros.imaging.messages import fill_compressed
from fedefm_ros.imaging.messages import fill_image
from fedefm_ros.imaging.source import open_source
from fedefm_ros.memory import keep_freed_memory
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.nodes import diagnostics
from fedefm_ros.nodes.conversion import instruments_to_message
from fedefm_ros.nodes.declaration import Parameters
from fedefm_ros.nodes.diagnostics import Diagnostics
from fedefm_ros.nodes.diagnostics import Status
from fedefm_ros.nodes.lifecycle import run
from fedefm_ros.nodes.lifecycle import StationNode
from fedefm_ros.nodes.parameters import FLUOROSCOPY
from fedefm_ros.nodes.read_ahead import ReadAhead
from fedefm_ros.segmentation.grey import eight_bits
from fedefm_ros.segmentation.recent import Recent
from fedefm_ros.station import transport_problem

import numpy as np

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from std_msgs.msg import Bool
from std_msgs.msg import Header

from std_srvs.srv import SetBool

_IMAGE_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_LAST_WORD = Duration(seconds=1)
_SETTLED = 1.0
"""Seconds after a start from which the rate means something."""


@dataclass
class _Prepared:
    """A frame's messages, complete but for the stamp; None: nobody listens."""

    header: Header
    image: Image
    camera_info: CameraInfo
    compressed: CompressedImage | None = None
    truth_mask: Image | None = None
    truth_instruments: InstrumentArray | None = None


class FluoroscopyNode(StationNode):
    """
    Publishes ``fluoroscopy/image_raw`` and what goes with it; service ``fluoroscopy/pause``.

    A thread reads ahead; a timer publishes one frame a period, never two at once: a frame that
    is not ready in time is counted as late and sent at the next tick. Frames of a live device
    are published as they arrive.
    """

    def __init__(self) -> None:
        """Declare parameters; everything else waits for configure."""
        super().__init__('fluoroscopy')
        self.settings = Parameters(self, FLUOROSCOPY)
        self._source = self._reader = self._timer = self._arrival = None
        self._managed = {}
        self._active_publisher = self._pause_service = None
        self._flowing = self._paused = self._running = self._live = False
        self._published = self._late = 0
        self._failures = 0
        self._last_failure = ''
        self._last_time = time.monotonic()
        self._recent = Recent()
        self._largest = 0
        self._diagnostics = Diagnostics(
            self, {'source': self._source_status, 'transport': self._transport_status})

    def configure(self) -> None:
        """Open the source and begin to read it."""
        self._open()
        image_options = {'qos_overriding_options': QoSOverridingOptions.with_default_policies()}
        for name, kind, topic, qos, options in (
                ('image', Image, 'fluoroscopy/image_raw', _IMAGE_QOS, image_options),
                ('compressed', CompressedImage, 'fluoroscopy/image_raw/compressed',
                 _IMAGE_QOS, {}),
                ('camera_info', CameraInfo, 'fluoroscopy/camera_info', _IMAGE_QOS, {}),
                ('truth_mask', Image, 'ground_truth/mask', QoSProfile(depth=5), {}),
                ('truth_instruments', InstrumentArray, 'ground_truth/instruments',
                 QoSProfile(depth=5), {})):
            self._managed[name] = self.create_lifecycle_publisher(kind, topic, qos, **options)
        # Not managed: it has to say that frames have ended when the node is deactivated.
        self._active_publisher = self.create_publisher(Bool, 'procedure_active', _LATCHED_QOS)
        self._pause_service = self.create_service(SetBool, 'fluoroscopy/pause', self._on_pause)
        self._arrival = self.create_guard_condition(self._on_arrival)
        self._start_reader()

    def activate(self) -> None:
        """Publish from now on; after an earlier activation the sequence starts anew."""
        if self._reader is None:
            self._open()
            self._start_reader()
        self._running = True
        self._paused = self.settings['start_paused']
        self._recent.clear()
        self._last_time = time.monotonic()
        if self._live:
            self._reader.clear()
        else:
            self._timer = self.create_timer(1.0 / self._rate, self._on_tick)

    def deactivate(self) -> None:
        """Stop publishing and reading."""
        self._running = False
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        self._set_flowing(False)
        self._stop_reader()

    def cleanup(self) -> None:
        """Free source and publishers."""
        self._stop_reader()
        for publisher in self._managed.values():
            self.destroy_lifecycle_publisher(publisher)
        self._managed.clear()
        if self._active_publisher is not None:
            # Its last word goes with it, if it has not arrived.
            self._active_publisher.wait_for_all_acked(_LAST_WORD)
            self.destroy_publisher(self._active_publisher)
            self.destroy_service(self._pause_service)
            self.destroy_guard_condition(self._arrival)
        self._active_publisher = self._pause_service = self._arrival = None

    def _open(self) -> None:
        settings = self.settings
        self._source = open_source(
            settings['source'], rate=settings['rate'] or None, loop=settings['loop'],
            size=settings['size'], seed=settings['seed'])
        self._rate = settings['rate'] or self._source.rate
        self._live = hasattr(self._source, 'connected')
        self.get_logger().info(f'{self._source.name}: {self._rate:g} Hz, '
                               f'{self._source.frame_count or "endless"} frames')

    def _start_reader(self) -> None:
        self._reader = ReadAhead(
            self._source, self._prepare, 1 if self._live else self.settings['read_ahead'],
            newest=self._live, again=self._source.frame_count is None,
            pause=lambda: self.settings['retry_period'],
            arrived=self._arrival.trigger if self._live else lambda: None,
            failed=self._on_failure)

    def _stop_reader(self) -> None:
        if self._reader is not None:
            if not self._reader.stop():
                self.get_logger().warning(f'{self._source.name} still reads its last frame')
            self._failures += self._reader.failures
            self._reader = None
        if self._source is not None:
            self._source.close()
            self._source = None

    def _on_failure(self, text: str) -> None:
        self._last_failure = text
        self.get_logger().error(text, throttle_duration_sec=5.0)

    def _prepare(self, frame: Frame) -> _Prepared:
        """Make the messages of a frame; runs in the reading thread."""
        encoding = self.settings['encoding']
        header = Header(frame_id=self.settings['frame_id'])
        grey = _as_encoding(frame.image, encoding)
        ready = _Prepared(header, Image(header=header), CameraInfo(header=header))
        fill_image(ready.image, grey, 'mono8' if grey.dtype == np.uint8 else 'mono16')
        fill_camera_info(ready.camera_info, self._source.carm, grey.shape[1], grey.shape[0])
        if self._wanted('compressed', 'publish_compressed'):
            ready.compressed = CompressedImage(header=header)
            fill_compressed(ready.compressed, grey)
        if frame.truth is not None:
            if self._wanted('truth_mask', 'publish_ground_truth'):
                ready.truth_mask = Image(header=header)
                fill_image(ready.truth_mask, frame.truth.mask, 'mono8')
            if self._wanted('truth_instruments', 'publish_ground_truth'):
                ready.truth_instruments = instruments_to_message(
                    header, grey.shape, frame.truth.instruments,
                    spacing_mm=self._source.carm.patient_spacing_mm)
        return ready

    def _wanted(self, publisher: str, parameter: str) -> bool:
        return self.settings[parameter] and \
            self._managed[publisher].get_subscription_count() > 0

    def _on_tick(self) -> None:
        if not self._paused:
            self._publish_next(late_counts=True)

    def _on_arrival(self) -> None:
        if self._running and not self._paused and self._reader is not None:
            self._publish_next(late_counts=False)

    def _publish_next(self, late_counts: bool) -> None:
        ready = self._reader.take()
        if ready is None:
            self._nothing_ready(late_counts)
            return
        # All messages of a frame share this header.
        ready.header.stamp = self.get_clock().now().to_msg()
        for name, publisher in self._managed.items():
            message = getattr(ready, name)
            if message is not None:
                publisher.publish(message)
        self._published += 1
        self._largest = len(ready.image.data)
        self._last_time = time.monotonic()
        self._recent.add()
        self._set_flowing(True)

    def _nothing_ready(self, late_counts: bool) -> None:
        if self._reader.ended:
            if self._flowing:
                self.get_logger().info(f'end of the sequence after {self._published} frames')
            self._set_flowing(False)
        elif late_counts and self._flowing:
            self._late += 1
            if time.monotonic() - self._last_time > self.settings['stall_time']:
                self._set_flowing(False)

    def _set_flowing(self, flowing: bool) -> None:
        if flowing != self._flowing and self._active_publisher is not None:
            self._flowing = flowing
            self._active_publisher.publish(Bool(data=flowing))

    def _on_pause(self, request, response):
        self._paused = request.data
        if self._paused:
            self._set_flowing(False)
        elif self._live and self._reader is not None:
            self._reader.clear()
        self._recent.clear()
        # The time of a pause is not one in which the source stalled.
        self._last_time = time.monotonic()
        response.success = True
        response.message = 'paused' if self._paused else 'running'
        self._diagnostics.publish()  # who pauses should not see the state of before for a second
        return response

    def _source_status(self) -> Status:
        if self._live and self._flowing and \
                time.monotonic() - self._last_time > self.settings['stall_time']:
            self._set_flowing(False)
        reader = self._reader
        values = {
            'source': self._source.name if self._source else self.settings['source'],
            'rate_asked': float(self._rate) if self._source else 0.0,
            'rate': self._recent.rate() if self._running else 0.0,
            'published': self._published, 'late': self._late,
            'failures': self._failures + (reader.failures if reader else 0),
            'last_failure': self._last_failure, 'ready': reader.waiting if reader else 0,
            'procedure_active': self._flowing}
        level, text = self._judge()
        return Status(level, text, values)

    def _judge(self) -> tuple[bytes, str]:
        """Return level and message of the source's diagnostics."""
        reader = self._reader
        if not self._running or reader is None:
            return diagnostics.OK, 'not active'
        if self._paused:
            return diagnostics.OK, 'paused'
        if reader.ended:
            if reader.last_failure:
                return diagnostics.ERROR, f'ended by a failure: {reader.last_failure}'
            return diagnostics.OK, f'end of the sequence after {self._published} frames'
        if self.get_clock().now().nanoseconds == 0:
            return diagnostics.WARN, 'use_sim_time is set and nobody publishes /clock'
        if self._live and not self._source.connected:
            return diagnostics.ERROR, f'{self._source.name} is lost; trying to reconnect'
        if time.monotonic() - self._last_time > self.settings['stall_time']:
            return diagnostics.ERROR, f'no frames; {reader.last_failure or "the source is slow"}'
        if self._recent.span() < _SETTLED:
            return diagnostics.OK, 'has just started'
        if not self._live and self._recent.rate() < 0.9 * self._rate:
            return diagnostics.WARN, (f'{self._recent.rate():.1f} of {self._rate:g} Hz: the '
                                      'source is slower than its rate')
        return diagnostics.OK, f'{self._recent.rate():.1f} Hz'

    def _transport_status(self) -> Status:
        problem = transport_problem(self._largest)
        return Status(diagnostics.WARN if problem else diagnostics.OK, problem or 'suitable',
                      {'largest_message': self._largest})


def _as_encoding(image: np.ndarray, encoding: str) -> np.ndarray:
    """Return a grey image at the depth of an encoding; passthrough keeps it."""
    if encoding == 'mono8' and image.dtype == np.uint16:
        return eight_bits(image)
    if encoding == 'mono16' and image.dtype == np.uint8:
        return image.astype(np.uint16) * 257
    return image


def main() -> None:
    """Run the node."""
    keep_freed_memory()
    sys.exit(run(FluoroscopyNode))


if __name__ == '__main__':
    main()
