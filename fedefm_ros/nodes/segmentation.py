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

"""Lifecycle node that finds catheter and guidewire in every frame."""

import sys
import time

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.memory import keep_freed_memory
from fedefm_ros.nodes import diagnostics
from fedefm_ros.nodes.conversion import label_info_to_message
from fedefm_ros.nodes.conversion import label_info_type
from fedefm_ros.nodes.declaration import Parameters
from fedefm_ros.nodes.deferred_service import DeferredService
from fedefm_ros.nodes.diagnostics import Diagnostics
from fedefm_ros.nodes.diagnostics import Status
from fedefm_ros.nodes.lifecycle import run
from fedefm_ros.nodes.lifecycle import StationNode
from fedefm_ros.nodes.parameters import SEGMENTATION
from fedefm_ros.nodes.segmentation_stages import SegmentationStages
from fedefm_ros.segmentation.engine import EngineInfo
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.pipeline import Counts
from fedefm_ros.segmentation.pipeline import Gaps
from fedefm_ros.segmentation.pipeline import Pipeline
from fedefm_ros.segmentation.postprocess import SpeckParameters
from fedefm_ros.srv import LoadModel
from fedefm_ros.station import transport_problem

from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from std_msgs.msg import Header

SWITCH_INTERVAL = 0.001
"""Seconds that a Python thread may keep others waiting: a frame must not wait for geometry."""
SILENCE = 2.0
"""Seconds without a frame after which diagnostics warn."""


