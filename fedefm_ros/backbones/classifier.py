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

"""Any segmentation backbone's encoder as a classifier of whole images."""

from __future__ import annotations

from fedefm_ros.backbones import registry
from fedefm_ros.backbones.limits import check_sizes
from fedefm_ros.backbones.spec import ModelSpec

import torch
from torch import nn


class Classifier(nn.Module):
    """
    Map images to logits, one a label: the coarsest features, averaged over the image, a layer.

    Input as the backbone's; output (B, classes).
    """

    def __init__(self, backbone: str = 'compact', config: dict | None = None, classes: int = 11):
        """
        Make the network with random weights.

        :param backbone: a name of the registry that has ``features``.
        :param config: its configuration.
        """
        super().__init__()
        check_sizes(classes=(classes, 4096))
        if backbone == 'classifier':
            raise ValueError('a classifier cannot be its own backbone')
        self.backbone = registry.create(backbone, **(config or {}))
        if not hasattr(self.backbone, 'features'):
            raise ValueError(f'backbone {backbone!r} gives no features')
        with torch.device('meta'), torch.no_grad():
            width = registry.create(backbone, **(config or {})).features(
                torch.zeros(1, 1, 64, 64))[-1].shape[1]
        self.head = nn.Linear(width, classes)

    def logits_and_features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits (B, classes) and the coarsest features (B, C, H', W')."""
        dense = self.backbone.features(x)[-1]
        return self.head(dense.mean(dim=(2, 3))), dense

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, classes)."""
        return self.logits_and_features(x)[0]


def encoder_weights(config: dict, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Return those weights of a classifier's backbone that its training has reached, by their names.

    A decoder takes no part in classifying; its weights are as random as on the first day.

    :param config: keyword arguments of Classifier.
    :param state: of such a classifier.
    :raises FedefmError: a configuration that does not fit.
    """
    classifier = registry.create('classifier', **config)
    classifier(torch.zeros(1, 1, 64, 64)).sum().backward()
    used = {name.rpartition('.')[0] for name, value in classifier.named_parameters()
            if value.grad is not None}
    # Statistics of a norm go with its parameters.
    return {key.removeprefix('backbone.'): value for key, value in state.items()
            if key.startswith('backbone.') and key.rpartition('.')[0] in used}


def segmenter_from(spec: ModelSpec, state: dict[str, torch.Tensor],
                   input_size: int) -> tuple[nn.Module, ModelSpec]:
    """
    Return a new network for masks that has a classifier's encoder, and its description.

    Its decoder is random; seed torch for stations to have the same.

    :param spec: of the classifier, such as that of the shipped foundation weights.
    :param state: its weights.
    :param input_size: of the new network, pixels.
    """
    backbone, config = spec.config['backbone'], spec.config.get('config') or {}
    network = registry.create(backbone, **config)
    network.load_state_dict({**network.state_dict(), **encoder_weights(spec.config, state)})
    return network, ModelSpec(backbone, config, input_size=input_size,
                              normalisation=spec.normalisation)
