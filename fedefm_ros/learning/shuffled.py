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

"""
Samples of a finite set without an end: sample number i is the same whenever it is asked for.

A run that was killed therefore goes on with just the samples that it would have had.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from fedefm_ros.learning.plan import FinetunePlan
from fedefm_ros.segmentation.grey import to_network
from fedefm_ros.segmentation.preprocess import prepare

import numpy as np

import torch
from torch.utils.data import Dataset

#: Share of the crops drawn around a place on an instrument.
_AIMED_SHARE = 0.5
#: Standard deviation of the shift of the grey range, in ranges.
_GREY_JITTER = 0.06


class Shuffled(Dataset):
    """Every image once, in an order of the seed's; then again in another, to the last step."""

    def __init__(self, images: Sequence, plan: FinetunePlan, first: int = 0):
        """
        Describe the samples.

        :param first: number of the first sample (to go on after an interruption).
        """
        self._images = images
        self._plan = plan
        self._first = first
        self._epoch = self._order = None

    def __len__(self) -> int:
        """Return the number of samples left."""
        return self._plan.steps * self._plan.batch - self._first

    def __getitem__(self, index: int):
        """Return one sample."""
        number = index + self._first
        epoch, place = divmod(number, len(self._images))
        if epoch != self._epoch:
            rng = np.random.default_rng((self._plan.seed, epoch, 1))
            self._order, self._epoch = rng.permutation(len(self._images)), epoch
        rng = np.random.default_rng((self._plan.seed, number, 2))
        return self.sample(rng, *self._images[self._order[place]])

    def sample(self, rng: np.random.Generator, image: np.ndarray, truth: np.ndarray):
        """Return the tensors of one image."""
        raise NotImplementedError


class TrainingCrops(Shuffled):
    """Turned crops, half of them aimed; (1, C, C) float32 and (C, C) int64."""

    def sample(self, rng, image, truth):
        """Return a crop and its labels."""
        prepared, mask = _letterboxed(image, truth, self._plan.size)
        low, high = _jittered(rng, prepared)
        crop, space = self._plan.crop, self._plan.size - self._plan.crop
        corner = rng.integers(0, space + 1, 2)
        if rng.random() < _AIMED_SHARE and mask.any():
            classes = np.unique(mask[mask > 0])
            where = np.argwhere(mask == classes[rng.integers(len(classes))])
            corner = where[rng.integers(len(where))] - rng.integers(crop // 8, crop - crop // 8, 2)
            corner = np.clip(corner, 0, space)
        cut = np.s_[corner[0]:corner[0] + crop, corner[1]:corner[1] + crop]
        grey, mask = to_network(prepared.image[cut], low, high), mask[cut]
        turns = int(rng.integers(0, 4))
        grey, mask = np.rot90(grey, turns), np.rot90(mask, turns)
        if rng.random() < 0.5:
            grey, mask = grey[:, ::-1], mask[:, ::-1]
        return (torch.from_numpy(np.ascontiguousarray(grey)[None]),
                torch.from_numpy(mask.astype(np.int64)))


class TrainingViews(Shuffled):
    """Whole images, a little shifted and never mirrored: (1, S, S) float32 and (11,) float32."""

    def sample(self, rng, image, truth):
        """Return an image and its labels."""
        size = self._plan.size
        prepared = prepare(image, size + size // 16)
        low, high = _jittered(rng, prepared)
        y, x = rng.integers(0, size // 16 + 1, 2)
        grey = to_network(prepared.image[y:y + size, x:x + size], low, high)
        return torch.from_numpy(grey[None]), torch.from_numpy(truth)


def whole_frame(image: np.ndarray, mask: np.ndarray,
                size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image as the engine shows it to the network, (S, S) float32, and its mask."""
    prepared, mask = _letterboxed(image, mask, size)
    return to_network(prepared.image, prepared.low, prepared.high), mask


def _letterboxed(image, mask, size):
    """Return the image as the engine prepares it, and its mask in the same square."""
    prepared = prepare(image, size)
    box = prepared.box
    square = np.zeros((size, size), np.uint8)
    # Each class by its area, not by the nearest pixel: that would make dashes of a thin wire.
    for label in np.unique(mask[mask > 0]):
        share = cv2.resize((mask == label).astype(np.float32),
                           (box.inner_width, box.inner_height), interpolation=cv2.INTER_AREA)
        square[:box.inner_height, :box.inner_width][share > 0.35] = label
    return prepared, square


def _jittered(rng, prepared):
    """Return the grey range, shifted as stations differ."""
    spread = prepared.high - prepared.low
    shift = rng.normal(0.0, _GREY_JITTER, 2) * spread
    return prepared.low + shift[0], prepared.high + shift[1]
