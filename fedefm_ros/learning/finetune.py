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

"""Fine-tune a network on a data set: seeded, resumable after any kill, stopped early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
import io
import json
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.learning.plan import FinetunePlan
from fedefm_ros.learning.tasks import export, task_of
from fedefm_ros.learning.trainer import single_threaded
from fedefm_ros.learning.trainer import TrainingPlan

import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter


class Finetuner:
    """
    One run in one folder.

    ``state.pt`` is what a killed run goes on from, ``model.safetensors`` the best weights so far,
    ``log.jsonl`` the validations, ``config.yaml`` the plan, ``samples.png`` pictures and
    ``tensorboard`` the curves.
    """

    def __init__(self, plan: FinetunePlan, folder: Path, device: str = 'cpu', workers: int = 0):
        """
        Set up a run, or go on with the one that lies in the folder.

        :param workers: processes that read images beside the training.
        :raises FedefmError: the data or the model cannot be used, or the folder holds a run of
            another plan.
        """
        self.plan = plan
        self.folder = folder
        self.device = torch.device(device)
        self._workers = workers
        self.task = task_of(plan)
        torch.manual_seed(plan.seed)
        network, self._spec = self.task.network()
        self.network = network.to(self.device)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(plan.ema),
            use_buffers=True)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
        self._schedule = TrainingPlan(
            steps=plan.steps, learning_rate=plan.learning_rate, warmup_steps=plan.warmup_steps,
            decay_share=plan.decay_share)
        self.step = 0
        self.log: list[dict] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        write_atomically(folder / 'config.yaml', plan.to_yaml().encode())

    @property
    def best(self) -> dict | None:
        """Return the validation of the weights that are kept; the first of equals."""
        return max(self.log, key=lambda row: row[self.task.score], default=None)

    @property
    def stopped_early(self) -> bool:
        """Return whether the score has not risen for as long as the plan has patience."""
        if not self.plan.patience or not self.log:
            return False
        return len(self.log) - 1 - self.log.index(self.best) >= self.plan.patience

    def run(self, report: Callable[[int, float], None] = lambda step, loss: None) -> None:
        """Train to the plan's end or until stopped early; ``report`` follows each step."""
        plan = self.plan
        if self.step >= plan.steps or self.stopped_early:
            return
        loader = DataLoader(self.task.samples(self.step * plan.batch), plan.batch,
                            num_workers=self._workers, worker_init_fn=single_threaded)
        with SummaryWriter(self.folder / 'tensorboard', purge_step=self.step + 1) as board:
            self.network.train()
            for image, target in loader:
                loss = self._train_step(image.to(self.device), target.to(self.device))
                board.add_scalar('loss', loss, self.step)
                board.add_scalar('learning_rate', self._optimiser.param_groups[0]['lr'], self.step)
                report(self.step, loss)
                if self.step % plan.check_every == 0 or self.step == plan.steps:
                    self._check(loss, board)
                    if self.stopped_early:
                        break

    def _train_step(self, image, target):
        for group in self._optimiser.param_groups:
            group['lr'] = self._schedule.learning_rate_at(self.step)
        with torch.autocast(self.device.type, torch.bfloat16, self.plan.mixed_precision):
            logits = self.network(image)
        loss = self.task.loss(logits, target)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        # Infinite gradients show up in their norm; a finite loss can have them.
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise FedefmError(
                f'the loss is {loss.item()} and its gradient {float(norm)} at step '
                f'{self.step + 1}: lower learning_rate, or check the data; the last good state '
                f'(step {self.log[-1]["step"] if self.log else 0}) is in {self.folder}')
        self._optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def _check(self, loss, board):
        """Validate, keep the best weights, write everything that a resumed run needs."""
        self.average.eval()
        scores = self.task.validate(self.average, self.device)
        for name, value in scores.items():
            board.add_scalar(f'validation/{name}', value, self.step)
        board.flush()
        self.log.append({'step': self.step, 'loss': loss, **scores})
        if self.best is self.log[-1]:
            export(self.folder / 'model.safetensors', self.average.module, self._spec, self.plan,
                   self.step, scores)
            self.task.picture(self.average, self.device, self.folder / 'samples.png')
        # The state last: whatever was written before it is written again alike after a kill.
        self._save()

    def _save(self):
        buffer = io.BytesIO()
        torch.save({'plan': json.dumps(asdict(self.plan)), 'step': self.step,
                    'log': json.dumps(self.log), 'network': self.network.state_dict(),
                    'average': self.average.state_dict(),
                    'optimiser': self._optimiser.state_dict()}, buffer)
        write_atomically(self.folder / 'state.pt', buffer.getvalue())
        lines = ''.join(json.dumps(row) + '\n' for row in self.log)
        write_atomically(self.folder / 'log.jsonl', lines.encode())

    def _resume(self):
        path = self.folder / 'state.pt'
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            plan = json.loads(state['plan'])
        except Exception as error:  # torch has no common type for damaged files
            raise FedefmError(f'{path} cannot be read ({" ".join(str(error).split())[:120]}); '
                              'remove it to begin anew') from error
        mine = json.loads(json.dumps(asdict(self.plan)))
        other = [key for key in mine if plan.get(key) != mine[key]]
        if other:
            raise FedefmError(f'{self.folder} holds a run with other {", ".join(other)}; give its '
                              'config.yaml, or another folder')
        self.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self._optimiser.load_state_dict(state['optimiser'])
        self.step, self.log = state['step'], json.loads(state['log'])
