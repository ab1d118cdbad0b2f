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

"""The files of a bag while they are written: MCAP and sqlite3."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
import sqlite3
from typing import Protocol

from fedefm_ros.imaging.bag_recovery import mend, recover
from fedefm_ros.imaging.bag_types import definition

from mcap.writer import CompressionType, Writer

from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import dump_qos_v9

import yaml


@dataclass(frozen=True)
class Topic:
    """A topic as a bag tells of it."""

    name: str
    msgtype: str
    qos: tuple[Qos, ...] = ()
    """Profiles of its publishers."""

    @property
    def profiles(self) -> list[dict]:
        """Return the profiles as metadata.yaml (version 9) has them."""
        return dump_qos_v9(list(self.qos))


class BagFile(Protocol):
    """One file of a bag; methods raise OSError or sqlite3.Error when the disk is full."""

    path: Path
    counts: Counter[str]
    """Messages that are in the file for good, by topic."""
    times: tuple[int, int] | None
    """First and last time of these, nanoseconds."""

    @property
    def size(self) -> int:
        """Return about how many bytes the file has, what is not yet written included."""

    def add_topic(self, topic: Topic) -> None:
        """Make a topic known."""

    def write(self, name: str, time: int, data: bytes) -> None:
        """Add a message."""

    def flush(self) -> None:
        """Hand everything to the operating system: no later death of this process loses it."""

    def close(self) -> None:
        """Complete the file."""

    def abandon(self) -> None:
        """Complete the file after a failure with what is in it for good."""


class _Pending:
    """Counts of what was flushed, and of what was not yet."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.times: tuple[int, int] | None = None
        self._counts: Counter[str] = Counter()
        self._times: tuple[int, int] | None = None

    def note(self, name: str, time: int) -> None:
        self._counts[name] += 1
        self._times = _joined(self._times, (time, time))

    def settle(self) -> None:
        self.counts += self._counts
        if self._times:
            self.times = _joined(self.times, self._times)
        self._counts, self._times = Counter(), None


def _joined(one: tuple[int, int] | None, other: tuple[int, int]) -> tuple[int, int]:
    return (min(one[0], other[0]), max(one[1], other[1])) if one else other


class _Unbuffered:
    """A file that keeps nothing back: after a failure there is nothing left to be written."""

    def __init__(self, path: Path):
        self._file = open(path, 'xb', buffering=0)
        self._at = 0

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            count = self._file.write(rest)
            self._at += count
            rest = rest[count:]

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._file.close()


class McapFile(_Pending):
    """MCAP: messages are collected in chunks, each with its checksum and index."""

    SUFFIX = '.mcap'
    IDENTIFIER = 'mcap'

    def __init__(self, path: Path, compress: bool = False):
        """
        Make the file.

        :param compress: chunks with zstd, at a cost of processor time.
        """
        super().__init__()
        self.path = path
        self._stream = _Unbuffered(path)
        self._writer = Writer(self._stream, chunk_size=4 * 2**20, compression=(
            CompressionType.ZSTD if compress else CompressionType.NONE))
        self._writer.start(profile='ros2', library='fedefm_ros')
        self._unwritten = 0
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Return the size so far in bytes."""
        return self._stream.tell() + self._unwritten

    def add_topic(self, topic: Topic) -> None:
        """Register schema and channel."""
        text, digest = definition(topic.msgtype)
        if topic.msgtype not in self._schemas:
            self._schemas[topic.msgtype] = self._writer.register_schema(
                topic.msgtype, 'ros2msg', text.encode())
        self._channels[topic.name] = self._writer.register_channel(
            topic.name, 'cdr', self._schemas[topic.msgtype],
            {'offered_qos_profiles': yaml.safe_dump(topic.profiles) if topic.qos else '',
             'topic_type_hash': digest})

    def write(self, name: str, time: int, data: bytes) -> None:
        """Add a message; a chunk that is full is written."""
        before = self._stream.tell()
        self._writer.add_message(self._channels[name], time, data, time)
        self.note(name, time)
        self._unwritten += len(data) + 31
        if self._stream.tell() != before:
            self.flush()

    def flush(self) -> None:
        """Write the chunk that is being filled."""
        self._writer.flush()
        self._unwritten = 0
        self.settle()

    def close(self) -> None:
        """Write the index."""
        self.flush()
        self._writer.finish()
        self._stream.close()

    def abandon(self) -> None:
        """Cut off what was written in part and index the rest."""
        self._stream.close()
        recovered = recover(self.path)
        mend(recovered)
        self.counts, self.times = recovered.counts, recovered.times


class SqliteFile(_Pending):
    """The rosbag2 schema in sqlite3: a transaction a flush."""

    SUFFIX = '.db3'
    IDENTIFIER = 'sqlite3'

    _SCHEMA = """
    CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
    CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL,
        metadata TEXT NOT NULL);
    CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
        serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL,
        type_description_hash TEXT NOT NULL);
    CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL,
        encoding TEXT NOT NULL, encoded_message_definition TEXT NOT NULL,
        type_description_hash TEXT NOT NULL);
    CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,
        timestamp INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX timestamp_idx ON messages (timestamp ASC);
    INSERT INTO schema(schema_version, ros_distro) VALUES (4, 'fedefm_ros');
    """

    def __init__(self, path: Path, compress: bool = False):
        """Make the file; this storage knows no compression."""
        super().__init__()
        self.path = path
        # The recorder opens it in one thread and writes in another, never in both.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Not a write-ahead log: what is in it needs room in the file a second time, which a full
        # disk has not, and some readers pass it by.
        self._connection.execute('PRAGMA journal_mode=DELETE')
        self._connection.execute('PRAGMA synchronous=NORMAL')
        self._connection.executescript(self._SCHEMA)
        self._connection.execute('BEGIN')
        self._topics: dict[str, int] = {}
        self._types: set[str] = set()
        self.size = 0

    def add_topic(self, topic: Topic) -> None:
        """Add rows for the topic and its type."""
        text, digest = definition(topic.msgtype)
        if topic.msgtype not in self._types:
            self._connection.execute(
                'INSERT INTO message_definitions (topic_type, encoding, '
                'encoded_message_definition, type_description_hash) VALUES (?, ?, ?, ?)',
                (topic.msgtype, 'ros2msg', text, digest))
            self._types.add(topic.msgtype)
        number = len(self._topics) + 1
        self._connection.execute(
            'INSERT INTO topics VALUES (?, ?, ?, ?, ?, ?)',
            (number, topic.name, topic.msgtype, 'cdr',
             yaml.safe_dump(topic.profiles) if topic.qos else '', digest))
        self._topics[topic.name] = number

    def write(self, name: str, time: int, data: bytes) -> None:
        """Add a message to the transaction."""
        self._connection.execute(
            'INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)',
            (self._topics[name], time, data))
        self.note(name, time)
        self.size += len(data)

    def flush(self) -> None:
        """Commit."""
        self._connection.execute('COMMIT')
        self.settle()
        self._connection.execute('BEGIN')

    def close(self) -> None:
        """Commit; one file is left."""
        self.flush()
        self._end()

    def abandon(self) -> None:
        """Undo the transaction that failed."""
        self._end()

    def _end(self) -> None:
        if self._connection.in_transaction:
            self._connection.rollback()
        self._connection.close()


STORAGES = {kind.IDENTIFIER: kind for kind in (McapFile, SqliteFile)}
