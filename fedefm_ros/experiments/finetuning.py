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

"""Fine-tuning with few labels: segmentation from foundation weights and from random ones."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
import hashlib
import json
from pathlib import Path

from fedefm_ros import labels
from fedefm_ros.backbones import registry
from fedefm_ros.backbones.checkpoint import load_checkpoint
from fedefm_ros.backbones.classifier import encoder_weights
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.metrics import confusion
from fedefm_ros.evaluation.metrics import dice
from fedefm_ros.evaluation.metrics import iou
from fedefm_ros.evaluation.published import Published
from fedefm_ros.experiments.labelled_frames import chosen_scenes
from fedefm_ros.experiments.labelled_frames import FrameRecipe
from fedefm_ros.experiments.labelled_frames import labelled_frames
from fedefm_ros.experiments.labelled_frames import LabelledFrames
from fedefm_ros.experiments.labelled_frames import random_crops
from fedefm_ros.experiments.presets import load_preset
from fedefm_ros.experiments.run import Job
from fedefm_ros.experiments.run import MODEL
from fedefm_ros.files import write_atomically
from fedefm_ros.learning.loop import learning_rate_at
from fedefm_ros.learning.losses import segmentation_loss
from fedefm_ros.paths import config_dir

import numpy as np

import torch
from torch import nn

import yaml

#: The experiments of this module.
NAMES = ('finetune', 'backbones')
SCRATCH = 'scratch'


@dataclass(frozen=True)
class Tuning:
    """How a network is trained: AdamW, the same steps however few the labels."""

    steps: int = 300
    batch: int = 8
    crop: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    #: Last share of the steps in which the rate falls to zero.
    decay_share: float = 0.5
    weight_decay: float = 1e-2
    #: Of instrument pixels in the cross-entropy.
    foreground_weight: float = 4.0


@dataclass(frozen=True)
class TuningPreset:
    """What decides an experiment, but for its seeds."""

    #: Preset of `foundation` whose runs (of seed 1) give the weights.
    foundation: str
    #: SCRATCH or methods of that preset.
    starts: tuple[str, ...]
    #: Shares of the training scenes whose labels are given.
    shares: tuple[float, ...]
    seeds: int
    data: FrameRecipe
    tuning: Tuning
    #: Label -> {backbone, config}; empty: the foundation's network alone.
    networks: dict[str, dict] = field(default_factory=dict)


@dataclass(frozen=True)
class TuningJob:
    """One run: a network, where its weights come from, a share of the labels, a seed."""

    network: str
    backbone: str
    config: dict
    start: str
    #: Foundation checkpoint; None for random weights.
    checkpoint: Path | None
    share: float
    seed: int
    preset: TuningPreset
    folder: Path

    @property
    def place(self) -> Path:
        """Return the file of this run's figures."""
        name = f'{self.network}-{self.start}-{round(1000 * self.share)}-seed{self.seed}.json'
        return self.folder / 'runs' / name.replace(' ', '_')

    def identity(self) -> dict:
        """Return plain values of all that decides the run."""
        weights = hashlib.sha256(self.checkpoint.read_bytes()).hexdigest() \
            if self.checkpoint else ''
        values = {'backbone': self.backbone, 'config': self.config, 'weights': weights,
                  'share': self.share, 'seed': self.seed, 'data': asdict(self.preset.data),
                  'tuning': asdict(self.preset.tuning)}
        return json.loads(json.dumps(values))


