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

"""A federation small enough for tests: four kinds of 8 x 8 images, a kind or two a silo."""

from fedefm_ros.federation.data import ArrayData
from fedefm_ros.federation.methods import Federation
from fedefm_ros.federation.methods import overlay_of
from fedefm_ros.federation.silo import StepOptions
from fedefm_ros.federation.silo import Workbench
from fedefm_ros.federation.store import StateStore
from fedefm_ros.federation.topology import create_topology
from fedefm_ros.federation.topology import uniform_network

import torch
from torch import nn


class TinyNet(nn.Module):
    """A convolution, a group norm and a linear head; dense features 4 x 4."""

    def __init__(self, classes=4, dense=False):
        super().__init__()
        self.convolution = nn.Conv2d(1, 8, 3, 2, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.head = nn.Conv2d(8, classes, 1) if dense else nn.Linear(8 * 16, classes)
        self.dense = dense

    def logits_and_features(self, x):
        """Return logits and dense features."""
        maps = self.norm(self.convolution(x)).relu()
        if self.dense:
            return nn.functional.interpolate(self.head(maps), scale_factor=2), maps
        return self.head(maps.flatten(1)), maps

    def forward(self, x):
        """Return the logits."""
        return self.logits_and_features(x)[0]


def images_of(kind, count, seed):
    """Return noisy images whose bright quarter says which of the kinds 0 to 3 they are."""
    generator = torch.Generator().manual_seed(100 * seed + kind)
    images = 0.5 * torch.randn(count, 1, 8, 8, generator=generator)
    row, column = divmod(kind, 2)
    images[:, :, 4 * row:4 * row + 4, 4 * column:4 * column + 4] += 1.5
    return images


def silo_of(kinds, seed=0, count=24, batch=8):
    """Return the data of a silo that has these kinds."""
    images = torch.cat([images_of(kind, count, seed) for kind in kinds])
    labels = torch.tensor(kinds).repeat_interleave(count)
    return ArrayData(images, labels, batch, seed, turn=False)


def all_kinds():
    """Return images and labels of all kinds."""
    return (torch.cat([images_of(kind, 25, 99) for kind in range(4)]),
            torch.arange(4).repeat_interleave(25))


def federation_of(name, kinds=((0,), (1,), (2,), (3,)), steps=6, folder=None, rate=0.5,
                  counts=None, momentum=0.0):
    """Return a federation for a method, with a silo for each tuple of kinds."""
    torch.manual_seed(3)
    bench = Workbench(TinyNet(), StepOptions(learning_rate=rate, momentum=momentum))
    silos = [silo_of(own, seed, (counts or {}).get(seed, 24)) for seed, own in enumerate(kinds)]
    topology = create_topology(overlay_of(name), uniform_network(len(kinds)), 1e6)
    return Federation(bench, silos, StateStore(folder), topology, steps)


def accuracy(bench, state):
    """Return the share of the test set that weights get right."""
    images, labels = all_kinds()
    return float((bench.logits(state, images).argmax(1) == labels).float().mean())


def difference(first, second):
    """Return the greatest difference between two states."""
    return max(float((first[key] - second[key]).abs().max()) for key in first)
