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

"""Losses of the segmentation task; pure functions of logits and labels."""

import torch
from torch.nn import functional


def cross_entropy_and_dice(logits: torch.Tensor, target: torch.Tensor, smooth: float = 50.0,
                           foreground_weight: float = 4.0) -> torch.Tensor:
    """
    Return cross-entropy plus soft Dice of the foreground classes over the whole batch.

    Dice counts over the batch, not image by image: most images lack one of the classes.

    :param logits: (B, C, H, W), class 0 is the background.
    :param target: (B, H, W) int64.
    :param smooth: pixels added to both sides of the ratio, so that an absent class costs little.
    :param foreground_weight: of instrument pixels in the cross-entropy; one pixel in a hundred is
        an instrument's, and at 1 a network stays silent wherever it doubts.
    :returns: scalar.
    """
    logits = logits.float()
    weight = torch.full((logits.shape[1],), float(foreground_weight), device=logits.device)
    weight[0] = 1.0
    # By the number of pixels, not by their weights: a batch without instruments counts no more.
    entropy = functional.cross_entropy(logits, target, weight, reduction='sum') / target.numel()
    return entropy + soft_dice(logits, target, smooth)


def soft_dice(logits: torch.Tensor, target: torch.Tensor, smooth: float = 50.0) -> torch.Tensor:
    """Return one minus soft Dice of the foreground classes; see cross_entropy_and_dice."""
    probability = logits.softmax(dim=1)[:, 1:]
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:].to(logits.dtype)
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    total = probability.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    return (1.0 - (2.0 * overlap + smooth) / (total + smooth)).mean()


def class_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """
    Return the cross-entropy of the instrument's class alone, where there is an instrument.

    One pixel in a hundred is an instrument's, so that the cross-entropy of all pixels hardly asks
    which one it is, and Dice asks little once the network is sure of the wrong one.

    :param logits: (B, C, H, W), class 0 is the background; how they compare with it is left out.
    :param target: (B, H, W) int64.
    :returns: scalar, the mean of the classes' means; 0 without instruments.
    """
    instrument = target > 0
    truth = target[instrument] - 1
    cost = functional.cross_entropy(
        logits[:, 1:].movedim(1, -1)[instrument].float(), truth, reduction='none')
    means = [cost[truth == label].mean() for label in truth.unique()]
    return torch.stack(means).mean() if means else logits.sum() * 0.0


def centreline_dice(logits: torch.Tensor, target: torch.Tensor, iterations: int = 8,
                    smooth: float = 5.0) -> torch.Tensor:
    """
    Return one minus clDice of the foreground classes over the whole batch.

    The harmonic mean of the share of the found centrelines that lies in true instruments and of
    the share of the true centrelines that was found (Shit et al., clDice, CVPR 2021, equation 2);
    a gap of a few pixels in a wire costs as much in a thin one as in a thick one.

    :param logits: (B, C, H, W), class 0 is the background.
    :param target: (B, H, W) int64.
    :param iterations: of thinning; 8 makes a line of a catheter of up to 16 pixels.
    :param smooth: centreline pixels added to both sides of the ratios, so that an absent class
        costs little.
    :returns: scalar in 0 .. 1.
    """
    # Not at the top: MONAI takes seconds to import, and only who asks for clDice needs it.
    from monai.losses.cldice import soft_skel
    probability = logits.float().softmax(dim=1)[:, 1:]
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:]
    truth = truth.to(probability.dtype)
    over = (0, 2, 3)
    found, true = soft_skel(probability, iterations), soft_skel(truth, iterations)
    precision = ((found * truth).sum(over) + smooth) / (found.sum(over) + smooth)
    recall = ((true * probability).sum(over) + smooth) / (true.sum(over) + smooth)
    return (1.0 - 2.0 * precision * recall / (precision + recall)).mean()


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor, centreline_share: float = 0.0,
                      foreground_weight: float = 4.0,
                      class_entropy_weight: float = 0.0) -> torch.Tensor:
    """
    Return (1 - a) (cross-entropy + Dice + b class_entropy) + a (1 - clDice).

    :param centreline_share: a, 0 to 1; 0 leaves clDice out and costs nothing.
    :param foreground_weight: see ``cross_entropy_and_dice``.
    :param class_entropy_weight: b; 0 leaves it out and costs nothing.
    :returns: scalar.
    """
    plain = cross_entropy_and_dice(logits, target, foreground_weight=foreground_weight)
    if class_entropy_weight:
        plain = plain + class_entropy_weight * class_entropy(logits, target)
    if not centreline_share:
        return plain
    return (1.0 - centreline_share) * plain + centreline_share * centreline_dice(logits, target)
