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

"""What changes the weights in a training run: AdamW, or Muon for all that is a large matrix."""

from fedefm_ros.arithmetic import has_bf16
from fedefm_ros.errors import FedefmError

import torch
from torch import nn

OPTIMISERS = ('adamw', 'muon')
#: Smaller sides make no matrix worth orthogonalising: first and last layers, biases, norms.
LEAST_SIDE = 16
#: torch 2.9 and later have it.
_Muon = getattr(torch.optim, 'Muon', torch.optim.Optimizer)


def optimiser_of(network: nn.Module, name: str, learning_rate: float, weight_decay: float):
    """
    Return an optimiser of all of a network's parameters.

    :param name: one of OPTIMISERS.
    :raises FedefmError: another name.
    """
    if name == 'muon':
        return MuonWithAdamW(network, learning_rate, weight_decay)
    if name == 'adamw':
        return torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=weight_decay)
    raise FedefmError(f'optimiser {name!r} is unknown; known: {", ".join(OPTIMISERS)}')


class MuonWithAdamW:
    """
    Muon (Jordan et al., 2024) for convolutions and matrices, AdamW for what is small.

    Steps are scaled to be as large as AdamW's, so that one learning rate serves both (Liu et al.,
    "Muon is scalable for LLM training", 2025, equation 4). torch's Muon takes matrices only: it is
    given views of the convolutions' weights, a row an output channel.
    """

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float):
        """Divide the parameters; they have to stay where they are in memory from now on."""
        if _Muon is torch.optim.Optimizer:
            raise FedefmError(f'torch {torch.__version__} has no Muon (2.9 and later have): take '
                              'adamw')
        self._views = []
        small = []
        for parameter in network.parameters():
            if parameter.ndim in (2, 4) and \
                    min(len(parameter), parameter[0].numel()) >= LEAST_SIDE:
                # A view: what Muon does to it, it does to the parameter; an error if it cannot be.
                matrix = _as_stored(parameter.detach(), parameter).view(len(parameter), -1)
                self._views.append((parameter, matrix))
            else:
                small.append(parameter)
        if not self._views or not small:
            raise FedefmError(f'{type(network).__name__} has not both, matrices of {LEAST_SIDE} '
                              'rows and columns or more and other parameters: take adamw')
        on = self._views[0][0].device.type
        muon = _Muon if has_bf16(on) else MuonInF32
        self._muon = muon([matrix for _, matrix in self._views], learning_rate, weight_decay,
                          adjust_lr_fn='match_rms_adamw')
        self._adamw = torch.optim.AdamW(small, learning_rate, weight_decay=weight_decay)

    @property
    def param_groups(self) -> list[dict]:
        """Return the groups of both, for those who set the learning rate."""
        return self._muon.param_groups + self._adamw.param_groups

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter, matrix in self._views:
            parameter.grad = matrix.grad = None
        self._adamw.zero_grad()

    def step(self) -> None:
        """Change the weights by their gradients."""
        for parameter, matrix in self._views:
            matrix.grad = None if parameter.grad is None else \
                _as_stored(parameter.grad, parameter).reshape(matrix.shape)
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict:
        """Return what a later run needs to go on."""
        return {'muon': self._muon.state_dict(), 'adamw': self._adamw.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a state; KeyError where it is of another optimiser."""
        self._muon.load_state_dict(state['muon'])
        self._adamw.load_state_dict(state['adamw'])


class MuonInF32(_Muon):
    """torch's Muon, but for its products, which are in bf16 there: slow where that is imitated."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Change the weights by their gradients, with steps as large as AdamW's."""
        for group in self.param_groups:
            momentum, decay = group['momentum'], 1 - group['lr'] * group['weight_decay']
            for weight in group['params']:
                if weight.grad is None:
                    continue
                mean = self.state[weight].setdefault('momentum_buffer',
                                                     torch.zeros_like(weight.grad))
                mean.lerp_(weight.grad, 1 - momentum)
                ahead = weight.grad.lerp(mean, momentum) if group['nesterov'] else mean
                size = 0.2 * max(weight.shape) ** 0.5
                weight.mul_(decay).sub_(
                    _orthogonal(ahead, group['ns_coefficients'], group['ns_steps']),
                    alpha=group['lr'] * size)


def _orthogonal(matrix: torch.Tensor, coefficients: tuple[float, float, float],
                steps: int) -> torch.Tensor:
    """Return the matrix with singular values near 1 (Newton-Schulz, Jordan et al., 2024)."""
    a, b, c = coefficients
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if len(matrix) <= matrix.shape[1] else wide.T


def _as_stored(values: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return values with their axes in the order in which the parameter's lie in memory."""
    return values if parameter.is_contiguous() else values.permute(0, 2, 3, 1)
