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

"""FedBN: FedAvg in which normalisation layers stay at home."""

from fedefm_ros.federation.methods.fedavg import FedAvg
from fedefm_ros.federation.methods.method import Federation
from fedefm_ros.federation.methods.method import key
from fedefm_ros.federation.methods.method import PeerMethod
from fedefm_ros.federation.silo import aggregate
from fedefm_ros.federation.weights import norm_keys
from fedefm_ros.federation.weights import State


class FedBn(FedAvg):
    """
    All but the normalisation layers is averaged; each silo has its own of those.

    Li et al., FedBN: Federated Learning on Non-IID Features via Local Batch Normalization, ICLR
    2021; here for layer and group norms, too. It is made for silos whose images look different,
    not for kinds that a silo never sees.
    """

    name = 'fedbn'

    def __init__(self, federation: Federation):
        super().__init__(federation)
        self.kept = norm_keys(federation.bench.network)

    def start(self, initial: State) -> None:
        """Put each silo's first model."""
        PeerMethod.start(self, initial)

    def make_round(self, number: int) -> None:
        """Train everywhere, average what is shared."""
        made = self.federation
        for i, silo in enumerate(made.silos):
            own = made.store.before(key(i))
            batches = silo.batches(made.steps, number, 'local')
            made.store.put(key(i), made.bench.train(own, batches))
        shared = aggregate((self.model(i) for i in range(len(made))), [True] * len(made),
                           self.samples())
        for i in range(len(made)):
            own = self.model(i)
            made.store.put(key(i), {name: own[name] if name in self.kept else shared[name]
                                    for name in own})
        made.sent(made.topology.transfers(number), shared.keys() - self.kept)

    def model(self, silo: int) -> State:
        """Return a silo's model."""
        return self.federation.store.get(key(silo))

    def foundation(self) -> State:
        """Return the mean of the silos' models, norms included."""
        count = len(self.federation)
        return aggregate((self.model(i) for i in range(count)), [True] * count, self.samples())
