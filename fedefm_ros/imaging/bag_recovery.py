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
Torn MCAP files: what was written before a process was killed, a disk was full or a copy broke off.

All whole chunks are found by reading the file once from its start, and an index of them is made in
memory. With it the file reads like any other, and ``mend`` can append it for good. A sqlite3 file
needs none of this: SQLite undoes by itself what was not committed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
import io
import os
from pathlib import Path

from fedefm_ros.errors import FedefmError

from mcap import records
from mcap.data_stream import RecordBuilder
from mcap.stream_reader import breakup_chunk, StreamReader

MAGIC = b'\x89MCAP0\r\n'


@dataclass
class RecoveredMcap:
    """
    A torn file with an index of its own, usable where rosbags takes a path.

    What is read of it are the first ``end`` bytes of the file, then ``tail``.
    """

    path: Path
    lost_bytes: int = 0
    end: int = 0
    tail: bytes = b''
    counts: Counter[str] = field(default_factory=Counter)
    """Recovered messages by topic."""
    times: tuple[int, int] | None = None
    """First and last time of these, nanoseconds."""
    topics: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name -> type and QoS profiles (YAML)."""

    @property
    def suffix(self) -> str:
        """Return what tells the kind of file."""
        return '.mcap'

    def exists(self) -> bool:
        """Return True: it was read."""
        return True

    def is_dir(self) -> bool:
        """Return False."""
        return False

    def open(self, mode: str = 'rb') -> io.BufferedReader:  # noqa: A003 (as Path has it)
        """Return a stream over the file as it would be with its index."""
        return io.BufferedReader(_Joined(self.path, self.end, self.tail), 2**16)

    def __str__(self) -> str:
        """Return the file's path."""
        return str(self.path)


class _Joined(io.RawIOBase):
    """The first bytes of a file, then bytes from memory."""

    def __init__(self, path: Path, end: int, tail: bytes):
        super().__init__()
        self._file = open(path, 'rb', buffering=0)
        self._end = end
        self._tail = tail
        self._at = 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at,
                os.SEEK_END: self._end + len(self._tail)}[whence]
        self._at = base + offset
        return self._at

    def tell(self):
        return self._at

    def readinto(self, buffer):
        view = memoryview(buffer)
        if self._at < self._end:
            self._file.seek(self._at)
            count = self._file.readinto(view[:self._end - self._at])
        else:
            data = self._tail[self._at - self._end:][:len(view)]
            view[:len(data)] = data
            count = len(data)
        self._at += count
        return count

    def close(self):
        self._file.close()
        super().close()


def is_torn(path: Path) -> bool:
    """Return whether a file that starts as MCAP does not end as such."""
    with open(path, 'rb') as file:
        if file.read(len(MAGIC)) != MAGIC:
            return False
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - len(MAGIC)))
        return file.read() != MAGIC or file.tell() <= len(MAGIC)


def recover(path: Path) -> RecoveredMcap:
    """
    Find all whole chunks (and single messages) of a torn MCAP file.

    :raises FedefmError: there is no message in it.
    """
    recovered = RecoveredMcap(path)
    scan = _Scan(recovered)
    size = path.stat().st_size
    with open(path, 'rb') as file:
        try:
            start = len(MAGIC)
            for record in StreamReader(file, emit_chunks=True, record_size_limit=size).records:
                scan.take(record, start, file.tell())
                start = file.tell()
        except Exception:
            # Whatever the reader makes of torn bytes (mcap's errors, struct's, zstd's, a bad
            # checksum): the file is good up to here.
            pass
    if not recovered.counts:
        raise FedefmError(f'{path}: damaged bag: torn before its first whole message')
    recovered.tail = scan.index()
    recovered.lost_bytes = size - recovered.end
    return recovered


def mend(recovered: RecoveredMcap) -> None:
    """Cut the torn end off the file and append the index; raises OSError."""
    with open(recovered.path, 'r+b') as file:
        file.truncate(recovered.end)
        file.seek(recovered.end)
        file.write(recovered.tail)
        file.flush()
        os.fsync(file.fileno())


@dataclass
class _ChunkPlace:
    """Where a whole chunk is, and the message indexes that follow it."""

    header: records.Chunk
    """Without its data."""
    compressed_size: int
    start: int
    length: int
    rows: dict[int, list[tuple[int, int]]]
    """Channel -> time and position of its messages; emptied once their indexes were seen."""
    channels: frozenset[int]
    indexes: dict[int, int] = field(default_factory=dict)
    """Channel -> where its message index is in the file."""
    index_length: int = 0

    @property
    def indexed(self) -> bool:
        """Return whether all indexes are there."""
        return self.indexes.keys() == self.channels


