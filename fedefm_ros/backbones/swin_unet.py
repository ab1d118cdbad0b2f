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

"""Swin-Unet: a U-Net of shifted-window attention; the layers are MONAI's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from fedefm_ros.backbones.limits import check_sizes

from monai.networks.nets.swin_unetr import get_window_size
from monai.networks.nets.swin_unetr import PatchMergingV2
from monai.networks.nets.swin_unetr import SwinTransformerBlock

import numpy as np

import torch
from torch import nn


class SwinUNet(nn.Module):
    """
    Map images to per-pixel logits.

    As Cao et al., Swin-Unet, 2021 (MONAI has Swin UNETR, whose decoder is convolutional); the
    defaults are its tiny one. Maps that are no multiple of the window are padded. Input
    (B, inputs, H, W) float, H and W multiples of 32; output (B, classes, H, W).
    """

    def __init__(self, width: int = 96, depths: Sequence[int] = (2, 2, 2, 2),
                 heads: Sequence[int] = (3, 6, 12, 24), window: int = 7, patch: int = 4,
                 classes: int = 3, inputs: int = 1):
        """
        Make the network with random weights.

        :param width: channels at 1/patch; they double at each level.
        :param depths: layers a level, down as up; at the bottom once.
        """
        super().__init__()
        check_sizes(width=(width, 512), window=(window, 64), patch=(patch, 16),
                    classes=(classes, 256), inputs=(inputs, 16),
                    **{f'depths {i}': (count, 64) for i, count in enumerate(depths)},
                    **{f'heads {i}': (count, 256) for i, count in enumerate(heads)})
        if len(depths) != len(heads) or not 2 <= len(depths) <= 6 or width % 2 \
                or any(width * 2**level % count for level, count in enumerate(heads)):
            raise ValueError(f'depths {tuple(depths)} and heads {tuple(heads)} must be two to six '
                             f'each, width {width} even, and each level a multiple of its heads')
        widths = [width * 2**level for level in range(len(depths))]
        self.patch = patch
        self.embed = nn.Conv2d(inputs, width, patch, patch)
        self.embed_norm = nn.LayerNorm(width)
        self.down = nn.ModuleList(
            _Stage(w, d, h, window) for w, d, h in zip(widths, depths, heads))
        self.merge = nn.ModuleList(PatchMergingV2(w, spatial_dims=2) for w in widths[:-1])
        self.norm = nn.LayerNorm(widths[-1])
        self.expand = nn.ModuleList(_Expand(w) for w in widths[1:])
        self.join = nn.ModuleList(nn.Linear(2 * w, w) for w in widths[:-1])
        self.up = nn.ModuleList(
            _Stage(w, d, h, window) for w, d, h in zip(widths[:-1], depths, heads))
        self.norm_up = nn.LayerNorm(width)
        self.last = nn.Linear(width, patch * patch * width, bias=False)
        self.last_norm = nn.LayerNorm(width)
        self.head = nn.Conv2d(width, classes, 1, bias=False)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the encoder's maps at 1/patch, half of that, ...; (B, channels, h, w)."""
        return [m.permute(0, 3, 1, 2) for m in self._maps(x)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, classes, H, W)."""
        *skips, y = self._maps(x)
        for level in reversed(range(len(skips))):
            y = self.expand[level](y)
            y = self.up[level](self.join[level](torch.cat([y, skips[level]], dim=3)))
        y = _finer(self.last(self.norm_up(y)), self.patch)
        return self.head(self.last_norm(y).permute(0, 3, 1, 2))

    def _maps(self, x):
        y = self.embed_norm(self.embed(x).permute(0, 2, 3, 1))
        maps = [self.down[0](y)]
        for merge, stage in zip(self.merge, self.down[1:]):
            maps.append(stage(merge(maps[-1])))
        maps[-1] = self.norm(maps[-1])
        return maps


class _Stage(nn.Module):
    """Layers at one resolution, every second one with shifted windows; (B, H, W, C)."""

    def __init__(self, width, depth, heads, window):
        super().__init__()
        self.window = (window, window)
        self.layers = nn.ModuleList(
            SwinTransformerBlock(width, heads, self.window,
                                 (0, 0) if number % 2 == 0 else (window // 2, window // 2))
            for number in range(depth))

    def forward(self, x):
        size = (int(x.shape[1]), int(x.shape[2]))
        window, shift = get_window_size(size, self.window, tuple(s // 2 for s in self.window))
        mask = torch.from_numpy(_mask(size, tuple(window), tuple(shift))).to(x)
        for layer in self.layers:
            x = layer(x, mask)
        return x


class _Expand(nn.Module):
    """Twice the resolution, half the channels."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(width // 2)

    def forward(self, x):
        return self.norm(_finer(self.linear(x), 2))


def _finer(x, factor):
    """Spread channels over space: (B, H, W, f f C) -> (B, f H, f W, C)."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, factor, factor, channels // factor**2)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(batch, height * factor, width * factor, -1)


@lru_cache(maxsize=64)
def _mask(size, window, shift):
    """
    Return which places of a shifted window may attend to each other, (windows, n, n) float32.

    0 where they may, -100 where they were not neighbours before the shift. In NumPy, so that the
    exported graph has it as a constant and training may use what inference made.
    """
    regions = np.zeros([-(-side // w) * w for side, w in zip(size, window)], np.int64)
    number = 0
    for rows in _bands(window[0], shift[0]):
        for columns in _bands(window[1], shift[1]):
            regions[rows, columns] = number
            number += 1
    height, across = regions.shape
    cells = regions.reshape(height // window[0], window[0], across // window[1], window[1])
    cells = cells.transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])
    return np.where(cells[:, None, :] != cells[:, :, None], -100.0, 0.0).astype(np.float32)


def _bands(window, shift):
    if not shift:
        return (slice(None),)
    return slice(-window), slice(-window, -shift), slice(-shift, None)
