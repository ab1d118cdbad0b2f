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

"""The images of a ROS 2 bag (MCAP or sqlite3), read without ROS."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.folder import visible_files
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.messages import compressed_to_array, image_to_array
from fedefm_ros.imaging.source import ClosingSource, DEFAULT_RATE, usable_rate

from rosbags.highlevel import AnyReader
from rosbags.typesys import get_typestore, Stores

_IMAGE, _COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


class BagSource(ClosingSource):
    """
    One image topic of a bag; a frame's time is its header's stamp.

    The topic is the first that ends in ``image_raw`` (or ``image_raw/compressed``), else the
    first image topic: a recorded session holds masks and overlays as well.
    """

    def __init__(self, path: Path | str, topic: str | None = None):
        """
        Open the bag and find its images.

        :param topic: read this one.
        :raises FedefmError: not a bag, damaged, or no images in it.
        """
        self._path = Path(path)
        self._file = _storage(self._path)
        self.name = self._path.name
        self.carm = CArm()
        with self._reader() as reader:
            connection = self._choose(reader, topic)
            self.topic = connection.topic
            self.frame_count: int | None = connection.msgcount
            times = [time for time, _ in islice(self._messages(reader), 50)]
        if not times:
            raise FedefmError(f'{path}: topic {self.topic} has no messages')
        steps = [after - before for before, after in zip(times, times[1:]) if after > before]
        self.rate = (usable_rate(1.0 / median(steps)) if steps else None) or DEFAULT_RATE

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames."""
        with self._reader() as reader:
            start = None
            for index, (time, msg) in enumerate(self._messages(reader)):
                start = time if start is None else start
                yield Frame(self._image(msg, index), index, time - start)

    def _image(self, msg: Any, index: int):
        try:
            return image_to_array(msg) if hasattr(msg, 'encoding') else compressed_to_array(msg)
        except FedefmError as error:
            raise FedefmError(f'{self._path}: message {index} of {self.topic}: {error}') from None

    def _choose(self, reader: AnyReader, topic: str | None):
        """Return the connection to read."""
        images = [connection for connection in reader.connections
                  if connection.msgtype in (_IMAGE, _COMPRESSED)]
        if topic is not None:
            images = [connection for connection in images if connection.topic == topic]
        if not images:
            found = ', '.join(sorted({each.topic for each in reader.connections})) or 'no topics'
            raise FedefmError(f'{self._path}: no {topic or "image topic"} in this bag '
                              f'(it has {found})')
        raw = ('image_raw', 'image_raw/compressed')
        return min(images, key=lambda connection: not connection.topic.endswith(raw))

    def _messages(self, reader: AnyReader) -> Iterator[tuple[float, Any]]:
        """Yield (seconds, message); the time of recording where the stamp is not set."""
        connections = [each for each in reader.connections if each.topic == self.topic]
        for connection, recorded, data in reader.messages(connections):
            msg = reader.deserialize(data, connection.msgtype)
            stamp = msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9
            yield stamp or recorded * 1e-9, msg

    @contextmanager
    def _reader(self) -> Iterator[AnyReader]:
        """Open the bag; whatever is wrong in it becomes a FedefmError."""
        try:
            types = get_typestore(Stores.ROS2_JAZZY)
            with AnyReader([self._file], default_typestore=types) as reader:
                yield reader
        except FedefmError:
            raise
        except Exception as error:  # sqlite3, YAML, MCAP and CDR each have errors of their own
            text = ' '.join(str(error).split())[:200]
            raise FedefmError(f'{self._path}: damaged bag or none: {text}') from None


def _storage(path: Path) -> Path:
    """Return what rosbags opens: a folder with metadata, or the one file without."""
    if not path.is_dir() or (path / 'metadata.yaml').exists():
        return path
    files = [file for file in visible_files(path) if file.suffix in ('.mcap', '.db3')]
    if len(files) != 1:
        raise FedefmError(f'{path}: {len(files)} bag files and no metadata.yaml; give one of them')
    return files[0]
