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

"""A payload that is still coming: a sparse file, and which chunks of it are there."""

from contextlib import suppress
import fcntl
import hashlib
import os
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.transfer.chunk_table import DIGEST

_NONE = bytes(DIGEST)
PART, HAVE = '.part', '.have'


class PartFile:
    """
    Chunks on disk; beside them the SHA-256 of each that is there, zeros where there is none.

    Neither file is pushed to the disk: a chunk that a power cut spoilt no longer fits its digest
    when the files are opened again, and counts as missing.
    """

    def __init__(self, stem: Path, size: int, chunk_size: int):
        """
        Open or make the files STEM.part and STEM.have.

        :param size: bytes of the payload; the space is checked, not taken.
        :raises FedefmError: no space, no access, or somebody else has it open.
        """
        self.size, self.chunk_size = size, chunk_size
        self.chunks = -(-size // chunk_size)
        self.path, self._have_path = stem.with_suffix(PART), stem.with_suffix(HAVE)
        self._part = self._have = -1
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            self._part = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            self._have = os.open(self._have_path, os.O_RDWR | os.O_CREAT, 0o600)
            self._open()
        except OSError as error:
            self.close()
            raise FedefmError(f'{self.path}: {size} bytes cannot be received: '
                              f'{error.strerror or error}') from error
        except FedefmError:
            self.close()
            raise

    def length(self, index: int) -> int:
        """Return the bytes of a chunk."""
        return min(self.chunk_size, self.size - index * self.chunk_size)

    def table(self) -> bytes:
        """Return the SHA-256 of each chunk, zeros where there is none."""
        return os.pread(self._have, self.chunks * DIGEST, 0)

    def present(self, checked: bool = False) -> list[int]:
        """
        Return which chunks are there and undamaged, after reading them all.

        :param checked: they are undamaged; read none.
        """
        have = self.table()
        found = []
        for index in range(self.chunks):
            digest = have[index * DIGEST:(index + 1) * DIGEST]
            if digest != _NONE and (
                    checked or hashlib.sha256(self.read(index)).digest() == digest):
                found.append(index)
        return found

    def read(self, index: int) -> bytes:
        """Return a chunk."""
        return os.pread(self._part, self.length(index), index * self.chunk_size)

    def write(self, index: int, data, digest: bytes) -> None:
        """Keep a chunk; raises FedefmError, and then it does not count as there."""
        try:
            _write(self._part, data, index * self.chunk_size)
            _write(self._have, digest, index * DIGEST)
        except OSError as error:
            raise FedefmError(f'{self.path}: chunk {index} cannot be written: '
                              f'{error.strerror or error}; the transfer goes on when there is '
                              'space') from error

    def clear(self) -> None:
        """Count all chunks as missing."""
        os.ftruncate(self._have, 0)
        os.ftruncate(self._have, self.chunks * DIGEST)

    def move(self, target: Path) -> None:
        """Make it a whole file, once all chunks are there."""
        os.replace(self.path, target)
        self._have_path.unlink(missing_ok=True)
        self.close()

    def remove(self) -> None:
        """Remove the files."""
        for path in (self.path, self._have_path):
            path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the files; they stay, to be gone on with."""
        for handle in (self._part, self._have):
            if handle >= 0:
                with suppress(OSError):
                    os.close(handle)
        self._part = self._have = -1

    def __del__(self):
        self.close()  # also lets go of the lock

    def _open(self) -> None:
        try:
            fcntl.flock(self._part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FedefmError(f'{self.path} is being received already') from error
        status = os.fstat(self._part)
        free = os.fstatvfs(self._part)
        missing = self.size - min(self.size, status.st_blocks * 512)
        if missing > free.f_bavail * free.f_frsize:
            if not status.st_size:
                self.remove()
            raise FedefmError(f'{self.path.parent}: {missing} bytes are needed for a payload, '
                              f'{free.f_bavail * free.f_frsize} are free')
        if (status.st_size, os.fstat(self._have).st_size) != (self.size, self.chunks * DIGEST):
            self.clear()
            os.ftruncate(self._part, self.size)


def is_open(path: Path) -> bool:
    """Return whether somebody has the part file open that this file is, or belongs to."""
    part = path.with_suffix(PART) if path.suffix == HAVE else path
    if part.suffix != PART or not part.exists():
        return False
    with part.open('rb') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _write(handle: int, data, offset: int) -> None:
    data = memoryview(data)
    while data:
        written = os.pwrite(handle, data, offset)
        data, offset = data[written:], offset + written
