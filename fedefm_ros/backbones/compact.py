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
The real-time network: a U-Net that keeps a full-resolution path for wires two pixels wide.

Widths are multiples of 16 and grow only where they cost little (deep levels); the decoder adds
laterals instead of concatenating them. About 5 GMAC at 512 x 512.
"""

from collections.abc import Sequence

from fedefm_ros.errors import FedefmError

import torch
from torch import nn
from torch.nn import functional


class CompactUNet(nn.Module):
    """
    Map grey images to per-pixel logits.

    Input (B, 1, H, W) float, H and W multiples of 2 ** len(widths); output (B, classes, H, W).
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128, 192), full: int = 8,
                 encoder_convs: int | Sequence[int] = 2, decoder_convs: int | Sequence[int] = 2,
                 classes: int = 3, norm: str = 'batch'):
        """
        Make the network with random weights.

        :param widths: channels at 1/2, 1/4, ... of the input's resolution.
        :param full: channels at full resolution.
        :param encoder_convs: residual 3 x 3 convolutions a level on the way down, from 1/2 on;
            one number stands for all levels.
        :param decoder_convs: the same on the way up, of all levels but the deepest.
        :param norm: 'batch', or 'group' (of 8 channels): that has no running statistics, which are
            those of where a network was trained last and no mean of others' would do for.
        """
        super().__init__()
        if norm not in _NORMS:
            raise FedefmError(f'norm {norm!r}; expected {" or ".join(_NORMS)}')
        norm = _NORMS[norm]
        encoder_convs = _counts(encoder_convs, len(widths), 'encoder_convs')
        decoder_convs = _counts(decoder_convs, len(widths) - 1, 'decoder_convs')
        self.stem = _Unit(1, full, norm)
        inputs = (full, *widths[:-1])
        self.down = nn.ModuleList(_Unit(a, b, norm, stride=2) for a, b in zip(inputs, widths))
        self.encoder = nn.ModuleList(_level(*level, norm) for level in zip(widths, encoder_convs))
        self.lateral = nn.ModuleList(
            nn.Conv2d(b, a, 1) for a, b in zip(widths[:-1], widths[1:]))
        self.decoder = nn.ModuleList(_level(*level, norm)
                                     for level in zip(widths[:-1], decoder_convs))
        self.to_full = nn.Conv2d(widths[0], full, 1)
        self.merge = _Unit(full, full, norm)
        self.head = nn.Conv2d(full, classes, 1)

    def freeze_norms(self) -> None:
        """
        Use the statistics of batch normalisation as they are, in training too.

        They are multiplied into the convolutions' weights: on a CPU the backward pass of batch
        normalisation is the slowest part of a training step.
        """
        for module in self.modules():
            if isinstance(module, _Unit) and isinstance(module[1], nn.BatchNorm2d):
                module.frozen = True

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the encoder's maps at 1/1, 1/2, 1/4, ... of the input's resolution."""
        maps = [self.stem(x)]
        for down, level in zip(self.down, self.encoder):
            maps.append(level(down(maps[-1])))
        return maps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, classes, H, W)."""
        full, *skips = self.features(x)
        y = skips.pop()
        for lateral, level in zip(reversed(self.lateral), reversed(self.decoder)):
            y = level(skips.pop() + _double(lateral(y)))
        return self.head(self.merge(full + _double(self.to_full(y))))


def _group_norm(channels):
    return nn.GroupNorm(max(channels // 8, 1), channels)


_NORMS = {'batch': nn.BatchNorm2d, 'group': _group_norm}


class _Unit(nn.Sequential):
    """Convolution, normalisation (folded into it at run time, if of batches), rectifier."""

    def __init__(self, inputs, outputs, norm, stride=1):
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                         norm(outputs), nn.ReLU(inplace=True))
        self.frozen = False

    def forward(self, x):
        if not self.frozen:
            return super().forward(x)
        convolution, norm, rectifier = self
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return rectifier(functional.conv2d(
            x, convolution.weight * scale[:, None, None, None],
            norm.bias - norm.running_mean * scale, convolution.stride, convolution.padding))


class _Residual(nn.Module):

    def __init__(self, width, norm):
        super().__init__()
        self.unit = _Unit(width, width, norm)

    def forward(self, x):
        return x + self.unit(x)


def _counts(given, levels, name):
    counts = (given,) * levels if isinstance(given, int) else tuple(given)
    if len(counts) != levels or min(counts) < 0:
        raise FedefmError(f'{name} {given} must be one number or {levels}, one a level')
    return counts


def _level(width, count, norm):
    return nn.Sequential(*(_Residual(width, norm) for _ in range(count)))


def _double(x):
    return functional.interpolate(x, scale_factor=2.0, mode='bilinear', align_corners=False)
