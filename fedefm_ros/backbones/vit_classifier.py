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
The foundation task's network: a convolutional stem and a small vision transformer.

The stem turns a square of pixels into a token by convolutions of stride two, as early convolutions
let transformers learn from few images (Xiao et al., Early Convolutions Help Transformers See
Better, NeurIPS 2021); the authors' released network, too, is a hybrid. Group and layer norms only:
they have no running statistics that averaging over silos would blur.
"""

from collections.abc import Sequence

from fedefm_ros.errors import FedefmError

import torch
from torch import nn
from torch.nn import functional


class VitClassifier(nn.Module):
    """
    Map grey images to logits of kinds of data.

    Input (B, 1, H, W) float32, H and W multiples of the patch; output (B, classes). Attributes:
    patch, the side in pixels of the square that becomes one token, 2 to the power of the stem's
    convolutions.
    """

    def __init__(self, classes: int = 12, width: int = 128, depth: int = 3, heads: int = 4,
                 stem: Sequence[int] = (24, 48, 96), size: int = 64):
        """
        Make the network with random weights.

        :param width: channels of a token; a multiple of heads and of 8.
        :param depth: transformer layers.
        :param stem: channels at 1/2, 1/4, ... of the input's resolution, multiples of 8; one more
            convolution leads to the tokens.
        :param size: side in pixels of the images its position embedding is for; at other sizes
            the embedding is interpolated.
        :raises FedefmError: sizes that do not fit.
        """
        super().__init__()
        if width % heads or any(value % 8 for value in (width, *stem)):
            raise FedefmError(f'width {width}, heads {heads}, stem {tuple(stem)}: width must be '
                              'a multiple of heads, and all channels multiples of 8')
        self.patch = 2 ** (len(stem) + 1)
        if size % self.patch or size < self.patch:
            raise FedefmError(f'image size {size}; expected a multiple of {self.patch}')
        channels = (1, *stem, width)
        self.stem = nn.Sequential(*(
            _Reduction(a, b, last=k == len(stem))
            for k, (a, b) in enumerate(zip(channels, channels[1:]))))
        self.position = nn.Parameter(torch.zeros(1, width, size // self.patch, size // self.patch))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the dense features, one map (B, width, H', W'), as U and V of eq. 3."""
        if x.dim() != 4 or x.shape[1] != 1 or any(
                side % self.patch for side in x.shape[2:]):
            raise FedefmError(f'images of shape {tuple(x.shape)}; expected (B, 1, H, W), H and W '
                              f'multiples of {self.patch}')
        maps = self.stem(x)
        position = self.position
        if maps.shape[2:] != position.shape[2:]:
            position = functional.interpolate(position, maps.shape[2:], mode='bicubic',
                                              align_corners=False)
        tokens = (maps + position).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        return [self.norm(tokens).transpose(1, 2).unflatten(2, maps.shape[2:])]

    def logits_and_features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits (B, classes) and the dense features."""
        dense = self.features(x)[-1]
        return self.head(dense.mean((2, 3))), dense

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, classes)."""
        return self.logits_and_features(x)[0]


class _Reduction(nn.Sequential):
    """Halves the resolution; the last one leaves normalisation to the transformer."""

    def __init__(self, inputs, outputs, last):
        after = [] if last else [nn.GroupNorm(outputs // 8, outputs), nn.ReLU(inplace=True)]
        super().__init__(nn.Conv2d(inputs, outputs, 3, 2, 1), *after)


class _Layer(nn.Module):
    """Attention and a two-layer perceptron, each after a norm and around a shortcut."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        split = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*split)
        x = x + self.mix(mixed.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))
