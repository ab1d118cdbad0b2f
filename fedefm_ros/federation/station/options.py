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

"""How a station takes part: with whom, how many steps, how long it waits, what it believes."""

from dataclasses import dataclass
from functools import lru_cache

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.plan import OVERLAYS
from fedefm_ros.federation.topology.mixing import metropolis_weights
from fedefm_ros.federation.topology.topology import FixedTopology
from fedefm_ros.federation.topology.trips import trip
from fedefm_ros.federation.trust.limits import Limits

import numpy as np


@dataclass(frozen=True)
class MemberOptions:
    """Each choice with its reason; times in seconds of the station's idle time."""

    #: All stations of the federation in the order they agreed on; it decides trips and mixing.
    stations: tuple[str, ...]
    name: str
    #: 'ring' (each mixes with the two beside it) or 'complete'.
    topology: str = 'ring'
    #: Rounds after which a station only serves others; 0: no end.
    rounds: int = 0
    #: Least time from the end of a round to the start of the next.
    interval: float = 60.0
    #: Gradient steps before the first round, at each stop of a trip and at home in a round.
    local_steps: int = 200
    stop_steps: int = 20
    home_steps: int = 40
    #: Stations that a trip visits; 0: all others.
    stops: int = 0
    #: Times that a trip goes around its stops, past its own station in between: few steps at
    #: each, often, forget least. At most `most_laps`.
    laps: int = 1
    #: Share of the returned weights that the student starts from; see methods/fedefm.py.
    adopt: float = 1.0
    #: How long a round waits for its own model to come home, and then for its neighbours'.
    deadline: float = 900.0
    #: Rounds that a neighbour's model may be behind or ahead; its weight halves with each.
    staleness: int = 2
    #: A peer that was not heard for so long does not get models.
    silence: float = 20.0
    #: How much lower a peer's model may score on the station's own held-out data to teach; 1: the
    #: gate alone decides, for stations that share no kind: on a trip their models may forget...
    peer_margin: float = 0.3
    #: ... and the station's new model, to replace the old one.
    gate_margin: float = 0.02
    #: How many times as long as the old one's its inference may take.
    gate_slowdown: float = 1.5
    #: How far a new model must agree with the old one on frames of the last procedure, where there
    #: are any (0 to 1); see shadow.py.
    shadow_agreement: float = 0.5
    #: How the weights are coded, whether they are encrypted, and the bytes of a chunk.
    codec: str = 'safetensors+zstd'
    encrypt: bool = True
    chunk_size: int = 1 << 20
    #: Bytes a second that are asked of peers; 0: no limit.
    bandwidth: int = 0
    #: A chunk that did not come in so long is asked for again.
    chunk_timeout: float = 5.0

    def __post_init__(self):
        if len(set(self.stations)) != len(self.stations) or self.name not in self.stations:
            raise FedefmError(f'stations {", ".join(self.stations)}: expected each name once, '
                              f'{self.name} among them')
        if self.topology not in OVERLAYS:
            raise FedefmError(f'topology {self.topology!r}; expected {" or ".join(OVERLAYS)}')
        if min(self.local_steps, self.stop_steps, self.home_steps, self.stops, self.rounds) < 0 \
                or self.laps < 1 or not 0 <= self.adopt <= 1:
            raise FedefmError(f'{self}: expected counts of zero or more, adopt from 0 to 1')
        count, most = len(self.stations), most_laps(len(self.stations), self.stops)
        if self.laps > most:
            raise FedefmError(
                f'laps is {self.laps} with {count} stations: a trip would make '
                f'{_lap(count, self.stops) * self.laps - 1} stops, at most {Limits.max_hop} are '
                f'allowed; set laps to {most} or less, or stops to fewer stations')

    @property
    def index(self) -> int:
        """Return this station's place in the order."""
        return self.stations.index(self.name)

    def overlay(self) -> FixedTopology:
        """Return who mixes with whom; a link is used both ways."""
        return _overlay(self.topology, len(self.stations))

    def neighbours(self) -> tuple[str, ...]:
        """Return the stations whose models this one mixes with."""
        return tuple(self.stations[k] for k in self.overlay().neighbours(0, self.index))

    def share_of(self, neighbour: str) -> float:
        """Return the weight of a neighbour's model in the mean."""
        return float(self.overlay().mixing_matrix(0)[self.index, self.stations.index(neighbour)])

    def route(self, owner: str, number: int) -> tuple[str, ...]:
        """
        Return the stops of an owner's trip in a round, in order; between two laps, the owner.

        Odd rounds go the other way round, so that no kind of data is always the last one seen.
        """
        stops = self.stops or len(self.stations) - 1
        order = trip(self.overlay(), number, self.stations.index(owner), stops)
        names = ([*(self.stations[k] for k in order), owner] * self.laps)[:-1]
        return tuple(reversed(names) if number % 2 else names)


def most_laps(stations: int, stops: int = 0) -> int:
    """
    Return how many laps a trip may have, so that no peer refuses its manifests (Limits.max_hop).

    :param stations: how many there are.
    :param stops: of a lap; 0: all other stations.
    """
    return (Limits.max_hop + 1) // _lap(stations, stops)


def _lap(stations: int, stops: int) -> int:
    """Return the stops of a lap and the own station, which is passed before the next one."""
    others = stations - 1
    return min(stops or others, others) + 1


@lru_cache
def _overlay(topology: str, count: int) -> FixedTopology:
    """Return an overlay, made once: a station asks for it many times a second."""
    places = np.arange(count)
    apart = (places[:, None] - places) % count
    linked = apart > 0
    if topology == 'ring':
        linked &= (apart == 1) | (apart == count - 1)
    return FixedTopology(topology, linked, metropolis_weights(linked))
