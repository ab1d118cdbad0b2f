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

"""What a judge is worth on known pieces."""

from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.learning.piece_measures import measures, tip_measures, wall_measures

import numpy as np

import pytest


class Known:
    """Five pieces of two frames."""

    answers = np.array([CATHETER, GUIDEWIRE, 0, GUIDEWIRE, 0])
    lengths = np.array([100.0, 60.0, 30.0, 40.0, 30.0])
    frames = 2
    # Two places of the first are a wire's: it comes out of the catheter.
    parts = np.repeat(np.array([[255, 1, 1, 1, 2, 2, 255], [255, 2, 2, 255, 255, 255, 255],
                                [255, 0, 0, 0, 0, 255, 255], [255, 2, 0, 255, 255, 255, 255],
                                [255, 0, 0, 255, 255, 255, 255]], np.uint8), 16, 1)


def said_of_places(*rows):
    """Return probabilities of rows of answers, each said with 0.9."""
    return 0.05 + 0.85 * np.eye(3)[np.array(rows)]


PLACES = np.repeat(said_of_places([2, 1, 1, 1, 2, 2, 1], [2] * 7, [1] * 7,
                                  [2, 2, 0, 0, 0, 0, 0], [0] * 7), 4, 1)


def test_measures_are_those_counted_by_hand():
    chances = np.array([[0.1, 0.8, 0.1],    # surest, right
                        [0.2, 0.5, 0.3],    # an instrument of the other kind
                        [0.3, 0.6, 0.1],    # false, before the last true one
                        [0.6, 0.1, 0.3],
                        [0.9, 0.05, 0.05]])
    scores, limit = measures(chances, PLACES, Known, 0.8)
    # Of six pairs of a true and a false piece, one is in the wrong order.
    assert scores['area'] == pytest.approx(5 / 6)
    # All of the length needs the least sure true one, and with it one false.
    assert scores['false_at_98'] == 0.5
    assert scores['wrong_catheter'] == 0 and scores['wrong_guidewire'] == pytest.approx(0.6)
    # That of the second, 0.8 and 60 px long, as if it were of 80.
    assert limit == pytest.approx(0.77599, abs=1e-5)
    # Of nine places two are the wire's that comes out of a catheter, two the wire's that is called
    # a catheter, one is nothing behind a wire. Divided, the first and the last are right; the wire
    # that is called a catheter is so all along, and the whole decides.
    assert scores['wrong_as_wholes'] == pytest.approx(5 / 9)
    assert scores['wrong_divided'] == pytest.approx(2 / 9)
    assert measures(chances, PLACES, Known, 0.81)[1] == pytest.approx(0.32037, abs=1e-5)


def test_a_long_false_piece_stays_before_a_short_one_of_which_the_judge_is_surer():
    class OneEach(Known):
        answers = np.array([GUIDEWIRE, 0])
        lengths = np.array([30.0, 150.0])
        parts = Known.parts[[1, 2]]

    chances = np.array([[0.38, 0.02, 0.6], [0.42, 0.55, 0.03]])
    scores, limit = measures(chances, PLACES[[1, 2]], OneEach, 0.9)
    assert scores['area'] == 1 and scores['false_at_98'] == 0.5
    assert limit == pytest.approx(0.49978, abs=1e-4)


def test_equal_chances_count_half():
    scores, _ = measures(np.full((5, 3), 1 / 3), np.full((5, 28, 3), 1 / 3), Known, 0.8)
    assert scores['area'] == pytest.approx(0.5)


def test_measures_of_tips_are_those_counted_by_hand():
    tips = np.array([[[3, 4], [np.nan, np.nan]], [[0, 1], [6, 8]]], np.float32)
    said = np.array([[[0.9, 3, 3], [0.2, 0, 0]], [[0.4, 0, 1], [0.6, 6, 6]]], np.float32)
    found = tip_measures(said, tips)
    assert found['tip_told'] == 0.75 and found['tip_error_before'] == 5
    assert tip_measures(said, np.full((2, 2, 2), np.nan)) == {'tip_told': 0.5}
    assert [found[f'tip_error_{part}'] for part in (50, 75)] == pytest.approx([1, 1.5])


def test_measures_of_walls_are_those_counted_by_hand():
    class Walls:
        parts = np.repeat(np.array([[1, 1, 2, 255], [255, 1, 0, 255]], np.uint8), 4, 1)
        walls = np.repeat(np.array([[[-3, 3], [np.nan] * 2, [-1, 1], [np.nan] * 2],
                                    [[np.nan] * 2, [-4, 2], [np.nan] * 2, [np.nan] * 2]]), 4, 1)

    said = np.zeros((2, 4, 2))
    said[0, 0], said[1, 1], said[0, 2] = (-2, 3), (-4, 4), (-1, 1.5)
    assert wall_measures(said, Walls) == {
        'wall_error_catheter': pytest.approx(0.75), 'wall_error_guidewire': pytest.approx(0.25)}
    Walls.walls = np.full_like(Walls.walls, np.nan)
    assert wall_measures(said, Walls) == {}
