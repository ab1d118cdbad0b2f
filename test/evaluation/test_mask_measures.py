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

"""Measures of masks: against MONAI, torchmetrics and scikit-image, and by hand."""

from fedefm_ros.evaluation import metrics
from fedefm_ros.evaluation.rows import mask_row

import numpy as np
import pytest
from scipy import ndimage

EMPTY = np.zeros((20, 30), bool)
FULL = np.ones((20, 30), bool)
PIXEL = EMPTY.copy()
PIXEL[7, 11] = True
BORDER = EMPTY.copy()
BORDER[:3, :] = True


def blobs(seed, shape=(48, 64)):
    """Return two masks of random blobs, alike in part."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((2, shape[0] // 4, shape[1] // 4)) > 0.7
    a, b = np.kron(coarse, np.ones((1, 4, 4), bool))
    return a, np.where(rng.random(shape) > 0.9, b, a)


def test_hausdorff_95_agrees_with_monai():
    monai = pytest.importorskip('monai.metrics')
    import torch
    from monai.metrics.utils import get_edge_surface_distance
    for seed in range(4):
        found, truth = blobs(seed)
        masks = [torch.tensor(mask) for mask in (found, truth)]
        distances = get_edge_surface_distance(*masks, symmetric=True, class_index=0)[1]
        ours = metrics.hausdorff_95(found, truth)
        assert ours == pytest.approx(
            max(float(torch.quantile(each.double(), 0.95)) for each in distances), abs=1e-6)
        # MONAI itself takes that quantile in single precision, where the rank 0.95 (n - 1) of
        # some hundred distances is off by up to 3e-5 of the step between two of them.
        whole = monai.compute_hausdorff_distance(
            *(mask[None, None] for mask in masks), include_background=True, percentile=95)
        assert float(whole) == max(float(torch.quantile(each, 0.95)) for each in distances)
        assert ours == pytest.approx(float(whole), abs=2e-5)


@pytest.mark.parametrize('seed', range(4))
def test_hausdorff_95_agrees_with_scipy(seed):
    found, truth = blobs(seed)
    outlines = [mask & ~ndimage.binary_erosion(mask) for mask in (found, truth)]
    to_found, to_truth = (ndimage.distance_transform_edt(~outline) for outline in outlines)
    expected = max(np.percentile(to_truth[outlines[0]], 95),
                   np.percentile(to_found[outlines[1]], 95))
    assert metrics.hausdorff_95(found, truth) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('seed', range(4))
def test_cl_dice_agrees_with_the_authors_formula_on_skimage_skeletons(seed):
    from skimage.morphology import skeletonize
    found, truth = blobs(seed)
    a, b = skeletonize(found), skeletonize(truth)
    precision, sensitivity = (a & truth).sum() / a.sum(), (b & found).sum() / b.sum()
    assert metrics.cl_dice(found, truth) == pytest.approx(
        2 * precision * sensitivity / (precision + sensitivity), abs=1e-12)


def test_confusion_agrees_with_torchmetrics():
    functional = pytest.importorskip('torchmetrics.functional.classification')
    import torch
    found, truth = np.random.default_rng(1).integers(0, 3, (2, 40, 50)).astype(np.uint8)
    expected = functional.multiclass_confusion_matrix(
        torch.tensor(found), torch.tensor(truth), num_classes=3)
    assert (metrics.confusion(found, truth) == expected.numpy()).all()


@pytest.mark.parametrize(('found', 'truth', 'dice', 'iou'), [
    (FULL, FULL, 1.0, 1.0), (PIXEL, PIXEL, 1.0, 1.0), (BORDER, BORDER, 1.0, 1.0),
    # 90 of 600 pixels, one of 600, none of any.
    (FULL, BORDER, 180 / 690, 90 / 600), (BORDER, FULL, 180 / 690, 90 / 600),
    (PIXEL, FULL, 2 / 601, 1 / 600), (PIXEL, BORDER, 0.0, 0.0),
    (FULL, EMPTY, 0.0, 0.0), (EMPTY, PIXEL, 0.0, 0.0), (EMPTY, EMPTY, np.nan, np.nan)])
def test_dice_and_iou_by_hand(found, truth, dice, iou):
    counts = metrics.confusion(found.astype(np.uint8), truth.astype(np.uint8))
    assert counts.sum() == 600 and counts[1].sum() == truth.sum()
    row = mask_row(found.astype(np.uint8), truth.astype(np.uint8))
    assert row['catheter_dice'] == pytest.approx(dice, abs=1e-12, nan_ok=True)
    assert row['catheter_iou'] == pytest.approx(iou, abs=1e-12, nan_ok=True)
    assert np.isnan(row['guidewire_dice']) and np.isnan(row['guidewire_hd95_px'])


def test_equal_masks_are_perfect_whatever_their_shape():
    for mask in (FULL, PIXEL, BORDER):
        assert metrics.cl_dice(mask, mask) == 1.0
        assert metrics.hausdorff_95(mask, mask) == 0.0


def test_nothing_on_both_sides_says_nothing():
    assert np.isnan(metrics.cl_dice(EMPTY, EMPTY))
    assert np.isnan(metrics.hausdorff_95(EMPTY, EMPTY))


def test_nothing_on_one_side_is_the_worst():
    for mask in (FULL, PIXEL, BORDER):
        assert metrics.cl_dice(mask, EMPTY) == metrics.cl_dice(EMPTY, mask) == 0.0
        assert metrics.hausdorff_95(mask, EMPTY) == metrics.hausdorff_95(EMPTY, mask) == np.inf


def test_one_pixel_moved_is_as_far_off_as_it_moved():
    moved = np.roll(PIXEL, (3, 4), (0, 1))
    assert metrics.hausdorff_95(PIXEL, moved) == pytest.approx(5.0)
    assert metrics.cl_dice(PIXEL, moved) == 0.0


def test_a_part_without_background_measures_as_the_whole_image_does():
    # What encloses the instruments is all that is looked at.
    found, truth = np.zeros((2, 300, 400), np.uint8)
    small = [np.where(mask, 1, 2 * np.roll(mask, 9, 1)).astype(np.uint8) for mask in blobs(7)]
    for place in ((0, 0), (252, 336), (100, 90)):
        for whole, part in zip((found, truth), small):
            whole[:] = 0
            whole[place[0]:place[0] + 48, place[1]:place[1] + 64] = part
        assert mask_row(found, truth) == pytest.approx(mask_row(*small), abs=1e-12)


def test_the_border_of_the_image_is_an_outline():
    # Rows 0 to 2 against rows 0 to 4: every outline pixel of row 4 is 2 off, none is further.
    thick = EMPTY.copy()
    thick[:5, :] = True
    assert metrics.hausdorff_95(BORDER, thick) == pytest.approx(2.0)


def test_cl_dice_forgives_width_and_dice_does_not():
    thin, thick = np.zeros((2, 60, 60), np.uint8)
    thin[29:32, 5:55] = 1
    thick[27:34, 5:55] = 1
    row = mask_row(thick, thin)
    assert row['catheter_dice'] == pytest.approx(0.6)
    assert row['catheter_cldice'] > 0.95
    assert row['catheter_hd95_px'] == pytest.approx(2.0, abs=0.3)
    assert np.isnan(row['guidewire_dice']) and np.isnan(row['guidewire_cldice'])


def test_the_right_place_of_the_wrong_class_counts_for_any_instrument_only():
    found, truth = np.zeros((2, 20, 20), np.uint8)
    found[5:8], truth[5:8] = 2, 1
    row = mask_row(found, truth)
    assert row['catheter_dice'] == row['guidewire_dice'] == 0.0
    assert row['instrument_dice'] == row['instrument_cldice'] == 1.0
