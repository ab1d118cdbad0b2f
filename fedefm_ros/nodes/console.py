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

"""Node of the operator's console: feeds the pages with what the station says, and commands it."""

import faulthandler
from functools import partial
import os
from pathlib import Path
import signal
import sys
import threading
import time
import webbrowser

from diagnostic_msgs.msg import DiagnosticArray

from fedefm_ros.console import shelf
from fedefm_ros.console.desk import Desk
from fedefm_ros.console.gate import read_token
from fedefm_ros.console.network import Announcement
from fedefm_ros.console.network import NetworkView
from fedefm_ros.console.network import Peer
from fedefm_ros.console.network import StationStatus
from fedefm_ros.console.painter import Joiner
from fedefm_ros.console.painter import Painter
from fedefm_ros.console.painter import Parts
from fedefm_ros.console.recording import Recording
from fedefm_ros.console.server import serve
from fedefm_ros.console.view import Diagnosis
from fedefm_ros.console.view import NODES
from fedefm_ros.console.view import StationView
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.msg import FederationStatus
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.msg import ModelManifest
from fedefm_ros.nodes.console_calls import States
from fedefm_ros.nodes.console_calls import StationControls
from fedefm_ros.nodes.conversion import instruments_from_message
from fedefm_ros.nodes.declaration import Parameters
from fedefm_ros.nodes.parameters import CONSOLE

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.time import Time

from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image

from std_msgs.msg import Bool

_COMMANDS = ('start_round', 'pause', 'rollback')
_STATUS = 'fedefm_ros/msg/FederationStatus'
_BARE_SECONDS = 0.5
"""So long without a mask, and past the deadline, images are shown alone."""
_END_SECONDS = 8.0

# The console never asks a publisher to send again: the segmentation must not work for it.
_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class ConsoleNode(Node):
    """
    Watches the station of its namespace.

    Images are subscribed to only while a browser shows them, and drawn here, so that the
    segmentation node draws nothing for the console.
    """

    def __init__(self, ending: threading.Event):
        """
        Declare parameters and subscribe.

        :param ending: set when the process is asked to end.
        """
        super().__init__('console')
        self.settings = Parameters(self, CONSOLE)
        namespace = self.get_namespace().strip('/')
        self.view = StationView()
        self.federation = NetworkView()
        self._controls = StationControls(self, ending)
        self.desk = Desk(
            station=namespace or 'station', view=self.view, network_view=self.federation,
            controls=self._controls,
            recording=Recording(self.settings['record_folder'], namespace),
            models=shelf.models(self.settings['models_folder']),
            sources=shelf.sources(self.settings['sources_folder']),
            setting=self.settings.__getitem__, picture_failure=lambda: self._painter.failure)
        self._joiner = Joiner()
        self._painter = Painter(self.desk.hub.publish, self.settings.__getitem__)
        self._images = None
        self._last_mask = self._last_offer = 0.0
        self._statuses: dict[str, object] = {}
        self.create_subscription(Image, 'segmentation/mask', self._on_mask, _NEWEST)
        self.create_subscription(InstrumentArray, 'segmentation/instruments',
                                 self._on_instruments, _NEWEST)
        # As many as images, and small: tells that frames come while no browser looks.
        self.create_subscription(CameraInfo, 'fluoroscopy/camera_info',
                                 lambda message: self.view.image(), _NEWEST)
        self.create_subscription(Bool, 'procedure_active',
                                 lambda message: self.view.procedure(message.data), _LATCHED)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self.create_subscription(ModelManifest, '/federation/announcements',
                                 self._on_announcement, _LATCHED)
        self._states = States(self, NODES, self.view.state)
        self.create_timer(0.2, self._subscribe_to_images)
        self.create_timer(1.0, self._look_for_federation)

    def close(self) -> None:
        """End the painter."""
        self._painter.close()

    def _subscribe_to_images(self) -> None:
        """Take images while a browser shows them."""
        wanted = self.desk.hub.readers > 0
        if wanted and self._images is None:
            self._images = self.create_subscription(
                Image, 'fluoroscopy/image_raw', self._on_image, _NEWEST)
        elif not wanted and self._images is not None:
            self.destroy_subscription(self._images)
            self._images = None
            self._joiner = Joiner()

    def _on_image(self, message: Image) -> None:
        self.view.image()
        image = self._array(message)
        if image is None:
            return
        stamp = Time.from_msg(message.header.stamp).nanoseconds
        if time.monotonic() - self._last_mask > max(_BARE_SECONDS, self.settings['deadline']):
            self._offer(Parts(stamp, image))
        else:
            self._offer(self._joiner.add(stamp, image=image))

    def _on_mask(self, message: Image) -> None:
        self._last_mask = time.monotonic()
        stamp = Time.from_msg(message.header.stamp)
        age = (self.get_clock().now() - stamp).nanoseconds * 1e-9
        self.view.mask(age, (message.width, message.height))
        mask = self._array(message) if self._images is not None else None
        if mask is not None:
            self._offer(self._joiner.add(stamp.nanoseconds, mask=mask, age=age))

    def _on_instruments(self, message: InstrumentArray) -> None:
        found = message.instruments
        tip = None
        if found and found[0].tip_visible and message.width and message.height:
            # Pixel centres are whole numbers; shares count from the image's edge.
            tip = ((found[0].tip_px.x + 0.5) / message.width,
                   (found[0].tip_px.y + 0.5) / message.height)
        self.view.instruments(message.model_id, message.processing_time, len(found), tip)
        if self._images is not None:
            self._offer(self._joiner.add(Time.from_msg(message.header.stamp).nanoseconds,
                                         instruments=instruments_from_message(message)))

    def _offer(self, frame: Parts | None) -> None:
        now = time.monotonic()
        # A little less than the period: frames that come at just this rate are all drawn.
        if frame is None or now - self._last_offer < 0.9 / self.settings['picture_rate']:
            return
        self._last_offer = now
        self._painter.offer(frame)

    def _array(self, message: Image):
        try:
            return image_to_array(message)
        except FedefmError as error:
            self.get_logger().warning(f'not shown: {error}', throttle_duration_sec=10.0)
            return None

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        start = self.get_namespace().strip('/')
        start += '/' if start else ''
        for status in message.status:
            name = status.name.removeprefix(start)
            if status.name.startswith(start) and '/' not in name.partition(':')[0]:
                self.view.diagnosis(name, Diagnosis(
                    int.from_bytes(status.level, 'little'), status.message,
                    {pair.key: pair.value for pair in status.values}))

    def _look_for_federation(self) -> None:
        """Listen to every station's federation node, and see what the own one can be asked."""
        for name, types in self.get_topic_names_and_types():
            if name.endswith('/federation/status') and _STATUS in types \
                    and name not in self._statuses:
                self._statuses[name] = self.create_subscription(
                    FederationStatus, name, partial(self._on_status, name), _LATCHED)
        self.federation.commands(self._controls.offered(_COMMANDS))

    def _on_status(self, topic: str, message: FederationStatus) -> None:
        self.federation.status(StationStatus(
            name=message.station or topic.removesuffix('/federation/status').strip('/'),
            round_number=message.round, phase=message.phase,
            peers=tuple(Peer(*peer) for peer in zip(
                message.peers, message.peer_age, message.emd_weight)),
            bytes_sent=message.bytes_sent, bytes_received=message.bytes_received,
            score_before=message.score_before, score_after=message.score_after,
            refused=message.refused, last_refusal=message.last_refusal))

    def _on_announcement(self, message: ModelManifest) -> None:
        self.federation.announcement(Announcement(
            at=time.time(), round_number=message.round, owner=message.owner,
            sender=message.sender, purpose=message.purpose, size=message.size,
            sha256=message.sha256))


