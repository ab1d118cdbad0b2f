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

"""The convolutional half of R50+ViT hybrids: ResNetV2 with standardised weights, group norms."""

from __future__ import annotations

from collections.abc import Sequence

from fedefm_ros.backbones.limits import check_sizes

import torch
from torch import nn
from torch.nn import functional


class ResNetV2(nn.Module):
    """
    Map images to maps at 1/2, 1/4, 1/8 and 1/16 of their resolution.

    As Kolesnikov et al., Big Transfer, ECCV 2020, in the order of norms that TransUNet uses. Its
    max pooling is padded by one here: TransUNet's gives a map one pixel too small and fills it up
    with zeros. Input (B, inputs, H, W) float, H and W multiples of 16.
    """

    def __init__(self, inputs: int = 1, width: int = 64, units: Sequence[int] = (3, 4, 9)):
        """
        Make the network with random weights.

        :param width: channels at 1/2; 4, 8 and 16 times as many at 1/4, 1/8 and 1/16.
        :param units: bottlenecks at 1/4, 1/8 and 1/16.
        """
        super().__init__()
        check_sizes(inputs=(inputs, 16), width=(width, 256),
                    **{f'units {i}': (count, 64) for i, count in enumerate(units)})
        if len(units) != 3:
            raise ValueError(f'units {tuple(units)} must be three numbers')
        self.widths = (width, 4 * width, 8 * width, 16 * width)
        self.stem = _StandardisedConv(inputs, width, 7, 2, 3, bias=False)
        self.stem_norm = _norm(width)
        levels = []
        for level, count in enumerate(units):
            before, after = self.widths[level], self.widths[level + 1]
            levels.append(nn.Sequential(
                _Bottleneck(before, after, stride=1 if level == 0 else 2),
                *(_Bottleneck(after, after) for _ in range(count - 1))))
        self.levels = nn.ModuleList(levels)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps, the finest first."""
        maps = [functional.relu(self.stem_norm(self.stem(x)))]
        y = functional.max_pool2d(maps[0], 3, 2, 1)
        for level in self.levels:
            y = level(y)
            maps.append(y)
        return maps


class _StandardisedConv(nn.Conv2d):
    """Convolution whose kernels have mean 0 and variance 1 (Qiao et al., 2019)."""

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
        return self._conv_forward(x, (self.weight - mean) * torch.rsqrt(variance + 1e-5),
                                  self.bias)


class _Bottleneck(nn.Module):

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        middle = outputs // 4
        self.conv1 = _StandardisedConv(inputs, middle, 1, bias=False)
        self.norm1 = _norm(middle)
        self.conv2 = _StandardisedConv(middle, middle, 3, stride, 1, bias=False)
        self.norm2 = _norm(middle)
        self.conv3 = _StandardisedConv(middle, outputs, 1, bias=False)
        self.norm3 = _norm(outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                _StandardisedConv(inputs, outputs, 1, stride, bias=False),
                nn.GroupNorm(outputs, outputs))

    def forward(self, x):
        y = functional.relu(self.norm1(self.conv1(x)))
        y = functional.relu(self.norm2(self.conv2(y)))
        return functional.relu((x if self.shortcut is None else self.shortcut(x))
                               + self.norm3(self.conv3(y)))


def _norm(width):
    return nn.GroupNorm(min(32, width), width, eps=1e-6)
