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

"""CDL: two networks a silo that learn from each other; only one of them travels."""

from fedefm_ros.federation.distillation import label_terms
from fedefm_ros.federation.distillation import per_image
from fedefm_ros.federation.distillation import soft_loss
from fedefm_ros.federation.methods.gossip import mix
from fedefm_ros.federation.methods.method import Federation
from fedefm_ros.federation.methods.method import key
from fedefm_ros.federation.methods.method import PeerMethod
from fedefm_ros.federation.weights import State

import torch


class Cdl(PeerMethod):
    """
    Contrastive divergence loss around ring mixing.

    Do et al., Autonomous Navigation with Federated Learning, ICRA 2024: backbone b and
    sub-network s of the same shape see the same images; L = L_task(b) + beta H(b, s) +
    (1 - beta) H(s, b) with H the divergence of their outputs. The backbone learns from the first
    two terms, the sub-network from the last; only backbones are mixed. Round 0 is plain training,
    after which the sub-network starts as a copy. Its steps are not counted, so CDL computes about
    twice as much a counted step as the others.
    """

    name = 'cdl'

    momentum = 'kept'

    def __init__(self, federation: Federation, beta: float = 0.5):
        super().__init__(federation)
        self.beta = beta

    def make_round(self, number: int) -> None:
        """Train both networks everywhere, then mix backbones with neighbours."""
        made = self.federation
        for i, silo in enumerate(made.silos):
            backbone = made.store.before(key(i))
            batches = silo.batches(made.steps, number, 'local')
            if number == 0:
                backbone = made.bench.train(backbone, batches)
                sub = backbone
            else:
                backbone, sub = self._trained(
                    backbone, made.store.before(key(i, 'sub')), batches)
            made.store.put(key(i, 'trained'), backbone)
            made.store.put(key(i, 'sub'), sub)
        mix(made, number)

    def _trained(self, backbone: State, sub: State, batches) -> tuple[State, State]:
        bench = self.federation.bench
        other = bench.frozen(sub).train()
        options = bench.options
        parameters = list(other.parameters())
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimiser = torch.optim.SGD(parameters, options.learning_rate, options.momentum,
                                    weight_decay=options.weight_decay)

        def loss(network, images, labels):
            own, said = network(images), other(images)
            optimiser.zero_grad(set_to_none=True)
            divergence(said, own, 1 - self.beta).backward()
            torch.nn.utils.clip_grad_norm_(parameters, options.clip_norm)
            optimiser.step()
            return backbone_loss(own, labels, said, self.beta)

        return bench.train(backbone, batches, loss), {
            name: value.detach().clone() for name, value in other.state_dict().items()}


def backbone_loss(backbone: torch.Tensor, labels: torch.Tensor, sub: torch.Tensor, beta: float,
                  ) -> torch.Tensor:
    """Return L_task + beta H(b, s), cd+, of both networks' logits."""
    return label_terms(backbone, labels).mean() + divergence(backbone, sub, beta)


def divergence(learner: torch.Tensor, other: torch.Tensor, weight: float) -> torch.Tensor:
    """Return weight times KL(other || learner), a mean; only the learner gets a gradient."""
    return weight * per_image(soft_loss(learner, other, 1.0)).mean()
