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

import cv2

from fedefm_ros.backbones import Normalisation
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.grey import grey_range
from fedefm_ros.segmentation.grey import to_network
from fedefm_ros.segmentation.preprocess import Letterbox
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.preprocess import restore
from fedefm_ros.segmentation.runtimes.picture import line_picture as picture

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

import numpy as np

import pytest


def network_input(prepared):
    """Return the prepared image as the network sees it, float32."""
    return to_network(prepared.image, prepared.low, prepared.high)


def test_an_image_of_the_network_s_size_is_taken_as_it_is():
    image = picture(256)
    prepared = prepare(image, 256)
    assert prepared.image is image
    assert (prepared.low, prepared.high) == grey_range(image)


def test_the_grey_range_is_the_percentiles_of_the_middle():
    image = picture(512)
    low, high = grey_range(image)
    assert np.allclose((low, high), np.percentile(image[64:448:4, 64:448:4], (1, 99)))
    image[:40] = 0
    image[:, -40:] = 255
    assert grey_range(image) == (low, high)


def test_sixteen_bits_look_to_the_network_like_eight():
    image = picture(256)
    eight = prepare(image, 256)
    for scale, offset in ((256, 0), (257, 0), (4, 0), (16, 1000), (100, 40000)):
        sixteen = prepare((image.astype(np.uint32) * scale + offset).astype(np.uint16), 256)
        assert np.abs(network_input(sixteen) - network_input(eight)).max() < 0.005


def test_sixteen_bits_with_spikes_are_clipped_and_not_wrapped():
    image = picture(256).astype(np.uint16) * 100 + 10000
    image[3, 3], image[5, 5] = 0, 65535
    seen = network_input(prepare(image, 256))
    assert abs(seen[3, 3] - Normalisation().clip_low) < 0.01
    assert abs(seen[5, 5] - Normalisation().clip_high) < 0.01


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('value', [0, 100, 255])
def test_a_constant_image_gives_a_finite_range(dtype, value):
    prepared = prepare(np.full((64, 64), value, dtype), 64)
    assert prepared.high > prepared.low
    assert np.isfinite(network_input(prepared)).all()


def test_the_border_around_a_long_image_is_what_the_network_takes_for_nothing():
    prepared = prepare(picture(512)[:200], 512)
    assert prepared.image.shape == (512, 512)
    assert np.abs(network_input(prepared)[200:]).max() < 0.01


@settings(max_examples=60, deadline=None)
@given(height=strategies.integers(1, 700), width=strategies.integers(1, 700),
       sixteen=strategies.booleans())
def test_any_size_goes_in_and_comes_back(height, width, sixteen):
    rng = np.random.default_rng(height * 1000 + width)
    image = rng.integers(0, 256, (height, width)).astype(np.uint16 if sixteen else np.uint8)
    prepared = prepare(image, 128)
    assert prepared.image.shape == (128, 128) and prepared.image.dtype == np.uint8
    labels = rng.integers(0, 3, (128, 128)).astype(np.uint8)
    mask, probability = restore(labels, (labels > 0) * np.uint8(255), prepared.box)
    assert mask.shape == probability.shape == (height, width)
    assert mask.dtype == probability.dtype == np.uint8
    assert mask.max() <= 2


def test_neighbouring_and_strided_views_are_taken():
    image = picture(512)
    assert np.array_equal(prepare(image[::2, ::2], 256).image, image[::2, ::2])
    assert np.array_equal(prepare(image[::-1], 512).image, image[::-1])


@pytest.mark.parametrize('image', [
    np.zeros((0, 5), np.uint8), np.zeros((5, 0), np.uint8), np.zeros((5, 5, 3), np.uint8),
    np.zeros(5, np.uint8), np.zeros((5, 5), np.float32), np.zeros((5, 5), np.int16), None, 'x'])
