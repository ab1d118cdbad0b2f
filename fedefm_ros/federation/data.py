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

"""A silo's data: batches that depend on a seed and on where they are used, on nothing else."""

from collections.abc import Iterator
import hashlib
from typing import Protocol

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.silo import Batch

import numpy as np

import torch


class SiloData(Protocol):
    """What the methods ask of a silo's data; stations have their own."""

    def __len__(self) -> int:
        """Return how many samples there are."""

    def batches(self, count: int, *place) -> Iterator[Batch]:
        """Yield batches; the same for the same place, so that a stopped run can go on."""


class ArrayData:
    """Images and labels in memory, in random order, mirrored and, if wanted, turned at random."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, batch: int, seed: int,
                 turn: bool = True, mirror: bool | None = None):
        """
        Take the data.

        :param images: (M, 1, H, W) float32.
        :param labels: (M,) int64, or (M, H, W) for segmentation.
        :param turn: whether to turn images (and labels that are images) by quarters.
        :param mirror: whether to mirror them; None: as turn.
        """
        if not len(images) or len(images) != len(labels) or images.dim() != 4:
            raise FedefmError(f'images {tuple(images.shape)} and labels {tuple(labels.shape)}; '
                              'expected (M, 1, H, W) and M labels, M at least 1')
        self._images, self._labels = images, labels
        self._batch, self._seed, self._turn = batch, seed, turn
        self._mirror = turn if mirror is None else mirror

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, count: int, *place) -> Iterator[Batch]:
        """
        Yield (images, labels); see SiloData.

        :param place: anything with a repr that says where the batches are used, such as a round,
            a purpose and an owner.
        """
        for number in range(count):
            rng = np.random.default_rng(_integer(self._seed, place, number))
            chosen = torch.from_numpy(rng.integers(0, len(self), self._batch))
            yield self._turned(self._images[chosen], self._labels[chosen], rng)

    def _turned(self, images, labels, rng):
        turns = int(rng.integers(4)) if self._turn else 0
        mirror = self._mirror and bool(rng.integers(2))

        def turned(values):
            values = torch.rot90(values, turns, (-2, -1))
            return values.flip(-1) if mirror else values

        return turned(images), turned(labels) if labels.dim() == 3 else labels


def _integer(*values) -> int:
    return int.from_bytes(hashlib.sha256(repr(values).encode()).digest()[:8], 'big')
