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


#: Sides of the squares whose means are compared.
_SIDES = (3, 7, 9, 21)


class LineNet(nn.Module):
    """
    Mark narrow dark lines as guidewire and wide ones as catheter.

    Each pixel's surroundings are compared at two scales: means over squares, by rows and columns.
    """

    def __init__(self, swapped: bool = False, channels: int = 3):
        """Make the network; ``swapped`` exchanges catheter and guidewire."""
        super().__init__()
        count = len(_SIDES)
        self.across = nn.Conv2d(1, count, (1, 21), padding=(0, 10), bias=False)
        self.along = nn.Conv2d(count, count, (21, 1), padding=(10, 0), groups=count, bias=False)
        self.compare = nn.Conv2d(count, channels, 1)
        wide, narrow = (2, 1) if swapped else (1, 2)
        with torch.no_grad():
            for number, side in enumerate(_SIDES):
                row = torch.zeros(21)
                row[10 - side // 2:11 + side // 2] = 1.0 / side
                self.across.weight[number, 0, 0] = self.along.weight[number, 0, :, 0] = row
            self.compare.weight.zero_()
            for label, inner, outer in ((wide, 7, 21), (narrow, 3, 9)):
                self.compare.weight[label, _SIDES.index(outer), 0, 0] = 25.0
                self.compare.weight[label, _SIDES.index(inner), 0, 0] = -25.0
            self.compare.bias.copy_(torch.tensor([3.0] + [0.0] * (channels - 1)))

    def forward(self, x):
        """Return (B, 3, H, W) logits."""
        return self.compare(self.along(self.across(x)))


class SlowLineNet(nn.Module):
    """The same in one convolution of 21 x 21, which takes tens of milliseconds."""

    def __init__(self):
        """Make the network."""
        super().__init__()
        lines = LineNet()
        self.compare = nn.Conv2d(1, 3, 21, padding=10)
        with torch.no_grad():
            squares = torch.einsum('crx,cxs->crs', lines.along.weight[:, 0],
                                   lines.across.weight[:, 0])
            self.compare.weight.copy_(
                torch.einsum('lc,crs->lrs', lines.compare.weight[..., 0, 0], squares)[:, None])
            self.compare.bias.copy_(lines.compare.bias)

    def forward(self, x):
        """Return (B, 3, H, W) logits."""
        return self.compare(x)


registry.register('lines', LineNet)
registry.register('slow_lines', SlowLineNet)


def save_line_model(path, size=256, **config):
    """Write a checkpoint of a ``LineNet``; return its path."""
    save_checkpoint(path, LineNet(**config), ModelSpec('lines', config, input_size=size))
    return path
