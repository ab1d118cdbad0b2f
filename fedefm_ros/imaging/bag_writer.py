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

"""Write a rosbag2 folder: splits, metadata.yaml, a valid end when the disk is full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import os
from pathlib import Path
import sqlite3
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.imaging.bag_storage import BagFile, STORAGES, Topic
from fedefm_ros.imaging.bag_types import definition

import yaml

#: Bytes kept aside in the bag's folder, given back when the disk is full, to complete the bag.
_BALLAST = 2**20


class BagWriter:
    """
    A bag that is being written.

    Every message is handed to the operating system after ``flush_seconds`` at the latest (call
    ``flush_if_due`` when there are none). When writing fails, what was written is completed into
    a valid bag, and the FedefmError tells; the writer is closed then. Not for two threads at
    once.
    """

    def __init__(self, path: Path, storage: str = 'mcap', *, split_bytes: int = 0,
                 split_seconds: float = 0.0, flush_seconds: float = 0.5, keep_free: int = 0,
                 compress: bool = False, name: str = '',
                 clock: Callable[[], float] = time.monotonic):
        """
        Make the folder and its first file.

        :param path: must not exist.
        :param storage: ``mcap`` or ``sqlite3``.
        :param split_bytes: begin a new file after so many bytes; 0: never.
        :param split_seconds: begin a new file after so many seconds of recording; 0: never.
        :param keep_free: stop when less than so many bytes are left on the disk.
        :param compress: MCAP chunks, with zstd.
        :param name: beginning of the files' names, by default the folder's.
        :raises FedefmError: it exists or cannot be written.
        """
        self.path = path
        self._name = name or path.name
        self._kind = STORAGES[storage]
        self._split_bytes = split_bytes
        self._split_ns = int(split_seconds * 1e9)
        self._flush_seconds = flush_seconds
        self._keep_free = keep_free
        self._compress = compress
        self._clock = clock
        self._topics: dict[str, Topic] = {}
        self._files: list[BagFile] = []
        self._file: BagFile | None = None
        self._begun: int | None = None
        try:
            path.mkdir(parents=True)
            with open(self._ballast, 'xb') as file:
                os.posix_fallocate(file.fileno(), 0, _BALLAST)
            self._begin_file()
        except FileExistsError:
            raise FedefmError(f'{path} exists; name a new bag') from None
        except (OSError, sqlite3.Error) as error:
            raise FedefmError(f'{path} cannot be written: {_reason(error)}') from error
        self._flushed = clock()

    def __enter__(self) -> BagWriter:
        """Return itself."""
        return self

    def __exit__(self, *_) -> None:
        """Close."""
        self.close()

    @property
    def closed(self) -> bool:
        """Return whether the bag is complete."""
        return self._file is None

    @property
    def counts(self) -> Counter[str]:
        """Return how many messages are in the bag for good, by topic."""
        return sum((file.counts for file in self._files), Counter())

    @property
    def files(self) -> list[Path]:
        """Return the files."""
        return [file.path for file in self._files]

    def has(self, name: str) -> bool:
        """Return whether a topic has been added."""
        return name in self._topics

    def add_topic(self, topic: Topic) -> None:
        """Add a topic; raises FedefmError where its type is not known."""
        definition(topic.msgtype)
        self._topics[topic.name] = topic
        self._guarded(lambda: self._file.add_topic(topic))

    def write(self, name: str, stamp: int, data: bytes) -> None:
        """
        Add a message.

        :param stamp: when it was recorded, nanoseconds.
        :param data: serialised (CDR).
        :raises FedefmError: the disk is full; the bag is complete then.
        """
        if self._begun is None:
            self._begun = stamp
        elif self._due_for_split(stamp):
            self._guarded(self._split)
            self._begun = stamp
        self._guarded(lambda: self._file.write(name, stamp, data))
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Flush where the last time is long enough ago."""
        if self._clock() - self._flushed >= self._flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system; raises FedefmError as ``write`` does."""
        self._guarded(self._flush)

    def close(self) -> None:
        """Complete the bag; may be called twice."""
        if self._file is not None:
            self._guarded(self._file.close)
            self._complete()

    @property
    def _ballast(self) -> Path:
        return self.path / '.reserve'

    def _due_for_split(self, stamp):
        return bool(self._split_bytes and self._file.size >= self._split_bytes or
                    self._split_ns and stamp - self._begun >= self._split_ns)

    def _begin_file(self):
        file = self._kind(
            self.path / f'{self._name}_{len(self._files)}{self._kind.SUFFIX}', self._compress)
        self._files.append(file)
        self._file = file
        for topic in self._topics.values():
            file.add_topic(topic)

    def _split(self):
        self._file.close()
        self._begin_file()

    def _flush(self):
        self._file.flush()
        self._flushed = self._clock()
        if self._keep_free:
            disk = os.statvfs(self.path)
            if disk.f_bavail * disk.f_frsize < self._keep_free:
                self.close()
                raise FedefmError(
                    f'less than {self._keep_free / 2**20:.0f} MiB are left on the disk of '
                    f'{self.path}: {self._stopped()}')

    def _guarded(self, do):
        """Do something; where it fails complete the bag and tell."""
        try:
            do()
        except (OSError, sqlite3.Error) as error:
            reason = _reason(error)
            self._give_up(reason)
            raise FedefmError(f'{self.path} cannot be written on ({reason}): '
                              f'{self._stopped()}') from error

    def _give_up(self, reason):
        """Complete what can be."""
        try:
            self._ballast.unlink(missing_ok=True)
            self._file.abandon()
        except FedefmError:  # not one whole message in the file
            empty = self._files.pop()
            empty.path.unlink(missing_ok=True)
        except (OSError, sqlite3.Error) as error:
            self._file = None
            raise FedefmError(
                f'{self.path} cannot be written on ({reason}) nor completed ({_reason(error)}); '
                'what was flushed can be read all the same') from error
        self._complete()

    def _complete(self):
        """Write metadata.yaml; without it a reader knows that a bag was not closed."""
        self._file = None
        self._ballast.unlink(missing_ok=True)
        text = yaml.safe_dump({'rosbag2_bagfile_information': self._metadata()}, sort_keys=False)
        try:
            write_atomically(self.path / 'metadata.yaml', text.encode())
        except OSError as error:
            raise FedefmError(f'{self.path / "metadata.yaml"} cannot be written '
                              f'({_reason(error)}); `ros2 bag reindex` makes it') from error

    def _stopped(self):
        return f'recording has stopped; the {self.counts.total()} messages in it are whole'

    def _metadata(self):
        counts = self.counts
        return {
            'version': 9, 'storage_identifier': self._kind.IDENTIFIER,
            **_span([file.times for file in self._files]),
            'message_count': counts.total(),
            'topics_with_message_count': [
                {'topic_metadata': {
                    'name': topic.name, 'type': topic.msgtype, 'serialization_format': 'cdr',
                    'offered_qos_profiles': topic.profiles,
                    'type_description_hash': definition(topic.msgtype)[1]},
                 'message_count': counts[topic.name]} for topic in self._topics.values()],
            'compression_format': '', 'compression_mode': '',
            'relative_file_paths': [file.path.name for file in self._files],
            'files': [{'path': file.path.name, **_span([file.times]),
                       'message_count': file.counts.total()} for file in self._files],
            'custom_data': None, 'ros_distro': os.environ.get('ROS_DISTRO', 'unknown')}


def _span(times):
    """Return starting time and duration as rosbag2 tells them."""
    known = [each for each in times if each]
    first, last = (min(a for a, _ in known), max(b for _, b in known)) if known else (0, 0)
    return {'starting_time': {'nanoseconds_since_epoch': first},
            'duration': {'nanoseconds': last - first}}


def _reason(error):
    return getattr(error, 'strerror', None) or str(error) or type(error).__name__
