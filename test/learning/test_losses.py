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

"""Losses, on cases that can be reckoned by hand."""

import math

from fedefm_ros.learning.losses import centreline_dice
from fedefm_ros.learning.losses import class_entropy
from fedefm_ros.learning.losses import cross_entropy_and_dice
from fedefm_ros.learning.losses import segmentation_loss
from fedefm_ros.learning.losses import soft_dice

from monai.losses import DiceLoss, SoftclDiceLoss

import pytest

import torch


def logits_of(label, sure=20.0):
    """Return logits that are sure of a label image, (B, H, W) -> (B, 3, H, W)."""
    return sure * torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()


def wire(rows=slice(20, 21), columns=slice(4, 44), value=2):
    label = torch.zeros(1, 48, 48, dtype=torch.int64)
    label[:, rows, columns] = value
    return label


def test_the_right_answer_costs_nothing_and_none_at_all_costs_much():
    truth = wire()
    assert float(centreline_dice(logits_of(truth), truth)) < 1e-3
    nothing = float(centreline_dice(logits_of(torch.zeros_like(truth)), truth))
    # The catheter is absent and right; of the wire: precision 1, recall 5 / 45.
    assert nothing == pytest.approx(0.5 * (1 - 2 * (5 / 45) / (1 + 5 / 45)), abs=1e-3)


def four_pixels():
    """Return logits whose probabilities are plain fractions, (2, 3, 1, 2), and the truth."""
    chances = [[(0.5, 0.25, 0.25), (0.1, 0.8, 0.1)], [(0.2, 0.2, 0.6), (0.7, 0.2, 0.1)]]
    truth = torch.tensor([[[0, 1]], [[2, 2]]])
    return torch.tensor(chances).log().movedim(-1, 1)[:, :, None, :], truth


@pytest.mark.parametrize('weight', [4.0, 1.0, 4, 1])
def test_cross_entropy_and_dice_are_those_reckoned_by_hand(weight):
    logits, truth = four_pixels()
    # Of the background's pixel 1 counts, of the three others the weight; over four pixels.
    entropy = -(math.log(0.5) + weight * (math.log(0.8) + math.log(0.6) + math.log(0.1))) / 4
    # Catheter: overlap 0.8, found 0.25 + 0.8 + 0.2 + 0.2, true 1. Wire: 0.6 + 0.1, 1.05, 2.
    dice = 1 - ((2 * 0.8 + 3) / (1.45 + 1 + 3) + (2 * 0.7 + 3) / (1.05 + 2 + 3)) / 2
    assert float(soft_dice(logits, truth, smooth=3.0)) == pytest.approx(dice, abs=1e-6)
    loss = cross_entropy_and_dice(logits, truth, smooth=3.0, foreground_weight=weight)
    assert float(loss) == pytest.approx(entropy + dice, abs=1e-6)


def test_a_weight_that_is_a_whole_number_is_a_number():
    logits, truth = four_pixels()
    assert torch.equal(segmentation_loss(logits, truth, foreground_weight=4),
                       segmentation_loss(logits, truth, foreground_weight=4.0))


@pytest.mark.parametrize('smooth', [50.0, 1.0, 1e-5])
@pytest.mark.parametrize('seed', range(3))
def test_soft_dice_agrees_with_monai_over_a_batch(smooth, seed):
    torch.manual_seed(seed)
    logits = 3 * torch.randn(3, 3, 24, 32)
    truth = torch.randint(0, 3, (3, 24, 32))
    truth[1][truth[1] == 1] = 0  # an image without a catheter
    theirs = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True,
                      smooth_nr=smooth, smooth_dr=smooth)
    both = [logits.clone().requires_grad_() for _ in range(2)]
    losses = soft_dice(both[0], truth, smooth), theirs(both[1], truth[:, None])
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-6)
    for loss in losses:
        loss.backward()
    assert torch.allclose(both[0].grad, both[1].grad, atol=1e-6)
    # Image by image it is another loss.
    assert abs(float(DiceLoss(include_background=False, to_onehot_y=True, softmax=True,
                              smooth_nr=smooth, smooth_dr=smooth)(logits, truth[:, None]))
               - losses[0].item()) > 1e-3


