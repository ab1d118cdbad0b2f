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

"""Train a segmentation network on simulated frames; resumable, seeded, on CPU or CUDA."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
import json
from pathlib import Path
import time

from fedefm_ros.backbones.checkpoint import ModelSpec, save_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.learning.calibration import choose_min_confidence, marked
from fedefm_ros.learning.loop import Loop
from fedefm_ros.learning.losses import segmentation_loss
from fedefm_ros.learning.samples import validation_sheet
from fedefm_ros.learning.simulated import CROPS_PER_FRAME, SimulatedFrames
from fedefm_ros.simulation.config import SceneConfig

import numpy as np

import torch
from torch import nn


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides the result of a training run."""

    steps: int = 8000
    batch: int = 6
    crop: int = 384
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    optimiser: str = 'adamw'
    """One of optimisers.OPTIMISERS."""
    warmup_steps: int = 200
    decay_share: float = 0.35
    """Last share of the steps in which the learning rate falls to zero (as 1 - sqrt)."""
    ema: float = 0.998
    """Decay of the averaged weights, which are what is kept in the end."""
    foreground_weight: float = 4.0
    """Weight of instrument pixels in the cross-entropy."""
    centreline_share: float = 0.0
    """Of clDice in the loss."""
    class_entropy_weight: float = 0.0
    """Weight of the cross-entropy between catheter and guidewire where there is one."""
    parent: str = ''
    """Id of the model whose weights it starts from; none: random weights."""
    freeze_norms: bool = False
    """Keep the statistics of batch normalisation as the parent model has them."""
    added_images: int = 0
    """Images of a data set that come between the simulated ones."""
    added_share: float = 0.0
    """How often, 0 to 1."""
    added: str = ''
    """Hash of those images and masks."""
    scenes: tuple[str, ...] = ()
    """Kinds with settings that are not as by default: kind and hash of the settings."""
    scenes_at_once: int = 1
    """Scenes that take turns in the order of the samples."""
    crops_per_frame: int = CROPS_PER_FRAME
    patience: int = 0
    """Validations without a better mean Dice after which it stops and keeps the best weights
    instead of the last; 0: never."""
    seed: int = 1
    validation_frames: int = 64
    validation_seed: int = 900_001

    @staticmethod
    def default_order(batch: int, crop: int) -> dict[str, int]:
        """Return the scenes at once and crops of a frame that suit a size of batch and crop."""
        # Four batches' worth are for processes that share the work; each scene takes 5 MB.
        return {'scenes_at_once': 4 * batch if batch <= 8 else batch,
                'crops_per_frame': 1 if crop == 512 else CROPS_PER_FRAME}


