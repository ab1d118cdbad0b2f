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
FedEFM: models travel, are trained overseas, come home, and teach.

Do et al., FedEFM, ICRA 2025. Two named variants over the same steps of fedefm_ros.federation.silo:

- `fedefm-literal`, eq. 1, 2 and 11 as they read: a copy visits each neighbour, each copy comes
  straight home as a teacher, and the student learns from teachers on its own images only. On
  one's own images a teacher can hardly show what it learnt of kinds one has never seen, so this
  cannot carry them (docs/method.md).
- `fedefm`, multishot: one copy visits many silos, few steps in each, and the silo goes on from
  what comes home; distillation from it then keeps what the home steps would make it forget.
"""

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import math

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.distillation import DistillationOptions
from fedefm_ros.federation.methods.gossip import mix
from fedefm_ros.federation.methods.method import Federation
from fedefm_ros.federation.methods.method import key
from fedefm_ros.federation.methods.method import PeerMethod
from fedefm_ros.federation.silo import aggregate
from fedefm_ros.federation.silo import come_home
from fedefm_ros.federation.silo import distil
from fedefm_ros.federation.silo import local
from fedefm_ros.federation.silo import overseas
from fedefm_ros.federation.topology import cycle_time
from fedefm_ros.federation.topology import Network
from fedefm_ros.federation.topology import trip
from fedefm_ros.federation.topology import trips_time
from fedefm_ros.federation.weights import is_sound
from fedefm_ros.federation.weights import State
from fedefm_ros.federation.weights import state_bytes
from fedefm_ros.federation.weights import without_momentum

import numpy as np


@dataclass(frozen=True)
class FedefmOptions:
    """
    Choices that the paper leaves open, each with its reason; see also DistillationOptions.

    A silo's model makes stops x stop_steps gradient steps on trips and all that are left of the
    round's budget at home.
    """

    #: Silos that one trip visits; None for all others. All: no kind stays unseen.
    stops: int | None = None
    #: Gradient steps at each stop. Few: the next stop's kinds are not forgotten at this one.
    stop_steps: int = 1
    #: 'trip': one copy visits all stops, one after the other; 'copies': a copy to each stop, each
    #: straight home (the literal reading).
    route: str = 'trip'
    #: What share of the returned weights the student starts from: 1, it goes on from them, which
    #: is what carries unseen kinds; 0, they only teach (the literal reading).
    adopt: float = 1.0
    #: Whether silos mix their models in the end of a round: neighbours on their topology without
    #: a server, everyone's mean with one.
    mix: bool = True
    #: What becomes of the momentum, where steps have one. 'shared': it travels with the weights
    #: (twice the bytes) and is mixed as they are, so a step goes the way that the last silos'
    #: data agree on, where one on a silo's own kinds undoes what the stop before taught. 'anew':
    #: each stop begins with none. 'kept' (at home): of the literal reading.
    momentum: str = 'shared'
    #: First rounds of plain local training ('round 0' of the paper).
    local_rounds: int = 0
    #: Whether trips run backwards in odd rounds, so that no kind is always the last one seen.
    alternate: bool = True
    distillation: DistillationOptions = field(default_factory=DistillationOptions)

    def __post_init__(self):
        if self.route not in ('trip', 'copies'):
            raise FedefmError(f'route {self.route!r}; expected trip or copies')
        if self.momentum not in ('anew', 'kept', 'shared'):
            raise FedefmError(f'momentum {self.momentum!r}; expected anew, kept or shared')
        if self.momentum == 'kept' and self.adopt:
            raise FedefmError("momentum 'kept' with adopt above 0: the momentum at home is of "
                              'other weights; use shared or anew')
        if not 0 <= self.adopt <= 1:
            raise FedefmError(f'adopt {self.adopt}; expected 0 to 1')
        if self.adopt and self.route == 'copies':
            raise FedefmError('adopt above 0 with route copies: which of the copies? Use trip')
        if self.stop_steps < 0 or self.local_rounds < 0 or (self.stops or 1) < 1:
            raise FedefmError(f'{self}: expected counts of zero or more, and one stop or more')


#: The literal reading of the paper: neighbours only, returned weights only teach.
LITERAL = FedefmOptions(stops=1, stop_steps=0, route='copies', adopt=0.0, mix=False,
                        momentum='kept', local_rounds=1, alternate=False)


class Fedefm(PeerMethod):
    """
    Multishot federated distillation, without a server or, with `server`, with one.

    With a server the models travel through it (two transfers a leg) and it averages all accepted
    silos at the end of a round. Without, trips follow the topology's overlay.
    """

    name = 'fedefm'

    def __init__(self, federation: Federation, options: FedefmOptions = FedefmOptions(),
                 server: bool = False):
        super().__init__(federation)
        self.options = options
        self.momentum = options.momentum
        self.scenario = 'CFL' if server else 'DFL'
        if self._home_steps(self._stops()) < 0:
            raise FedefmError(
                f'{self._stops()} stops of {options.stop_steps} steps do not fit into a round of '
                f'{federation.steps} steps; expected fewer stops or more steps')

    def make_round(self, number: int) -> None:
        """Send all models on their trips, train at home, mix or aggregate."""
        made, weights = self.federation, []
        for i in range(len(made)):
            own = made.store.before(key(i))
            if number < self.options.local_rounds:
                batches = made.silos[i].batches(made.steps, number, 'local')
                student = local(made.bench, own, batches)
            else:
                student, weight = self._taught(i, own, number)
                weights.append(weight)
            made.store.put(key(i, 'trained'), student)
        if weights and not math.isnan(weights[0]):
            made.notes['teacher_weight'] = float(np.mean(weights))
        self._finish(number)

    def cycle_ms(self, network: Network, step_ms: float, rounds: int) -> float:
        """
        Return the ms of a round: the slowest trip, and the mixing after it.

        With a server a leg's way leads through it. Copies to several silos are taken to travel
        one after the other.
        """
        made, options = self.federation, self.options
        bits = 8 * (state_bytes(made.bench.reference)
                    + (made.momentum_bytes if self.shares_momentum else 0))
        count = len(made)
        stop_ms = np.full(count, options.stop_steps * step_ms)
        if self.scenario == 'CFL' and made.topology.hub is not None:
            stop_ms[made.topology.hub] = 0.0  # it mostly passes models on
        trips = [[self._through_hub(route, i) for route in self._routes(i, 0)]
                 for i in range(count)]
        total = self._home_steps(self._stops()) * step_ms
        for shot in range(max(map(len, trips))):
            total += trips_time([routes[shot] if shot < len(routes) else ()
                                 for routes in trips], network, bits, stop_ms)
        if options.mix:
            total += cycle_time(made.topology, network, bits, 0.0, rounds)
        return total

    def _taught(self, silo: int, own: State, number: int) -> tuple[State, float]:
        made, options = self.federation, self.options
        routes = self._routes(silo, number)
        returned = [self._travelled(own, route, silo, number) for route in routes if route]
        # A silo that is sent rubbish goes on alone.
        teachers = [state for state in returned if is_sound(state, made.bench.reference)]
        student = own
        if options.adopt and teachers:
            student = come_home(made.bench, own, teachers[0], options.adopt)
        # Where the round's overlay leads to fewer silos, more steps are made at home.
        home = made.silos[silo].batches(self._home_steps(sum(map(len, routes))), number, 'home')
        return distil(made.bench, student, teachers, home, options.distillation)

    def _travelled(self, state: State, route: tuple[int, ...], owner: int, number: int) -> State:
        made = self.federation
        if not self.shares_momentum:
            state = without_momentum(state)
        for host in route:
            state = overseas(made.bench, state, made.silos[host].batches(
                self.options.stop_steps, number, 'visit', owner))
        way = [owner, *self._through_hub(route, owner), owner]
        made.sent(sum(a != b for a, b in zip(way, way[1:])), momentum=self.shares_momentum)
        return state

    def _routes(self, silo: int, number: int) -> list[tuple[int, ...]]:
        route = self._route(silo, number)
        if self.options.route == 'copies':
            return [(host,) for host in route]
        return [route]

    def _route(self, silo: int, number: int) -> tuple[int, ...]:
        made, options = self.federation, self.options
        count, stops = len(made), self._stops()
        if self.scenario == 'CFL':
            # Everyone can be reached; turning the order around the silos spares collisions.
            first = 0 if stops == count - 1 else number * stops
            route = tuple((silo + 1 + (first + k) % (count - 1)) % count for k in range(stops))
        else:
            route = trip(made.topology, number, silo, stops)
        return route[::-1] if options.alternate and number % 2 else route

    def _stops(self) -> int:
        others = len(self.federation) - 1
        return others if self.options.stops is None else min(self.options.stops, others)

    def _home_steps(self, stops: int) -> int:
        return self.federation.steps - stops * self.options.stop_steps

    def _through_hub(self, route: tuple[int, ...], owner: int) -> list[int]:
        """Return the silos that a model passes after its owner: with a server, it between any."""
        hub = self.federation.topology.hub
        if self.scenario != 'CFL' or hub is None:
            return list(route)
        passed, here = [], owner
        for host in (*route, owner):
            if hub not in (here, host):
                passed.append(hub)
            passed.append(host)
            here = host
        return passed[:-1]

    def _finish(self, number: int) -> None:
        made, options = self.federation, self.options
        count = len(made)
        if not options.mix:
            for i in range(count):
                made.store.put(key(i), made.store.get(key(i, 'trained')))
        elif self.scenario == 'DFL':
            mix(made, number, self.shares_momentum)
        else:
            accepted = [is_sound(made.store.get(key(i, 'trained')), made.bench.reference)
                        for i in range(count)]
            server = aggregate((made.store.get(key(i, 'trained')) for i in range(count)), accepted)
            if not self.shares_momentum:
                server = without_momentum(server)
            for i in range(count):
                made.store.put(key(i), {**made.store.get(key(i, 'trained')), **server})
            made.sent(made.topology.transfers(number), momentum=self.shares_momentum)


class FedefmLiteral(Fedefm):
    """The literal reading: half of a round's steps overseas, the returned weights only teach."""

    name = 'fedefm-literal'

    def __init__(self, federation: Federation, options: FedefmOptions = LITERAL,
                 server: bool = False):
        if not options.stop_steps:
            options = replace(options, stop_steps=federation.steps // (2 * (options.stops or 1)))
        super().__init__(federation, replace(options, mix=server), server)
