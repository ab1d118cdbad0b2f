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

"""The registered networks in tiny, taught for a second to mark wires in pictures of 64 x 64."""

import cv2

from fedefm_ros.backbones import create
from fedefm_ros.learning.losses import cross_entropy_and_dice

import numpy as np

import torch

TINY = {
    'compact': {'widths': [8, 16], 'full': 4},
    'unet': {'width': 4},
    'transunet': {'size': 64, 'resnet_width': 8, 'units': [1, 1, 1], 'width': 16, 'depth': 1,
                  'heads': 2, 'mlp': 32, 'neck': 16, 'decoder': [16, 8, 8, 4]},
    'transunet_small': {'size': 64, 'resnet_width': 8, 'units': [1, 1, 1], 'width': 16,
                        'depth': 1, 'heads': 2, 'mlp': 32, 'neck': 16},
    'swin_unet': {'width': 8, 'depths': [2, 2], 'heads': [1, 2], 'window': 4},
    'vit': {'size': 64, 'width': 16, 'depth': 1, 'heads': 2, 'mlp': 32,
            'decoder': [16, 8, 8, 4]},
}


def trained(name):
    """Return a network of TINY after 40 steps, and the loss of each."""
    torch.manual_seed(3)
    rng = np.random.default_rng(3)
    network = create(name, **TINY[name])
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        image, target = _wire_pictures(4, rng)
        loss = cross_entropy_and_dice(network(image), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return network, losses


def wire_picture(seed):
    """Return one such picture, (64, 64) uint8."""
    image = _wire_pictures(1, np.random.default_rng(seed))[0][0, 0].numpy()
    return np.clip(255 * image, 0, 255).astype(np.uint8)


def _wire_pictures(count, rng):
    """Return noise with a dark wire each, (B, 1, 64, 64) in 0 .. 1, and where it is."""
    mask = np.zeros((count, 64, 64), np.uint8)
    for picture in mask:
        ends = rng.integers(4, 60, (2, 2)).tolist()
        cv2.line(picture, ends[0], ends[1], 2, 3)
    image = rng.normal(0.8, 0.05, mask.shape) - 0.7 * (mask > 0)
    return torch.from_numpy(image[:, None]).float(), torch.from_numpy(mask).long()
