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

"""Simulated samples."""

from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.simulated import AIMED_SHARE
from fedefm_ros.learning.simulated import CROPS_PER_FRAME
from fedefm_ros.learning.simulated import SimulatedFrames

import numpy as np

import pytest

import torch


def test_a_sample_is_the_same_whenever_it_is_asked_for():
    frames = SimulatedFrames(9, seed=5, crop=128, size=256)
    late = SimulatedFrames(9, seed=5, crop=128, size=256, first=4)
    image, mask = frames[5]
    again, mask_again = late[1]
    assert torch.equal(image, again) and torch.equal(mask, mask_again)
    assert len(late) == 5


def test_scenes_that_take_turns_have_the_same_samples_in_another_order():
    plain = SimulatedFrames(24, seed=5, crop=64, size=128, crops_per_frame=1)
    arguments = {'seed': 5, 'crop': 64, 'size': 128, 'crops_per_frame': 1, 'scenes_at_once': 3}
    mixed = SimulatedFrames(24, **arguments)
    # The second scene begins with its second frame, the third with its third.
    for place, number in enumerate([0, 5, 10, 1, 6, 11, 2, 7, 20, 3, 16, 21, 12, 17, 22]):
        image, mask = mixed[place]
        expected, expected_mask = plain[number]
        assert torch.equal(image, expected) and torch.equal(mask, expected_mask)
    assert torch.equal(SimulatedFrames(24, **arguments, first=13)[1][0], mixed[14][0])
    assert torch.equal(mixed.of_scene(1)[0], plain[4][0])


@pytest.mark.parametrize('workers', [1, 2, 4])
def test_processes_that_take_batches_in_turn_make_different_scenes(monkeypatch, workers):
    batch = 3
    scenes = [[] for _ in range(workers)]
    for worker in range(workers):
        frames = SimulatedFrames(1000, seed=5, crop=64, scenes_at_once=4 * batch)
        monkeypatch.setattr(frames, '_sample', lambda number, worker=worker:
                            scenes[worker].append(number // (4 * CROPS_PER_FRAME)))
        for first in range(worker * batch, 40 * batch, workers * batch):
            before = len(scenes[worker])
            for place in range(first, first + batch):
                frames[place]
            assert len(set(scenes[worker][before:])) == batch  # all of other patients
    assert sum(len(set(own)) for own in scenes) == len(set().union(*scenes))


def test_a_sample_is_what_the_network_takes():
    image, mask = SimulatedFrames(3, seed=5, crop=96, size=256)[0]
    assert image.shape == (1, 96, 96) and image.dtype == torch.float32
    assert mask.shape == (96, 96) and mask.dtype == torch.int64
    assert -0.5 <= float(image.min()) and float(image.max()) <= 1.5


def test_crops_are_drawn_around_instruments_more_often_than_chance_would():
    frames = SimulatedFrames(60, seed=6, crop=64, size=256, shares={'simulation': 1.0})
    held = [bool(mask.any()) for _, mask in (frames[index] for index in range(60))]
    assert 0.5 * AIMED_SHARE < sum(held) / len(held)
    by_chance = SimulatedFrames(60, seed=6, size=256, shares={'simulation': 1.0})
    chances = []
    for number in range(30):
        _, truth = by_chance.frame(number)
        tiles = truth.mask.reshape(4, 64, 4, 64).any(axis=(1, 3))
        chances.append(tiles.mean())
    assert sum(held) / len(held) > sum(chances) / len(chances) + 0.2


def test_added_images_come_as_often_as_asked():
    # Grey levels without any structure: no simulated crop is like it.
    added = [(np.full((256, 256), 100, np.uint8), np.full((256, 256), 2, np.uint8))]
    frames = SimulatedFrames(200, seed=5, crop=64, size=256, shares={'simulation': 1.0},
                             added=added, added_share=0.3)
    share = np.mean([bool((mask == 2).all()) for _, mask in (frames[at] for at in range(200))])
    assert 0.15 < share < 0.45


def test_added_images_of_another_size_are_refused():
    small = [(np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8))]
    frames = SimulatedFrames(1, seed=5, crop=64, size=256, added=small, added_share=1.0)
    with pytest.raises(FedefmError, match='expected'):
        frames[0]
    with pytest.raises(FedefmError, match='no images'):
        SimulatedFrames(1, seed=5, added_share=0.1)