class SegmentationNode(StationNode):
    """
    Segments the newest frame, off the executor's thread.

    The model is loaded at configure; frames are subscribed to only while the node is active.
    Service ``segmentation/load_model`` swaps the model between two frames.
    """

    def __init__(self) -> None:
        """Declare parameters; everything else waits for configure."""
        super().__init__('segmentation')
        self.settings = Parameters(self, SEGMENTATION)
        self._engine: SegmentationEngine | None = None
        self._stages: SegmentationStages | None = None
        self._pipeline: Pipeline | None = None
        self._load_model: DeferredService | None = None
        self._labels = None
        self._taken = []
        self._model_note = 'no model is loaded'
        self._last_frame = time.monotonic()
        self._before = Counts()
        self._gaps = Gaps()
        self._diagnostics = Diagnostics(
            self, {'frames': self._frames_status, 'model': self._model_status,
                   'transport': self._transport_status})

    def configure(self) -> None:
        """Load and warm up the model."""
        settings = self.settings
        self._engine = SegmentationEngine.open(
            settings['model'], settings['runtime'], settings['threads'], settings['precision'],
            judge=settings['judge'],
            specks=SpeckParameters(min_confidence=settings['min_confidence'] or None),
            steady_tips=settings['steady_tips'])
        info = self._engine.info
        self._model_note = _describe(info)
        self.get_logger().info(f'model {info.model_path.name} {self._model_note}; measured: '
                               f'{"; ".join(map(str, info.measurements))}')
        self._stages = SegmentationStages(self, settings, self._engine)
        self._pipeline = Pipeline(
            self._stages,
            on_refusal=lambda text: self.get_logger().warning(
                f'frame refused: {text}', throttle_duration_sec=5.0),
            on_restart=lambda seconds: self.get_logger().info(
                f'stamps went back by {seconds:.1f} s: a new sequence'))
        self._before = Counts()
        self._gaps = Gaps()
        self._labels = self.create_publisher(
            label_info_type(), 'segmentation/label_info',
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self._labels.publish(label_info_to_message(
            Header(stamp=self.get_clock().now().to_msg())))
        self._load_model = DeferredService(
            self, LoadModel, 'segmentation/load_model', self._on_load_model)

    def activate(self) -> None:
        """Subscribe: rclpy's subscriptions run in every state, so they exist only in this one."""
        self._stages.meters.clear()
        self._last_frame = time.monotonic()
        self._gaps.restart()
        self._pipeline.open()
        settings = self.settings
        topic, kind = settings['image_topic'], Image
        if settings['compressed']:
            topic, kind = f'{topic}/compressed', CompressedImage
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._taken.append(self.create_subscription(
            kind, topic, self._on_frame, qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies()))
        if settings['camera_info_topic']:
            self._taken.append(self.create_subscription(
                CameraInfo, settings['camera_info_topic'], self._on_camera_info, qos))

    def deactivate(self) -> None:
        """Unsubscribe; nothing is published any more when this returns."""
        while self._taken:
            self.destroy_subscription(self._taken.pop())
        if self._pipeline is not None:
            self._pipeline.close()

    def cleanup(self) -> None:
        """Free the model."""
        if self._load_model is not None:
            self._load_model.close()
        if self._pipeline is not None and not self._pipeline.stop():
            self.get_logger().error('an inference does not end; its thread is left behind')
        if self._stages is not None:
            self._stages.close()
        if self._labels is not None:
            self.destroy_publisher(self._labels)
        self._load_model = self._pipeline = self._stages = self._labels = self._engine = None
        self._model_note = 'no model is loaded'

    def _on_frame(self, message, info: dict) -> None:
        self._gaps.see(info.get('publication_sequence_number'))
        self._last_frame = time.monotonic()
        self._stages.meters.arrived.add()
        stamp = message.header.stamp
        self._pipeline.offer(stamp.sec * 1_000_000_000 + stamp.nanosec, message)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._stages.camera_info = message

    def _on_load_model(self, request, response):
        """Swap the model; runs in the service's own thread, frames go on with the old one."""
        engine = self._engine
        try:
            if engine is None:
                raise FedefmError('the node is not configured')
            had_judge = engine.info.judge_id
            info = engine.load(request.path or self.settings['model'])
            if had_judge and not info.judge_id:
                self.get_logger().warning('the new model has no judge: min_confidence is now of '
                                          'the network')
            response.success, response.message = True, _describe(info)
            self._model_note = response.message
        except FedefmError as error:
            response.message = str(error)
        except Exception as error:  # whatever a file does to a loader, the old model goes on
            response.message = f'{type(error).__name__}: {error}'
        response.model_id = engine.info.model_id if engine is not None else ''
        text = f'load_model {request.path!r}: {response.message}'
        # Two calls: rclpy wants one severity from one line.
        if response.success:
            self.get_logger().info(text)
        else:
            self.get_logger().error(text)
        return response

    def _frames_status(self) -> Status:
        if self._pipeline is None:
            return Status(diagnostics.OK, 'not configured')
        counts, meters = self._pipeline.counts, self._stages.meters
        values = {
            'rate_in': meters.arrived.rate(), 'rate_out': meters.latency.rate(),
            'latency_ms_p50': meters.latency.percentile(0.5),
            'latency_ms_p99': meters.latency.percentile(0.99),
            'processing_ms_p50': meters.processing.percentile(0.5),
            'processing_ms_p99': meters.processing.percentile(0.99),
            'inference_ms_p50': meters.inference.percentile(0.5),
            'geometry_ms_p50': meters.geometry.percentile(0.5),
            **vars(counts), **{f'pieces_{what}': count
                               for what, count in self._stages.judged.items()},
            'pending': self._pipeline.pending, 'missed': self._gaps.missed}
        level, text = self._judge(counts, values)
        self._before = counts
        return Status(level, text, values)

    def _judge(self, counts: Counts, values: dict) -> tuple[bytes, str]:
        """Return level and message of the frames' diagnostics."""
        before = self._before
        if not self._taken:
            return diagnostics.OK, 'not active'
        if counts.faults > before.faults:
            return diagnostics.ERROR, f'defect: {counts.last_refusal}'
        if counts.refused > before.refused:
            return diagnostics.WARN, (f'{counts.refused - before.refused} frames refused, '
                                      f'lately because: {counts.last_refusal}')
        silence = time.monotonic() - self._last_frame
        if silence > SILENCE:
            return diagnostics.WARN, f'no frame for {silence:.0f} s'
        text = f'{values["rate_out"]:.1f} of {values["rate_in"]:.1f} Hz'
        if counts.skipped > before.skipped:
            return diagnostics.WARN, (f'{text}: {counts.skipped - before.skipped} frames skipped '
                                      'because newer ones had come')
        return diagnostics.OK, text

    def _model_status(self) -> Status:
        engine = self._engine
        if engine is None:
            return Status(diagnostics.OK, self._model_note)
        info = engine.info
        return Status(diagnostics.OK, self._model_note, {
            'model': info.model_path, 'model_id': info.model_id, 'backbone': info.backbone,
            'input_size': info.input_size, 'runtime': info.runtime, 'precision': info.precision,
            'threads': info.threads, 'min_confidence': f'{engine.min_confidence:g}',
            'judge_id': info.judge_id or 'none',
            'measurements': '; '.join(map(str, info.measurements))})

    def _transport_status(self) -> Status:
        size = 0
        if self._stages is not None:
            info = self._stages.camera_info
            # Where images are lost, the small message about them still tells their size.
            size = max(self._stages.largest_message, info.width * info.height if info else 0)
        problem = transport_problem(size)
        return Status(diagnostics.WARN if problem else diagnostics.OK, problem or 'suitable',
                      {'largest_message': size})


def _describe(info: EngineInfo) -> str:
    return (f'{info.model_id} on {info.runtime} {info.precision}, {info.threads} threads, '
            f'judge {info.judge_id or "none"}')


def main() -> None:
    """Run the node."""
    # OpenCV's share of a frame is many small calls: threads of its own would only take the cores
    # away from the network and the other processes of the station (8.6 against 5.1 CPU-ms).
    cv2.setNumThreads(1)
    keep_freed_memory()
    sys.exit(run(SegmentationNode))


if __name__ == '__main__':
    main()
