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

"""What lies around the ends of lines."""

import cv2

from fedefm_ros.labels import GUIDEWIRE
from fedefm_ros.segmentation.ends import ASIDE, BEFORE, LAYERS, VIEW, views, views_of_pieces
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.preprocess import prepare

import numpy as np

import pytest


def picture(start, end, dot):
    image = np.full((256, 256), 180, np.uint8)
    image += np.linspace(0, 30, 256).astype(np.uint8)
    probability = np.zeros_like(image)
    cv2.line(image, start, end, 60, 3)
    cv2.line(probability, start, end, 240, 3)
    cv2.circle(image, dot, 2, 0, -1)
    return prepare(image, 256), probability


@pytest.mark.parametrize('turn', range(0, 360, 45))
def test_the_line_comes_from_the_left(turn):
    """A dot right of one who goes along it lies below it."""
    angle = np.radians(turn)
    ahead, right = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle),
                                                                       np.cos(angle)])
    end = np.array([128, 128])
    start, dot = (np.rint(end + by).astype(int) for by in (-70 * ahead, 12 * ahead + 8 * right))
    prepared, probability = picture(tuple(map(int, start)), (128, 128), tuple(map(int, dot)))
    seen = views(prepared, probability, [(end.astype(float), ahead)])[0]
    assert seen.shape == (LAYERS, *VIEW) and seen.dtype == np.uint8
    sure = seen[1] > 120
    assert sure[ASIDE, 2:BEFORE - 2].all() and not sure[:, BEFORE + 5:].any()
    assert not sure[:ASIDE - 4].any() and not sure[ASIDE + 5:].any()
    row, column = np.unravel_index(seen[0].argmin(), VIEW)
    assert abs(row - ASIDE - 8) <= 2 and abs(column - BEFORE - 12) <= 2


def test_a_piece_is_seen_at_both_ends():
    prepared, probability = picture((40, 100), (200, 100), (20, 100))
    line = np.stack([np.arange(40, 201, 2.0), np.full(81, 100.0)], 1)
    piece = Instrument(GUIDEWIRE, line)
    found = views_of_pieces(prepared, probability, [piece, piece])
    assert found.shape == (2, 2, LAYERS, *VIEW) and np.array_equal(*found)
    first, last = found[0]
    for seen in (first, last):
        assert (seen[1, ASIDE, :BEFORE - 2] == 240).all() and not seen[1, :, BEFORE + 4:].any()
    # The dot lies before the first end, as seen from there.
    assert np.unravel_index(first[0].argmin(), VIEW)[1] > BEFORE + 15
    assert np.unravel_index(last[0].argmin(), VIEW)[1] < BEFORE + 3
    assert views_of_pieces(prepared, probability, []).shape == (0, 2, LAYERS, *VIEW)


def test_an_end_at_the_border_and_a_line_of_no_length_are_shown():
    prepared, probability = picture((0, 0), (255, 255), (9, 9))
    for line in ([(0, 0), (255, 255)], [(128, 128), (128, 128)]):
        piece = Instrument(GUIDEWIRE, np.array(line, float))
        found = views_of_pieces(prepared, probability, [piece])[0]
        assert found[:, 1, ASIDE, BEFORE].tolist() == [240, 240]
