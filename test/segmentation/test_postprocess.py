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

"""Specks go, instruments stay."""

import cv2

from fedefm_ros.segmentation.postprocess import remove_specks
from fedefm_ros.segmentation.postprocess import SpeckParameters

import numpy as np
import pytest


@pytest.fixture
def mask():
    """Return a mask with a catheter and a guidewire that is two pixels wide."""
    mask = np.zeros((512, 512), np.uint8)
    cv2.polylines(mask, [np.array([[0, 300], [200, 280], [350, 150]], np.int32)], False, 1, 7)
    cv2.line(mask, (350, 150), (470, 60), 2, 2)
    return mask


def with_specks(mask, count=40, size=3):
    rng = np.random.default_rng(1)
    result = mask.copy()
    for x, y in rng.integers(5, 500, (count, 2)):
        if not mask[y - 5:y + 9, x - 5:x + 9].any():
            result[y:y + size, x:x + size] = 1 + x % 2
    return result


def test_a_clean_mask_comes_back_itself(mask):
    assert remove_specks(mask) is mask


def test_specks_go_and_nothing_else_does(mask):
    dirty = with_specks(mask)
    assert (dirty != mask).any()
    before = dirty.copy()
    np.testing.assert_array_equal(remove_specks(dirty), mask)
    np.testing.assert_array_equal(dirty, before)


def test_both_kinds_count_as_one_piece(mask):
    mask[290:296, 100:104] = 2
    np.testing.assert_array_equal(remove_specks(mask), mask)


@pytest.mark.parametrize('factor', (1, 2))
def test_what_is_faint_all_over_goes_where_that_is_asked_for(mask, factor):
    faint = mask.copy()
    cv2.line(faint, (50, 450), (300, 480), 1, 5)
    probability = np.full((512 // factor, 512 // factor), 220, np.uint8)
    probability[420 // factor:] = 140
    np.testing.assert_array_equal(remove_specks(faint, probability), faint)
    sure = SpeckParameters(min_confidence=0.7)
    np.testing.assert_array_equal(remove_specks(faint, probability, sure), mask)


def test_a_speck_grows_with_the_image():
    small, large = np.zeros((512, 512), np.uint8), np.zeros((1024, 1024), np.uint8)
    small[100:106, 100:106] = 1
    large[100:106, 100:106] = 1
    assert remove_specks(small).any()
    assert not remove_specks(large).any()


@pytest.mark.parametrize('share', (0.0, 0.001, 0.05, 0.5, 1.0))
def test_any_mask_is_cleaned(share):
    rng = np.random.default_rng(0)
    mask = (rng.random((512, 512)) < share).astype(np.uint8)
    cleaned = remove_specks(mask)
    assert cleaned.shape == mask.shape and cleaned.dtype == np.uint8
    assert (cleaned <= mask).all()
    count, _, stats, _ = cv2.connectedComponentsWithStats(cleaned)
    assert count == 1 or stats[1:, cv2.CC_STAT_AREA].min() >= SpeckParameters().min_area


def test_many_specks_and_few_are_judged_alike():
    rng = np.random.default_rng(2)
    mask = np.zeros((512, 512), np.uint8)
    for x, y in rng.integers(0, 500, (900, 2)):
        mask[y:y + rng.integers(2, 9), x:x + rng.integers(2, 9)] = 1
    crowded = np.zeros((512, 1024), np.uint8)
    crowded[:, :512] = mask
    crowded[1::2, 600::2] = 1  # so many that the other way is taken
    whole = SpeckParameters(min_area=12.0, min_extent=4.0)
    expected = remove_specks(mask, parameters=SpeckParameters(min_area=48.0, min_extent=8.0))
    np.testing.assert_array_equal(remove_specks(crowded, parameters=whole)[:, :512], expected)
