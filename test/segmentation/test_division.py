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

"""Where a piece is divided."""

from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.segmentation.division import divided
from fedefm_ros.segmentation.division import places_of
from fedefm_ros.segmentation.piece_network import GRAIN

import numpy as np
import pytest

C, W = CATHETER, GUIDEWIRE


def said(*answers, sure=0.9):
    return (1 - sure) / 2 + (1.5 * sure - 0.5) * np.eye(3)[list(answers)]


@pytest.mark.parametrize('answers', [
    (C, C, C, W, W, W, W), (W, W, C, C, C, C), (0, 0, C, C, C), (W, W, W, W, 0, 0)])
def test_one_change_is_found(answers):
    assert divided(said(*answers), np.ones(len(answers)), C).tolist() == list(answers)


@pytest.mark.parametrize('answers, expected', [
    ((C, C, W, C, C, W, W, W), (C, C, C, C, C, W, W, W)),
    ((C, C, C, W, W, W, C), (C, C, C, W, W, W, W))])
def test_a_place_that_is_hidden_by_another_line_changes_nothing(answers, expected):
    assert divided(said(*answers), np.ones(len(answers)), C).tolist() == list(expected)


@pytest.mark.parametrize('whole', [C, W])
def test_places_that_agree_leave_the_whole_as_it_is(whole):
    for answers in ((C, C, C, C), (W, W, W), (0, 0, 0), (C,), (C, W)):
        sure = 0.6 if answers == (C, W) else 0.9
        found = divided(said(*answers, sure=sure), np.ones(len(answers)), whole)
        assert found.tolist() == [whole] * len(answers)


def test_points_count_as_much_as_what_was_seen_of_them():
    """Eight points of one place are one look."""
    points = said(*[C] * 8, *[W] * 8, sure=0.7)
    assert set(divided(points, np.full(16, 1 / 8), C)) == {C}
    assert divided(points, np.ones(16), C).tolist() == [C] * 8 + [W] * 8


def test_no_place_is_believed_to_be_surer_than_it_can_be():
    """Probabilities of 1 and of 0.98 say the same."""
    sure, nearly = np.eye(3)[[C] * 6 + [W]], said(*[C] * 6, W, sure=0.96)
    for weight in (0.4, 0.45, 0.6, 1.0):
        weights = np.full(7, weight)
        assert np.array_equal(divided(sure, weights, C), divided(nearly, weights, C))


@pytest.mark.parametrize('first, last, places', [
    (32, 36, {8}), (34, 38, {8, 9}), (31, 225, set(range(8, 56))), (31, 226, set(range(8, 57))),
    (33, 33, {8}), (35, 37, {8, 9}), (0, 255, set(range(64)))])
def test_a_place_whose_middle_is_not_the_pieces_tells_nothing(first, last, places):
    found = places_of(np.arange(first, last + 1))
    assert set(found.tolist()) == places and (np.diff(found) >= 0).all()
    assert (np.abs(found - np.arange(first, last + 1) // GRAIN) <= 1).all()
