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

"""Measures against hand-made cases and a reference."""

from fedefm_ros.evaluation import metrics
from fedefm_ros.evaluation.scoring import Scores
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np
import pytest


def line(x0, y0, x1, y1, kind=1, **options):
    points = np.linspace((x0, y0), (x1, y1), 50)
    return Instrument(kind, points, **options)


def test_dice_and_iou_agree_with_monai():
    monai = pytest.importorskip('monai.metrics')
    import torch
    rng = np.random.default_rng(0)
    for _ in range(5):
        found, truth = rng.integers(0, 3, (2, 40, 40)).astype(np.uint8)
        one_hot = [torch.nn.functional.one_hot(torch.tensor(m).long(), 3).movedim(-1, 0)[None]
                   for m in (found, truth)]
        expected_dice = monai.compute_dice(*one_hot, include_background=False)[0]
        expected_iou = monai.compute_iou(*one_hot, include_background=False)[0]
        for label in (1, 2):
            counts = metrics.overlap_counts(found, truth, label)
            assert metrics.dice(*counts) == pytest.approx(float(expected_dice[label - 1]))
            assert metrics.iou(*counts) == pytest.approx(float(expected_iou[label - 1]))
            assert metrics.iou(*counts) <= metrics.dice(*counts)


def test_nothing_on_both_sides_is_not_a_number():
    assert np.isnan(metrics.dice(0, 0, 0)) and np.isnan(metrics.iou(0, 0, 0))


def test_a_shifted_line_is_found_within_the_tolerance_only():
    truth, near, far = line(0, 0, 100, 0), line(0, 2, 100, 2), line(0, 9, 100, 9)
    assert metrics.match_lines([near], [truth]).hits() == (101, 101, 101, 101)
    assert metrics.match_lines([far], [truth]).hits() == (0, 101, 0, 101)
    assert metrics.match_lines([], [truth]).hits() == (0, 0, 0, 101)


def test_half_a_line_has_full_precision_and_half_recall():
    near_truth, found, near_found, truth = metrics.match_lines(
        [line(0, 0, 50, 0)], [line(0, 0, 100, 0)]).hits()
    assert near_truth == found
    assert near_found / truth == pytest.approx(0.53, abs=0.02)


def test_class_counts_only_what_was_found():
    truth = [line(0, 0, 100, 0)]
    assert metrics.match_lines([line(0, 0, 100, 0, kind=2)], truth).class_hits() == (0, 101)
    assert metrics.match_lines([line(0, 0, 100, 0)], truth).class_hits() == (101, 101)
    half = [line(0, 0, 50, 0), line(51, 0, 100, 0, kind=2), line(0, 50, 100, 50)]
    assert metrics.match_lines(half, truth).class_hits() == (51, 101)
    assert metrics.match_lines([], truth).class_hits() == (0, 0)


def test_tips_are_matched_at_least_total_distance_and_missing_ones_are_infinite():
    truth = [line(0, 0, 50, 0), line(0, 20, 50, 20)]
    found = [line(0, 20, 53, 20), line(0, 0, 49, 0)]
    assert sorted(metrics.tip_errors(found, truth)) == pytest.approx([1.0, 3.0])
    assert metrics.tip_errors([], truth) == [float('inf')] * 2
    assert metrics.tip_errors(found[:1], truth).count(float('inf')) == 1
    assert metrics.tip_errors(found, [line(0, 0, 50, 0, tip_visible=False)]) == []


def test_an_instrument_where_none_is_counts_as_false():
    truth = [line(0, 0, 100, 0)]
    found = [line(0, 0, 100, 0), line(0, 50, 100, 50)]
    assert metrics.match_lines(found, truth).false_instruments() == 1
    assert metrics.match_lines(found, []).false_instruments() == 2
    assert metrics.match_lines([], truth).false_instruments() == 0


def test_scores_of_a_perfect_and_of_an_empty_answer():
    mask = np.zeros((64, 64), np.uint8)
    mask[10:13, :] = 1
    truth = [line(0, 11, 63, 11)]
    perfect, empty = Scores(), Scores()
    perfect.add_mask(mask, mask)
    perfect.add_instruments(truth, truth)
    empty.add_mask(np.zeros_like(mask), mask)
    empty.add_instruments([], truth)
    full, nothing = perfect.summary(), empty.summary()
    assert full['classes']['catheter']['dice'] == 1.0
    assert np.isnan(full['classes']['guidewire']['dice'])
    assert full['union']['recall_3px'] == full['union']['precision_3px'] == 1.0
    assert full['tip_error_px']['median'] == 0.0
    assert nothing['classes']['catheter']['dice'] == 0.0
    assert nothing['union']['recall_3px'] == 0.0 and np.isnan(nothing['union']['precision_3px'])
    assert np.isinf(nothing['tip_error_px']['median'])
