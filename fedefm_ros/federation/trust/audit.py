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

"""The record of what was accepted and refused: JSON lines, each bound to the one before it."""

from collections.abc import Iterator
from datetime import datetime
from datetime import timezone
import hashlib
import json
import os
from pathlib import Path
import threading

from fedefm_ros.errors import FedefmError

#: The `previous` of a log's very first line.
START = '0' * 64
_LONGEST_TEXT = 500
_HASH = b', "hash": "'


class AuditLog:
    """
    An append-only log of bounded size: PATH, and PATH.1 with what was before.

    Each line has time (UTC), number, event, peer, reason, further details, the hash of the line
    before it and its own SHA-256, so that a line that was changed, left out or put in shows.
    Whoever can write the file can also cut its end off or make up a whole new chain: keep `head`
    elsewhere to see that as well.

    A log that cannot be written never stops a station: `failed` counts the lines that are lost.
    Lines are not pushed to the disk one by one; a power cut can cost the last ones.
    """

    def __init__(self, path: Path, max_bytes: int = 8 << 20):
        """
        Go on with a log; a last line that a power cut tore is cut off, and that is recorded.

        :param max_bytes: of both files together, at least 8 KiB.
        """
        if max_bytes < 8 << 10:
            raise FedefmError(f'an audit log of {max_bytes} bytes; expected at least 8192')
        self.failed = 0
        self._path, self._half = path, max_bytes // 2
        self._lock = threading.Lock()
        self._number, self._head, torn = 0, START, 0
        try:
            torn = self._go_on()
        except OSError:
            self.failed += 1
        if torn:
            self.write('log_repaired', reason=f'{torn} bytes of a torn line were cut off')

    @property
    def head(self) -> str:
        """Return the hash of the last line."""
        return self._head

    def write(self, event: str, peer: str = '', reason: str = '', **details) -> bool:
        """
        Append a line; return whether it is in the file.

        :param details: JSON values; texts are cut to 500 characters.
        """
        with self._lock:
            text = json.dumps({
                'time': datetime.now(timezone.utc).isoformat(timespec='milliseconds'),
                'number': self._number, 'event': _short(event), 'peer': _short(peer),
                'reason': _short(reason), **{key: _short(value) for key, value in details.items()},
                'previous': self._head}, default=str).encode()[:-1]
            head = hashlib.sha256(text).hexdigest()
            try:
                self._append(text + _HASH + head.encode() + b'"}\n')
            except OSError:
                self.failed += 1
                return False
            self._number += 1
            self._head = head
            return True

    def verify(self) -> int:
        """Return how many lines there are; raises FedefmError where the chain is broken."""
        return sum(1 for _ in self.entries())

    def entries(self) -> Iterator[dict]:
        """Yield the lines, oldest first; raises FedefmError where the chain is broken."""
        previous = None
        for path in (self._older, self._path):
            try:
                lines = path.read_bytes().splitlines() if path.exists() else []
            except OSError as error:
                raise FedefmError(f'{path} cannot be read: {error.strerror or error}') from error
            for number, line in enumerate(lines, 1):
                entry = _parse(line)
                # Of the oldest line that is kept, what was before is gone by rotation.
                if entry is None or previous not in (None, entry['previous']):
                    raise FedefmError(f'{path}, line {number}: the chain is broken; lines were '
                                      'changed, removed or put in after they were written')
                previous = entry['hash']
                yield entry

    @property
    def _older(self) -> Path:
        return self._path.with_name(self._path.name + '.1')

    def _append(self, line: bytes) -> None:
        handle = self._open()
        try:
            size = os.fstat(handle).st_size
            if size and size + len(line) > self._half:
                os.replace(self._path, self._older)
                os.close(handle)
                handle, size = self._open(), 0
            try:
                if os.write(handle, line) < len(line):
                    raise OSError('the disk is full')
            except OSError:
                os.ftruncate(handle, size)  # half a line would break the chain
                raise
        finally:
            os.close(handle)

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def _go_on(self) -> int:
        """Take up number and hash of the last whole line; return the bytes of a torn one."""
        torn = 0
        if self._path.exists():
            data = self._path.read_bytes()
            torn = len(data) - data.rfind(b'\n') - 1
            if torn:
                os.truncate(self._path, len(data) - torn)
        for path in (self._path, self._older):
            lines = path.read_bytes().splitlines() if path.exists() else []
            # A line that was spoilt is left for verify to find; the chain goes on after it.
            entry = next(filter(None, map(_parse, reversed(lines))), None)
            if entry is not None:
                self._head, self._number = entry['hash'], entry['number'] + 1
                break
        return torn


def _parse(line: bytes) -> dict | None:
    """Return an undamaged line's entry."""
    text, _, _ = line.rpartition(_HASH)
    try:
        entry = json.loads(line)
        sound = entry['hash'] == hashlib.sha256(text).hexdigest()
        return entry if sound and type(entry['number']) is int and entry['previous'] else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _short(value):
    return value[:_LONGEST_TEXT] if isinstance(value, str) else value
