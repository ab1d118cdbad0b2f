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

"""MOON: FedAvg with a contrast between the server's and the silo's own last model."""

from fedefm_ros.federation.distillation import label_terms
from fedefm_ros.federation.methods.fedavg import FedAvg
from fedefm_ros.federation.methods.method import Federation
from fedefm_ros.federation.methods.method import key
from fedefm_ros.federation.silo import Loss
from fedefm_ros.federation.silo import outputs_of
from fedefm_ros.federation.weights import State

import torch
from torch.nn import functional


class Moon(FedAvg):
    """
    Representations are pulled to the server's model's and pushed off the silo's last ones.

    Li et al., Model-Contrastive Federated Learning, CVPR 2021: l = CE([cos(z, z_server),
    cos(z, z_previous)] / tau, first) on top, times mu. z is the mean of the dense features:
    MOON's projection head would be a network that the other methods do not have. The previous
    model is the silo's of the last round; in the first there is none, and no contrast.
    """

    name = 'moon'

    def __init__(self, federation: Federation, mu: float = 1.0, tau: float = 0.5):
        super().__init__(federation)
        self.mu, self.tau = mu, tau

    def keep(self, silo: int, state: State) -> None:
        """Keep the silo's model for the next round's contrast."""
        self.federation.store.put(key(silo, 'previous'), state)

    def local_loss(self, silo: int, server: State) -> Loss:
        """Return the supervised loss with the contrast."""
        made, previous_key = self.federation, key(silo, 'previous')
        previous = made.store.before(previous_key) if previous_key in made.store else None
        towards = made.bench.frozen(server)
        away = made.bench.frozen(previous) if previous is not None else None

        def loss(network, images, labels):
            own = outputs_of(network, images)
            value = label_terms(own.logits, labels).mean()
            if away is None:
                return value
            with torch.no_grad():
                others = [outputs_of(other, images).features for other in (towards, away)]
            return value + self.mu * contrast(own.features, *others, self.tau)
        return loss


def contrast(own: torch.Tensor, towards: torch.Tensor, away: torch.Tensor, tau: float,
             ) -> torch.Tensor:
    """Return MOON's loss of dense features (B, C, H, W) or (B, N, C): a number >= 0."""
    own, towards, away = map(_representation, (own, towards, away))
    logits = torch.stack([functional.cosine_similarity(own, other) for other in (towards, away)],
                         dim=1) / tau
    return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def _representation(features: torch.Tensor) -> torch.Tensor:
    return features.mean((2, 3)) if features.dim() == 4 else features.mean(1)
