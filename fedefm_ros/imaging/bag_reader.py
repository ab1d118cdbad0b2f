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

"""Messages of any bag in the order of recording: rosbag2 (MCAP, sqlite3), torn ones, ROS 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag_files import storage_files
from fedefm_ros.imaging.bag_storage import Topic
from fedefm_ros.imaging.bag_types import typestore

from rosbags.convert.converter import generate_message_converter
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection


@dataclass(frozen=True)
class Message:
    """One message as stored."""

    topic: str
    msgtype: str
    time: int
    """When it was recorded, nanoseconds."""
    data: bytes
    """Serialised, as its bag does; ``BagReader.cdr`` has it as ROS 2 does."""


@dataclass
class TopicInfo:
    """A topic of a bag."""

    topic: Topic
    count: int = 0
    """Messages of all files; 0 where the bag does not tell."""
    connections: list[Connection] = field(default_factory=list)


class BagReader:
    """An open bag; use ``open_bag``."""

    def __init__(self, path: Path, reader: AnyReader, losses: list[str]):
        """Look at the topics."""
        self.path = path
        self.losses = losses
        """What could not be read, for people."""
        self._reader = reader
        self._converters: dict[str, Callable[[bytes], bytes]] = {}
        self.topics: dict[str, TopicInfo] = {}
        for connection in reader.connections:
            qos = getattr(connection.ext, 'offered_qos_profiles', ())
            info = self.topics.setdefault(connection.topic, TopicInfo(
                Topic(connection.topic, connection.msgtype, tuple(qos))))
            info.connections.append(connection)
            info.count += connection.msgcount or 0

    @property
    def is_ros1(self) -> bool:
        """Return whether ROS 1 wrote it."""
        return not self._reader.is2

    @property
    def span(self) -> tuple[int, int]:
        """Return the times of the first and the last message, nanoseconds; 0, 0: none."""
        if not self._reader.message_count:
            return 0, 0
        return self._reader.start_time, self._reader.end_time - 1

    def messages(self, topics: Iterable[str] | None = None, start: int | None = None,
                 stop: int | None = None) -> Iterator[Message]:
        """
        Yield messages in the order of recording.

        :param topics: of these only; all where None.
        :param start: recorded then or later, nanoseconds.
        :param stop: recorded before.
        """
        names = self.topics if topics is None else topics
        connections = [each for name in names for each in self.topics[name].connections]
        if not connections:
            return
        with _translated(self.path):
            for connection, time, data in self._reader.messages(connections, start, stop):
                yield Message(connection.topic, connection.msgtype, time, data)

    def decode(self, message: Message) -> Any:
        """Return the fields of a message."""
        with _translated(self.path):
            return self._reader.deserialize(message.data, message.msgtype)

    def cdr(self, message: Message) -> bytes:
        """
        Return a message as ROS 2 serialises it.

        :raises FedefmError: of ROS 1, and ROS 2 has no such type here.
        """
        if not self.is_ros1:
            return message.data
        if message.msgtype not in self._converters:
            store = typestore()
            if message.msgtype not in store.fielddefs:
                raise FedefmError(f'{self.path}: {message.topic}: ROS 2 has no {message.msgtype}')
            self._converters[message.msgtype] = generate_message_converter(
                self._reader.typestore, store, message.msgtype, message.msgtype, {},
                src_is2=False, dst_is2=True)
        with _translated(self.path):
            return bytes(self._converters[message.msgtype](message.data))


@contextmanager
def open_bag(path: Path) -> Iterator[BagReader]:
    """
    Open a bag: a folder or a file; whatever is wrong in it becomes a FedefmError.

    The same holds for errors while the reader reads.
    """
    with _translated(path):
        files, losses = storage_files(path)
        reader = AnyReader(files, default_typestore=typestore())
        reader.open()
    try:
        yield BagReader(path, reader, losses)
    finally:
        reader.close()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn the errors of sqlite3, YAML, MCAP, CDR and so on into one."""
    try:
        yield
    except FedefmError:
        raise
    except Exception as error:
        text = ' '.join(str(error).split())[:200] or type(error).__name__
        raise FedefmError(f'{path}: damaged bag or none: {text}') from error
