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

"""The federation as one station sees it: who there is, what each does, what went over the wire."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
import math
import threading
import time

PHASES = ('idle', 'local training', 'training a visitor', 'transfer', 'distilling', 'gate',
          'paused')
"""By the values of FederationStatus.phase."""
_LATELY = 30.0


@dataclass(frozen=True)
class Peer:
    """A neighbour of a station."""

    name: str
    age: float
    """Seconds since it was last heard when the status was sent; NaN: never."""
    weight: float
    """EMD weight of its latest teacher, -1 to 1; NaN: none yet."""


@dataclass(frozen=True)
class StationStatus:
    """What FederationStatus says, without ROS."""

    name: str
    round_number: int
    phase: int
    peers: tuple[Peer, ...] = ()
    bytes_sent: int = 0
    bytes_received: int = 0
    score_before: float = math.nan
    score_after: float = math.nan
    refused: int = 0
    last_refusal: str = ''
    age: float = 0.0
    """Seconds since the status came."""
    refused_lately: int = 0

    @property
    def phase_name(self) -> str:
        """Return the phase for people."""
        return PHASES[self.phase] if self.phase < len(PHASES) else f'phase {self.phase}'


@dataclass(frozen=True)
class Announcement:
    """A model on offer."""

    at: float
    """Unix time of its arrival here."""
    round_number: int
    owner: str
    sender: str
    purpose: str
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class Network:
    """The federation at one moment."""

    stations: dict[str, StationStatus] = field(default_factory=dict)
    announcements: tuple[Announcement, ...] = ()
    commands: frozenset[str] = frozenset()
    """Which of start_round, pause, rollback the own station's node offers."""

    def links(self) -> list[tuple[str, str, float]]:
        """Return (station, neighbour, EMD weight) of every neighbourhood that somebody tells."""
        return [(station.name, peer.name, peer.weight)
                for station in self.stations.values() for peer in station.peers]

    def names(self) -> list[str]:
        """Return all stations that are told of, sorted."""
        return sorted({*self.stations, *(name for link in self.links() for name in link[:2])})


class NetworkView:
    """The newest of everything the federation says; fed by one thread, looked at by others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Start with nothing known."""
        self._clock = clock
        self._lock = threading.Lock()
        self._stations: dict[str, tuple[float, StationStatus]] = {}
        self._refusals: dict[str, deque[tuple[float, int]]] = {}
        self._announcements: deque[Announcement] = deque(maxlen=100)
        self._commands: frozenset[str] = frozenset()

    def status(self, status: StationStatus) -> None:
        """Take in a station's status."""
        now = self._clock()
        with self._lock:
            self._stations[status.name] = now, status
            kept = self._refusals.setdefault(status.name, deque(maxlen=100))
            kept.append((now, status.refused))

    def announcement(self, announcement: Announcement) -> None:
        """Take in a manifest."""
        with self._lock:
            self._announcements.appendleft(announcement)

    def commands(self, offered: frozenset[str]) -> None:
        """Note what can be asked of the station's own federation node."""
        with self._lock:
            self._commands = offered

    def snapshot(self) -> Network:
        """Return how things stand."""
        with self._lock:
            now = self._clock()
            stations = {
                name: StationStatus(**{
                    **vars(status), 'age': now - at,
                    'refused_lately': self._lately(name, now)})
                for name, (at, status) in sorted(self._stations.items())}
            return Network(stations, tuple(self._announcements), self._commands)

    def _lately(self, name: str, now: float) -> int:
        """Return how many more refusals there are than half a minute ago."""
        kept = self._refusals[name]
        before = [count for at, count in kept if at < now - _LATELY]
        return max(0, kept[-1][1] - (before[-1] if before else kept[0][1]))
