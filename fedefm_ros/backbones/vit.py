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

"""A plain vision transformer with a light decoder that looks at the pixels once more."""

from collections.abc import Sequence

from fedefm_ros.backbones.limits import check_sizes
from fedefm_ros.backbones.tokens import TokenEncoder

import torch
from torch import nn
from torch.nn import functional


class ViTSegmenter(nn.Module):
    """
    Map images to per-pixel logits.

    The defaults are ViT-B/16 (Dosovitskiy et al., ICLR 2021; its encoder has 85,798,656 parameters
    at 224 pixels and three input channels). The decoder doubles the resolution of the token map
    step by step; a token is 16 pixels wide and a guidewire two, so two convolutions at 1/1 and 1/2
    bring the edges back. Input (B, inputs, H, W) float, H and W multiples of ``patch``; output
    (B, classes, H, W).
    """

    def __init__(self, size: int = 224, patch: int = 16, width: int = 768, depth: int = 12,
                 heads: int = 12, mlp: int = 3072, decoder: Sequence[int] = (128, 64, 32, 16),
                 classes: int = 3, inputs: int = 1, class_token: bool = True,
                 pre_norm: bool = False, activation: str = 'gelu', norm_eps: float = 1e-6):
        """
        Make the network with random weights.

        :param size: side in pixels of the images that the position embedding is for.
        :param decoder: channels after each doubling; as many as halvings make a patch.
        :param norm_eps: of the transformer, as ``pre_norm`` and ``activation``: see TokenEncoder.
        """
        super().__init__()
        check_sizes(size=(size, 4096), classes=(classes, 256), inputs=(inputs, 16),
                    patch=(patch, 64), **{f'decoder {i}': (w, 2048)
                                          for i, w in enumerate(decoder)})
        if size % patch or 2**len(decoder) != patch or patch < 4:
            raise ValueError(f'size {size} must be a multiple of patch {patch}, and patch be 2 to '
                             f'the number of decoder widths {tuple(decoder)}, at least 4')
        self.tokens = TokenEncoder(inputs, patch, size // patch, width, depth, heads, mlp,
                                   class_token, pre_norm, activation, norm_eps)
        self.full = _unit(inputs, decoder[-1])
        self.coarser = _unit(decoder[-1], decoder[-2], stride=2)
        self.steps = nn.ModuleList(
            _unit(a, b) for a, b in zip((width, *decoder[:-1]), decoder))
        self.merge = _unit(decoder[-1], decoder[-1])
        self.head = nn.Conv2d(decoder[-1], classes, 1)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return maps at 1/1, 1/2 and 1/patch of the input's resolution, the tokens last."""
        full = self.full(x)
        return [full, self.coarser(full), self.tokens(x)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, classes, H, W)."""
        full, half, y = self.features(x)
        details = {len(self.steps) - 1: full, len(self.steps) - 2: half}
        for number, step in enumerate(self.steps):
            # Convolved before it is enlarged: a quarter of the cost.
            y = functional.interpolate(step(y), scale_factor=2.0, mode='bilinear',
                                       align_corners=False)
            if number in details:
                y = y + details[number]
        return self.head(self.merge(y))


def _unit(inputs, outputs, stride=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
