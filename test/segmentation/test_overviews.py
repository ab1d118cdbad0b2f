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

"""The whole picture, small, for each piece."""

from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.overviews import LAYERS, overviews, SIDE
from fedefm_ros.segmentation.preprocess import prepare

import numpy as np

import pytest


def line(kind, first, last):
    return Instrument(kind, np.linspace(first, last, 50))


def shown(shape, size, pieces, mask=None):
    """Return overviews of an image that is dark on its left half."""
    image = np.full(shape, 200, np.uint8)
    image[:, :shape[1] // 2] = 40
    mask = np.zeros((size, size), np.uint8) if mask is None else mask
    return overviews(prepare(image, size), mask, np.where(mask > 0, np.uint8(240), np.uint8(0)),
                     pieces)


@pytest.mark.parametrize('size', [64, 128, 256, 512])
def test_each_piece_is_drawn_into_the_same_picture(size):
    mask = np.zeros((size, size), np.uint8)
    mask[:size // 4, :size // 4] = CATHETER
    mask[-size // 4:, -size // 4:] = GUIDEWIRE
    middle = size / 2 - 0.5
    found = shown((size, size), size, [line(CATHETER, (0, middle), (size - 1, middle)),
                                       line(GUIDEWIRE, (middle, 0), (middle, size - 1))], mask)
    assert found.shape == (2, LAYERS, SIDE, SIDE) and found.dtype == np.uint8
    assert np.array_equal(*found[:, :3])
    grey, sure, wire = found[0, :3]
    assert (grey[:, :31] == 1).all() and (grey[:, 33:] == 255).all()
    assert (sure[:15, :15] == 240).all() and (sure[49:, 49:] == 240).all()
    assert not sure[17:, :47].any()
    assert (wire[49:, 49:] == 255).all() and not wire[:47].any()
    along, down = found[:, 3]
    assert (along[31:33].max(0) == 255).all() and not along[:30].any() and not along[34:].any()
    assert np.array_equal(along.T, down)


def test_what_the_image_does_not_cover_is_empty():
    found = shown((96, 128), 128, [line(CATHETER, (20, 20), (60, 20))])[0]
    assert found[0, :48].all() and not found[0, 48:].any()
    narrow = shown((128, 1), 128, [line(CATHETER, (0, 20), (0, 90))])[0]
    assert narrow[0, :, 0].all() and not narrow[0, :, 1:].any()


def test_no_pieces_have_no_overviews():
    assert shown((64, 64), 64, []).shape == (0, LAYERS, SIDE, SIDE)


def test_a_piece_may_leave_the_image():
    found = shown((64, 64), 64, [line(CATHETER, (-30, 10), (90, 10))])
    assert (found[0, 3, 10] == 255).all()


def test_a_plain_image_is_shown():
    flat = np.full((64, 64), 90, np.uint8)
    found = overviews(prepare(flat, 64), np.zeros_like(flat), np.zeros_like(flat),
                      [line(CATHETER, (3, 3), (40, 40))])
    assert len(np.unique(found[0, 0])) == 1 and found[0, 0].all()
