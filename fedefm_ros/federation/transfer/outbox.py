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


@dataclass(frozen=True)
class Sealed:
    """A file that is a payload as sent."""

    offered: Offered
    table: bytes
    """The SHA-256 of its chunks, one after the other."""


class Chunk(NamedTuple):
    """A chunk as sent, and its SHA-256 (hex)."""

    data: array
    sha256: str


class Outbox:
    """
    The payloads of a folder, which is the truth: a restarted station offers what is in it.

    A file appears whole or not at all. The oldest go first when the folder is full. Chunks are
    hashed once, when they are written: what is spoilt on the disk afterwards does not fit its hash
    at the receiver.
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

        :param payload, chunk_size, key: of write_sealed.
        :raises FedefmError: too large, a used key, or the disk is full. Nothing is left then.
        """
        size = sealed_size(len(memoryview(payload).cast('B')), chunk_size, key is not None)
        self._admit(size, key)
        path = self._folder / f'{_TEMPORARY}{os.urandom(8).hex()}'
        return self._take(write_sealed(path, payload, chunk_size, key), path)

    def adopt(self, sealed: Sealed, path: Path, key: bytes | None = None) -> Offered:
        """
        Offer what another process has sealed, as `put` does; the file is moved.

        :param path: on the same file system as the folder.
        """
        try:
            self._admit(sealed.offered.size, key)
        except FedefmError:
            path.unlink(missing_ok=True)
            raise
        return self._take(sealed, path)

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

    def _admit(self, size: int, key: bytes | None) -> None:
        """Make room for a payload; raises FedefmError where it is too large, or its key used."""
        if size > self._max_bytes:
            raise FedefmError(f'a payload of {size} bytes is more than the outbox may have '
                              f'({self._max_bytes}); raise its limit')
        if key is not None:
            self._use(key)
        self._make_room(size)

    def _take(self, sealed: Sealed, path: Path) -> Offered:
        offered = sealed.offered
        try:
            os.replace(path, self._path(offered))
        except OSError as error:
            path.unlink(missing_ok=True)
            raise FedefmError(f'{path} cannot be moved to {self._folder}: '
                              f'{error.strerror or error}') from error
        known = self._offered.pop(offered.sha256, None)
        if known is not None and known != offered:
            self._path(known).unlink(missing_ok=True)
        self._tables[offered.sha256] = sealed.table
        self._offered[offered.sha256] = offered
        return offered

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


def sealed_size(size: int, chunk_size: int, encrypted: bool) -> int:
    """Return the bytes that a payload has as sent; FedefmError for a chunk size out of range."""
    limits = Limits()
    if not limits.min_chunk <= chunk_size <= limits.max_chunk:
        raise FedefmError(f'chunk size {chunk_size}; expected {limits.min_chunk} to '
                          f'{limits.max_chunk}')
    if not size:
        raise FedefmError('the payload is empty')
    return size + (-(-size // (chunk_size - OVERHEAD)) * OVERHEAD if encrypted else 0)


def write_sealed(path: Path, payload, chunk_size: int, key: bytes | None = None) -> Sealed:
    """
    Write a payload as it is to be sent.

    It is not pushed to the disk: what a power cut spoils no longer fits its hash.

    :param payload: bytes-like.
    :param chunk_size: of the chunks as sent; encrypted ones have 16 bytes less in them.
    :param key: encrypt with it; it must be new.
    :raises FedefmError: a size out of range, or the disk is full. Nothing is left then.
    """
    data = memoryview(payload).cast('B')
    size = sealed_size(len(data), chunk_size, key is not None)
    step = chunk_size - (OVERHEAD if key is not None else 0)
    digests = []
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'wb',
                  buffering=0) as file:
            for index, start in enumerate(range(0, len(data), step)):
                part = data[start:start + step]
                if key is not None:
                    part = memoryview(encrypt_chunk(key, index, part))
                digests.append(hashlib.sha256(part).digest())
                while part:
                    part = part[file.write(part):]
    except OSError as error:
        path.unlink(missing_ok=True)
        raise FedefmError(f'{path.parent}: a payload of {size} bytes cannot be written: '
                          f'{error.strerror or error}') from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    table = b''.join(digests)
    return Sealed(Offered(payload_sha256(table), size, chunk_size), table)