class _Scan:
    """Collects what an index is made of."""

    def __init__(self, recovered: RecoveredMcap):
        self._recovered = recovered
        self._schemas: dict[int, records.Schema] = {}
        self._channels: dict[int, records.Channel] = {}
        self._chunks: list[_ChunkPlace] = []
        self._counts: Counter[int] = Counter()
        self._ended = self._unindexed = False

    def take(self, record: records.McapRecord, start: int, end: int) -> None:
        """Note one whole record of the file and where it is."""
        self._ended |= isinstance(record, records.DataEnd)
        if self._ended:
            return
        if isinstance(record, records.MessageIndex):
            self._add_index(record, start, end)
            return
        # Only the last chunk's indexes can be made up for: there is no room for the others'.
        self._unindexed |= bool(self._chunks) and not self._chunks[-1].indexed
        if isinstance(record, records.Chunk):
            # Parsed to its end before anything is noted: a bad chunk counts for nothing.
            self._add_chunk(record, breakup_chunk(record, validate_crc=True), start, end)
        else:
            self._unindexed |= isinstance(record, records.Message)
            self._note(record)
        self._recovered.end = end

    def _add_chunk(self, chunk, contents, start, end):
        rows = {}
        position = 0
        for record in contents:
            if isinstance(record, records.Message):
                rows.setdefault(record.channel_id, []).append((record.log_time, position))
                position += 31 + len(record.data)
            else:
                builder = RecordBuilder()
                record.write(builder)
                position += builder.count
            self._note(record)
        if rows:
            self._chunks.append(_ChunkPlace(
                replace(chunk, data=b''), len(chunk.data), start, end - start, rows,
                frozenset(rows)))

    def _add_index(self, record, start, end):
        place = self._chunks[-1]
        place.indexes[record.channel_id] = start
        place.index_length += end - start
        if place.indexed:
            place.rows.clear()
            self._recovered.end = end

    def _note(self, record):
        recovered = self._recovered
        if isinstance(record, records.Schema):
            self._schemas[record.id] = record
        elif isinstance(record, records.Channel):
            self._channels[record.id] = record
            schema = self._schemas.get(record.schema_id)
            recovered.topics[record.topic] = (
                schema.name if schema else '', record.metadata.get('offered_qos_profiles', ''))
        elif isinstance(record, records.Message):
            recovered.counts[self._channels[record.channel_id].topic] += 1
            self._counts[record.channel_id] += 1
            first, last = recovered.times or (record.log_time, record.log_time)
            recovered.times = min(first, record.log_time), max(last, record.log_time)

    def index(self) -> bytes:
        """Return the bytes that complete the file after its last whole record."""
        builder = RecordBuilder()
        end = self._recovered.end
        if self._chunks and not self._chunks[-1].indexed:
            self._index_last(builder)
        records.DataEnd(0).write(builder)
        start = end + builder.count
        if self._unindexed:
            start = 0  # readers then scan; an index of some chunks would hide the others
        else:
            self._summarize(builder)
        records.Footer(summary_start=start, summary_offset_start=0, summary_crc=0).write(builder)
        return builder.end() + MAGIC

    def _index_last(self, builder):
        place = self._chunks[-1]
        place.indexes.clear()
        for channel, rows in place.rows.items():
            place.indexes[channel] = place.start + place.length + builder.count
            records.MessageIndex(channel, rows).write(builder)
        place.index_length = builder.count

    def _summarize(self, builder):
        for record in (*self._schemas.values(), *self._channels.values()):
            record.write(builder)
        for place in self._chunks:
            header = place.header
            records.ChunkIndex(
                chunk_length=place.length, chunk_start_offset=place.start,
                compression=header.compression, compressed_size=place.compressed_size,
                message_end_time=header.message_end_time,
                message_index_length=place.index_length, message_index_offsets=place.indexes,
                message_start_time=header.message_start_time,
                uncompressed_size=header.uncompressed_size).write(builder)
        first, last = self._recovered.times
        records.Statistics(
            attachment_count=0, channel_count=len(self._channels),
            channel_message_counts=dict(self._counts), chunk_count=len(self._chunks),
            message_count=self._counts.total(), message_start_time=first, message_end_time=last,
            metadata_count=0, schema_count=len(self._schemas)).write(builder)
