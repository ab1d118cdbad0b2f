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

"""The receiver's side of a transfer: which chunks to ask for, and what to make of the answers."""

from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence
import hashlib
import heapq
import os
from pathlib import Path
import re

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.transfer.chunk_table import payload_sha256
from fedefm_ros.federation.transfer.part_file import is_open
from fedefm_ros.federation.transfer.part_file import PartFile
from fedefm_ros.federation.trust.limits import Limits
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.manifest_check import check_fields
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.trust.sealing import decrypt_chunk

#: Suffixes of what finish leaves, and of what it is made in.
WHOLE, PLAIN = '.payload', '.plain'
_FILE = re.compile(r'([0-9a-f]{64})(-[0-9]+)?(\.part|\.have|\.payload|\.plain)')


class Fetch:
    """
    One payload on its way in. It does no more than files: the caller asks, waits and reports.

        while not fetch.done:
            for index in fetch.wanted(): ask for it
            on an answer: fetch.take(index, data, sha256); on silence: fetch.failed(index, why)
        path = fetch.finish(key)

    A new one for the same payload goes on where an earlier one stopped. `counts` says how many
    answers were 'corrupt', 'duplicate', 'unasked' or 'failed'. `window` can be changed meanwhile.
    """

    def __init__(self, manifest: Manifest, folder: Path, window: int = 4, max_tries: int = 5,
                 limits: Limits = Limits(), checked: bool = False):
        """
        Begin or go on.

        :param manifest: verified by the caller.
        :param window: chunks that are asked for at a time.
        :param max_tries: of a chunk, before the payload is given up.
        :param checked: all that is there was hashed since the machine was started, by another
            process, say: it is not hashed once more.
        :raises FedefmError: no space, or it is being fetched already.
        :raises Refused: sizes that are beyond the limits.
        """
        if window < 1 or max_tries < 1:
            raise FedefmError(f'window {window}, max_tries {max_tries}; expected 1 or more')
        check_fields(manifest, limits)
        self.manifest, self.counts = manifest, Counter()
        self.window = window
        self._folder, self._max_tries = folder, max_tries
        self._part = PartFile(folder / f'{manifest.sha256}-{manifest.chunk_size}', manifest.size,
                              manifest.chunk_size)
        present = self._part.present(checked)
        self._resumed = bool(present) and not checked
        self._start(present)
        self._doubt()

    @property
    def done(self) -> bool:
        """Return whether there is nothing more to ask for: call finish."""
        return self._left == 0

    @property
    def progress(self) -> tuple[int, int]:
        """Return bytes that are here and bytes in all."""
        return self._bytes, self.manifest.size

    def wanted(self, most: int | None = None) -> list[int]:
        """
        Return chunks to ask for now; they count as asked for until taken or failed.

        :param most: how many; None: as many as the window has room for.
        """
        asked = []
        while (self._queue and len(self._in_flight) < self.window
               and (most is None or len(asked) < most)):
            index = heapq.heappop(self._queue)
            if index not in self._have:
                self._in_flight.add(index)
                self._asked.add(index)
                asked.append(index)
        return asked

    def take(self, index: int, data, sha256: str) -> bool:
        """
        Take an answer; return whether it was of use.

        A damaged chunk is asked for again. One that comes after it was given up is still good.

        :raises Refused: 'bad_chunk', damaged for the last time.
        :raises FedefmError: the disk is full; the chunk is asked for again.
        """
        if index not in self._asked or index in self._have:
            self.counts['duplicate' if index in self._have else 'unasked'] += 1
            return False
        digest = hashlib.sha256(data)
        if len(data) != self._part.length(index) or digest.hexdigest() != sha256:
            self.counts['corrupt'] += 1
            self._again(index, 'bad_chunk', 'came damaged')
            return False
        try:
            self._part.write(index, data, digest.digest())
        except FedefmError:
            self._in_flight.discard(index)
            heapq.heappush(self._queue, index)
            raise
        self._in_flight.discard(index)
        self._count(index)
        self._doubt()
        return True

    def failed(self, index: int, why: str) -> None:
        """Say that there is no answer for a chunk; raises Refused('unreachable') at last."""
        if index in self._in_flight:
            self.counts['failed'] += 1
            self._again(index, 'unreachable', why)

    def finish(self, key: bytes | None = None, keep: bool = False) -> Path:
        """
        Return the file of the whole payload; it is the caller's from now on.

        It is not pushed to the disk: after a power cut it is to be fetched anew.

        :param key: decrypt with it.
        :param keep: leave what was fetched, for who may not get to the end with the file.
        :raises Refused: 'bad_hash' or 'bad_seal'; nothing is left then.
        :raises FedefmError: not done, the key is missing, or the disk is full.
        """
        if not self.done:
            raise FedefmError(f'{self._left} chunks are still missing')
        if self.manifest.sealed_keys and key is None:
            raise FedefmError('the payload is encrypted; open_key has its key')
        if not self._is_whole():
            self.abandon()
            raise Refused('bad_hash', f'payload {self.manifest.sha256[:16]} of '
                          f'{self.manifest.sender} is not what was announced')
        target = self._folder / f'{self.manifest.sha256}{WHOLE}'
        try:
            if key is None and not keep:
                self._part.move(target)
            else:
                self._copy(key, target)
            if keep:
                self._part.close()
            else:
                self._part.remove()
        except OSError as error:
            raise FedefmError(f'{target} cannot be written: {error.strerror or error}') from error
        return target

    def abandon(self) -> None:
        """Give up and remove what came so far."""
        self._part.remove()

    def close(self) -> None:
        """Stop, but keep what came so far for a later Fetch."""
        self._part.close()

    def _start(self, present: Sequence[int]) -> None:
        self._have: set[int] = set()
        self._in_flight: set[int] = set()
        self._asked: set[int] = set()
        self._tries: Counter[int] = Counter()
        self._bytes = 0
        self._left = self._part.chunks
        self._queue = sorted(set(range(self._part.chunks)) - set(present))
        for index in present:
            self._count(index)

    def _count(self, index: int) -> None:
        self._have.add(index)
        self._left -= 1
        self._bytes += self._part.length(index)

    def _doubt(self) -> None:
        """Start over once where the whole is wrong: what was here before may be to blame."""
        if self.done and self._resumed and not self._is_whole():
            self._resumed = False
            self._part.clear()
            self._start([])

    def _is_whole(self) -> bool:
        """Return whether the chunks are those that were announced; each fits its own hash."""
        return payload_sha256(self._part.table()) == self.manifest.sha256

    def _again(self, index: int, reason: str, why: str) -> None:
        self._in_flight.discard(index)
        self._tries[index] += 1
        if self._tries[index] >= self._max_tries:
            raise Refused(reason, f'chunk {index} of {self.manifest.sender}: {why}, '
                          f'{self._tries[index]} times')
        heapq.heappush(self._queue, index)

    def _copy(self, key: bytes | None, target: Path) -> None:
        temporary = target.with_suffix(PLAIN)
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                      'wb') as file:
                for index in range(self._part.chunks):
                    chunk = self._part.read(index)
                    file.write(chunk if key is None else decrypt_chunk(key, index, chunk))
            os.replace(temporary, target)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, Refused):
                self.abandon()
            raise


def sweep(folder: Path, keep: Iterable[str] = ()) -> int:
    """
    Remove what fetches left in a folder; return how many bytes that were on disk.

    :param keep: SHA-256 of payloads to leave alone; those that are being fetched stay, too.
    """
    kept, freed = set(keep), 0
    for path in sorted(folder.glob('*')):
        name = _FILE.fullmatch(path.name)
        if name and name[1] not in kept and not is_open(path):
            freed += path.stat().st_blocks * 512
            path.unlink()
    return freed