def run(arguments: list[str] | None = None, browse: bool = False) -> int:
    """
    Serve until SIGINT or SIGTERM; return the exit code.

    :param arguments: of ROS, ``--ros-args ...``; None: of the process.
    :param browse: open the page in this machine's browser.
    """
    # The server takes the signals while it serves, and raises them again at its end: ignored
    # there, since what follows is the end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    rclpy.init(args=arguments, signal_handler_options=rclpy.SignalHandlerOptions.NO)
    ending, node, thread = threading.Event(), None, None
    executor = SingleThreadedExecutor()
    try:
        node = ConsoleNode(ending)
        settings = node.settings
        token = read_token(settings['host'], settings['token_file'],
                           os.environ.get('FEDEFM_CONSOLE_TOKEN'))
        os.nice(settings['niceness'])
        executor.add_node(node)
        thread = threading.Thread(target=_spin, args=(executor,), name='ros', daemon=True)
        thread.start()
        serve(node.desk, settings['host'], settings['port'], token=token,
              certificate=_path(settings['tls_certificate']), key=_path(settings['tls_key']),
              started=partial(_say, node, browse), ending=ending.set)
    except (FedefmError, ParameterException) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    finally:
        faulthandler.dump_traceback_later(_END_SECONDS, exit=True)
        ending.set()
        executor.shutdown()
        if thread is not None:
            thread.join(2.0)
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
        faulthandler.cancel_dump_traceback_later()
    return 0


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        pass


def _say(node: ConsoleNode, browse: bool, address: str) -> None:
    node.get_logger().info(f'console of {node.desk.station} on {address}')
    if browse:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _path(text: str) -> str:
    return str(Path(text).expanduser()) if text else ''


def main() -> None:
    """Run the node."""
    sys.exit(run())


if __name__ == '__main__':
    main()
