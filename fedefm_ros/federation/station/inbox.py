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

"""Models on their way here: what to ask whom for next, and what to do without an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
import math
from pathlib import Path
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.transport import Transport
from fedefm_ros.federation.transfer.fetch import Fetch
from fedefm_ros.federation.transfer.pace import TokenBucket
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.refusal import Refused


@dataclass
class _Arrival:
    manifest: Manifest
    fetch: Fetch
    #: Of fetch.window.
    most: int
    #: Chunk -> when it was asked for.
    asked: dict[int, float] = field(default_factory=dict)
    #: When anything of it came last: on a slow line, pieces wait for those before them.
    heard: float = -math.inf
    #: Chunks that the sender says it cannot give, and why; such that it could not give yet.
    missing: list[tuple[int, str]] = field(default_factory=list)
    later: list[int] = field(default_factory=list)
    #: Why it is given up; told by the next pump.
    fault: Refused | None = None
    #: Not before: the sender is busy, or the bandwidth is used up.
    pause_until: float = 0.0


class Inbox:
    """
    The fetches of a station.

    A peer that is busy or silent delays its own models only. One that answers nothing loses them
    after Fetch's tries.
    """

    BUSY_SECONDS = 0.5
    #: Bytes and chunks of a model that are asked for at a time, at most: enough that neither end
    #: waits for the other, few enough for the queue of a ROS service.
    IN_FLIGHT, MOST_CHUNKS = 8 << 20, 8
    #: Chunks at the beginning. One more for each that comes in so many seconds, half as many
    #: after one that took longer than SLOW: what a slow line has no room for is lost there, and
    #: DDS sends it again and again.
    FIRST_CHUNKS, QUICK, SLOW = 2, 0.25, 1.0

    def __init__(self, folder: Path, transport: Transport, timeout: float, bandwidth: int,
                 clock: Callable[[], float] = time.monotonic):
        self._folder = folder
        self._transport = transport
        self._timeout = timeout
        self._clock = clock
        self._bucket = TokenBucket(bandwidth, max(bandwidth // 4, 4 << 20), clock) \
            if bandwidth else None
        self._arrivals: dict[str, _Arrival] = {}
        #: Complete and handed over, until they are forgotten.
        self._complete: dict[str, Fetch] = {}
        self.received = 0

    def expect(self, key: str, manifest: Manifest) -> None:
        """
        Begin a fetch, or go on with one that was begun before a restart.

        :raises Refused: the disk has no room for it, or it is being fetched already.
        """
        try:
            most = min(max(self.IN_FLIGHT // manifest.chunk_size, 2), self.MOST_CHUNKS)
            self._arrivals[key] = _Arrival(
                manifest, Fetch(manifest, self._folder, self.FIRST_CHUNKS), most)
        except Refused:
            raise
        except FedefmError as error:
            raise Refused('disk', str(error)) from error

    def forget(self, key: str) -> None:
        """Remove what has come of a fetch, complete or not: it is given up, or done with."""
        arrival = self._arrivals.pop(key, None)
        fetch = arrival.fetch if arrival else self._complete.pop(key, None)
        if fetch:
            fetch.abandon()

    def pump(self) -> tuple[list[str], list[tuple[str, Refused]]]:
        """Ask for what is due; return the keys that are complete, and those that failed."""
        now, complete, failed = self._clock(), [], []
        for key, arrival in list(self._arrivals.items()):
            try:
                if arrival.fault:
                    raise arrival.fault
                if arrival.fetch.done:
                    arrival.fetch.close()
                    complete.append(key)
                    self._complete[key] = self._arrivals.pop(key).fetch
                    continue
                while arrival.missing:
                    arrival.fetch.failed(*arrival.missing.pop())
                for index, when in list(arrival.asked.items()):
                    if now - max(when, arrival.heard) > self._timeout:
                        del arrival.asked[index]
                        arrival.fetch.window = max(1, arrival.fetch.window // 2)
                        arrival.fetch.failed(index, 'no answer')
                self._ask(arrival, now)
            except Refused as refused:
                failed.append((key, refused))
                self.forget(key)
        return complete, failed

    def chunk(self, station: str, sha256: str, index: int, data, digest: str) -> bool:
        """Take a chunk that came, bytes-like; return whether there is something to pump now."""
        self.received += len(data)
        ready, now = False, self._clock()
        for arrival in self._of(station, sha256):
            took = now - arrival.asked.pop(index, now)
            arrival.heard = now
            window = arrival.fetch.window
            arrival.fetch.window = min(window + 1, arrival.most) if took < self.QUICK else \
                max(1, window // 2) if took > self.SLOW else window
            try:
                arrival.fetch.take(index, data, digest)
            except Refused as refused:
                arrival.fault = refused
            except FedefmError as error:
                arrival.fault = Refused('disk', str(error))
            else:
                self._ask(arrival, now)
            ready |= arrival.fetch.done or arrival.fault is not None
        return ready

    def no_chunk(self, station: str, sha256: str, index: int, why: str, busy: bool) -> None:
        """Take the answer that a chunk cannot be had; busy: not now."""
        for arrival in self._of(station, sha256):
            arrival.asked.pop(index, None)
            arrival.pause_until = self._clock() + self.BUSY_SECONDS
            if busy:
                arrival.later.append(index)
            else:
                arrival.missing.append((index, why))

    def restart_clock(self) -> None:
        """Forgive the silence of a pause: nothing was asked meanwhile."""
        now = self._clock()
        for arrival in self._arrivals.values():
            arrival.asked = dict.fromkeys(arrival.asked, now)

    def _of(self, station: str, sha256: str):
        return [one for one in self._arrivals.values()
                if one.manifest.sender == station and one.manifest.sha256 == sha256]

    def _ask(self, arrival: _Arrival, now: float) -> None:
        while now >= arrival.pause_until:
            due = [arrival.later.pop()] if arrival.later else arrival.fetch.wanted(1)
            if not due:
                return
            index, = due
            if self._bucket:
                arrival.pause_until = now + self._bucket.delay(arrival.manifest.chunk_size)
            arrival.asked[index] = now
            self._transport.ask(arrival.manifest.sender, arrival.manifest.sha256, index)
