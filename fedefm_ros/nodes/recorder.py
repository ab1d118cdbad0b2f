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

"""Record a station's topics into a bag, without rosbag2: messages are stored as they arrive."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import threading

from diagnostic_msgs.msg import DiagnosticArray

from fedefm_ros.errors import FedefmError
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.paths import share_dir

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy

from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer
from rosbags.typesys import get_types_from_msg
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image

#: Topics of a station, relative to its namespace, and whether they are best effort.
_TOPICS = (
    ('fluoroscopy/image_raw', Image, True),
    ('fluoroscopy/camera_info', CameraInfo, True),
    ('segmentation/mask', Image, False),
    ('segmentation/instruments', InstrumentArray, False),
    ('ground_truth/mask', Image, False),
    ('ground_truth/instruments', InstrumentArray, False),
    ('/diagnostics', DiagnosticArray, False),
)


@contextmanager
def recording(path: Path | None, node: Node, namespace: str) -> Iterator[None]:
    """
    Record a station into a new bag (MCAP) while the block lasts.

    :param path: folder of the bag, which must not exist; None records nothing.
    :param node: whose executor delivers the messages; another thread spins it.
    :raises FedefmError: the bag exists or cannot be written.
    """
    if path is None:
        yield
        return
    if path.exists():
        raise FedefmError(f'{path} exists; name a new bag')
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer.open()
    except OSError as error:
        raise FedefmError(f'{path} cannot be written: {error.strerror or error}') from error
    recorder = _Recorder(writer, node, namespace)
    try:
        yield
    finally:
        recorder.close()


class _Recorder:
    """Subscriptions that write; the lock keeps a late message out of a closed bag."""

    def __init__(self, writer, node, namespace):
        self._writer = writer
        self._node = node
        self._lock = threading.Lock()
        types = _types()
        self._subscriptions = [
            self._subscribe(types, kind, name if name.startswith('/') else f'{namespace}/{name}',
                            best_effort) for name, kind, best_effort in _TOPICS]

    def _subscribe(self, types, kind, topic, best_effort):
        connection = self._writer.add_connection(topic, _type_name(kind), typestore=types)
        qos = QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT if best_effort
                         else ReliabilityPolicy.RELIABLE)

        def write(data):
            with self._lock:
                if self._writer:
                    self._writer.write(
                        connection, self._node.get_clock().now().nanoseconds, data)

        return self._node.create_subscription(kind, topic, write, qos, raw=True)

    def close(self):
        with self._lock:
            writer, self._writer = self._writer, None
            writer.close()


def _type_name(kind):
    package, _, _ = kind.__module__.partition('.')
    return f'{package}/msg/{kind.__name__}'


def _types():
    """Return the types of a distribution and those of this package."""
    store = get_typestore(Stores.ROS2_KILTED)
    found = {}
    for path in sorted((share_dir() / 'msg').glob('Instrument*.msg')):
        found.update(get_types_from_msg(
            path.read_text(encoding='utf-8'), f'fedefm_ros/msg/{path.stem}'))
    store.register(found)
    return store
