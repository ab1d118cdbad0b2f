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
The vision transformer's encoder, for images (ViT) and for maps of a convolutional net (hybrids).

MONAI's ViT is not used: its layers have a norm for cross-attention that nothing calls, whose
weights differ between its versions and are in no published checkpoint or parameter count.
"""

from __future__ import annotations

import math

from fedefm_ros.backbones.limits import check_sizes

import torch
from torch import nn
from torch.nn import functional

ACTIVATIONS = ('gelu', 'quick_gelu')


class TokenEncoder(nn.Module):
    """
    Patches, positions and transformer layers with the norm first.

    As Dosovitskiy et al., ICLR 2021; with ``pre_norm`` and ``quick_gelu`` as CLIP's image encoder.
    Input (B, inputs, H, W) float, H and W multiples of ``patch``; output (B, width, H / patch,
    W / patch).
    """

    def __init__(self, inputs: int, patch: int, grid: int, width: int = 768, depth: int = 12,
                 heads: int = 12, mlp: int = 3072, class_token: bool = True,
                 pre_norm: bool = False, activation: str = 'gelu', norm_eps: float = 1e-6):
        """
        Make the encoder with random weights.

        :param patch: side of the square of the input that becomes one token.
        :param grid: tokens along a side that the position embedding is for; at other sizes it is
            interpolated.
        :param class_token: one more token, which takes part in the attention.
        :param pre_norm: a norm before the first layer.
        :param norm_eps: added to the variance in each norm: 1e-6 in the first ViT and in SAM, 1e-5
            in CLIP.
        """
        super().__init__()
        check_sizes(inputs=(inputs, 4096), patch=(patch, 64), grid=(grid, 1024),
                    width=(width, 4096), depth=(depth, 64), heads=(heads, 64), mlp=(mlp, 16384))
        if width % heads or activation not in ACTIVATIONS:
            raise ValueError(f'width {width} must be a multiple of heads {heads}, and activation '
                             f'{activation!r} one of {", ".join(ACTIVATIONS)}')
        if not isinstance(norm_eps, float) or not 0.0 < norm_eps <= 1e-2:
            raise ValueError(f'norm_eps {norm_eps!r} must be a number above 0, at most 0.01; in '
                             'YAML written 1.0e-5, with a point')
        self.patch = patch
        self.heads = heads
        self.activation = activation
        self.norm_eps = norm_eps
        self.grid = grid
        self.embed = nn.Conv2d(inputs, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.position = nn.Parameter(torch.empty(1, grid * grid + int(class_token), width))
        self.pre_norm = nn.LayerNorm(width, norm_eps) if pre_norm else nn.Identity()
        self.layers = nn.ModuleList(
            _Layer(width, heads, mlp, activation, norm_eps) for _ in range(depth))
        self.norm = nn.LayerNorm(width, norm_eps)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the tokens as a map, (B, width, H / patch, W / patch)."""
        x = self.embed(x)
        batch, width, height, across = x.shape
        x = x.flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(batch, -1, -1), x], dim=1)
        x = self.pre_norm(x + self._positions(height, across))
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)[:, x.shape[1] - height * across:]
        return x.transpose(1, 2).reshape(batch, width, height, across)

    def _positions(self, height, across):
        if (height, across) == (self.grid, self.grid):
            return self.position
        return resized_positions(self.position, self.grid, (height, across))


class _Layer(nn.Module):

    def __init__(self, width, heads, mlp, activation, norm_eps):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, norm_eps)
        self.up = nn.Linear(width, mlp)
        self.down = nn.Linear(mlp, width)
        self.quick = activation == 'quick_gelu'

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(
            batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, tokens, width))
        y = self.up(self.norm2(x))
        y = y * torch.sigmoid(1.702 * y) if self.quick else functional.gelu(y)
        return x + self.down(y)


def resized_positions(position: torch.Tensor, grid: int,
                      target: tuple[int, int]) -> torch.Tensor:
    """
    Return a position embedding for another grid of tokens, by bilinear interpolation.

    Bilinear, since that is what every runtime computes alike. A class token's, in front, stays.

    :param position: (1, [1 +] grid * grid, width).
    :param target: tokens down and across.
    :returns: (1, [1 +] down * across, width).
    """
    extra = position.shape[1] - grid * grid
    first, rest = position[:, :extra], position[:, extra:]
    rest = rest.transpose(1, 2).reshape(1, -1, grid, grid)
    rest = functional.interpolate(rest, target, mode='bilinear', align_corners=False)
    return torch.cat([first, rest.flatten(2).transpose(1, 2)], dim=1)


def grid_of(tokens: int) -> int:
    """Return the side of a square grid of so many tokens; raises ValueError if there is none."""
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ValueError(f'{tokens} tokens make no square')
    return side
