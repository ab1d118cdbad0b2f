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

"""The rules of others' code, against the libraries that it calls."""

from fedefm_ros.evaluation.metrics import confusion
from fedefm_ros.evaluation.published import Published

import numpy as np
import pytest

RNG = np.random.default_rng(3)
THREE = RNG.integers(0, 3, (2, 4, 30, 30)).astype(np.uint8)
TWO = RNG.integers(0, 2, (2, 4, 30, 30)).astype(np.uint8)
SETS = pytest.mark.parametrize('frames', [THREE, TWO], ids=['three classes', 'no guidewire'])


def values(frames):
    published = Published()
    for found, truth in zip(*frames):
        published.add(confusion(found, truth))
    return published.values()


@SETS
def test_dice_and_jaccard_agree_with_torchmetrics(frames):
    functional = pytest.importorskip('torchmetrics.functional.classification')
    import torch
    found, truth = (torch.tensor(side).long() for side in frames)
    ours = values(frames)
    # Dice over all pixels together is F1.
    dice = functional.multiclass_f1_score(found, truth, num_classes=3, average='macro')
    jaccard = functional.multiclass_jaccard_index(found, truth, num_classes=3, average='macro')
    inside = functional.multiclass_jaccard_index(found, truth, num_classes=3, average='macro',
                                                 ignore_index=0)
    assert ours['endovascular_challenge']['dice'] == pytest.approx(float(dice), abs=1e-6)
    assert ours['endovascular_challenge']['jaccard'] == pytest.approx(float(jaccard), abs=1e-6)
    assert ours['fl_endovascular']['jaccard'] == pytest.approx(float(inside), abs=1e-6)


@SETS
def test_miou_is_that_of_the_instruments_with_an_absent_class_at_zero(frames):
    found, truth = frames
    by_class = [((found == k) & (truth == k)).sum() / max(1, ((found == k) | (truth == k)).sum())
                for k in (1, 2)]
    ours = values(frames)
    assert {name: each['miou'] for name, each in ours.items()} == pytest.approx(
        dict.fromkeys(ours, np.mean(by_class)), abs=1e-12)


@SETS
def test_downstream_dice_is_the_mean_of_frames_of_smoothed_classes(frames):
    expected = []
    for found, truth in zip(*frames):
        for label in (1, 2):
            a, b = found == label, truth == label
            expected.append((2 * (a & b).sum() + 1e-6) / (a.sum() + b.sum() + 1e-6))
    assert values(frames)['fedefm_downstream']['dice'] == pytest.approx(np.mean(expected))


def test_the_published_guide3d_row_follows_from_one_iou():
    # Method notes 6.2: wire IoU 73.2 % with 99.9 % background gives mIoU 36.6, Jaccard 86.6.
    size, wire = 1_000_000, 2_750
    both = round(0.732 * 2 * wire / (1 + 0.732))
    counts = np.array([[size - 2 * wire + both, wire - both, 0], [wire - both, both, 0], [0] * 3])
    published = Published()
    published.add(counts)
    found = published.values()['endovascular_challenge']
    assert 100 * found['miou'] == pytest.approx(36.60, abs=0.05)
    assert 100 * found['jaccard'] == pytest.approx(86.57, abs=0.1)
    assert 100 * found['dice'] == pytest.approx(92.25, abs=0.1)


def test_no_frames_give_no_figures():
    assert np.isnan(Published().values()['endovascular_challenge']['dice'])
