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

"""What fine-tuning learns: masks of instruments, or labels of chest radiographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import cv2

from fedefm_ros import labels
from fedefm_ros.backbones import registry
from fedefm_ros.backbones.checkpoint import Checkpoint, load_checkpoint, ModelSpec
from fedefm_ros.backbones.checkpoint import save_checkpoint
from fedefm_ros.backbones.classifier import segmenter_from
from fedefm_ros.backbones.pretrained import initialise, Report
from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.learning.calibration import lowered_min_confidence, marked
from fedefm_ros.learning.datasets import open_dataset, ranzcr
from fedefm_ros.learning.losses import segmentation_loss
from fedefm_ros.learning.plan import FinetunePlan
from fedefm_ros.learning.samples import painted
from fedefm_ros.learning.shuffled import Shuffled, TrainingCrops, TrainingViews, whole_frame
from fedefm_ros.segmentation.grey import to_network
from fedefm_ros.segmentation.preprocess import prepare

import numpy as np

import torch
from torch import nn
from torch.nn import functional

_PICTURES = 12


class SegmentationTask:
    """Masks from images."""

    score = 'dice'
    """The measure that decides which weights are kept; more is better."""

    def __init__(self, plan: FinetunePlan):
        """Open the data and divide them by patient or sequence; raises FedefmError."""
        self.plan = plan
        self.pretrained: Report | None = None
        frames = open_dataset(plan.layout, plan.root, **plan.options)
        parts = frames.split({'train': 1 - plan.validation_share,
                              'val': plan.validation_share}, plan.seed)
        self.training, self.validation = parts['train'], parts['val']

    def network(self) -> tuple[nn.Module, ModelSpec]:
        """Return the network with the weights it starts from, and its description."""
        plan = self.plan
        if plan.checkpoint:
            start = load_checkpoint(plan.checkpoint)
            if start.spec.backbone == 'classifier':
                return segmenter_from(start.spec, start.state, plan.size)
            if tuple(start.spec.labels) != labels.NAMES:
                raise FedefmError(f'{plan.checkpoint} is a model of {", ".join(start.spec.labels)}'
                                  f', not of {", ".join(labels.NAMES)}')
            return start.network(), replace(start.spec, input_size=plan.size)
        network = registry.create(plan.backbone, **plan.config)
        if plan.pretrained:
            self.pretrained = initialise(network, plan.pretrained)
        return network, ModelSpec(plan.backbone, plan.config, input_size=plan.size)

    def samples(self, first: int) -> Shuffled:
        """Return the training samples from number ``first`` on."""
        return TrainingCrops(self.training, self.plan, first)

    def loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar."""
        return segmentation_loss(logits, target, self.plan.centreline_share,
                                 self.plan.foreground_weight)

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return pooled Dice of each class that the set marks and shows, and their mean."""
        counts = {label: np.zeros(2) for label in self.validation.classes}
        for index in range(len(self.validation)):
            image, truth = whole_frame(*self.validation[index], self.plan.size)
            found = _labels(network, image, device)
            for label, count in counts.items():
                count += (2 * ((found == label) & (truth == label)).sum(),
                          (found == label).sum() + (truth == label).sum())
        # Of a class that is neither there nor found nothing can be said.
        dice = {f'dice_{labels.NAMES[label]}': float(count[0] / count[1])
                for label, count in counts.items() if count[1]}
        return {**dice, 'dice': float(np.mean(list(dice.values()) or [0.0]))}

    def described(self, spec: ModelSpec, network: nn.Module, device: torch.device) -> ModelSpec:
        """Return the description of weights, with how sure they must be: see calibration."""
        def results():
            for index in range(len(self.validation)):
                image, truth = whole_frame(*self.validation[index], self.plan.size)
                chance = _logits(network, image, device).softmax(dim=1)[0].numpy()
                yield *marked(chance), truth
        least = lowered_min_confidence(spec.min_confidence, results())
        return replace(spec, min_confidence=least)

    def picture(self, network: nn.Module, device: torch.device, path: Path) -> None:
        """Write frames of the validation part: truth on the left, what was found on the right."""
        tiles = []
        for index in _spread(len(self.validation)):
            image, truth = whole_frame(*self.validation[index], self.plan.size)
            grey = np.clip(image * 160 + 60, 0, 255).astype(np.uint8)
            pair = np.hstack([painted(grey, truth),
                              painted(grey, _labels(network, image, device))])
            tiles.append(cv2.resize(pair, (512, 256), interpolation=cv2.INTER_AREA))
        tiles += [np.zeros_like(tiles[0])] * (len(tiles) % 2)
        sheet = np.vstack([np.hstack(tiles[i:i + 2]) for i in range(0, len(tiles), 2)])
        write_atomically(path, cv2.imencode('.png', sheet)[1].tobytes())


class ClassificationTask:
    """The eleven labels of RANZCR, several of which may hold for an image."""

    score = 'auc'

    def __init__(self, plan: FinetunePlan):
        """Open the data and divide them by patient; raises FedefmError."""
        self.plan = plan
        self.pretrained: Report | None = None
        parts = ranzcr.read(Path(plan.root)).split(
            {'train': 1 - plan.validation_share, 'val': plan.validation_share}, plan.seed)
        self.training, self.validation = parts['train'], parts['val']

    def network(self) -> tuple[nn.Module, ModelSpec]:
        """Return the network; of a segmentation model the encoder's weights are taken."""
        plan, state = self.plan, None
        backbone, config = plan.backbone, plan.config
        if plan.checkpoint:
            start = load_checkpoint(plan.checkpoint)
            if tuple(start.spec.labels) == ranzcr.CLASSES:
                return start.network(), replace(start.spec, input_size=plan.size)
            backbone, config, state = start.spec.backbone, start.spec.config, start.state
            if backbone == 'classifier':  # of other labels, such as foundation weights
                state = _backbone_of(start)
                backbone, config = config['backbone'], config.get('config') or {}
        whole = {'backbone': backbone, 'config': config, 'classes': len(ranzcr.CLASSES)}
        network = registry.create('classifier', **whole)
        if state is not None:
            network.backbone.load_state_dict(state)
        if plan.pretrained:
            self.pretrained = initialise(network.backbone, plan.pretrained)
        return network, ModelSpec('classifier', whole, ranzcr.CLASSES, plan.size)

    def samples(self, first: int) -> Shuffled:
        """Return the training samples from number ``first`` on."""
        return TrainingViews(self.training, self.plan, first)

    def loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the binary cross-entropy, a scalar."""
        return functional.binary_cross_entropy_with_logits(logits.float(), target)

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """
        Return the measures on the validation part.

        ``auc``: mean area under the ROC curve of the labels of which both values occur (0.5 if
        of none). ``accuracy``: share of all labels that are right at 0.5. ``exact``: share of
        images with all eleven right.
        """
        from monai.metrics import compute_roc_auc
        scores, truths = [], []
        for image, truth in self.validation:
            prepared = prepare(image, self.plan.size)
            grey = to_network(prepared.image, prepared.low, prepared.high)
            scores.append(_logits(network, grey, device)[0])
            truths.append(torch.from_numpy(truth))
        score, truth = torch.stack(scores), torch.stack(truths)
        both = [c for c in range(truth.shape[1]) if 0 < float(truth[:, c].sum()) < len(truth)]
        auc = [compute_roc_auc(score[:, c], truth[:, c]) for c in both]
        right = (score > 0) == (truth > 0.5)
        return {'auc': float(np.mean(auc)) if auc else 0.5,
                'accuracy': float(right.float().mean()),
                'exact': float(right.all(dim=1).float().mean())}

    def described(self, spec: ModelSpec, network: nn.Module, device: torch.device) -> ModelSpec:
        """Return the description of weights: that of the run."""
        return spec

    def picture(self, network: nn.Module, device: torch.device, path: Path) -> None:
        """Write images of the validation part with the probability of each label."""
        tiles = []
        for index in _spread(len(self.validation)):
            image, truth = self.validation[index]
            prepared = prepare(image, self.plan.size)
            grey = to_network(prepared.image, prepared.low, prepared.high)
            chance = _logits(network, grey, device)[0].sigmoid()
            tile = cv2.cvtColor(cv2.resize(prepared.image, (384, 384)), cv2.COLOR_GRAY2BGR)
            for row, (name, p, t) in enumerate(zip(ranzcr.CLASSES, chance.tolist(), truth)):
                colour = (120, 255, 120) if (p > 0.5) == (t > 0.5) else (120, 120, 255)
                cv2.putText(tile, f'{name} {int(t)} {p:.2f}', (6, 16 + 15 * row),
                            cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
            tiles.append(tile)
        write_atomically(path, cv2.imencode('.png', np.vstack(tiles))[1].tobytes())


def task_of(plan: FinetunePlan) -> SegmentationTask | ClassificationTask:
    """Return what a plan asks for, its data opened; raises FedefmError."""
    return SegmentationTask(plan) if plan.task == 'segmentation' else ClassificationTask(plan)


def _backbone_of(start: Checkpoint) -> dict[str, torch.Tensor]:
    return {key.removeprefix('backbone.'): value for key, value in start.state.items()
            if key.startswith('backbone.')}


def export(path: Path, network: nn.Module, spec: ModelSpec, plan: FinetunePlan,
           step: int, scores: dict[str, float]) -> str:
    """Write weights as a checkpoint with where they come from; return the model id."""
    provenance = {'fine_tuned_on': f'{plan.layout}: {Path(plan.root).name}',
                  'plan': asdict(plan), 'steps_done': step, 'validation': scores}
    return save_checkpoint(path, network, replace(spec, provenance=provenance))


def _logits(network, grey, device):
    with torch.inference_mode():
        return network(torch.from_numpy(grey)[None, None].to(device)).float().cpu()


def _labels(network, grey, device):
    return _logits(network, grey, device).argmax(dim=1)[0].numpy()


def _spread(count: int) -> Sequence[int]:
    return sorted({int(i) for i in np.linspace(0, count - 1, min(_PICTURES, count))})