def test_a_gap_costs_what_its_length_says():
    truth = wire()
    broken = truth.clone()
    broken[:, :, 20:30] = 0  # ten of the forty pixels
    loss = float(centreline_dice(logits_of(broken), truth))
    recall = (30 + 5) / (40 + 5)
    assert loss == pytest.approx(0.5 * (1 - 2 * recall / (1 + recall)), abs=1e-3)


def test_a_gap_in_a_thick_catheter_costs_like_one_in_a_thin_wire_not_so_with_dice():
    def cost(rows, loss):
        truth = wire(rows)
        broken = truth.clone()
        broken[:, :, 20:30] = 0
        return float(loss(logits_of(broken), truth))

    thin, thick = slice(20, 21), slice(16, 25)
    assert cost(thick, centreline_dice) == pytest.approx(cost(thin, centreline_dice), rel=0.35)
    assert cost(thick, cross_entropy_and_dice) > 3 * cost(thin, cross_entropy_and_dice)


def test_it_agrees_with_monai_on_one_image_of_one_class():
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 32, 32)
    truth = (torch.rand(1, 32, 32) < 0.3).long()
    onehot = torch.nn.functional.one_hot(truth, 2).movedim(-1, 1).float()
    ours = centreline_dice(logits, truth, iterations=3, smooth=1.0)
    theirs = SoftclDiceLoss(iter_=3, smooth=1e-9, include_background=False)(
        logits.softmax(1), onehot)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)


def test_gradient_pulls_a_gap_closed():
    truth = wire()
    logits = 0.5 * logits_of(truth, 2.0)
    logits[:, 2, 20, 20:30] = -1.0
    logits.requires_grad_()
    centreline_dice(logits, truth).backward()
    assert bool((logits.grad[0, 2, 20, 20:30] < 0).all())


def test_the_share_mixes_both_and_none_leaves_the_old_loss_untouched():
    torch.manual_seed(0)
    logits, truth = torch.randn(1, 3, 48, 48), wire()
    plain, centre = cross_entropy_and_dice(logits, truth), centreline_dice(logits, truth)
    assert torch.equal(segmentation_loss(logits, truth), plain)
    mixed = segmentation_loss(logits, truth, centreline_share=0.25)
    assert float(mixed) == pytest.approx(0.75 * float(plain) + 0.25 * float(centre))


def test_images_without_instruments_give_a_finite_loss_and_gradient():
    logits = torch.zeros(1, 3, 32, 32, requires_grad=True)
    loss = segmentation_loss(logits, torch.zeros(1, 32, 32, dtype=torch.int64), 0.5)
    loss.backward()
    assert bool(loss.isfinite()) and bool(logits.grad.isfinite().all())


def test_the_entropy_of_classes_is_that_reckoned_by_hand():
    logits, truth = four_pixels()
    catheter, wires = -math.log(8 / 9), (-math.log(6 / 8) - math.log(1 / 3)) / 2
    assert float(class_entropy(logits, truth)) == pytest.approx((catheter + wires) / 2)
    mixed = segmentation_loss(logits, truth, class_entropy_weight=0.5)
    assert float(mixed - segmentation_loss(logits, truth)) == pytest.approx((catheter + wires) / 4)
    # What is background is not asked, nor how sure the network is of an instrument.
    logits[:, 0] -= 3.0
    assert float(class_entropy(logits, truth)) == pytest.approx((catheter + wires) / 2)


def test_the_entropy_of_classes_of_an_image_without_instruments_is_nothing():
    logits = torch.zeros(1, 3, 4, 4, requires_grad=True)
    cost = class_entropy(logits, torch.zeros(1, 4, 4, dtype=torch.int64))
    cost.backward()
    assert cost.item() == 0.0 and not logits.grad.any()
