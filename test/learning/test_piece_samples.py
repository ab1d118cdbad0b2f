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

"""Pieces as another frame might show them."""

from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.learning.judging import JudgePlan
from fedefm_ros.learning.piece_samples import ends_elsewhere, TrainingPieces
from fedefm_ros.learning.piece_truth import UNTOLD
from fedefm_ros.segmentation.ends import ASIDE, BEFORE, LAYERS as END_LAYERS, VIEW
from fedefm_ros.segmentation.overviews import LAYERS, SIDE
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, HALF, LENGTH

import numpy as np

import torch


def test_what_each_place_is_turns_with_the_strip():
    """The strip shows at each column what is told of it."""
    length = 200
    told = np.full(LENGTH, UNTOLD, np.uint8)
    told[30:length - 30] = np.repeat([CATHETER, GUIDEWIRE], 70)
    strip = np.zeros((CHANNELS, 2 * HALF + 1, LENGTH), np.uint8)
    strip[:, :, :length] = 200
    strip[-1, :, :length] = told[:length]
    samples = TrainingPieces([], JudgePlan())
    firsts = set()
    for seed in range(8):
        (seen, *_), (answers, _) = samples.sample(
            np.random.default_rng(seed), strip, np.zeros((LAYERS, SIDE, SIDE), np.uint8),
            np.zeros((2, END_LAYERS, *VIEW), np.uint8), np.zeros(FACTS, np.float32), CATHETER,
            told, np.full((2, 2), np.nan, np.float32))
        assert answers[0] == CATHETER and len(answers) == 65
        middles = seen[-1, HALF, 2::4]
        there = torch.isin(middles, torch.tensor([CATHETER, GUIDEWIRE]))
        assert (answers[1:][there] == middles[there]).all() and there.sum() >= 32
        assert (answers[1:][~there] == UNTOLD).all()
        firsts.add(int(answers[1:][there][0]))
    assert firsts == {CATHETER, GUIDEWIRE}


def test_where_tips_are_moves_with_the_view():
    """A dark pixel shows where the tip is said to be."""
    rng = np.random.default_rng(0)
    ends = np.full((2, END_LAYERS, *VIEW), 200, np.uint8)
    ends[:, 1] = 0
    for view, (along, aside) in zip(ends, ((5, 3), (-9, -4))):
        view[:, ASIDE + aside, BEFORE + along] = 0, 255
    tips = np.array([[5, 3], [-9, -4]], np.float32)
    places = set()
    for _ in range(12):
        seen, told = ends_elsewhere(rng, ends, tips)
        for view, (along, aside) in zip(seen, told):
            row, column = np.unravel_index(view[0].argmin(), VIEW)
            assert (row - ASIDE, column - BEFORE) == (aside, along)
            assert not view[1].any() or view[1].argmax() == view[0].argmin()
            places.add((row, column))
    assert len(places) > 8