class Trainer(Loop):
    """One run; its folder has ``state.pt``, ``log.jsonl``, ``samples.png``, ``tensorboard``."""

    memory_format = torch.channels_last
    mixed_precision = True

    def __init__(self, network: nn.Module, plan: TrainingPlan, folder: Path,
                 device: str = 'cpu', workers: int = 1,
                 added: Sequence[tuple[np.ndarray, np.ndarray]] = (),
                 scenes: tuple[SceneConfig, ...] = ()):
        """
        Set up a run, or go on with the one that lies in the folder.

        :param workers: processes that simulate frames beside the training.
        :param added: images and masks, 512 x 512, that the plan's ``added_share`` is of.
        :param scenes: settings of kinds that the plan's ``scenes`` names; validation frames are
            of the default ones.
        """
        if len(added) != plan.added_images:
            raise FedefmError(f'the plan has {plan.added_images} added images, not {len(added)}')
        if len(scenes) != len(plan.scenes):
            raise FedefmError(f'the plan has settings of {len(plan.scenes)} kind(s), not of '
                              f'{len(scenes)}')
        self._added = added
        self._scenes = scenes
        if plan.freeze_norms:
            if not hasattr(network, 'freeze_norms'):
                raise FedefmError(f'{type(network).__name__} cannot freeze its normalisation; '
                                  'start from a compact model, or use finetune')
            network.freeze_norms()
        super().__init__(network, plan, folder, device, workers)
        #: Plans that earlier parts of this run followed, and until which step; none: it had one.
        self.earlier: list[dict] = []
        #: One row a validation.
        self.log: list[dict] = []
        self._best = None
        state = self.saved()
        if state:
            self.resume(state)
            self.earlier = state.get('earlier', [])
            self.log = json.loads(state['log']) if 'log' in state else self._read_log()
            # What a plan of an older version does not say is as by default.
            before = {**{one.name: one.default for one in fields(plan)}, **state['plan']}
            if before != asdict(plan):
                self.earlier.append({'until_step': self.step, 'plan': before})
            if before['validation_frames'] == plan.validation_frames:
                self._best = state.get('best')
            self._write_log()

    def run(self, report: Callable[[int, float], None] = lambda step, loss: None,
            check_every: int = 1000) -> None:
        """Train to the plan's end or until stopped early; ``report`` follows each step."""
        if not self.finished:
            self.follow(self.samples, check_every, report)

    @property
    def finished(self) -> bool:
        """Return whether the mean Dice has not risen for as long as the plan has patience."""
        if not self.plan.patience or self._best is None:
            return False
        return sum(row['step'] > self._best['step'] for row in self.log) >= self.plan.patience

    def keep_best(self) -> int:
        """
        Go back to the best averaged weights of a run with patience; return their step.

        Without patience the last ones stay.
        """
        if not self.plan.patience or self._best is None:
            return self.step
        self.average.load_state_dict(self._best['weights'])
        return self._best['step']

    @property
    def samples(self) -> SimulatedFrames:
        """Return the crops that are still to be trained on."""
        plan = self.plan
        return SimulatedFrames(plan.steps * plan.batch, plan.seed, plan.crop,
                               first=self.step * plan.batch, added=self._added,
                               added_share=plan.added_share, configs=self._scenes,
                               scenes_at_once=plan.scenes_at_once,
                               crops_per_frame=plan.crops_per_frame)

    def loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return cross-entropy and Dice loss, and what more the plan says; a scalar."""
        return segmentation_loss(logits, target, self.plan.centreline_share,
                                 self.plan.foreground_weight, self.plan.class_entropy_weight)

    def check(self, loss: float) -> dict[str, float]:
        """Validate, save the state, write log and pictures; return the measures."""
        scores = self.validate()
        self.log.append({'step': self.step, 'loss': loss, 'time': time.time(), **scores})
        mean = (scores['dice_catheter'] + scores['dice_guidewire']) / 2
        if self._best is None or mean > self._best['mean']:
            self._best = {'step': self.step, 'mean': mean, 'weights': {
                name: value.clone() for name, value in self.average.state_dict().items()}}
        # The state first: a log with rows that it lacks would have them twice after a kill.
        self.save(plan=asdict(self.plan), earlier=self.earlier, log=json.dumps(self.log),
                  best=self._best)
        self._write_log()
        self.picture()
        return scores

    def _read_log(self):
        """Return the rows that a run of an older version appended to its file."""
        path = self.folder / 'log.jsonl'
        if not path.exists():
            return []
        rows = {row['step']: row for row in map(json.loads, path.read_text().splitlines())}
        return [row for step, row in sorted(rows.items()) if step <= self.step]

    def _write_log(self):
        lines = ''.join(json.dumps(row) + '\n' for row in self.log)
        write_atomically(self.folder / 'log.jsonl', lines.encode())

    def picture(self) -> Path:
        """Write frames never trained on with what the averaged weights find; return the path."""
        path = self.folder / 'samples.png'
        self.average.eval()
        count = min(12, self.plan.validation_frames // 2 * 2) or 1
        validation_sheet(self.average, self.device, self.plan.validation_seed, path, count)
        return path

    def validate(self) -> dict[str, float]:
        """Return pooled Dice of the averaged weights on frames of a seed never trained on."""
        counts = np.zeros((3, 3))
        for probability, target in self._validation(self.plan.validation_frames):
            found = probability.argmax(axis=0)
            for label in (1, 2):
                truth = target == label
                counts[label] += ((found == label) & truth).sum(), (found == label).sum(), \
                    truth.sum()
        dice = 2 * counts[:, 0] / np.maximum(counts[:, 1] + counts[:, 2], 1)
        return {'dice_catheter': float(dice[1]), 'dice_guidewire': float(dice[2])}

    def _validation(self, count):
        """Yield probabilities (3, H, W) and true labels (H, W) of whole frames."""
        frames = SimulatedFrames(1, self.plan.validation_seed, crop=512)
        self.average.eval()
        for scene in range(count):
            image, target = frames.of_scene(scene)
            batch = image[None].to(self.device, memory_format=torch.channels_last)
            with torch.inference_mode(), self.precision():
                logits = self.average(batch)
            yield logits.float().softmax(dim=1)[0].cpu().numpy(), target.numpy()

    def min_confidence(self) -> float:
        """
        Return how sure the averaged weights have to be of a piece of foreground.

        Chosen on four times as many frames as scores are of: few pieces are in doubt.
        """
        def results():
            for probability, target in self._validation(4 * self.plan.validation_frames):
                yield *marked(probability), target
        return choose_min_confidence(results())[0]

    def export(self, path: Path, backbone: str, scores: dict[str, float],
               config: dict | None = None, step: int | None = None) -> str:
        """
        Write the averaged weights as a checkpoint with its provenance; return its id.

        :param config: what the backbone was made with, where not by its defaults.
        :param step: that the weights are of; None: the last.
        """
        spec = ModelSpec(backbone, config or {}, min_confidence=self.min_confidence(), provenance={
            'trained_on': 'simulated fluoroscopy (fedefm_ros.simulation)',
            'plan': asdict(self.plan), 'steps_done': self.step if step is None else step,
            'validation': scores,
            **({'earlier_plans': self.earlier} if self.earlier else {})})
        return save_checkpoint(path, self.average.module, spec)
