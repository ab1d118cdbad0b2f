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

from collections.abc import Callable
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import time

from fedefm_ros.backbones.checkpoint import ModelSpec, save_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.calibration import choose_min_confidence
from fedefm_ros.learning.losses import cross_entropy_and_dice
from fedefm_ros.learning.simulated import SimulatedFrames

import numpy as np

import torch
from torch import nn
from torch.utils.data import DataLoader


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides the result of a training run."""

    steps: int = 8000
    batch: int = 6
    crop: int = 384
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 200
    decay_share: float = 0.35
    """Last share of the steps in which the learning rate falls to zero (as 1 - sqrt)."""
    ema: float = 0.998
    """Decay of the averaged weights, which are what is kept in the end."""
    foreground_weight: float = 4.0
    """Weight of instrument pixels in the cross-entropy."""
    parent: str = ''
    """Id of the model whose weights it starts from; none: random weights."""
    freeze_norms: bool = False
    """Keep the statistics of batch normalisation as the parent model has them."""
    seed: int = 1
    validation_frames: int = 64
    validation_seed: int = 900_001

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step: warm-up, plateau, decay."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        start = self.steps * (1.0 - self.decay_share)
        if step < start:
            return self.learning_rate
        return self.learning_rate * (1.0 - ((step - start) / (self.steps - start)) ** 0.5)


class Trainer:
    """One run: its network, its averaged copy, its optimiser and its files."""

    def __init__(self, network: nn.Module, plan: TrainingPlan, folder: Path,
                 device: str = 'cpu', workers: int = 1):
        """
        Set up a run, or go on with the one that lies in the folder.

        :param folder: where ``state.pt``, ``log.jsonl`` and the pictures go.
        :param workers: processes that simulate frames beside the training.
        """
        self.plan = plan
        self.folder = folder
        self.device = torch.device(device)
        if plan.freeze_norms:
            if not hasattr(network, 'freeze_norms'):
                raise FedefmError(f'{type(network).__name__} cannot freeze its normalisation; '
                                  'start from a compact model, or use finetune')
            network.freeze_norms()
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(plan.ema),
            use_buffers=True)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
        self._workers = workers
        self.step = 0
        #: Plans that earlier parts of this run followed, and until which step; none: it had one.
        self.earlier: list[dict] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self, report: Callable[[int, float], None] = lambda step, loss: None,
            check_every: int = 1000) -> None:
        """Train to the plan's last step; ``report`` is called after each step."""
        plan = self.plan
        frames = SimulatedFrames(plan.steps * plan.batch, plan.seed, plan.crop,
                                 first=self.step * plan.batch)
        loader = DataLoader(frames, plan.batch, num_workers=self._workers,
                            prefetch_factor=4 if self._workers else None,
                            worker_init_fn=single_threaded)
        self.network.train()
        for image, target in loader:
            loss = self._train_step(image, target)
            report(self.step, loss)
            if self.step % check_every == 0 or self.step == plan.steps:
                self._log(loss)
                self.save()

    def _train_step(self, image, target):
        for group in self._optimiser.param_groups:
            group['lr'] = self.plan.learning_rate_at(self.step)
        image = image.to(self.device, memory_format=torch.channels_last)
        target = target.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.network(image)
        loss = cross_entropy_and_dice(logits, target,
                                      foreground_weight=self.plan.foreground_weight)
        if not torch.isfinite(loss):
            raise FedefmError(f'the loss is {loss.item()} at step {self.step}: lower the learning '
                              f'rate; the last good state is in {self.folder}')
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def validate(self) -> dict[str, float]:
        """Return pooled Dice of the averaged weights on frames of a seed never trained on."""
        counts = np.zeros((3, 3))
        for probability, target in self._validation():
            found = probability.argmax(axis=0)
            for label in (1, 2):
                truth = target == label
                counts[label] += ((found == label) & truth).sum(), (found == label).sum(), \
                    truth.sum()
        dice = 2 * counts[:, 0] / np.maximum(counts[:, 1] + counts[:, 2], 1)
        return {'dice_catheter': float(dice[1]), 'dice_guidewire': float(dice[2])}

    def _validation(self):
        """Yield probabilities (3, H, W) and true labels (H, W) of whole frames."""
        frames = SimulatedFrames(1, self.plan.validation_seed, crop=512)
        self.average.eval()
        for scene in range(self.plan.validation_frames):
            image, target = frames.of_scene(scene)
            batch = image[None].to(self.device, memory_format=torch.channels_last)
            with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16):
                logits = self.average(batch)
            yield logits.float().softmax(dim=1)[0].cpu().numpy(), target.numpy()

    def min_confidence(self) -> float:
        """Return how sure the averaged weights have to be; chosen on the validation frames."""
        def results():
            for probability, target in self._validation():
                yield probability.argmax(axis=0).astype(np.uint8), \
                    np.rint(255 * (1 - probability[0])).astype(np.uint8), target
        return choose_min_confidence(results())[0]

    def export(self, path: Path, backbone: str, scores: dict[str, float],
               config: dict | None = None) -> str:
        """
        Write the averaged weights as a checkpoint with its provenance; return its id.

        :param config: what the backbone was made with, where not by its defaults.
        """
        spec = ModelSpec(backbone, config or {}, min_confidence=self.min_confidence(), provenance={
            'trained_on': 'simulated fluoroscopy (fedefm_ros.simulation)',
            'plan': asdict(self.plan), 'steps_done': self.step, 'validation': scores,
            **({'earlier_plans': self.earlier} if self.earlier else {})})
        return save_checkpoint(path, self.average.module, spec)

    def _log(self, loss):
        row = {'step': self.step, 'loss': loss, 'time': time.time(), **self.validate()}
        with open(self.folder / 'log.jsonl', 'a', encoding='utf-8') as log:
            log.write(json.dumps(row) + '\n')

    def save(self) -> None:
        """Write the state so that a run killed at any moment can go on from the last one."""
        part = self.folder / 'state.pt.part'
        torch.save({'plan': asdict(self.plan), 'step': self.step, 'earlier': self.earlier,
                    'network': self.network.state_dict(), 'average': self.average.state_dict(),
                    'optimiser': self._optimiser.state_dict()}, part)
        part.replace(self.folder / 'state.pt')

    def _resume(self):
        path = self.folder / 'state.pt'
        if not path.exists():
            return
        # Our own file, yet nothing but tensors and numbers is read from it.
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self._optimiser.load_state_dict(state['optimiser'])
        self.step = state['step']
        self.earlier = state.get('earlier', [])
        if state['plan'] != asdict(self.plan):
            self.earlier.append({'until_step': self.step, 'plan': state['plan']})


def single_threaded(_) -> None:
    """Keep a simulating process on one core: the network needs the others."""
    import cv2
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
