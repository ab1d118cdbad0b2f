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

"""The baseline: U-Net with transposed convolutions and batch normalisation."""

from fedefm_ros.backbones.limits import check_sizes

import torch
from torch import nn


class UNet(nn.Module):
    """
    Map images to per-pixel logits.

    As Ronneberger et al., MICCAI 2015, padded and with batch normalisation, which is what the
    segmentation papers of the field compare with (Pytorch-UNet of milesial: 31,037,698 parameters
    at width 64, three input channels, two classes). Input (B, inputs, H, W) float, H and W
    multiples of 16; output (B, classes, H, W).
    """

    def __init__(self, width: int = 64, classes: int = 3, inputs: int = 1):
        """
        Make the network with random weights.

        :param width: channels at full resolution; they double at each of four levels.
        """
        super().__init__()
        check_sizes(width=(width, 512), classes=(classes, 256), inputs=(inputs, 16))
        widths = [width * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(
            _pair(a, b) for a, b in zip((inputs, *widths[:-1]), widths))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, 2) for a, b in zip(widths[:-1], widths[1:]))
        self.decoder = nn.ModuleList(_pair(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv2d(width, classes, 1)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the encoder's maps at 1/1, 1/2, ... 1/16 of the input's resolution."""
        maps = [self.encoder[0](x)]
        for level in self.encoder[1:]:
            maps.append(level(self.pool(maps[-1])))
        return maps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, classes, H, W)."""
        *skips, y = self.features(x)
        for up, level, skip in zip(reversed(self.up), reversed(self.decoder), reversed(skips)):
            y = level(torch.cat([skip, up(y)], dim=1))
        return self.head(y)


def _pair(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True))
