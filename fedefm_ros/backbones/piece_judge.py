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

"""A judge of pieces: nothing, catheter or guidewire, what each part is, and where tips are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fedefm_ros import labels
from fedefm_ros.backbones.limits import check_sizes
from fedefm_ros.backbones.piece_relations import PieceRelations
from fedefm_ros.segmentation.ends import LAYERS as END_LAYERS
from fedefm_ros.segmentation.overviews import LAYERS, SIDE
from fedefm_ros.segmentation.piece_network import ALONG, ANSWERS, COLUMNS, END_LEFT
from fedefm_ros.segmentation.piece_network import END_STRIDES, END_WIDTHS, GRAIN
from fedefm_ros.segmentation.piece_network import OUTLINE_CHANNELS, OUTLINE_STRIDES
from fedefm_ros.segmentation.piece_network import OUTLINE_WIDTHS, OVERVIEW_WIDTHS, ROWS, STRIDES
from fedefm_ros.segmentation.piece_network import WIDTHS
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, GREYS, MEAN_GREY

import torch
from torch import nn


#: Parts of the network that see one kind of picture each.
BRANCHES = ('strip', 'overview', 'ends', 'outline')


class PieceJudge(nn.Module):
    """
    Map what is known of pieces to logits of ``ANSWERS``: of each, and of each place along it.

    Convolutions over the strip, one along it, the mean and the greatest of what is found along
    it, and two layers that see the facts and what convolutions make of the overview besides. Two
    more tell what each place is, from what is found there and what is known of the whole.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, along: int = ALONG,
                 hidden: int = 64, part: int = 48,
                 overview: Sequence[int] = OVERVIEW_WIDTHS, end: Sequence[int] = END_WIDTHS,
                 outline: Sequence[int] = OUTLINE_WIDTHS, relations: Sequence[int] = (),
                 norms: Collection[str] = ()):
        """
        Make the network with random weights.

        :param widths: channels of the five layers over the strip.
        :param along: channels of the layer along it.
        :param hidden: width of the layer that sees the facts.
        :param part: width of the layer that sees one place.
        :param overview: channels of the four layers over the overview, and of the one after them.
        :param end: channels of the four layers over the view of an end, and of the one after them.
        :param outline: channels of the four layers over what a strip shows most finely, and of the
            two along it.
        :param relations: widths of the four layers that weigh what is said of a piece by what the
            others of its frame are; none where it is not.
        :param norms: which of ``BRANCHES`` have batch normalisation, for training; see
            ``folded``.
        """
        super().__init__()
        if len(widths) != len(STRIDES):
            raise ValueError(f'widths {widths} must be {len(STRIDES)} numbers')
        if len(overview) != len(OVERVIEW_WIDTHS):
            raise ValueError(f'overview {overview} must be {len(OVERVIEW_WIDTHS)} numbers')
        if len(end) != len(END_WIDTHS):
            raise ValueError(f'end {end} must be {len(END_WIDTHS)} numbers')
        if len(outline) != len(OUTLINE_WIDTHS):
            raise ValueError(f'outline {outline} must be {len(OUTLINE_WIDTHS)} numbers')
        if len(relations) not in (0, 4):
            raise ValueError(f'relations {relations} must be 4 numbers, or none')
        (*over, context), (*at_end, of_end), (*across, walls) = overview, end, outline
        check_sizes(along=(along, 1024), hidden=(hidden, 1024), part=(part, 1024),
                    **{f'width_{n}': (width, 1024) for n, width in enumerate(widths)},
                    **{f'overview_{n}': (width, 1024) for n, width in enumerate(overview)},
                    **{f'end_{n}': (width, 1024) for n, width in enumerate(end)},
                    **{f'outline_{n}': (width, 1024) for n, width in enumerate(outline)},
                    **{f'relations_{n}': (width, 1024) for n, width in enumerate(relations)})
        self.config = {'widths': list(widths), 'along': along, 'hidden': hidden, 'part': part,
                       'overview': list(overview), 'end': list(end), 'outline': list(outline),
                       'relations': list(relations)}

        def block(convolution: nn.Module, branch: str) -> nn.Module:
            norm = nn.BatchNorm1d if isinstance(convolution, nn.Conv1d) else nn.BatchNorm2d
            return nn.Sequential(
                convolution, *[norm(convolution.out_channels)] * (branch in norms), nn.ReLU())

        self.layers = nn.ModuleList(
            block(nn.Conv2d(before, after, 3, stride, 1), 'strip')
            for before, after, stride in zip([CHANNELS, *widths], widths, STRIDES))
        self.along = block(nn.Conv1d(widths[-1] * ROWS, along, 3, 1, 1), 'strip')
        self.facts = nn.Linear(2 * along + FACTS, hidden)
        self.answer = nn.Linear(hidden, len(ANSWERS))
        self.part = nn.Linear(along + hidden, part)
        self.part_answer = nn.Linear(part, COLUMNS // GRAIN * len(ANSWERS))
        self.overview = nn.ModuleList(
            block(nn.Conv2d(before, after, 3, 2, 1), 'overview')
            for before, after in zip([LAYERS, *over], over))
        self.context = nn.Linear(over[-1] * (SIDE >> len(over)) ** 2, context)
        self.of_context = nn.Linear(context, hidden)
        self.ends = nn.ModuleList(
            block(nn.Conv2d(before, after, 3, stride, 1), 'ends')
            for before, after, stride in zip([END_LAYERS, *at_end], at_end, END_STRIDES))
        self.end = nn.Linear(at_end[-1] * END_LEFT[0] * END_LEFT[1], of_end)
        self.tip = nn.Linear(of_end, 3)
        self.outline = nn.ModuleList(
            block(nn.Conv2d(before, after, 3, stride, 1), 'outline')
            for before, after, stride in zip([len(OUTLINE_CHANNELS) + 1, *across], across,
                                             OUTLINE_STRIDES))
        self.outline_along = block(nn.Conv1d(across[-1] * ROWS, walls, 3, 1, 1), 'outline')
        self.outline_known = nn.Linear(2 * walls, part)
        self.outline_more = block(nn.Conv1d(walls + part, walls, 3, 1, 1), 'outline')
        self.walls = nn.Linear(walls, 2)
        self.relations = PieceRelations(*relations) if relations else None
        self.dropout = nn.Dropout(0.1)
        # What is to be seen along a piece tells the most: at first it is as if there was no more.
        nn.init.zeros_(self.of_context.weight)
        nn.init.zeros_(self.of_context.bias)

    def forward(self, strips: torch.Tensor, overviews: torch.Tensor,
                facts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Return the logits of the pieces, (B, 3), and of each of their places, (B, 64, 3).

        :param strips: (B, CHANNELS, 33, 256) float32 as ``scaled`` makes them.
        :param overviews: (B, LAYERS, SIDE, SIDE) float32 of 0 to 1.
        :param facts: (B, FACTS) float32.
        """
        there = nn.functional.max_pool1d((strips[:, -1, :1] > 0).float(), COLUMNS)
        found = strips
        for layer in self.layers:
            found = layer(found)
        found = self.along(found.flatten(1, 2)) * there
        mean = found.sum(2) / there.sum(2)
        seen = torch.cat([mean, found.amax(2), facts], 1)
        around = overviews
        for layer in self.overview:
            around = layer(around)
        context = self.of_context(self.context(around.flatten(1)).relu())
        whole = (self.facts(seen) + context).relu()
        places = found.transpose(1, 2)
        known = torch.cat([places, whole[:, None].expand(-1, places.shape[1], -1)], 2)
        answers = self.part_answer(self.part(known).relu())
        return self.answer(self.dropout(whole)), answers.reshape(len(answers), -1, len(ANSWERS))

    def tips(self, ends: torch.Tensor) -> torch.Tensor:
        """
        Return what is to be seen at ends, (B, 3).

        The logit of a tip being near, and where it lies from the end, in pixels along and aside.

        :param ends: (B, END_LAYERS, 33, 64) float32 as ``scaled_ends`` makes them.
        """
        found = ends
        for layer in self.ends:
            found = layer(found)
        return self.tip(self.end(found.flatten(1)).relu())

    def outlines(self, strips: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """
        Return where the walls of instruments are at each of their places, (B, 64, 2) pixels.

        :param strips: of what ``forward`` takes, the ``OUTLINE_CHANNELS``.
        :param kinds: (B, 256) uint8, the ``labels`` value of each column.
        """
        there = nn.functional.max_pool1d((strips[:, -1, :1] > 0).float(), GRAIN)
        kind = (kinds == labels.GUIDEWIRE).float() - (kinds == labels.CATHETER).float()
        found = torch.cat([strips, kind[:, None, None].expand(-1, 1, strips.shape[2], -1)], 1)
        for layer in self.outline:
            found = layer(found)
        along = self.outline_along(found.flatten(1, 2)) * there
        whole = torch.cat([along.sum(2) / there.sum(2), along.amax(2)], 1)
        known = self.outline_known(whole).relu()
        known = torch.cat([along, known[:, :, None].expand(-1, -1, along.shape[2])], 1)
        return self.walls(self.outline_more(known).transpose(1, 2))

    def folded(self) -> PieceJudge:
        """Return the same function without batch normalisation."""
        plain = PieceJudge(**self.config)
        with torch.no_grad():
            for mine, other in zip(self._blocks(), plain._blocks()):
                convolution, norm = mine[0], mine[1]
                if isinstance(norm, nn.ReLU):  # there is none
                    other[0].load_state_dict(convolution.state_dict())
                    continue
                gain = norm.weight / (norm.running_var + norm.eps).sqrt()
                shape = (-1, *[1] * (convolution.weight.ndim - 1))
                other[0].weight.copy_(convolution.weight * gain.view(shape))
                other[0].bias.copy_((convolution.bias - norm.running_mean) * gain + norm.bias)
            for name in ('facts', 'answer', 'part', 'part_answer', 'context', 'of_context', 'end',
                         'tip', 'outline_known', 'walls'):
                getattr(plain, name).load_state_dict(getattr(self, name).state_dict())
            if self.relations is not None:
                plain.relations.load_state_dict(self.relations.state_dict())
        return plain.eval()

    def without_relations(self) -> PieceJudge:
        """Return this judge, which says what it does of each piece whatever the others are."""
        self.relations, self.config['relations'] = None, []
        return self

    def _blocks(self) -> list[nn.Module]:
        """Return the layers that may have batch normalisation."""
        return [*self.layers, self.along, *self.overview, *self.ends, *self.outline,
                self.outline_along, self.outline_more]


def scaled(strips: torch.Tensor) -> torch.Tensor:
    """
    Return strips, uint8, as the network takes them: (B, CHANNELS, 33, 256) float32.

    Or ``OUTLINE_CHANNELS`` of them: the channels of some steps, and the last.
    """
    values = strips.float()
    there = (values[:, :1] > 0).float()
    grey = torch.arange(values.shape[1] - 1) % 3 == 0
    values[:, :-1][:, grey] = (values[:, :-1][:, grey] - MEAN_GREY) / GREYS * there
    values[:, :-1][:, ~grey] /= 255.0
    values[:, -1:] = 0.5 * there + values[:, -1:] / 510.0
    return values


def scaled_ends(ends: torch.Tensor) -> torch.Tensor:
    """Return views of ends, (..., END_LAYERS, H, W) uint8, as the network takes them: float32."""
    values = ends.float()
    values[..., 0, :, :] = (values[..., 0, :, :] - MEAN_GREY) / GREYS
    values[..., 1, :, :] /= 255.0
    return values
