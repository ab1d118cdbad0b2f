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

"""A hand-made network that marks dark lines, so that tests need no training."""

from fedefm_ros.backbones import ModelSpec, registry, save_checkpoint

import torch
from torch import nn


class LineNet(nn.Module):
    """
    Mark narrow dark lines as guidewire and wide ones as catheter.

    One convolution compares each pixel with its surroundings at two scales.
    """

    def __init__(self, swapped: bool = False, channels: int = 3):
        """Make the network; ``swapped`` exchanges catheter and guidewire."""
        super().__init__()
        self.compare = nn.Conv2d(1, channels, 21, padding=10)
        with torch.no_grad():
            weight = torch.zeros(channels, 1, 21, 21)
            wide, narrow = (2, 1) if swapped else (1, 2)
            weight[wide, 0] = 25.0 * (_box(21) - _box(7))
            weight[narrow, 0] = 25.0 * (_box(9) - _box(3))
            self.compare.weight.copy_(weight)
            self.compare.bias.copy_(torch.tensor([3.0] + [0.0] * (channels - 1)))

    def forward(self, x):
        """Return (B, 3, H, W) logits."""
        return self.compare(x)


def _box(side):
    kernel = torch.zeros(21, 21)
    start = 10 - side // 2
    kernel[start:start + side, start:start + side] = 1.0 / side ** 2
    return kernel


registry.register('lines', LineNet)


def save_line_model(path, size=256, **config):
    """Write a checkpoint of a ``LineNet``; return its path."""
    save_checkpoint(path, LineNet(**config), ModelSpec('lines', config, input_size=size))
    return path
