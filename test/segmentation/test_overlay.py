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

"""What the overlay shows."""

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.overlay import draw_overlay

import numpy as np
import pytest


@pytest.fixture
def frame():
    """Return a grey frame with a mask and an instrument in it."""
    image = np.full((200, 300), 100, np.uint8)
    mask = np.zeros((200, 300), np.uint8)
    mask[98:103, :150] = labels.CATHETER
    mask[99:102, 150:200] = labels.GUIDEWIRE
    wire = Instrument(labels.GUIDEWIRE, np.stack([np.arange(150.0, 201.0, 2.0),
                                                  np.full(26, 100.0)], axis=1))
    return image, mask, (wire,)


def test_it_is_rgb_of_the_same_size_and_the_frame_stays_as_it_was(frame):
    image, mask, instruments = frame
    before = image.copy()
    picture = draw_overlay(image, mask, instruments)
    assert picture.shape == (200, 300, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(image, before)
    assert (picture[10, 10] == 100).all()


def test_each_kind_has_its_colour(frame):
    image, mask, _ = frame
    picture = draw_overlay(image, mask, (), opacity=1.0)
    assert tuple(picture[100, 50]) == labels.COLOURS[labels.CATHETER]
    assert tuple(picture[100, 170]) == labels.COLOURS[labels.GUIDEWIRE]
    half = draw_overlay(image, mask, (), opacity=0.5)
    expected = (np.array(labels.COLOURS[labels.CATHETER]) + 100) / 2
    assert np.abs(half[100, 50] - expected).max() <= 1


def test_a_visible_tip_is_marked_where_it_is_and_where_it_points(frame):
    image, mask, instruments = frame
    plain = draw_overlay(image, mask, ())
    drawn = draw_overlay(image, mask, instruments)
    changed = np.argwhere((plain != drawn).any(axis=2))
    assert changed[:, 1].max() > 215  # the stroke goes on beyond the tip at x = 200
    assert changed[:, 0].min() >= 85 and changed[:, 0].max() <= 115
    hidden = Instrument(labels.GUIDEWIRE, instruments[0].centerline, tip_visible=False)
    drawn = draw_overlay(image, mask, (hidden,))
    changed = np.argwhere((plain != drawn).any(axis=2))
    assert changed[:, 1].max() <= 203


def test_text_is_in_the_top_left_corner(frame):
    image, mask, instruments = frame
    plain = draw_overlay(image, mask, instruments)
    written = draw_overlay(image, mask, instruments, '12 ms')
    changed = np.argwhere((plain != written).any(axis=2))
    assert len(changed) > 20
    assert changed.max(axis=0)[0] < 30 and changed.max(axis=0)[1] < 150


def test_sixteen_bit_frames_are_drawn_alike(frame):
    image, mask, instruments = frame
    wide = image.astype(np.uint16) * 257
    np.testing.assert_array_equal(draw_overlay(wide, mask, instruments),
                                  draw_overlay(image, mask, instruments))


def test_twelve_bits_in_sixteen_are_not_black(frame):
    image, mask, instruments = frame
    image[0, 0] = 255
    np.testing.assert_array_equal(draw_overlay(image.astype(np.uint16) << 4, mask, instruments),
                                  draw_overlay(image, mask, instruments))


def test_a_tip_outside_the_picture_does_no_harm(frame):
    image, mask, _ = frame
    outside = Instrument(labels.CATHETER, np.array([[-50.0, -50.0], [-20.0, 900.0]]))
    assert draw_overlay(image, mask, (outside,)).shape == (200, 300, 3)


def test_a_mask_of_another_size_is_refused(frame):
    image, mask, _ = frame
    with pytest.raises(FedefmError, match='same size'):
        draw_overlay(image, mask[:100], ())
    with pytest.raises(FedefmError, match='grey'):
        draw_overlay(np.zeros((200, 300, 3), np.uint8), mask, ())
