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
A silo's steps: weights in, weights out; nothing here knows how weights travel.

local -> overseas (at each stop of a trip) -> come home -> distil -> aggregate, after Do et al.,
FedEFM, ICRA 2025, algorithm and eq. 1, 2, 11. The same steps serve classification, (B, K) logits,
and segmentation, (B, K, H, W). All methods that are compared train through `Workbench.train`, so
a gradient step is the same thing, and is counted, everywhere.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import copy
from dataclasses import dataclass

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.distillation import distillation_loss
from fedefm_ros.federation.distillation import DistillationOptions
from fedefm_ros.federation.distillation import label_terms
from fedefm_ros.federation.distillation import Outputs
from fedefm_ros.federation.weights import average
from fedefm_ros.federation.weights import check_state
from fedefm_ros.federation.weights import MOMENTUM
from fedefm_ros.federation.weights import State
from fedefm_ros.federation.weights import state_of
from fedefm_ros.federation.weights import without_momentum

import torch
from torch import nn

Batch = tuple[torch.Tensor, torch.Tensor]
#: Of the network, images (B, 1, H, W) and labels.
Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class StepOptions:
    """How a gradient step is made: SGD, whose only state, the momentum, can travel along."""

    learning_rate: float = 0.1
    #: Of the SGD. It begins anew in each stage (one silo's turn), unless the state that is
    #: trained has a momentum of its own: then it goes on from there and is returned.
    momentum: float = 0.0
    #: Longest gradient: the first steps on another silo's kinds are steep.
    clip_norm: float = 1.0
    weight_decay: float = 0.0

    def __post_init__(self):
        if not self.learning_rate >= 0 or not 0 <= self.momentum < 1 or not self.clip_norm > 0:
            raise FedefmError(f'{self}: expected a learning rate of zero or more, a momentum from '
                              '0 to below 1, and a clip_norm above 0')


def outputs_of(network: nn.Module, images: torch.Tensor) -> Outputs:
    """
    Return logits and dense features of a network.

    A network has either logits_and_features(images), or features(images), a list of maps of which
    the last is taken, beside its logits.
    """
    if hasattr(network, 'logits_and_features'):
        return Outputs(*network.logits_and_features(images))
    return Outputs(network(images), network.features(images)[-1])


def supervised(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss L_c: the mean cross-entropy with the labels, for masks with soft Dice."""
    return label_terms(network(images), labels).mean()


class Workbench:
    """
    One network that any silo's weights are put into, trained and taken out of again.

    Attributes: network, options (replace to change the learning rate), reference (a state that
    fits), steps
    (gradient steps made so far).
    """

    def __init__(self, network: nn.Module, options: StepOptions = StepOptions()):
        self.network = network
        self.options = options
        self.reference = state_of(network)
        self.steps = 0

    def train(self, state: State, batches: Iterable[Batch], loss: Loss = supervised) -> State:
        """
        Return the weights after a gradient step on each batch; the given ones are not changed.

        Raises FedefmError where the training diverges.
        """
        network = self._load(state).train()
        named = {name: value for name, value in network.named_parameters() if value.requires_grad}
        parameters = list(named.values())
        options = self.options
        optimiser = torch.optim.SGD(parameters, options.learning_rate, options.momentum,
                                    weight_decay=options.weight_decay)
        carried = {name: state[MOMENTUM + name].clone() for name in named
                   if MOMENTUM + name in state}
        for name, momentum in carried.items():
            optimiser.state[named[name]]['momentum_buffer'] = momentum  # changed in place
        for images, labels in batches:
            optimiser.zero_grad(set_to_none=True)
            value = loss(network, images, labels)
            value.backward()
            norm = nn.utils.clip_grad_norm_(parameters, options.clip_norm)
            if not norm.isfinite():
                raise FedefmError(f'the training diverged (loss {float(value.detach()):.3g}); '
                                  'use a smaller learning rate')
            optimiser.step()
            self.steps += 1
        return {**state_of(network),
                **{MOMENTUM + name: momentum for name, momentum in carried.items()}}

    def frozen(self, state: State) -> nn.Module:
        """Return a network of its own with these weights: a teacher, in evaluation mode."""
        network = copy.deepcopy(self._load(state)).eval()
        return network.requires_grad_(False)

    def logits(self, state: State, images: torch.Tensor, batch: int = 256) -> torch.Tensor:
        """Return the logits of many images."""
        network = self._load(state).eval()
        with torch.inference_mode():
            return torch.cat([network(part) for part in images.split(batch)])

    def _load(self, state: State) -> nn.Module:
        self.network.load_state_dict(without_momentum(state))
        return self.network


def local(bench: Workbench, state: State, batches: Iterable[Batch]) -> State:
    """Train a silo's weights on its own data: round 0, and the compared methods' rounds."""
    return bench.train(state, batches)


def overseas(bench: Workbench, visitor: State, batches: Iterable[Batch]) -> State:
    """
    Train a visitor's weights on the host's data (eq. 1), as many steps as there are batches.

    A trip calls this at each stop, with what the last stop returned. What arrives is checked:
    raises FedefmError for weights that do not fit or are not finite.
    """
    check_state(visitor, bench.reference, 'a visitor')
    return bench.train(visitor, batches)


def come_home(bench: Workbench, own: State, returned: State, adopt: float) -> State:
    """
    Return where the student starts from: adopt returned + (1 - adopt) own.

    :param adopt: 0, the returned weights only teach (the literal reading); 1, the silo goes on
        from what came back.
    :raises FedefmError: returned weights that do not fit or are not finite.
    """
    check_state(returned, bench.reference, 'returned weights')
    if adopt in (0, 1):
        return returned if adopt else own
    return average([own, returned], [1 - adopt, adopt])


def distil(bench: Workbench, student: State, teachers: Sequence[State], batches: Iterable[Batch],
           options: DistillationOptions) -> tuple[State, float]:
    """
    Train the student on its own data with the returned weights as teachers (eq. 2, 11).

    :returns: the student, and the mean weight its teachers had (NaN without teachers or steps).
    :raises FedefmError: teachers that do not fit or are not finite.
    """
    for teacher in teachers:
        check_state(teacher, bench.reference, 'a teacher')
    networks = [bench.frozen(teacher) for teacher in teachers]
    weights = []

    def loss(network, images, labels):
        with torch.no_grad():
            taught = [outputs_of(teacher, images) for teacher in networks]
        value, used = distillation_loss(outputs_of(network, images), taught, labels, options)
        weights.append(used.mean())
        return value

    state = bench.train(student, batches, loss)
    return state, float(torch.stack(weights).mean()) if weights else float('nan')


def aggregate(states: Iterable[State], accepted: Sequence[bool],
              samples: Sequence[float] | None = None) -> State:
    """
    Return the foundation weights Theta = sum_i w_i theta_i of the accepted silos.

    The paper's accumulation status w_i is 0 or 1; they are normalised to sum to one, as the sum
    of whole models is no model.

    :param accepted: one a silo; states of the others are looked at, not used.
    :param samples: weigh by these instead of alike (as FedAvg does).
    :raises FedefmError: nobody is accepted.
    """
    shares = [float(taken) * (samples[k] if samples else 1.0) for k, taken in enumerate(accepted)]
    if not sum(shares) > 0:
        raise FedefmError('no silo is accepted, so there is nothing to aggregate')
    kept = (state for state, share in zip(states, shares, strict=True) if share)
    return average(kept, [share / sum(shares) for share in shares if share])
