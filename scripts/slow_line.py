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
A slow, long and lossy Ethernet line between two network interfaces; needs root and Linux.

    python scripts/slow_line.py NAME_A NAME_B --mbit 10 --delay-ms 30 --loss 1

makes two interfaces and carries frames between them until it is ended: each waits for those
before it (a bottleneck of so many Mbit/s with a queue, whose end is dropped), then for the delay,
and one in so many is lost, in each direction. It is what tc's netem does, for kernels without it.
"""

import argparse
from contextlib import suppress
import fcntl
import heapq
import os
import random
import select
import struct
import time

_TUNSETIFF = 0x400454ca
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME = 65536
#: Seconds of traffic that wait before the bottleneck, at most; what comes then is lost.
_QUEUE = 0.4


class Direction:
    """Frames of one direction on their way."""

    def __init__(self, source: int, target: int, mbit: float, delay: float, loss: float,
                 rng: random.Random):
        self.source, self.target = source, target
        self._per_byte = 8e-6 / mbit
        self._delay, self._loss, self._rng = delay, loss, rng
        self._free_at = 0.0
        self.waiting: list[tuple[float, int, bytes]] = []
        self.carried = self.lost = self.dropped = 0

    def take(self, now: float) -> None:
        """Take a frame from the source."""
        try:
            frame = os.read(self.source, _FRAME)
        except OSError:  # the interface is not up yet, or no more
            time.sleep(0.01)
            return
        start = max(now, self._free_at)
        if start - now > _QUEUE:
            self.dropped += 1
            return
        self._free_at = start + len(frame) * self._per_byte
        if self._rng.random() < self._loss:
            self.lost += 1
            return
        self.carried += 1
        heapq.heappush(self.waiting, (self._free_at + self._delay, self.carried, frame))

    def give(self, now: float) -> None:
        """Hand over what has arrived."""
        while self.waiting and self.waiting[0][0] <= now:
            with suppress(OSError):  # an interface that is down gets nothing
                os.write(self.target, heapq.heappop(self.waiting)[2])


def interface(name: str) -> int:
    """Return a new interface's file."""
    handle = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, _TUNSETIFF, struct.pack('16sH', name.encode(), _IFF_TAP | _IFF_NO_PI))
    return handle


def main() -> None:
    """Carry frames until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('names', nargs=2, metavar='NAME', help='of a new interface')
    parser.add_argument('--mbit', type=float, default=10.0, help='Mbit/s in each direction')
    parser.add_argument('--delay-ms', type=float, default=0.0, help='in each direction')
    parser.add_argument('--loss', type=float, default=0.0, help='percent, in each direction')
    parser.add_argument('--seed', type=int, default=0, help='of what is lost')
    given = parser.parse_args()
    one, two = (interface(name) for name in given.names)
    settings = (given.mbit, given.delay_ms / 1e3, given.loss / 100, random.Random(given.seed))
    ways = {one: Direction(one, two, *settings), two: Direction(two, one, *settings)}
    print('carries', flush=True)
    while True:
        now = time.monotonic()
        for way in ways.values():
            way.give(now)
        due = min((way.waiting[0][0] for way in ways.values() if way.waiting), default=now + 1.0)
        for source in select.select(list(ways), [], [], max(0.0, due - now))[0]:
            ways[source].take(time.monotonic())


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        pass
