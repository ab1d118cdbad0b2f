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
Weights of silos: checks before they are believed, averages, sizes.

A state is what torch calls a state dictionary: name -> tensor. Beside a parameter it may hold the
optimiser's momentum of it, by the same name after MOMENTUM: it then goes wherever the weights go.
"""

from collections.abc import Iterable
from collections.abc import Sequence

from fedefm_ros.errors import FedefmError

import torch
from torch import nn

State = dict[str, torch.Tensor]

#: Before a parameter's name: its momentum.
MOMENTUM = 'momentum/'

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def state_of(network: nn.Module) -> State:
    """Return a copy of a network's state."""
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def with_momentum(state: State, network: nn.Module) -> State:
    """Return a state with a momentum of zero beside each parameter that is trained."""
    return {**state, **{MOMENTUM + key: torch.zeros_like(state[key])
                        for key, value in network.named_parameters() if value.requires_grad}}


def without_momentum(state: State) -> State:
    """Return the weights of a state alone; the tensors are not copied."""
    return {key: value for key, value in state.items() if not key.startswith(MOMENTUM)}


def check_state(state: State, reference: State, owner: str = 'these weights') -> None:
    """
    Raise FedefmError unless a state fits a reference and every number in it is finite.

    :param reference: names, shapes and types that are expected; its values do not matter. A
        momentum may be there beside each.
    :param owner: whose weights they are, for the message.
    """
    wanted = {**{MOMENTUM + key: value for key, value in reference.items()
                 if MOMENTUM + key in state}, **reference}
    if state.keys() != wanted.keys():
        odd = sorted(state.keys() ^ wanted.keys())[0]
        raise FedefmError(f'{owner}: {odd} is {"missing" if odd in wanted else "not known"}; '
                          'expected the names of this architecture')
    for key, value in state.items():
        expected = wanted[key]
        if value.shape != expected.shape or value.dtype != expected.dtype:
            raise FedefmError(f'{owner}: {key} is {value.dtype}{list(value.shape)}; expected '
                              f'{expected.dtype}{list(expected.shape)}')
        if not is_finite(value):
            raise FedefmError(f'{owner}: {key} has numbers that are not finite; the training '
                              'diverged, so nothing of it is taken')


def is_finite(value: torch.Tensor) -> bool:
    """Return whether every number of a tensor is finite."""
    # What is not finite stays so in a sum, which is much quicker than looking at each; a sum that
    # is not finite may also be one that grew too large.
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


def is_sound(state: State, reference: State) -> bool:
    """Return whether check_state has nothing against a state."""
    try:
        check_state(state, reference)
    except FedefmError:
        return False
    return True


def average(states: Iterable[State], shares: Sequence[float]) -> State:
    """
    Return sum_k share_k state_k; the shares must sum to one.

    States are taken one by one, so a generator keeps only one in memory beside the sum, which is
    in float64: the order of the silos does not show. Integers (counters of batches) are rounded.
    """
    if abs(sum(shares) - 1) > 1e-6:
        raise FedefmError(f'shares {list(shares)} sum to {sum(shares):.9g}; expected 1')
    total, types = {}, {}
    for state, share in zip(states, shares, strict=True):
        if not total:
            total = {key: torch.zeros_like(value, dtype=torch.float64)
                     for key, value in state.items()}
            types = {key: value.dtype for key, value in state.items()}
        check_state(state, {key: state[key].new_empty(total[key].shape, dtype=types[key])
                            if key in state else value for key, value in total.items()})
        for key, value in state.items():
            total[key].add_(value, alpha=share)
    return {key: (value if types[key].is_floating_point else value.round()).to(types[key])
            for key, value in total.items()}


def state_bytes(state: State, keys: Iterable[str] | None = None) -> int:
    """Return how many bytes the tensors of a state have; keys: only these."""
    return sum(state[key].numel() * state[key].element_size()
               for key in (state if keys is None else keys))


def norm_keys(network: nn.Module) -> frozenset[str]:
    """Return the names of all parameters and statistics of normalisation layers."""
    return frozenset(
        f'{name}.{key}' if name else key for name, module in network.named_modules()
        if isinstance(module, _NORMS) for key in module.state_dict())
