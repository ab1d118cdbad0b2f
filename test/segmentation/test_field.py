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

"""The collimated field of a frame."""

import cv2

from fedefm_ros.segmentation.field import find_field

import numpy as np
import pytest


def frame(field, level=20, noise=6.0, softness=0.0, size=512):
    """Return a noisy frame of which only the field is exposed."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size] / size
    tissue = 120 + 40 * np.sin(5 * columns) * np.cos(4 * rows) + rng.normal(0, noise, (size, size))
    share = field.astype(np.float32)
    if softness:
        share = cv2.GaussianBlur(share, (0, 0), softness)
    return np.clip(level + (tissue - level) * share, 0, 255).astype(np.uint8)


def round_field(size=512, radius=0.45):
    rows, columns = np.mgrid[:size, :size] - size / 2 + 0.5
    return np.hypot(rows, columns) < radius * size


def box_field(size=512):
    field = np.zeros((size, size), bool)
    field[size // 8:-size // 10, size // 12:-size // 5] = True
    return field


@pytest.mark.parametrize('field', (round_field(), box_field()), ids=('round', 'box'))
@pytest.mark.parametrize('level', (0, 20, 60))
@pytest.mark.parametrize('softness', (0.0, 2.0))
def test_blades_are_found_and_the_field_is_a_little_smaller(field, level, softness):
    found = find_field(frame(field, level, softness=softness))
    assert found.shape == field.shape and found.dtype == bool
    assert (found & ~field).mean() < 0.005
    inner = cv2.erode(field.astype(np.uint8), np.ones((33, 33), np.uint8), borderValue=0) > 0
    assert found[inner].all()


def test_sixteen_bits_and_other_sizes_work_alike():
    image = frame(round_field(1024), size=1024)
    wide = find_field(image.astype(np.uint16) * 257)
    np.testing.assert_array_equal(wide, find_field(image))
    assert abs(wide.mean() - np.pi * 0.45 ** 2) < 0.04


@pytest.mark.parametrize('bits', (10, 12, 14))
@pytest.mark.parametrize('peak', (40, 100, 255))
def test_blades_are_found_where_a_camera_leaves_the_upper_bits_empty(bits, peak):
    image = np.minimum(frame(round_field()), peak)
    image[250, 250] = peak
    np.testing.assert_array_equal(find_field(image.astype(np.uint16) << bits - 8),
                                  find_field(image))


@pytest.mark.parametrize('noise', (0.0, 0.5, 6.0))
def test_a_whole_field_is_none_even_where_tissue_is_smooth(noise):
    assert find_field(frame(np.ones((512, 512), bool), noise=noise)) is None


def test_a_frame_without_content_is_none():
    assert find_field(np.zeros((512, 512), np.uint8)) is None
    assert find_field(np.full((1, 1), 7, np.uint8)) is None


def test_a_flat_patch_inside_is_no_blade():
    image = frame(np.ones((512, 512), bool))
    cv2.circle(image, (256, 256), 60, 10, cv2.FILLED)
    assert find_field(image) is None
