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

"""Client-server averaging: FedAvg, and STAR, which is the same with equal weights."""

from collections.abc import Iterator

from fedefm_ros.federation.methods.method import ServerMethod
from fedefm_ros.federation.silo import aggregate
from fedefm_ros.federation.silo import Loss
from fedefm_ros.federation.silo import supervised
from fedefm_ros.federation.weights import State


class FedAvg(ServerMethod):
    """
    Silos train the server's model; theta = sum_i (n_i / n) theta_i, n_i samples.

    McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data,
    AISTATS 2017. All silos take part in each round. The server is at the most central silo, so
    2 (N - 1) models are sent a round.
    """

    name = 'fedavg'

    def make_round(self, number: int) -> None:
        """Train everywhere, average at the server."""
        made = self.federation
        made.store.put('server', aggregate(
            self._trained(number), [True] * len(made), self.samples()))
        made.sent(made.topology.transfers(number))

    def samples(self) -> list[float]:
        """Return what the silos' models are weighed by."""
        return [float(len(silo)) for silo in self.federation.silos]

    def local_loss(self, silo: int, server: State) -> Loss:
        """Return the loss that a silo trains with."""
        return supervised

    def keep(self, silo: int, state: State) -> None:
        """Keep something of what a silo has trained."""

    def _trained(self, number: int) -> Iterator[State]:
        made, server = self.federation, self.federation.store.before('server')
        for i, silo in enumerate(made.silos):
            state = made.bench.train(server, silo.batches(made.steps, number, 'local'),
                                     self.local_loss(i, server))
            self.keep(i, state)
            yield state


class Star(FedAvg):
    """
    The star topology with plain means, whatever the silos' sizes, as Marfoq et al. have it.

    Marfoq et al., Throughput-Optimal Topology Design for Cross-Silo Federated Learning, NeurIPS
    2020. With silos of equal size its models are FedAvg's.
    """

    name = 'star'

    def samples(self) -> list[float]:
        """Return ones."""
        return [1.0] * len(self.federation)
