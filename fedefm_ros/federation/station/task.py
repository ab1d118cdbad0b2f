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

"""What a station learns: its network, its own data, and a score on data it never trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import hashlib
import json
import math
from pathlib import Path
import time

from fedefm_ros import labels
from fedefm_ros.backbones import registry
from fedefm_ros.backbones.checkpoint import load_checkpoint
from fedefm_ros.backbones.checkpoint import ModelSpec
from fedefm_ros.backbones.checkpoint import save_checkpoint
from fedefm_ros.backbones.classifier import segmenter_from
from fedefm_ros.backbones.vit_classifier import VitClassifier
from fedefm_ros.errors import FedefmError
from fedefm_ros.experiments.foundation_task import CLASSES
from fedefm_ros.experiments.foundation_task import foundation_data
from fedefm_ros.experiments.foundation_task import FoundationRecipe
from fedefm_ros.federation.data import ArrayData
from fedefm_ros.federation.station.plan import kinds_of
from fedefm_ros.federation.station.plan import SIMULATED
from fedefm_ros.federation.station.plan import TaskPlan
from fedefm_ros.federation.station.shadow import compare
from fedefm_ros.federation.weights import State
from fedefm_ros.files import write_atomically
from fedefm_ros.learning.calibration import lowered_min_confidence
from fedefm_ros.learning.calibration import marked
from fedefm_ros.learning.datasets import open_dataset
from fedefm_ros.learning.shuffled import whole_frame
from fedefm_ros.learning.simulated import SimulatedFrames
from fedefm_ros.segmentation.engine import model_path
from fedefm_ros.segmentation.grey import grey_range
from fedefm_ros.segmentation.grey import to_network

import numpy as np

from safetensors.torch import save

import torch
from torch import nn


class Task:
    """
    A station's side of learning together.

    Attributes: plan, data (to train on), samples (how many those are), network (with the weights
    that all stations start from).
    """

    data: ArrayData
    #: Slowdowns up to which two tries do.
    _ALIKE = 1.1

    def __init__(self, plan: TaskPlan, network: nn.Module, arrays, held_out):
        self.plan = plan
        self.network = network
        self.data = ArrayData(*arrays, batch=plan.batch, seed=plan.seed)
        self.samples = len(self.data)
        self._held_out = held_out

    def score(self, network: nn.Module) -> dict[str, float]:
        """Return measures on the held-out data; `score`, 0 to 1, is the one that decides."""
        return self.measure(network, *self._held_out)

    def slowdowns(self, states: Sequence[State], used: State, repeats: int = 10) -> list[float]:
        """
        Return how many times as long as with the used weights an inference takes with others.

        The same network can differ: numbers too small for the normal range are slow ones. The
        shortest of several tries each, in turn, on a held-out image; fewer where all are as quick
        at once.
        """
        image, shortest = self._held_out[0][:1], [math.inf] * (len(states) + 1)
        with torch.inference_mode():
            for number in range(repeats):
                for k, state in enumerate((used, *states)):
                    self.network.load_state_dict(state)
                    network = self.network.eval()
                    began = time.perf_counter()
                    network(image)
                    shortest[k] = min(shortest[k], time.perf_counter() - began)
                if number >= 1 and max(shortest) <= self._ALIKE * shortest[0]:
                    break
        return [seconds / shortest[0] for seconds in shortest[1:]]

    def measure(self, network: nn.Module, images, truth) -> dict[str, float]:
        """Return the measures on other data of the same shapes."""
        raise NotImplementedError

    def shadow(self, candidate: State, used: State, frames: Sequence[np.ndarray]
               ) -> dict[str, float]:
        """Return what a candidate makes of a procedure's frames; see shadow.compare."""
        raise FedefmError(f'task {self.plan.task} makes no masks; set shadow_frames to 0')

    def export(self, path: Path, state: State, provenance: dict) -> str:
        """Write a model file that a station can load; return its id."""
        raise NotImplementedError

    def architecture_hash(self, momentum: bool = False) -> str:
        """
        Return a hex SHA-256 of names, shapes and types of all tensors and of the task.

        :param momentum: whether momentum travels with the weights.
        """
        table = [(key, str(value.dtype), list(value.shape))
                 for key, value in sorted(self.network.state_dict().items())]
        text = json.dumps([self.plan.task, type(self.network).__name__, table,
                           *(['momentum'] if momentum else [])])
        return hashlib.sha256(text.encode()).hexdigest()


class FoundationTask(Task):
    """Which kind of data an image is; see fedefm_ros.experiments.foundation_task."""

    def __init__(self, plan: TaskPlan, cache: Path | None = None):
        """Make or find the images of the plan's kinds."""
        torch.manual_seed(0)
        network = VitClassifier(len(CLASSES), 64, 2, 4, (16, 32, 48), plan.size)
        train, test = foundation_arrays(plan, kinds_of(plan.data), cache)
        super().__init__(plan, network, train, test)

    def measure(self, network, images, truth):
        """Return the accuracy."""
        with torch.inference_mode():
            found = torch.cat([network(part).argmax(1) for part in images.split(64)])
        return {'score': float((found == truth).float().mean())}

    def export(self, path, state, provenance):
        """Write the weights; they are an encoder to start from, no model that segments."""
        data = save({key: value.contiguous() for key, value in state.items()},
                    {'fedefm_ros_foundation': json.dumps(provenance, sort_keys=True)})
        write_atomically(path, data)
        return hashlib.sha256(data).hexdigest()[:16]


