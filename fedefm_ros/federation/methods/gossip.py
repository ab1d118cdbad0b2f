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

"""Decentralised SGD on a topology: RING and MATCHA, which differ only in whom they mix with."""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.methods.method import Federation
from fedefm_ros.federation.methods.method import key
from fedefm_ros.federation.methods.method import PeerMethod
from fedefm_ros.federation.weights import average
from fedefm_ros.federation.weights import without_momentum

import numpy as np


class Ring(PeerMethod):
    """
    Local steps, then theta_i <- sum_j W_ij theta_j with the topology's matrix (DPASGD).

    On the directed ring: half its own, half its predecessor's. Marfoq et al., Throughput-Optimal
    Topology Design for Cross-Silo Federated Learning, NeurIPS 2020. Where steps have momentum, it
    is an optimiser's that stays at its silo; 'shared' is not of that paper.
    """

    name = 'ring'

    def __init__(self, federation: Federation, momentum: str = 'kept'):
        """Raise FedefmError unless momentum is one of the ways of Method.momentum."""
        super().__init__(federation)
        if momentum not in ('anew', 'kept', 'shared'):
            raise FedefmError(f'momentum {momentum!r}; expected anew, kept or shared')
        self.momentum = momentum

    def make_round(self, number: int) -> None:
        """Train everywhere, then mix with neighbours."""
        made = self.federation
        for i, silo in enumerate(made.silos):
            batches = silo.batches(made.steps, number, 'local')
            made.store.put(key(i, 'trained'),
                           made.bench.train(made.store.before(key(i)), batches))
        mix(made, number, self.shares_momentum)


class Matcha(Ring):
    """
    The same on a random choice of matchings each round.

    Wang et al., MATCHA: Speeding Up Decentralized SGD via Matching Decomposition Sampling, 2019.
    """

    name = 'matcha'
    overlay = 'matcha'


def mix(federation: Federation, number: int, momentum: bool = False) -> None:
    """
    Put sum_j W_ij of what silos have `trained` as their models, and count what is sent.

    :param momentum: mix it, too; else a silo that has one keeps its own.
    """
    store, weights = federation.store, federation.topology.mixing_matrix(number)
    for i, row in enumerate(weights):
        used = [int(j) for j in np.nonzero(row)[0]]
        states = (store.get(key(j, 'trained')) for j in used)
        mixed = average(states if momentum else map(without_momentum, states),
                        [float(row[j]) for j in used])
        store.put(key(i), {**store.get(key(i, 'trained')), **mixed})
    federation.sent(federation.topology.transfers(number), momentum=momentum)
