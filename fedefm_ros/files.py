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

"""Writing files so that they appear whole or not at all."""

import os
from pathlib import Path
import re
import tempfile
import time

_BLOCK = bytes(1 << 20)
# As mkstemp ends it.
_TEMPORARY = re.compile(r'\..+\.[a-z0-9_]{8}')


def warm_page_cache(folder: Path, size: int) -> None:
    """
    Write so many bytes into a file and remove it, before something that writes as many is timed.

    A virtual machine may have to get memory that was not used lately from its host, at several
    times the cost of the copy; who writes first would pay for those who come after.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for start in range(0, size, len(_BLOCK)):
            file.write(_BLOCK[:size - start])


def write_atomically(path: Path, data: bytes, push: bool = True) -> None:
    """
    Write a file beside its final place, push it to the disk and rename it.

    Readers see the old file or the new one; a crash, a full disk or a power cut leaves the old
    one. Makes missing parent folders. Raises OSError.

    :param push: False saves the wait for the disk: a power cut may then leave a damaged file, for
        those who can see that it is damaged and do without it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            os.fchmod(file.fileno(), 0o644)  # mkstemp makes it private
            file.write(data)
            file.flush()
            if push:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if not push:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself, too, must survive a power cut
    finally:
        os.close(folder)


def remove_unfinished(folder: Path, seconds: float = 60.0) -> None:
    """
    Remove what ``write_atomically`` left in a folder when its process was killed.

    :param seconds: what was changed since then stays, as it may still be written.
    """
    for path in folder.glob('.*'):
        try:
            if _TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime > seconds:
                path.unlink()
        except FileNotFoundError:
            pass  # finished just now
