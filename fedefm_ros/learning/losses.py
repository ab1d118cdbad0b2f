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
    weight = torch.full((logits.shape[1],), foreground_weight, device=logits.device)
    weight[0] = 1.0
    # By the number of pixels, not by their weights: a batch without instruments counts no more.
    entropy = functional.cross_entropy(logits, target, weight, reduction='sum') / target.numel()
    probability = logits.softmax(dim=1)[:, 1:]
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:].to(logits.dtype)
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    total = probability.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    return entropy + (1.0 - (2.0 * overlap + smooth) / (total + smooth)).mean()
