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
The small network of experiments on one core: three convolutions.

Made for few, plain SGD steps: 600 of 16 images gave 0.82 of the foundation task's test images, a
vision transformer of the same cost (VitClassifier, one layer) 0.69. The logits are made of the
mean and the maximum over places, as many sources are told by a thing that is in one place only.
Group norms have no running statistics that averaging over silos would blur.
"""

from collections.abc import Sequence

from fedefm_ros.errors import FedefmError

import torch
from torch import nn

#: Pixels that become one place of the dense features.
_PATCH = 8


class ConvClassifier(nn.Module):
    """Map grey images (B, 1, H, W) float32, H and W multiples of 8, to logits (B, classes)."""

    def __init__(self, classes: int = 12, widths: Sequence[int] = (16, 32, 64)):
        """
        Make the network with random weights.

        :param widths: channels at 1/2, 1/2 and 1/4 of the input's resolution, multiples of 8.
        :raises FedefmError: widths that do not fit.
        """
        super().__init__()
        if len(widths) != 3 or any(width < 8 or width % 8 for width in widths):
            raise FedefmError(f'widths {tuple(widths)}; expected three multiples of 8')
        first, second, third = widths
        self.body = nn.Sequential(
            nn.Conv2d(1, first, 5, 2, 2, bias=False), *_after(first),
            nn.Conv2d(first, second, 3, 1, 1, bias=False), *_after(second), nn.MaxPool2d(2),
            nn.Conv2d(second, third, 3, 1, 1, bias=False), *_after(third), nn.MaxPool2d(2))
        self.head = nn.Linear(2 * third, classes)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the dense features, one map (B, widths[2], H / 8, W / 8), U and V of eq. 3."""
        if x.dim() != 4 or x.shape[1] != 1 or any(
                side % _PATCH or not side for side in x.shape[2:]):
            raise FedefmError(f'images of shape {tuple(x.shape)}; expected (B, 1, H, W), H and W '
                              f'multiples of {_PATCH}')
        return [self.body(x)]

    def logits_and_features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits (B, classes) and the dense features."""
        dense = self.features(x)[-1]
        return self.head(torch.cat([dense.mean((2, 3)), dense.amax((2, 3))], 1)), dense

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, classes)."""
        return self.logits_and_features(x)[0]


def _after(channels: int) -> list[nn.Module]:
    return [nn.GroupNorm(channels // 8, channels), nn.ReLU(inplace=True)]
