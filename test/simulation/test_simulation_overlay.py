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

"""What a console writes into the picture."""

from dataclasses import replace
from itertools import islice

from fedefm_ros.simulation.anatomy_settings import KINDS
from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.config import read
from fedefm_ros.simulation.detector import Detector
from fedefm_ros.simulation.detector import random_chain
from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator
from fedefm_ros.simulation.overlay import Overlay
from fedefm_ros.simulation.overlay import random_overlay

import numpy as np

import pytest

SHAPE = (256, 256)


def overlay(seed, **changes):
    ranges = replace(find('human').xray.text, **{'chance': 1.0, **changes})
    return random_overlay(np.random.default_rng(seed), ranges, SHAPE)


def frames(tmp_path, chance, count):
    path = tmp_path / 'own.yaml'
    path.write_text(f'kind: human\nxray: {{text: {{chance: {chance}}}}}\n')
    return list(islice(FluoroscopySimulator(str(path), 256, seed=3), count))


def test_writing_covers_a_little_of_the_picture_and_nothing_else():
    shares = [(overlay(seed).cover > 0).mean() for seed in range(20)]
    assert min(shares) > 0.0005 and max(shares) < 0.2
    one = overlay(0)
    image = np.full(SHAPE, 90, np.uint8)
    written = one.over(image)
    assert written.dtype == np.uint8
    assert (written[one.cover == 0] == 90).all()
    assert (written[one.cover == 1] == one.grey).all()
    assert (image == 90).all()


def test_writing_lies_in_the_corners_and_a_frame_around_the_picture():
    text = overlay(4, frame=0.0).cover
    assert not text[64:192, 100:156].any()
    framed = next(one for one in (overlay(seed, frame=1.0).cover for seed in range(20))
                  if (one > 0).all(axis=0)[128] or (one[:, 128] > 0).any())
    assert (framed[:16, 128] > 0).any() and (framed[-16:, 128] > 0).any()


def test_more_lines_are_more_ink_and_higher_letters_too():
    def ink(lines, height):
        text = find('human').xray.text
        return np.mean([overlay(seed, frame=0.0, lines=replace(text.lines, low=lines, high=lines),
                                height_px=replace(text.height_px, low=height, high=height))
                        .cover.sum() for seed in range(10)])
    assert ink(6, 8) > 2.5 * ink(1, 8)
    assert ink(3, 16) > 1.5 * ink(3, 8)


def test_an_overlay_stays_through_a_sequence_and_changes_neither_labels_nor_what_lies_under(
        tmp_path):
    plain, written = frames(tmp_path, 0.0, 3), frames(tmp_path, 1.0, 3)
    changed = [one.image != two.image for one, two in zip(plain, written)]
    for one, two, difference in zip(plain, written, changed):
        assert np.array_equal(one.truth.mask, two.truth.mask)
        assert 0 < difference.mean() < 0.2
    always = np.logical_and.reduce(changed)
    # A letter may have the grey of what lies under it, in one frame or another.
    assert always.sum() > 0.9 * np.logical_or.reduce(changed).sum()


def test_it_is_written_after_the_display_curve():
    chain = random_chain(np.random.default_rng(0), 'human', SHAPE)
    cover = np.zeros(SHAPE, np.float32)
    cover[10:20, 10:20] = 1.0
    chain = replace(chain, white=0.5, overlay=Overlay(cover, 255))
    image = Detector(chain, np.random.default_rng(0)).expose(np.ones(SHAPE, np.float32))
    assert (image[10:20, 10:20] == 255).all() and image[30:].max() < 140


def test_by_its_chance_there_is_none():
    ranges = replace(find('human').xray.text, chance=0.3)
    rngs = [np.random.default_rng(seed) for seed in range(200)]
    there = [random_overlay(rng, ranges, (64, 64)) is not None for rng in rngs]
    assert 0.2 < np.mean(there) < 0.4
    # Its numbers are its own: the stream it comes from goes on as if there were none.
    assert rngs[0].random() == np.random.default_rng(0).random()


@pytest.mark.parametrize('kind', KINDS)
def test_default_files_have_no_writing(kind):
    assert find(kind).xray.text.chance == 0


def test_equal_seeds_write_the_same():
    assert np.array_equal(overlay(5).cover, overlay(5).cover)
    assert not np.array_equal(overlay(5).cover, overlay(6).cover)


def test_a_file_may_say_how_much_is_written(tmp_path):
    path = tmp_path / 'own.yaml'
    path.write_text('kind: phantom\nxray: {text: {chance: 0.5, lines: [2, 3]}}\n')
    text = read(path).xray.text
    assert (text.chance, text.lines.high) == (0.5, 3)
    assert text.height_px == find('phantom').xray.text.height_px
