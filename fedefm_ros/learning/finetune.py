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
from dataclasses import asdict, fields
import json
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.learning.loop import Loop
from fedefm_ros.learning.plan import FinetunePlan
from fedefm_ros.learning.tasks import export, task_of

import torch


class Finetuner(Loop):
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
        self.task = task_of(plan)
        self.mixed_precision = plan.mixed_precision
        self.loss = self.task.loss
        torch.manual_seed(plan.seed)
        network, self._spec = self.task.network()
        super().__init__(network, plan, folder, device, workers)
        self.log: list[dict] = []
        state = self.saved()
        if state:
            self._refuse_other_plan(state)
            self.resume(state)
            self.log = json.loads(state['log'])
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

    finished = stopped_early

    def run(self, report: Callable[[int, float], None] = lambda step, loss: None) -> None:
        """Train to the plan's end or until stopped early; ``report`` follows each step."""
        plan = self.plan
        if self.step < plan.steps and not self.stopped_early:
            self.follow(self.task.samples(self.step * plan.batch), plan.check_every, report)

    def check(self, loss: float) -> dict[str, float]:
        """Validate, keep the best weights, save the state; return the measures."""
        self.average.eval()
        scores = self.task.validate(self.average, self.device)
        self.log.append({'step': self.step, 'loss': loss, **scores})
        if self.best is self.log[-1]:
            spec = self.task.described(self._spec, self.average, self.device)
            export(self.folder / 'model.safetensors', self.average.module, spec, self.plan,
                   self.step, scores)
            self.task.picture(self.average, self.device, self.folder / 'samples.png')
        # The state last: whatever was written before it is written again alike after a kill.
        self.save(plan=json.dumps(asdict(self.plan)), log=json.dumps(self.log))
        lines = ''.join(json.dumps(row) + '\n' for row in self.log)
        write_atomically(self.folder / 'log.jsonl', lines.encode())
        return scores

    def _refuse_other_plan(self, state):
        # What a plan of an older version does not say is as by default.
        by_default = {field.name: field.default for field in fields(self.plan)}
        plan = {**by_default, **json.loads(state['plan'])}
        mine = json.loads(json.dumps(asdict(self.plan)))
        other = [key for key in mine if plan[key] != mine[key]]
        if other:
            raise FedefmError(f'{self.folder} holds a run with other {", ".join(other)}; give its '
                              'config.yaml, or another folder')
