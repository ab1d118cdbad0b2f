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

"""Pieces as another frame might show them, for the training of a judge."""

from fedefm_ros.learning.appearance import by_another_machine, by_another_network, magnified
from fedefm_ros.learning.piece_truth import UNTOLD
from fedefm_ros.learning.shuffled import Shuffled
from fedefm_ros.segmentation.overviews import SIDE
from fedefm_ros.segmentation.piece_network import GRAIN
from fedefm_ros.segmentation.strips import LENGTH, MEAN_GREY, OF_FIRST_END, OF_LAST_END, STEPS

import numpy as np

import torch


class TrainingPieces(Shuffled):
    """Pieces turned around, mirrored, and otherwise as another frame might show them."""

    def sample(self, rng, strip, overview, ends, facts, answer, parts, tips, walls):
        """
        Return the tensors of a piece and what is to be said of it.

        Strip, overview, ends, facts, kinds; answers, tips, walls: see ``JudgeTrainer.loss``.
        """
        strip, facts = strip.copy(), facts.copy()
        length = int((strip[0, 0] > 0).sum())
        ends, tips = ends_elsewhere(rng, ends, tips)
        if rng.random() < 0.5:
            strip, walls = strip[:, ::-1], -walls[:, ::-1]
        if rng.random() < 0.5:
            strip[:, :, :length] = strip[:, :, :length][:, :, ::-1].copy()
            parts, walls = (np.concatenate([told[:length][::-1], told[length:]])
                            for told in (parts, walls))
            first, last = list(OF_FIRST_END), list(OF_LAST_END)
            facts[first + last] = facts[last + first]
        other_machine = self._plan.appearance and rng.random() < self._plan.appearance
        if other_machine and rng.random() < 0.5:
            strip[:-1], times = magnified(rng, strip[:-1])
            walls = walls * times
        grey = strip[:-1:3].astype(np.float32)
        there = strip[None, 0] > 0
        grey = MEAN_GREY + (grey - MEAN_GREY) * rng.uniform(0.8, 1.25)
        grey += _shading(rng)
        if self._plan.noise:
            grey += rng.normal(0.0, rng.uniform(0.0, self._plan.noise), grey.shape)
        if other_machine:
            grey[:, :, :length] = by_another_machine(rng, grey[:, :, :length], STEPS)
            strip[1:-1:3] = by_another_network(rng, strip[1:-1:3])
            for view in ends:
                view[0] = np.clip(by_another_machine(rng, view[:1].astype(np.float32), (1.0,))[0],
                                  1.0, 255.0)
        strip[:-1:3] = np.where(there, np.clip(grey, 1.0, 255.0), 0.0)
        if self._plan.hidden and rng.random() < self._plan.hidden:
            walls = _hide(rng, strip, walls)
        # What the segmentation network thinks is not all there is to be seen.
        for layer in (1, 2):
            if rng.random() < 0.1:
                strip[layer:-1:3] = 0
        facts += rng.normal(0.0, 0.03, facts.shape).astype(np.float32)
        if rng.random() < 0.1:
            facts[:] = 0.0
        answers = torch.from_numpy(np.concatenate([[answer], at_places(parts)]).astype(np.int64))
        return (torch.from_numpy(np.ascontiguousarray(strip)),
                torch.from_numpy(_elsewhere(rng, overview)), torch.from_numpy(ends),
                torch.from_numpy(facts), torch.from_numpy(kinds_of(parts))), (
                    answers, torch.from_numpy(tips), torch.from_numpy(walls_at_places(walls)))


def _hide(rng, strip: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """
    Hide stretches of a strip, in place, as all along a line tells what it is; return its walls.

    Those that are hidden are told no more.
    """
    walls = walls.copy()
    for _ in range(rng.integers(1, 4)):
        first = rng.integers(0, LENGTH)
        columns = slice(first, first + rng.integers(8, 41))
        shown = strip[:-1, :, columns]
        shown[::3][shown[::3] > 0] = round(MEAN_GREY)
        shown[1::3] = shown[2::3] = 0
        walls[columns] = np.nan
    return walls


def _shading(rng) -> np.ndarray:
    """Return light and shade along a strip, (LENGTH,) grey levels."""
    heights = rng.normal(0.0, rng.uniform(0.0, 16.0), 6)
    return np.interp(np.arange(LENGTH), np.linspace(0, LENGTH - 1, 6), heights)


def _elsewhere(rng, overview: np.ndarray) -> np.ndarray:
    """Return an overview mirrored, moved, and of other contrast, as another frame might be."""
    if rng.random() < 0.5:
        overview = overview[:, :, ::-1]
    if rng.random() < 0.1:
        return np.zeros_like(overview)
    reach = 6
    left, top = rng.integers(0, 2 * reach + 1, 2)
    framed = np.pad(overview, ((0, 0), (reach, reach), (reach, reach)), 'edge')
    moved = framed[:, top:top + SIDE, left:left + SIDE].copy()
    grey = moved[0].astype(np.float32)
    other = 128.0 + (grey - 128.0) * rng.uniform(0.7, 1.3) + rng.normal(0.0, 20.0)
    other += rng.normal(0.0, rng.uniform(0.0, 6.0), grey.shape)
    moved[0] = np.where(grey > 0, np.clip(other, 1.0, 255.0), 0.0)
    return moved


def ends_elsewhere(rng, ends: np.ndarray,
                   tips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return views of ends mirrored, moved, and of other contrast, and where their tips are."""
    result, tips = np.empty_like(ends), tips.copy()
    for number, view in enumerate(ends):
        if rng.random() < 0.5:
            view, tips[number, 1] = view[:, ::-1], -tips[number, 1]
        reach = 3
        down, right = rng.integers(-reach, reach + 1, 2)
        framed = np.pad(view, ((0, 0), (reach, reach), (reach, reach)), 'edge')
        view = result[number] = framed[:, reach + down:reach + down + view.shape[1],
                                       reach + right:reach + right + view.shape[2]]
        tips[number] -= right, down
        grey = MEAN_GREY + (view[0] - MEAN_GREY) * rng.uniform(0.7, 1.3)
        grey += rng.normal(0.0, rng.uniform(0.0, 8.0), grey.shape)
        result[number, 0] = np.clip(grey, 1.0, 255.0)
        if rng.random() < 0.1:
            result[number, 1] = 0
    return result, tips


def at_places(parts: np.ndarray) -> np.ndarray:
    """Return what is told of the middle of each place, (..., LENGTH) to (..., places)."""
    return parts[..., GRAIN // 2::GRAIN]


def kinds_of(parts: np.ndarray) -> np.ndarray:
    """Return what instrument each column shows, 0 where it is none."""
    return np.where(parts == UNTOLD, np.uint8(0), parts)


def walls_at_places(walls: np.ndarray) -> np.ndarray:
    """
    Return where the walls are at each place, (..., LENGTH, 2) to (..., places, 2) float32.

    NaN where half of the columns or more show none.
    """
    of_columns = walls.reshape(*walls.shape[:-2], -1, GRAIN, 2)
    there = np.isfinite(of_columns)
    count = there.sum(-2)
    total = np.where(there, of_columns, 0.0).sum(-2)
    return np.where(count > GRAIN // 2, total / np.maximum(count, 1), np.nan).astype(np.float32)
