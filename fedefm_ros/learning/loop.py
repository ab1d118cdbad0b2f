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

"""The loop of a training run: seeded, resumable after any kill, its curves on TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
import io
from pathlib import Path

from fedefm_ros.arithmetic import has_bf16
from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.learning.optimisers import optimiser_of
from fedefm_ros.memory import keep_freed_memory

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def learning_rate_at(plan, step: int) -> float:
    """Return the learning rate of a plan's step: warm-up, plateau, decay (as 1 - sqrt)."""
    if step < plan.warmup_steps:
        return plan.learning_rate * (step + 1) / plan.warmup_steps
    start = plan.steps * (1.0 - plan.decay_share)
    if step < start:
        return plan.learning_rate
    return plan.learning_rate * (1.0 - ((step - start) / (plan.steps - start)) ** 0.5)


class Loop:
    """
    A network, its averaged copy, its optimiser, and the state that a killed run goes on from.

    A kind of run adds ``loss``, ``check``, what else belongs into the state, and ``finished``.
    """

    memory_format = torch.contiguous_format
    mixed_precision = False
    """Compute in bf16 where torch does so safely and the device has instructions for it."""
    finished = False
    """Whether the run ends before its plan's last step."""

    def __init__(self, network: nn.Module, plan, folder: Path, device: str, workers: int):
        """
        Set up; nothing is read or written but that the folder is made.

        :param plan: has ``steps``, ``batch``, ``learning_rate``, ``warmup_steps``,
            ``decay_share``, ``weight_decay``, ``ema`` and ``optimiser``.
        :param workers: processes that make samples beside the training.
        """
        self.plan = plan
        self.folder = folder
        self.device = torch.device(device)
        self.network = network.to(self.device, memory_format=self.memory_format)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.network, multi_avg_fn=_moving_average(plan.ema),
            use_buffers=True)
        self._optimiser = optimiser_of(self.network, plan.optimiser, plan.learning_rate,
                                       plan.weight_decay)
        self._workers = workers
        self._in_bf16 = self.mixed_precision and has_bf16(device)
        self.step = self._saved = 0
        folder.mkdir(parents=True, exist_ok=True)

    def outputs(self, image: torch.Tensor) -> torch.Tensor:
        """Return what the network gives for a batch."""
        return self.network(image.to(self.device, memory_format=self.memory_format))

    def on_device(self, target: torch.Tensor) -> torch.Tensor:
        """Return a batch's targets where the network computes."""
        return target.to(self.device)

    def loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar."""
        raise NotImplementedError

    def check(self, loss: float) -> dict[str, float]:
        """Validate, write what the run leaves behind and the state; return the measures."""
        raise NotImplementedError

    def follow(self, samples: Dataset, check_every: int,
               report: Callable[[int, float], None]) -> None:
        """Train to the plan's last step or until finished; ``report`` follows each step."""
        from torch.utils.tensorboard import SummaryWriter
        loader = DataLoader(samples, self.plan.batch, num_workers=self._workers,
                            prefetch_factor=4 if self._workers else None,
                            worker_init_fn=single_threaded)
        # Curves of steps that a killed run did not save are left out: it takes them again.
        with SummaryWriter(self.folder / 'tensorboard', purge_step=self.step + 1) as board:
            self.network.train()
            for image, target in loader:
                loss = self._train_step(image, target)
                board.add_scalar('loss', loss, self.step)
                board.add_scalar('learning_rate', self._optimiser.param_groups[0]['lr'], self.step)
                report(self.step, loss)
                if self.step % check_every == 0 or self.step == self.plan.steps:
                    for name, value in self.check(loss).items():
                        board.add_scalar(f'validation/{name}', value, self.step)
                    board.flush()
                    if self.finished:
                        break

    def _train_step(self, image, target):
        for group in self._optimiser.param_groups:
            group['lr'] = learning_rate_at(self.plan, self.step)
        with self.precision():
            logits = self.outputs(image)
        loss = self.loss(logits, self.on_device(target))
        self._optimiser.zero_grad()
        loss.backward()
        # Infinite gradients show up in their norm; a finite loss can have them.
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise FedefmError(
                f'the loss is {loss.item()} and its gradient {float(norm)} at step '
                f'{self.step + 1}: lower learning_rate, or check the data; the last good state '
                f'(step {self._saved}) is in {self.folder}')
        self._optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def precision(self) -> torch.autocast:
        """Return the context in which the network computes."""
        return torch.autocast(self.device.type, torch.bfloat16, self._in_bf16)

    def save(self, **more) -> None:
        """Write the state so that a run killed at any moment can go on from the last one."""
        buffer = io.BytesIO()
        torch.save({**more, 'step': self.step, 'network': self.network.state_dict(),
                    'average': self.average.state_dict(),
                    'optimiser': self._optimiser.state_dict()}, buffer)
        write_atomically(self.folder / 'state.pt', buffer.getvalue())
        self._saved = self.step

    def saved(self) -> dict | None:
        """Return the state in the folder, None where there is none; FedefmError if damaged."""
        path = self.folder / 'state.pt'
        if not path.exists():
            return None
        try:
            # Nothing but tensors, numbers and text is read from it.
            return torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:  # torch has no common type for damaged files
            raise FedefmError(f'{path} cannot be read ({" ".join(str(error).split())[:120]}); '
                              'remove it to begin anew') from error

    def resume(self, state: dict) -> None:
        """Go on from a state; FedefmError if it is of another network, optimiser or length."""
        if state['step'] > self.plan.steps:
            raise FedefmError(f'the run in {self.folder} has taken {state["step"]} steps already, '
                              f'of {self.plan.steps} now: give it more, or take another folder')
        try:
            self.network.load_state_dict(state['network'])
            self.average.load_state_dict(state['average'])
        except RuntimeError as error:
            raise FedefmError(f'the run in {self.folder} is of another network '
                              f'({" ".join(str(error).split())[:120]}); name that, or take '
                              'another folder') from error
        try:
            self._optimiser.load_state_dict(state['optimiser'])
        except (KeyError, ValueError) as error:
            raise FedefmError(f'the run in {self.folder} is of another optimiser than '
                              f'{self.plan.optimiser}; name that, or take another folder') \
                from error
        self.step = self._saved = state['step']


def single_threaded(_) -> None:
    """Keep a process that makes samples on one core: the network needs the others."""
    import cv2
    keep_freed_memory()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _moving_average(decay: float):
    """
    Return an exponential moving average whose decay grows to this, as (1 + n) / (10 + n).

    With the whole decay from the first step on, random first weights would still be a tenth of
    the average after 1,000 steps at 0.998.
    """
    def update(averaged, current, number):
        now = min(decay, (1 + int(number)) / (10 + int(number)))
        torch.optim.swa_utils.get_ema_multi_avg_fn(now)(averaged, current, number)
    return update
