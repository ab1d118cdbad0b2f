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

"""Compact networks that take weights from one that they were made of."""

from collections.abc import Mapping

from fedefm_ros.backbones.compact import CompactUNet
from fedefm_ros.errors import FedefmError

import torch
from torch import nn

#: In the names of a residual convolution's tensors: the scale and shift of its normalisation.
_SCALE, _SHIFT = 'unit.1.weight', 'unit.1.bias'
_FAINT = 0.05


def deepened(parent: CompactUNet, network: CompactUNet) -> CompactUNet:
    """
    Return a network with a parent's weights and, at the ends of its levels, more convolutions.

    Those that are new start so weak that the network's output is nearly the parent's.

    :param network: of the parent's widths; its weights are replaced.
    :raises FedefmError: some level is narrower or shorter than the parent's.
    """
    given = parent.state_dict()
    name = _without_place(given, network.state_dict())
    if name:
        raise FedefmError(f'{name} of the parent has no place in the deeper network: levels '
                          'may have more convolutions than the parent, not fewer or others')
    network.load_state_dict(given, strict=False)
    for name, parameter in network.named_parameters():
        if name not in given and name.endswith(_SCALE):
            nn.init.constant_(parameter, _FAINT)
    return network


def averaged(older: CompactUNet, newer: CompactUNet, share: float) -> CompactUNet:
    """
    Return ``newer`` with weights between its own and those it was trained on from.

    What two such models have in common carries over to other images better than what the last
    training added (WiSE-FT, Wortsman et al., CVPR 2022, equation 1). Convolutions that only the
    newer has are weakened instead: without them it would be the older, see ``deepened``.

    :param share: of the newer, 0 to 1.
    :raises FedefmError: the newer is no deepened form of the older; the share is out of range.
    """
    if not 0.0 <= share <= 1.0:
        raise FedefmError(f'share {share} is out of range 0 to 1')
    old, new = older.state_dict(), newer.state_dict()
    name = _without_place(old, new)
    if name:
        raise FedefmError(f'the newer model was not trained on from the older: it has no {name} '
                          'of that shape')
    for name, tensor in new.items():
        if name not in old:
            if name.endswith((_SCALE, _SHIFT)):
                tensor.mul_(share)
        elif tensor.is_floating_point():
            tensor.mul_(share).add_(old[name], alpha=1.0 - share)
    return newer


def _without_place(given: Mapping[str, torch.Tensor], there: Mapping[str, torch.Tensor]) -> str:
    """Return a name whose tensor the other network lacks or has in another shape; '': none."""
    return next((name for name, tensor in given.items()
                 if name not in there or there[name].shape != tensor.shape), '')
