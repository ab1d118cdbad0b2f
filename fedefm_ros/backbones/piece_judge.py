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

"""A judge of pieces: what a strip shows, nothing, a catheter or a guidewire, and where."""

from __future__ import annotations

from collections.abc import Sequence

from fedefm_ros.backbones.limits import check_sizes
from fedefm_ros.segmentation.piece_network import ALONG, ANSWERS, COLUMNS, ROWS, STRIDES
from fedefm_ros.segmentation.piece_network import WIDTHS
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, GREYS, MEAN_GREY

import torch
from torch import nn


class PieceJudge(nn.Module):
    """
    Map strips and facts to logits of ``ANSWERS``: of each piece, and of each place along it.

    Convolutions over the strip, one along it, the mean and the greatest of what is found along
    it, and two layers that see the facts besides. Two more tell what each place is, from what is
    found there and what is known of the whole.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, along: int = ALONG,
                 hidden: int = 64, part: int = 48, norms: bool = False):
        """
        Make the network with random weights.

        :param widths: channels of the five layers over the strip.
        :param along: channels of the layer along it.
        :param hidden: width of the layer that sees the facts.
        :param part: width of the layer that sees one place.
        :param norms: with batch normalisation, for training; see ``folded``.
        """
        super().__init__()
        if len(widths) != len(STRIDES):
            raise ValueError(f'widths {widths} must be {len(STRIDES)} numbers')
        check_sizes(along=(along, 1024), hidden=(hidden, 1024), part=(part, 1024),
                    **{f'width_{n}': (width, 1024) for n, width in enumerate(widths)})
        self.config = {'widths': list(widths), 'along': along, 'hidden': hidden, 'part': part}

        def block(convolution: nn.Module, norm: type[nn.Module]) -> nn.Module:
            return nn.Sequential(convolution, *([norm(convolution.out_channels)] * norms),
                                 nn.ReLU())

        self.layers = nn.ModuleList(
            block(nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d)
            for before, after, stride in zip([CHANNELS, *widths], widths, STRIDES))
        self.along = block(nn.Conv1d(widths[-1] * ROWS, along, 3, 1, 1), nn.BatchNorm1d)
        self.facts = nn.Linear(2 * along + FACTS, hidden)
        self.answer = nn.Linear(hidden, len(ANSWERS))
        self.part = nn.Linear(along + hidden, part)
        self.part_answer = nn.Linear(part, len(ANSWERS))
        self.dropout = nn.Dropout(0.1)

    def forward(self, strips: torch.Tensor,
                facts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Return the logits of the pieces, (B, 3), and of every 16 columns of each, (B, 16, 3).

        :param strips: (B, CHANNELS, 33, 256) float32 as ``scaled`` makes them.
        :param facts: (B, FACTS) float32.
        """
        there = nn.functional.max_pool1d((strips[:, -1, :1] > 0).float(), COLUMNS)
        found = strips
        for layer in self.layers:
            found = layer(found)
        found = self.along(found.flatten(1, 2)) * there
        mean = found.sum(2) / there.sum(2)
        seen = torch.cat([mean, found.amax(2), facts], 1)
        whole = self.facts(seen).relu()
        places = found.transpose(1, 2)
        known = torch.cat([places, whole[:, None].expand(-1, places.shape[1], -1)], 2)
        return self.answer(self.dropout(whole)), self.part_answer(self.part(known).relu())

    def folded(self) -> PieceJudge:
        """Return the same function without batch normalisation."""
        plain = PieceJudge(**self.config)
        with torch.no_grad():
            for mine, other in zip([*self.layers, self.along], [*plain.layers, plain.along]):
                convolution, norm = mine[0], mine[1]
                if isinstance(norm, nn.ReLU):  # there is none
                    other[0].load_state_dict(convolution.state_dict())
                    continue
                gain = norm.weight / (norm.running_var + norm.eps).sqrt()
                shape = (-1, *[1] * (convolution.weight.ndim - 1))
                other[0].weight.copy_(convolution.weight * gain.view(shape))
                other[0].bias.copy_((convolution.bias - norm.running_mean) * gain + norm.bias)
            for name in ('facts', 'answer', 'part', 'part_answer'):
                getattr(plain, name).load_state_dict(getattr(self, name).state_dict())
        return plain.eval()


def scaled(strips: torch.Tensor) -> torch.Tensor:
    """Return strips, uint8, as the network takes them: (B, CHANNELS, 33, 256) float32."""
    values = strips.float()
    there = (values[:, :1] > 0).float()
    grey = torch.arange(CHANNELS - 1) % 3 == 0
    values[:, :-1][:, grey] = (values[:, :-1][:, grey] - MEAN_GREY) / GREYS * there
    values[:, :-1][:, ~grey] /= 255.0
    values[:, -1:] = 0.5 * there + values[:, -1:] / 510.0
    return values
