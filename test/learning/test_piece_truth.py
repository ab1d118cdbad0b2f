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

"""What pieces are, by the truth of a frame."""

from dataclasses import replace

from fedefm_ros.imaging.frame import GroundTruth
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.learning.piece_truth import along_strip, answers, tips_from, UNTOLD
from fedefm_ros.learning.piece_truth import walls_along
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.strips import LENGTH, strips

import numpy as np

import pytest


def line(kind, y, first, last, shift=0.0):
    x = np.arange(first, last + 1, 2.0)
    return Instrument(kind, np.stack([x, np.full(len(x), y + shift)], 1))


@pytest.mark.parametrize('piece, answer', [
    (line(CATHETER, 50, 20, 80, 3.9), CATHETER),
    (line(GUIDEWIRE, 50, 20, 80), CATHETER),
    (line(CATHETER, 50, 20, 80, 4.2), 0),
    (line(CATHETER, 50, 60, 136), CATHETER),   # half of it on the true line
    (line(CATHETER, 50, 70, 150), 0),          # less
    (line(CATHETER, 90, 20, 100), GUIDEWIRE),
    (line(GUIDEWIRE, 70, 20, 80), 0)])
def test_a_piece_is_what_half_of_it_lies_on(piece, answer):
    truth = GroundTruth(np.zeros((128, 160), np.uint8), (
        line(CATHETER, 50, 0, 100), line(GUIDEWIRE, 90, 0, 100), line(GUIDEWIRE, 140, 0, 100)))
    assert [found for found, _ in answers([piece], truth)] == [answer]


def test_what_lies_outside_the_image_makes_nothing_true():
    truth = GroundTruth(np.zeros((128, 160), np.uint8), (line(GUIDEWIRE, 130, 0, 100),))
    for piece, more in ((line(GUIDEWIRE, 127, 0, 100), truth),
                        (line(GUIDEWIRE, 60, 0, 100), GroundTruth(truth.mask, ()))):
        (answer, part), = answers([piece], more)
        assert answer == 0 and part.shape == (len(piece.centerline),) and not part.any()


@pytest.mark.parametrize('last', [118, 600])
def test_each_column_of_a_strip_is_what_the_piece_is_there(last):
    """A wire comes out of a catheter at x = 60 and ends at 100; the piece goes on."""
    truth = GroundTruth(np.zeros((128, 700), np.uint8), (
        line(CATHETER, 50, 0, 60), line(GUIDEWIRE, 50, 60, 100)))
    piece = line(GUIDEWIRE, 51, 20, last)
    (answer, part), = answers([piece], truth)
    assert answer == (GUIDEWIRE if last == 118 else 0)
    columns = along_strip(piece, part)
    assert columns.shape == (LENGTH,) and columns.dtype == np.uint8
    seen, _ = strips(prepare(np.zeros((128, 700), np.uint8), 700), np.zeros((700, 700), np.uint8),
                     np.zeros((700, 700), np.uint8), [piece])
    inside = seen[0, -1, 0] > 0
    assert (columns[inside] != UNTOLD).mean() > 0.98 and (columns[~inside] == UNTOLD).all()
    total = last - 20
    x = 20 - 32 + np.arange(LENGTH) * max(1.0, (total + 64) / (LENGTH - 1))
    sure = inside & (columns != UNTOLD)
    for value, first, stop in ((CATHETER, 20, 57), (GUIDEWIRE, 63, 99), (0, 108, last - 1)):
        there = sure & (x > first) & (x < stop)
        assert there.any() and (columns[there] == value).all()


def test_a_tip_near_an_end_is_told_along_the_line_and_aside():
    piece = line(CATHETER, 50, 20, 80)                    # runs to the right
    truth = GroundTruth(np.zeros((128, 160), np.uint8), (
        line(CATHETER, 53, 0, 86), line(GUIDEWIRE, 110, 0, 90),
        replace(line(GUIDEWIRE, 50, 0, 80), tip_visible=False)))
    told = tips_from(piece, truth)
    # Outwards from each end; y runs down, and down is right of one who goes to the right.
    assert told[1] == pytest.approx([6, 3])
    assert np.isnan(told[0]).all()
    truth = GroundTruth(truth.mask, (Instrument(CATHETER, np.array([[70.0, 50], [25, 46]])),))
    told = tips_from(piece, truth)
    assert told[0] == pytest.approx([-5, 4]) and np.isnan(told[1]).all()
    assert np.isnan(tips_from(piece, GroundTruth(truth.mask, ()))).all()


def test_walls_are_told_from_the_line_to_each_side():
    """A catheter of 7 rows; the piece runs to the right along its upper half, then to the left."""
    mask = np.zeros((128, 160), np.uint8)
    mask[47:54, :101] = CATHETER
    mask[50, 60:80] = GUIDEWIRE
    truth = GroundTruth(mask, (line(CATHETER, 50, 0, 100),))
    piece = line(CATHETER, 49, 20, 120)
    (_, part), = answers([piece], truth)
    walls = walls_along(piece, part, mask)
    told, known = along_strip(piece, part), np.isfinite(walls).all(1)
    x = 20 - 32 + np.arange(LENGTH)
    plain = known & ((x < 59) | (x > 80))
    # y runs down, and down is right of one who goes to the right; rows are from 46.5 to 53.5.
    assert walls[plain] == pytest.approx(np.tile([-2.5, 4.5], (plain.sum(), 1)), abs=0.13)
    assert plain.sum() > 50 and (told[known] == CATHETER).all()
    assert not known[(x < 19) | (x > 104)].any()
    # Where a wire is in the way, the part of the catheter on the line's side is told.
    between = known & (x > 61) & (x < 79)
    assert walls[between] == pytest.approx(np.tile([-2.5, 0.5], (between.sum(), 1)), abs=0.13)
    back = Instrument(CATHETER, piece.centerline[::-1])
    (_, part), = answers([back], truth)
    turned = walls_along(back, part, mask)
    plain = np.isfinite(turned).all(1) & (np.abs(120 + 32 - np.arange(LENGTH) - 40) < 18)
    assert turned[plain] == pytest.approx(np.tile([-4.5, 2.5], (plain.sum(), 1)), abs=0.13)
    assert plain.any()
    # Of what is wider than what is looked at, no walls are told.
    mask[20:90] = CATHETER
    assert np.isnan(walls_along(piece, part[::-1], mask)).all()
