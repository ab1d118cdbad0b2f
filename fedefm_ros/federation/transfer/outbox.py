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

"""What a station offers: payloads on disk, as sent, read chunk by chunk."""

from array import array
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import re
import tempfile
from typing import NamedTuple

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.transfer.chunk_table import DIGEST
from fedefm_ros.federation.transfer.chunk_table import payload_sha256
from fedefm_ros.federation.trust.limits import Limits
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.trust.sealing import encrypt_chunk
from fedefm_ros.federation.trust.sealing import OVERHEAD

_FILE = re.compile(r'([0-9a-f]{64})\.([1-9][0-9]{0,9})')
_TEMPORARY = '.new-'


@dataclass(frozen=True)
class Offered:
    """A payload as sent: what a manifest says of it."""

    sha256: str
    size: int
    chunk_size: int


class Chunk(NamedTuple):
    """A chunk as sent, and its SHA-256 (hex)."""

    data: array
    sha256: str


class Outbox:
    """
    The payloads of a folder, which is the truth: a restarted station offers what is in it.

    A file appears whole or not at all. The oldest go first when the folder is full. Chunks may be
    read while another thread puts. They are hashed once, when they are put: what is spoilt on the
    disk afterwards does not fit its hash at the receiver.
    """

    def __init__(self, folder: Path, max_bytes: int):
        """
        Take up a folder; it is for one outbox at a time.

        :param max_bytes: of all payloads together.
        """
        self._folder, self._max_bytes = folder, max_bytes
        #: Oldest first.
        self._offered: dict[str, Offered] = {}
        #: SHA-256 of a payload -> those of its chunks; none yet of files from before the start,
        #: which a power cut may have spoilt.
        self._tables: dict[str, bytes] = {}
        self._used_keys: set[bytes] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._take_up()
        except OSError as error:
            raise FedefmError(f'{folder} cannot be used as outbox: {error.strerror or error}'
                              ) from error

    @property
    def offered(self) -> tuple[Offered, ...]:
        """Return what can be had, oldest first."""
        return tuple(self._offered.values())

    @property
    def size(self) -> int:
        """Return the bytes of all payloads together."""
        return sum(entry.size for entry in self.offered)

    def put(self, payload, chunk_size: int, key: bytes | None = None) -> Offered:
        """
        Offer a payload.

        :param payload: bytes-like.
        :param chunk_size: of the chunks as sent; encrypted ones have 16 bytes less in them.
        :param key: encrypt with it; it must be new.
        :raises FedefmError: too large, a used key, or the disk is full. Nothing is left then.
        """
        data = memoryview(payload).cast('B')
        limits = Limits()
        if not limits.min_chunk <= chunk_size <= limits.max_chunk:
            raise FedefmError(f'chunk size {chunk_size}; expected {limits.min_chunk} to '
                              f'{limits.max_chunk}')
        if not len(data):
            raise FedefmError('the payload is empty')
        step = chunk_size - (OVERHEAD if key is not None else 0)
        size = len(data) + (-(-len(data) // step) * OVERHEAD if key is not None else 0)
        if size > self._max_bytes:
            raise FedefmError(f'a payload of {size} bytes is more than the outbox may have '
                              f'({self._max_bytes}); raise its limit')
        if key is not None:
            self._use(key)
        self._make_room(size)
        try:
            sha256, table = self._write(data, chunk_size, step, key)
        except OSError as error:
            raise FedefmError(f'{self._folder}: a payload of {size} bytes cannot be written: '
                              f'{error.strerror or error}') from error
        offered = Offered(sha256, size, chunk_size)
        known = self._offered.pop(sha256, None)
        if known is not None and known != offered:
            self._path(known).unlink(missing_ok=True)
        self._tables[sha256] = table
        self._offered[sha256] = offered
        return offered

    def chunk(self, sha256: str, index: int) -> Chunk:
        """Return a chunk as sent; raises Refused('unknown_payload') or ('bad_hash')."""
        offered = self._offered.get(sha256)
        if offered is None:
            raise Refused('unknown_payload', f'payload {sha256[:16]!r} is not offered here (any '
                          'more); wait for the next announcement')
        if not 0 <= index < -(-offered.size // offered.chunk_size):
            raise Refused('unknown_payload', f'chunk {index} of payload {sha256[:16]} does not '
                          f'exist; it has {-(-offered.size // offered.chunk_size)}')
        table = self._tables.get(sha256) or self._verified(offered)
        start = index * offered.chunk_size
        # Read into what a ROS message takes as it is: no copy on the way.
        data = array('B', bytes(1)) * min(offered.chunk_size, offered.size - start)
        try:
            with self._path(offered).open('rb', buffering=0) as file:
                count = os.preadv(file.fileno(), [data], start)
        except OSError as error:
            raise Refused('unknown_payload', f'payload {sha256[:16]} cannot be read: '
                          f'{error.strerror or error}') from error
        if count < len(data):
            self.remove(sha256)
            raise Refused('bad_hash', f'payload {sha256[:16]} was cut off on disk; it is no '
                          'longer offered')
        return Chunk(data, table[index * DIGEST:(index + 1) * DIGEST].hex())

    def remove(self, sha256: str) -> None:
        """Offer a payload no longer; nothing happens where it is not there."""
        offered = self._offered.pop(sha256, None)
        self._tables.pop(sha256, None)
        if offered is not None:
            self._path(offered).unlink(missing_ok=True)

    def _path(self, offered: Offered) -> Path:
        return self._folder / f'{offered.sha256}.{offered.chunk_size}'

    def _take_up(self) -> None:
        found = []
        for path in self._folder.iterdir():
            name = _FILE.fullmatch(path.name)
            if path.name.startswith(_TEMPORARY):
                path.unlink()
            elif name and path.is_file():
                status = path.stat()
                offered = Offered(name[1], status.st_size, int(name[2]))
                found.append((status.st_mtime_ns, path.name, offered))
        for _, _, offered in sorted(found, key=lambda entry: entry[:2]):
            if offered.sha256 in self._offered:
                self._path(self._offered.pop(offered.sha256)).unlink()
            self._offered[offered.sha256] = offered
        self._make_room(0)

    def _make_room(self, size: int) -> None:
        """Remove the oldest until so many bytes fit."""
        while self._offered and self.size + size > self._max_bytes:
            self.remove(next(iter(self._offered)))

    def _use(self, key: bytes) -> None:
        """Refuse a key that encrypted another payload: equal nonces would give both away."""
        digest = hashlib.sha256(key).digest()
        if digest in self._used_keys:
            raise FedefmError('a key may encrypt one payload only; make a new one')
        self._used_keys.add(digest)

    def _write(self, data: memoryview, chunk_size: int, step: int, key: bytes | None
               ) -> tuple[str, bytes]:
        """Write a payload; return the SHA-256 of it and those of its chunks."""
        digests = []
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=_TEMPORARY)
        try:
            with os.fdopen(handle, 'wb', buffering=0) as file:
                for index, start in enumerate(range(0, len(data), step)):
                    part = data[start:start + step]
                    if key is not None:
                        part = memoryview(encrypt_chunk(key, index, part))
                    digests.append(hashlib.sha256(part).digest())
                    while part:
                        part = part[file.write(part):]
            table = b''.join(digests)
            sha256 = payload_sha256(table)
            os.replace(temporary, self._path(Offered(sha256, 0, chunk_size)))
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return sha256, table

    def _verified(self, offered: Offered) -> bytes:
        """Hash a file from before the start; it is not pushed to the disk when it is written."""
        digests = []
        try:
            with self._path(offered).open('rb') as file:
                while block := file.read(offered.chunk_size):
                    digests.append(hashlib.sha256(block).digest())
        except OSError as error:
            raise Refused('unknown_payload', f'payload {offered.sha256[:16]} cannot be read: '
                          f'{error.strerror or error}') from error
        table = b''.join(digests)
        if payload_sha256(table) != offered.sha256:
            self.remove(offered.sha256)
            raise Refused('bad_hash', f'payload {offered.sha256[:16]} was damaged on disk; it is '
                          'no longer offered')
        self._tables[offered.sha256] = table
        return table
