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

"""FedProx: FedAvg whose silos are held near the server's model."""

from fedefm_ros.federation.methods.fedavg import FedAvg
from fedefm_ros.federation.methods.method import Federation
from fedefm_ros.federation.silo import Loss
from fedefm_ros.federation.silo import supervised
from fedefm_ros.federation.weights import State


class FedProx(FedAvg):
    """
    The local loss has (mu / 2) sum_p |w_p - w_p of the server|^2 on top.

    Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020. mu 0.1 as in the
    authors' earlier federated code.
    """

    name = 'fedprox'

    def __init__(self, federation: Federation, mu: float = 0.1):
        super().__init__(federation)
        self.mu = mu

    def local_loss(self, silo: int, server: State) -> Loss:
        """Return the supervised loss with the proximal term."""
        def loss(network, images, labels):
            distance = sum((value - server[name]).square().sum()
                           for name, value in network.named_parameters())
            return supervised(network, images, labels) + self.mu / 2 * distance
        return loss