class SegmentationTask(Task):
    """Masks of catheter and guidewire."""

    def __init__(self, plan: TaskPlan):
        """Open or make the data and the network."""
        torch.manual_seed(0)
        if plan.model:
            start = load_checkpoint(model_path(plan.model))
            if start.spec.backbone == 'classifier':  # foundation weights: an encoder
                network, self._spec = segmenter_from(start.spec, start.state, plan.size)
            else:
                network, self._spec = start.network(), start.spec
            if hasattr(network, 'freeze_norms'):
                network.freeze_norms()
        else:
            self._spec = ModelSpec('compact', {'widths': list(plan.widths), 'full': 8,
                                               'norm': 'group'},
                                   input_size=plan.size)
            network = registry.create('compact', **self._spec.config)
        if plan.data.startswith(SIMULATED):
            train, test = simulated_arrays(plan, kinds_of(plan.data))
        else:
            train, test = _folder_arrays(plan)
        super().__init__(plan, network, train, test)

    def measure(self, network, images, truth):
        """Return pooled Dice of both classes, their mean, and the share of false pixels."""
        counts, wrong = torch.zeros(3, 2), 0.0
        with torch.inference_mode():
            for part, target in zip(images.split(4), truth.split(4)):
                found = network(part).argmax(1)
                for label in (1, 2):
                    ours, theirs = found == label, target == label
                    counts[label] += torch.stack([2.0 * (ours & theirs).sum(),
                                                  ours.sum() + theirs.sum()])
                wrong += float(((found > 0) & (target == 0)).sum())
        dice = counts[:, 0] / counts[:, 1].clamp(min=1)
        return {'score': float(dice[1:].mean()), 'dice_catheter': float(dice[1]),
                'dice_guidewire': float(dice[2]), 'false_share': wrong / truth.numel()}

    def shadow(self, candidate, used, frames):
        """Run both at the size at which the segmentation node runs them."""
        size = self._spec.input_size
        images = [torch.from_numpy(whole_frame(frame, np.zeros(frame.shape, np.uint8), size)[0]
                                   [None, None].astype(np.float32)) for frame in frames]
        return compare(self.network, candidate, used, images)

    def export(self, path, state, provenance):
        """Write a checkpoint that the segmentation node loads."""
        network = registry.create(self._spec.backbone, **self._spec.config)
        network.load_state_dict(state)
        least = lowered_min_confidence(self._spec.min_confidence, self._found(network.eval()))
        return save_checkpoint(path, network, replace(self._spec, min_confidence=least,
                                                      provenance=provenance))

    def _found(self, network):
        """Yield labels, probability of foreground (uint8) and truth of the held-out images."""
        with torch.inference_mode():
            for image, truth in zip(*self._held_out):
                chance = network(image[None]).softmax(dim=1)[0].numpy()
                yield *marked(chance), truth.numpy()


def make_task(plan: TaskPlan, cache: Path | None = None) -> Task:
    """Return the task of a plan, its data made or opened; raises FedefmError."""
    return FoundationTask(plan, cache) if plan.task == 'foundation' else SegmentationTask(plan)


def foundation_arrays(plan: TaskPlan, kinds: tuple[str, ...], cache: Path | None = None):
    """Return training and held-out (images, labels) of the classes of some kinds."""
    data = foundation_data(FoundationRecipe(plan.images, plan.held_out, plan.size), cache)
    return (_of_kinds(data.train_images, data.train_labels, kinds),
            _of_kinds(data.test_images, data.test_labels, kinds))


def _of_kinds(images, truth, kinds):
    taken = np.isin(truth, [k for k, name in enumerate(CLASSES) if name.split(',')[0] in kinds])
    return (torch.from_numpy(images[taken, None].astype(np.float32) / 127.5 - 1),
            torch.from_numpy(truth[taken]))


def simulated_arrays(plan: TaskPlan, kinds: tuple[str, ...]):
    """Return training and held-out (images, masks) of simulated frames of some kinds."""
    shares = dict.fromkeys(kinds, 1.0)
    return tuple(_stacked(_simulated(count, (plan.seed + 1) * 10_000 + 1_000_000 + offset, shares,
                                     plan.size))
                 for offset, count in ((0, plan.images), (5_000, plan.held_out)))


def _simulated(count: int, seed: int, shares: dict[str, float], size: int):
    frames = SimulatedFrames(1, seed, size=size, shares=shares)
    for number in range(count):
        image, truth = frames.frame(number)
        low, high = grey_range(image)
        yield to_network(image, low, high), truth.mask


def _folder_arrays(plan: TaskPlan):
    frames = open_dataset(plan.layout, plan.data)
    if tuple(frames.classes) != (labels.CATHETER, labels.GUIDEWIRE):
        raise FedefmError(f'{plan.data} marks one of the instruments only; federated segmentation '
                          'needs both')
    parts = frames.split({'train': 1 - plan.held_out_share, 'held_out': plan.held_out_share},
                         plan.seed)
    return tuple(_stacked(whole_frame(*pair, plan.size) for pair in parts[name])
                 for name in ('train', 'held_out'))


def _stacked(pairs) -> tuple[torch.Tensor, torch.Tensor]:
    images, masks = zip(*pairs)
    return (torch.from_numpy(np.stack(images)[:, None].astype(np.float32)),
            torch.from_numpy(np.stack(masks).astype(np.int64)))


def test_sets(plan: TaskPlan, kinds: tuple[str, ...], seed: int):
    """Return a task (for its network and measure), and images of each kind that no station has."""
    task = make_task(plan)
    if plan.task == 'foundation':
        data = foundation_data(FoundationRecipe(1, plan.held_out, plan.size, seed + 4000))
        return task, {kind: _of_kinds(data.test_images, data.test_labels, (kind,))
                      for kind in kinds}
    # Stations use seeds from (seed + 1) * 10,000 on; this one is of none.
    unseen = replace(plan, images=1, seed=seed + 5000)
    return task, {kind: simulated_arrays(unseen, (kind,))[1] for kind in kinds}