def test_what_is_no_grey_image_is_refused(image):
    with pytest.raises(FedefmError, match='an image to segment is'):
        prepare(image, 64)


@pytest.mark.parametrize('shape', [(1024, 1024), (700, 1000), (300, 200), (2000, 500)])
def test_a_drawn_disc_comes_back_in_its_place(shape):
    height, width = shape
    box = Letterbox.fit(height, width, 512)
    centre, radius = (width * 0.6, height * 0.3), min(shape) * 0.1
    y, x = np.mgrid[:512, :512]
    scale = 512 / max(shape)
    away = np.hypot((x + 0.5) / scale - 0.5 - centre[0], (y + 0.5) / scale - 0.5 - centre[1])
    # As a network would see it: the edge is soft within a pixel.
    probability = np.rint(255 * np.clip((radius - away) * scale + 0.5, 0, 1)).astype(np.uint8)
    labels = np.where(probability > 127, 2, 0).astype(np.uint8)
    mask, _ = restore(labels, probability, box)
    y, x = np.mgrid[:height, :width]
    expected = np.hypot(x - centre[0], y - centre[1]) < radius
    assert set(np.unique(mask)) == {0, 2}
    wrong = np.count_nonzero((mask > 0) != expected)
    assert wrong < 0.25 * 2 * np.pi * radius * max(1, 1 / scale)


def test_an_enlarged_line_is_smooth():
    probability = np.zeros((512, 512), np.uint8)
    cv2.line(probability, (10, 50), (500, 170), 255, 3, cv2.LINE_AA)
    labels = (probability > 127).astype(np.uint8)
    mask, _ = restore(labels, probability, Letterbox.fit(2048, 2048, 512))
    upper = np.argmax(mask[:, 200:1800] > 0, axis=0)
    straight = np.polyval(np.polyfit(np.arange(1600), upper, 1), np.arange(1600))
    # Steps of whole network pixels would stray by up to 2 of the image's.
    assert np.abs(upper - straight).max() < 1.6


def test_the_kind_at_a_joint_is_that_of_the_nearest_network_pixel():
    labels = np.zeros((64, 64), np.uint8)
    labels[30:34, :32] = 1
    labels[30:34, 32:] = 2
    mask, _ = restore(labels, (labels > 0) * np.uint8(255), Letterbox.fit(128, 128, 64))
    assert (mask[61:67, :62] == 1).all() and (mask[61:67, 66:] == 2).all()


@settings(deadline=None, max_examples=60)
@given(height=strategies.integers(20, 1100), width=strategies.integers(20, 1100),
       seed=strategies.integers(0, 99))
def test_a_part_is_enlarged_to_the_pixels_that_it_has_in_the_whole(height, width, seed):
    rng = np.random.default_rng(seed)
    box = Letterbox.fit(height, width, 256)
    probability = np.zeros((256, 256), np.uint8)
    inner = probability[:box.inner_height, :box.inner_width]
    points = rng.integers(0, inner.shape[::-1], (3, 2))
    cv2.polylines(inner, [points.astype(np.int32)], False, 255, 3, cv2.LINE_AA)
    labels = np.zeros_like(probability)
    labels[probability > 127] = 1
    mask, enlarged = restore(labels, probability, box)
    # The whole, enlarged without a look at what is in it.
    shrinking = width < box.inner_width or height < box.inner_height
    whole = cv2.resize(inner, (width, height), interpolation=cv2.INTER_AREA if shrinking
                       else cv2.INTER_LINEAR)
    assert np.abs(whole.astype(int) - enlarged).max() <= 1
    assert np.count_nonzero(mask != (whole > 127)) <= 2


def test_where_nothing_was_found_nothing_is_enlarged():
    labels = np.zeros((64, 64), np.uint8)
    mask, probability = restore(labels, labels + np.uint8(90), Letterbox.fit(100, 128, 64))
    assert mask.shape == probability.shape == (100, 128)
    assert not mask.any() and not probability.any()
