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

"""TransUNet: convolutions, then a transformer over their coarsest map, then a U-Net's decoder."""

from __future__ import annotations

from collections.abc import Sequence

from fedefm_ros.backbones.limits import check_sizes
from fedefm_ros.backbones.resnet_v2 import ResNetV2
from fedefm_ros.backbones.tokens import TokenEncoder

import torch
from torch import nn
from torch.nn import functional


class TransUNet(nn.Module):
    """
    Map images to per-pixel logits.

    As Chen et al., TransUNet, 2021; the defaults are its R50-ViT-B/16 with three skips
    (105,276,066 parameters at 224 pixels, three input channels, two classes). Input
    (B, inputs, H, W) float, H and W multiples of 16; output (B, classes, H, W).
    """

    def __init__(self, size: int = 224, resnet_width: int = 64, units: Sequence[int] = (3, 4, 9),
                 width: int = 768, depth: int = 12, heads: int = 12, mlp: int = 3072,
                 neck: int = 512, decoder: Sequence[int] = (256, 128, 64, 16),
                 classes: int = 3, inputs: int = 1, pre_norm: bool = False,
                 activation: str = 'gelu', norm_eps: float = 1e-6):
        """
        Make the network with random weights.

        :param size: side in pixels of the images that the position embedding is for.
        :param resnet_width: channels of the convolutional half at 1/2.
        :param neck: channels between transformer and decoder.
        :param decoder: channels at 1/8, 1/4, 1/2 and 1/1.
        :param norm_eps: of the transformer, as ``pre_norm`` and ``activation``: see TokenEncoder.
        """
        super().__init__()
        check_sizes(size=(size, 4096), neck=(neck, 4096), classes=(classes, 256),
                    **{f'decoder {i}': (w, 2048) for i, w in enumerate(decoder)})
        if size % 16 or len(decoder) != 4:
            raise ValueError(f'size {size} must be a multiple of 16, and decoder '
                             f'{tuple(decoder)} four widths')
        self.resnet = ResNetV2(inputs, resnet_width, units)
        self.tokens = TokenEncoder(self.resnet.widths[-1], 1, size // 16, width, depth, heads,
                                   mlp, False, pre_norm, activation, norm_eps)
        self.neck = _unit(width, neck)
        skips = (*reversed(self.resnet.widths[:-1]), 0)
        self.decoder = nn.ModuleList(
            nn.Sequential(_unit(before + skip, after), _unit(after, after))
            for before, skip, after in zip((neck, *decoder[:-1]), skips, decoder))
        self.head = nn.Conv2d(decoder[-1], classes, 3, padding=1)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return maps at 1/2, 1/4, 1/8 and 1/16 of the input's resolution, the tokens last."""
        *fine, coarse = self.resnet(x)
        return [*fine, self.tokens(coarse)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, classes, H, W)."""
        *skips, y = self.features(x)
        y = self.neck(y)
        for level in self.decoder:
            y = functional.interpolate(y, scale_factor=2.0, mode='bilinear', align_corners=False)
            y = level(torch.cat([y, skips.pop()], dim=1) if skips else y)
        return self.head(y)


def transunet_small(size: int = 224, resnet_width: int = 32, units: Sequence[int] = (2, 2, 4),
                    width: int = 256, depth: int = 6, heads: int = 8, mlp: int = 1024,
                    neck: int = 128, decoder: Sequence[int] = (64, 48, 32, 16),
                    classes: int = 3, inputs: int = 1, pre_norm: bool = False,
                    activation: str = 'gelu', norm_eps: float = 1e-6) -> TransUNet:
    """Return a TransUNet of a tenth of the size, for stations without a graphics card."""
    return TransUNet(size, resnet_width, units, width, depth, heads, mlp, neck, decoder, classes,
                     inputs, pre_norm, activation, norm_eps)


def _unit(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
