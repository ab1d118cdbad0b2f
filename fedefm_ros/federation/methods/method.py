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

"""What all methods of learning together have in common, and what they work with."""

from abc import ABC
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar

from fedefm_ros.federation.data import SiloData
from fedefm_ros.federation.silo import aggregate
from fedefm_ros.federation.silo import Workbench
from fedefm_ros.federation.store import StateStore
from fedefm_ros.federation.topology import cycle_time
from fedefm_ros.federation.topology import Network
from fedefm_ros.federation.topology import Topology
from fedefm_ros.federation.weights import State
from fedefm_ros.federation.weights import state_bytes
from fedefm_ros.federation.weights import with_momentum
from fedefm_ros.federation.weights import without_momentum


@dataclass
class Federation:
    """What a method works with: silos' data, their weights, a topology, a bench, a count."""

    bench: Workbench
    silos: Sequence[SiloData]
    store: StateStore
    topology: Topology
    #: Gradient steps that each silo's model makes in a round, wherever it is.
    steps: int
    #: Models sent so far, and their bytes.
    transfers: int = 0
    bytes_sent: int = 0
    #: Figures of the round just made, such as the mean weight of teachers.
    notes: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.silos)

    def sent(self, models: int, keys=None, momentum: bool = False) -> None:
        """Count models that were sent; keys: only these tensors of each; momentum: it, too."""
        self.transfers += models
        self.bytes_sent += models * (state_bytes(self.bench.reference, keys)
                                     + (self.momentum_bytes if momentum else 0))

    @property
    def momentum_bytes(self) -> int:
        """Return the bytes of a model's momentum."""
        weights = self.bench.reference
        return state_bytes(with_momentum(weights, self.bench.network)) - state_bytes(weights)


class Method(ABC):
    """
    One way of learning together; its states rest in the federation's store.

    Attributes: name, scenario ('CLL': data merged; 'CFL': a server; 'DFL': neighbours only) and
    overlay, the topology (of fedefm_ros.federation.topology) it is made for.
    """

    name: ClassVar[str]
    scenario: ClassVar[str]
    overlay: ClassVar[str]
    #: What becomes of a silo's momentum after its turn, where steps have one: 'anew' (forgotten),
    #: 'kept' (it stays at the silo) or 'shared' (it goes, and is mixed, with the weights).
    momentum: str = 'anew'

    def __init__(self, federation: Federation):
        self.federation = federation

    @abstractmethod
    def start(self, initial: State) -> None:
        """Put the first states; all silos start alike."""

    @abstractmethod
    def make_round(self, number: int) -> None:
        """Make round `number`, from the store's committed states; puts the new ones."""

    @abstractmethod
    def model(self, silo: int) -> State:
        """Return the model that a silo has."""

    def foundation(self) -> State:
        """Return the aggregate of all silos' models, what is shipped in the end."""
        count = len(self.federation)
        return aggregate((self.model(i) for i in range(count)), [True] * count)

    def cycle_ms(self, network: Network, step_ms: float, rounds: int) -> float:
        """Return the ms of a round by the model of Marfoq et al., step_ms a gradient step."""
        made = self.federation
        return cycle_time(made.topology, network, 8 * state_bytes(made.bench.reference),
                          made.steps * step_ms, rounds)


class ServerMethod(Method):
    """A method in which all silos have the server's model after a round."""

    scenario = 'CFL'
    overlay = 'star'

    def start(self, initial: State) -> None:
        """Put the server's first model."""
        self.federation.store.put('server', initial)

    def model(self, silo: int) -> State:
        """Return the server's model."""
        return self.federation.store.get('server')

    def foundation(self) -> State:
        """Return the server's model."""
        return self.model(0)


class PeerMethod(Method):
    """A method in which each silo has a model of its own."""

    scenario = 'DFL'
    overlay = 'ring'

    def start(self, initial: State) -> None:
        """Put each silo's first model."""
        if self.momentum != 'anew' and self.federation.bench.options.momentum:
            initial = with_momentum(initial, self.federation.bench.network)
        for silo in range(len(self.federation)):
            self.federation.store.put(key(silo), initial)

    def model(self, silo: int) -> State:
        """Return a silo's model."""
        return without_momentum(self.federation.store.get(key(silo)))

    @property
    def shares_momentum(self) -> bool:
        """Return whether momentum travels with weights."""
        return self.momentum == 'shared' and self.federation.bench.options.momentum > 0


def key(silo: int, what: str = 'silo') -> str:
    """Return the store's key of a silo's model, or of something else it keeps."""
    return f'{what}/{silo}'