def load_tuning_preset(experiment: str, name: str) -> TuningPreset:
    """Return a preset; raises FedefmError for an unknown one or a bad file, naming the field."""
    folder = config_dir() / 'experiments'
    path = folder / f'{experiment}-{name}.yaml'
    if not path.is_file():
        known = sorted(found.stem.removeprefix(f'{experiment}-')
                       for found in folder.glob(f'{experiment}-*.yaml'))
        raise FedefmError(f'no preset {name!r} of experiment {experiment!r}; there are '
                          f'{", ".join(known) or "none"}')
    try:
        return read_tuning_preset(yaml.safe_load(path.read_text(encoding='utf-8')))
    except (yaml.YAMLError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise FedefmError(f'{path}: {error}') from error


def read_tuning_preset(values: dict) -> TuningPreset:
    """Return the preset of a mapping as in the files; raises TypeError, KeyError, FedefmError."""
    values = dict(values)
    unknown = sorted(set(values) - {one.name for one in fields(TuningPreset)})
    if unknown:
        raise FedefmError(f'unknown field {unknown[0]!r}; expected '
                          f'{", ".join(one.name for one in fields(TuningPreset))}')
    made = TuningPreset(data=FrameRecipe(**values.pop('data')),
                        tuning=Tuning(**values.pop('tuning')),
                        starts=tuple(values.pop('starts')),
                        shares=tuple(map(float, values.pop('shares'))), **values)
    if not made.shares or not all(0 < share <= 1 for share in made.shares):
        raise FedefmError(f'shares {made.shares}; expected shares of the labels above 0, up to 1')
    if made.tuning.crop % 32 or not 32 <= made.tuning.crop <= made.data.size:
        raise FedefmError(f'crop {made.tuning.crop}; expected a multiple of 32, at most '
                          f'{made.data.size}, the side of a frame')
    return made


def foundation_jobs(preset: TuningPreset, folder: Path) -> dict[str, Job]:
    """Return the runs, by method, that make the weights a preset starts from."""
    foundation = load_preset('foundation', preset.foundation)
    entries = {entry.name: entry for entry in foundation.entries}
    wanted = [start for start in preset.starts if start != SCRATCH]
    for start in wanted:
        if start not in entries:
            raise FedefmError(f'start {start!r}; expected {SCRATCH}, {", ".join(entries)}')
    return {start: Job(foundation, entries[start], 1, folder) for start in wanted}


def tuning_jobs(preset: TuningPreset, seeds: Sequence[int], folder: Path,
                foundations: dict[str, Job]) -> list[TuningJob]:
    """Return all runs, seed by seed."""
    source = dict(load_preset('foundation', preset.foundation).network)
    networks = preset.networks or {source['backbone']: {
        'backbone': source['backbone'], 'config': source.get('config', {})}}
    return [TuningJob(label, made['backbone'], made.get('config', {}), start,
                      foundations[start].place / MODEL if start != SCRATCH else None,
                      share, seed, preset, folder)
            for seed in seeds for share in preset.shares
            for label, made in networks.items() for start in preset.starts]


def run_tuning(job: TuningJob, report: Callable[[int], None] = lambda step: None
               ) -> dict | None:
    """
    Return the figures of a run on test frames of other scenes; read one that is done.

    None where a foundation has no weight that fits the network: that would be random weights.
    """
    identity = job.identity()
    if job.place.is_file():
        found = json.loads(job.place.read_text(encoding='utf-8'))
        if found.get('identity') == identity:
            return found['figures']
    training, test = labelled_frames(job.preset.data)
    scenes = chosen_scenes(job.preset.data, job.share, job.seed)
    network, taken = started(job)
    if job.checkpoint and not taken:
        return None
    loss = _tune(network, training.of_scenes(scenes), job, report)
    figures = {'network': job.network, 'start': job.start, 'share': job.share, 'seed': job.seed,
               'labelled_frames': len(scenes) * job.preset.data.frames,
               'weights_taken': taken, 'loss': loss,
               'parameters': sum(value.numel() for value in network.parameters()),
               **measured(network, test)}
    write_atomically(job.place, json.dumps({'identity': identity, 'figures': figures},
                                           indent=1).encode())
    return figures


def started(job: TuningJob) -> tuple[nn.Module, float]:
    """
    Return a run's network before its first step, and the share of its weights that was given.

    What has no counterpart of the same name and shape in the foundation (a decoder it never
    trained counts as such) is random, the same for all starts of a seed.
    """
    torch.manual_seed(job.seed)
    network = registry.create(job.backbone, **job.config)
    if job.checkpoint is None:
        return network, 0.0
    checkpoint = load_checkpoint(job.checkpoint)
    trained = encoder_weights(checkpoint.spec.config, checkpoint.state)
    own = network.state_dict()
    fitting = {key: value for key, value in trained.items()
               if key in own and own[key].shape == value.shape}
    network.load_state_dict({**own, **fitting})
    total = sum(value.numel() for value in own.values())
    return network, sum(value.numel() for value in fitting.values()) / total


def measured(network: nn.Module, frames: LabelledFrames) -> dict[str, float]:
    """
    Return the measures on whole frames.

    dice_* and iou_* of catheter and guidewire over the pixels of all frames together, dice and
    iou their means; and the three published evaluations' Dice, mIoU and Jaccard by the name of
    their code (fedefm_ros.evaluation.published).
    """
    network.eval()
    published, counts = Published(), np.zeros((3, 3), np.int64)
    with torch.inference_mode():
        for images, masks in zip(frames.images.split(16), frames.masks.split(16)):
            found = network(images[:, None]).argmax(1).to(torch.uint8).numpy()
            for one, truth in zip(found, masks.numpy()):
                table = confusion(one, truth)
                published.add(table)
                counts += table
    figures = {}
    for label in (labels.CATHETER, labels.GUIDEWIRE):
        sides = counts[label, label], counts[:, label].sum(), counts[label].sum()
        figures[f'dice_{labels.NAMES[label]}'] = float(dice(*sides))
        figures[f'iou_{labels.NAMES[label]}'] = float(iou(*sides))
    for kind in ('dice', 'iou'):
        figures[kind] = (figures[f'{kind}_catheter'] + figures[f'{kind}_guidewire']) / 2
    return figures | {f'{code}_{name}': value for code, values in published.values().items()
                      for name, value in values.items()}


def _tune(network: nn.Module, frames: LabelledFrames, job: TuningJob,
          report: Callable[[int], None]) -> float:
    plan = job.preset.tuning
    rng = np.random.default_rng((job.seed, round(1000 * job.share)))
    optimiser = torch.optim.AdamW(network.parameters(), plan.learning_rate,
                                  weight_decay=plan.weight_decay)
    network.train()
    value = float('nan')
    for step in range(plan.steps):
        for group in optimiser.param_groups:
            group['lr'] = learning_rate_at(plan, step)
        images, masks = random_crops(frames, rng, plan.batch, plan.crop)
        loss = segmentation_loss(network(images), masks,
                                 foreground_weight=plan.foreground_weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        value = float(loss.detach())
        report(step + 1)
    if not np.isfinite(value):
        raise FedefmError(f'{job.place.name}: the training diverged; use a smaller learning rate')
    return value
