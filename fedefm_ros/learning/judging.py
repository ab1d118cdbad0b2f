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

"""Train a judge of pieces (``segmentation.judge``): seeded, resumable after any kill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
import json
from pathlib import Path

from fedefm_ros.backbones.checkpoint import ModelSpec, read_description, read_file
from fedefm_ros.backbones.checkpoint import save_checkpoint
from fedefm_ros.backbones.piece_judge import BRANCHES, PieceJudge
from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.learning.judge_worth import check_validation, frames_of, said, said_of, worth
from fedefm_ros.learning.learnt_of import also_of, learnt_of
from fedefm_ros.learning.loop import Loop
from fedefm_ros.learning.piece_samples import TrainingPieces, walls_at_places
from fedefm_ros.learning.piece_truth import UNTOLD
from fedefm_ros.learning.pieces import Collection, Pieces, Some
from fedefm_ros.segmentation.judge import BACKBONE, MAX_BYTES
from fedefm_ros.segmentation.piece_network import ALONG, ANSWERS, COLUMNS, GRAIN, OF_RELATIONS
from fedefm_ros.segmentation.piece_network import WIDTHS
from fedefm_ros.segmentation.relations import LAYERS as RELATION_LAYERS

import numpy as np

from safetensors import SafetensorError
from safetensors.torch import load

import torch
from torch import nn

# How much a pixel's error counts in the loss of tips.
_TIP_PLACE = 0.3
# Pixels up to which an error of a wall counts by its square: about what is left of them.
_WALL_BEND = 0.1
# What of the network tells walls, by the beginnings of its weights' names.
_OF_WALLS = ('outline', 'walls')
# Bytes that a judge's file has besides its weights, at most.
_DESCRIPTION = 1 << 17


@dataclass(frozen=True)
class JudgePlan:
    """Everything that decides the result of a run, but the pieces."""

    steps: int = 6000
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 2e-2
    optimiser: str = 'adamw'
    widths: tuple[int, ...] = WIDTHS
    """Channels of the network's five layers over a strip."""
    along: int = ALONG
    """Channels of its layer along a strip."""
    warmup_steps: int = 200
    decay_share: float = 0.6
    """Last share of the steps in which the learning rate falls to zero (as 1 - sqrt)."""
    ema: float = 0.998
    """Decay of the averaged weights, which are what is kept in the end."""
    part_weight: float = 0.5
    """How much the loss of what the places are counts beside that of what the pieces are."""
    tip_weight: float = 0.5
    """How much the loss of where tips are counts beside it."""
    wall_weight: float = 1.0
    """How much the loss of where walls are counts beside it; 0: what tells walls is not trained,
    and stays as in ``start``."""
    whole_wall_weight: float = 0.0
    """How much the mean error along a piece counts beside that of its places: most of what is
    wrong of a wide instrument is its width as a whole."""
    walls_only: bool = False
    """Train what tells walls only, on pieces that have some; the rest and the limit stay as in
    ``start``, to the bit."""
    noise: float = 6.0
    """Largest deviation of the noise that is added to strips, in grey levels, of which a strip's
    own deviation is 32."""
    hidden: float = 0.0
    """Share of the pieces of which some stretches are hidden."""
    appearance: float = 0.0
    """Share of the pieces that are shown as another X-ray machine might show them."""
    kept: float = 0.975
    """Share of the true length that the limit has to leave, on the validation pieces."""
    start: str = ''
    """Id of the judge with whose weights the run begins; '' for random ones."""
    seed: int = 1


class JudgeTrainer(Loop):
    """One run; its folder has ``state.pt``, ``log.jsonl``, ``judge.safetensors``, curves."""

    memory_format = torch.channels_last

    def __init__(self, plan: JudgePlan, folder: Path, training: Pieces, validation: Pieces,
                 collections: Sequence[Collection], device: str = 'cpu', workers: int = 0,
                 start: Path | None = None):
        """
        Set up a run, or go on with the one that lies in the folder.

        :param collections: where the pieces come from, those of validation last.
        :param start: the judge of which the plan has the id.
        """
        self._training, self._validation = training, validation
        check_validation(validation)
        self._made_for = collections[0].made_for
        self._of = json.dumps({'plan': asdict(plan), 'collections': [
            asdict(one) for one in collections], 'pieces': [len(training), len(validation)]})
        torch.manual_seed(plan.seed)
        super().__init__(_network(plan, start), plan, folder, device, workers)
        if self.network.relations is not None:
            frames_of(validation)
        self._start, before = None, []
        if plan.start:
            self._start = read_description(read_file(start, MAX_BYTES))[0]
            before = learnt_of(self._start.provenance, start)
        if any(one.shows_frames_of(collections[-1]) for one in before):
            raise FedefmError(f'the validation pieces show frames that {start} was trained on: '
                              'collect some of another seed')
        self._learnt_of = also_of(before, collections[:-1])
        self.log: list[dict] = []
        state = self.saved()
        if state:
            if state.get('of') != self._of:
                raise FedefmError(f'{folder} holds a run of another plan or other pieces; take '
                                  'another folder')
            self.resume(state)
            self.log = json.loads(state['log'])

    def run(self, report: Callable[[int, float], None] = lambda step, loss: None,
            check_every: int = 1000) -> None:
        """Train to the plan's end; ``report`` follows each step."""
        first = self.step * self.plan.batch
        if self.step < self.plan.steps:
            pieces = self._training
            if self.plan.walls_only:
                known = np.isfinite(walls_at_places(pieces.walls)).any((1, 2))
                if not known.any():
                    raise FedefmError('none of the pieces has walls that could be learnt')
                pieces = Some(pieces, np.flatnonzero(known))
            self.follow(TrainingPieces(pieces, self.plan, first), check_every, report)

    def outputs(self, pieces: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """
        Return the logits of a batch, see ``PieceJudge``, and what it says of ends and walls.

        Of walls alone where nothing else is trained, None of them where they are not.
        """
        # What is dropped is the step's: a run that was stopped goes on as it would have.
        torch.manual_seed(1_000_003 * self.plan.seed + self.step)
        return said(self.network, *(one.to(self.device) for one in pieces),
                    others=not self.plan.walls_only, walls=self.plan.wall_weight > 0)

    def on_device(self, target: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Return a batch's targets where the network computes."""
        return tuple(one.to(self.device) for one in target)

    def loss(self, logits: tuple[torch.Tensor, ...],
             target: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """
        Return the cross-entropy of the pieces, and that of places, tips and walls, weighed.

        :param target: (B, 1 + places), what the piece is and each of its places; (B, 2, 2) how
            far from its ends the tips are; (B, places, 2) where its walls are; NaN where there is
            none.
        :returns: a scalar.
        """
        *others, walls = logits
        *told, true_walls = target
        loss = self._loss_of_others(*others, *told) if others else 0.0
        if walls is not None:
            loss = loss + self.plan.wall_weight * _loss_of_walls(walls, true_walls,
                                                                 self.plan.whole_wall_weight)
        return loss

    def _loss_of_others(self, answers, places, at_ends, told, tips):
        loss = nn.functional.cross_entropy(answers, told[:, 0])
        if (told[:, 1:] != UNTOLD).any():
            loss = loss + self.plan.part_weight * nn.functional.cross_entropy(
                places.flatten(0, 1), told[:, 1:].flatten(), ignore_index=UNTOLD)
        there = tips.isfinite().all(-1)
        of_tips = nn.functional.binary_cross_entropy_with_logits(at_ends[..., 0], there.float())
        if there.any():
            of_tips = of_tips + _TIP_PLACE * nn.functional.smooth_l1_loss(
                at_ends[there][:, 1:], tips[there], beta=0.5)
        return loss + self.plan.tip_weight * of_tips

    def check(self, loss: float) -> dict[str, float]:
        """Validate, write the judge, the state and the log; return the measures."""
        scores, limit = worth(self.average.module, self._validation, self.plan.kept, self.device)
        if self.plan.walls_only:
            limit = self._start.min_confidence
        self.log.append({'step': self.step, 'loss': loss, **scores})
        plain = self.average.module.folded()
        save_checkpoint(self.folder / 'judge.safetensors', plain, ModelSpec(
            BACKBONE, plain.config, ANSWERS, self._made_for['input_size'],
            min_confidence=limit, provenance={
                'made_for': self._made_for, 'plan': asdict(self.plan), 'steps_done': self.step,
                'pieces': len(self._training), 'frames': self._training.frames,
                'collections': json.loads(self._of)['collections'],
                'learnt_of': self._learnt_of, 'validation': scores,
                **({'start': self._start.provenance} if self.plan.walls_only else {})}))
        self.save(of=self._of, log=json.dumps(self.log))
        lines = ''.join(json.dumps(row) + '\n' for row in self.log)
        write_atomically(self.folder / 'log.jsonl', lines.encode())
        return scores

    def chances(self, pieces: Pieces) -> tuple[np.ndarray, ...]:
        """Return what the averaged weights say of pieces, see ``said_of``."""
        return said_of(self.average.module, pieces, self.device)


def _loss_of_walls(walls: torch.Tensor, true_walls: torch.Tensor,
                   of_wholes: float) -> torch.Tensor:
    """
    Return the loss of walls, (B, places, 2); those that are NaN count nothing.

    :param of_wholes: how much the mean errors of pieces, (B, 2), count beside it; each as much as
        it has places.
    """
    known = true_walls.isfinite()
    if not known.any():
        return 0.0 * walls.sum()
    loss = nn.functional.smooth_l1_loss(walls[known], true_walls[known], beta=_WALL_BEND)
    if of_wholes:
        count = known.sum(1)
        mean = torch.where(known, walls - true_walls, 0.0).sum(1) / count.clamp(min=1)
        each = nn.functional.smooth_l1_loss(mean, torch.zeros_like(mean), beta=_WALL_BEND,
                                            reduction='none')
        loss = loss + of_wholes * (each * count).sum() / count.sum()
    return loss


def _network(plan: JudgePlan, start: Path | None) -> PieceJudge:
    """
    Return a plan's network; raises FedefmError where it is larger than a judge may be.

    One that begins with a judge's weights has no norms, as that has none.
    """
    if not plan.wall_weight and (plan.walls_only or not plan.start):
        raise FedefmError('walls that count nothing stay as they are in a start, which is needed, '
                          'and cannot be all that is trained')
    theirs = _weights_of(start, plan) if plan.start else {}
    if not plan.walls_only:
        # They weigh what the start says, which is not what will be said in the end.
        theirs = {name: weights for name, weights in theirs.items()
                  if not name.startswith(OF_RELATIONS)}
    relates = any(name.startswith(OF_RELATIONS) for name in theirs)
    relations = [len(theirs.get(f'{OF_RELATIONS}{name}.bias', ()))
                 for name in RELATION_LAYERS[:-1]] if relates else []
    has = {'strip': 'layers.0.0.weight', 'overview': 'overview.0.0.weight',
           'ends': 'ends.0.0.weight', 'outline': 'outline.0.0.weight'}
    try:
        network = PieceJudge(plan.widths, plan.along, relations=relations, norms=[
            branch for branch in BRANCHES if has[branch] not in theirs])
    except ValueError as error:
        raise FedefmError(str(error)) from error
    size = 4 * sum(weights.numel() for weights in network.folded().parameters())
    if size > MAX_BYTES - _DESCRIPTION:
        raise FedefmError(f'a judge of widths {plan.widths} and {plan.along} has {size} bytes, '
                          f'at most {MAX_BYTES - _DESCRIPTION} are allowed')
    if plan.start:
        _begin_with(network, theirs, start, plan)
    if plan.walls_only and not plan.start:
        raise FedefmError('a judge of which only the walls are trained needs a start')
    untaught = [name for name in network.state_dict() if name not in theirs]
    if plan.walls_only:
        missing = [name for name in untaught if not name.startswith(_OF_WALLS)]
        if missing:
            raise FedefmError(f'{start} lacks more than what tells walls ({missing[0]}): train '
                              'all of it first')
        for name, weights in network.named_parameters():
            weights.requires_grad_(name.startswith(_OF_WALLS))
    if not plan.wall_weight and any(name.startswith(_OF_WALLS) for name in untaught):
        raise FedefmError(f'{start} cannot tell walls, and with a weight of 0 it would not learn '
                          'to: give walls a weight')
    return network


def _weights_of(start: Path | None, plan: JudgePlan) -> dict[str, torch.Tensor]:
    """Return the weights of the judge that a run begins with."""
    if start is None:
        raise FedefmError(f'the run begins with the judge {plan.start}: its file is needed')
    file = read_file(start, MAX_BYTES)
    if read_description(file)[0].backbone != BACKBONE or file.model_id != plan.start:
        raise FedefmError(f'{start} is not the judge {plan.start} that the run begins with')
    try:
        return load(file.data)
    except SafetensorError as error:
        raise FedefmError(f'{start} is damaged: {error}') from error


def _begin_with(network: PieceJudge, theirs: dict[str, torch.Tensor], start: Path,
                plan: JudgePlan) -> None:
    """Take a judge's weights, but for layers that it has not: judges once had fewer."""
    mine = network.state_dict()
    # One of an earlier version told the places more coarsely.
    for name in ('part_answer.weight', 'part_answer.bias'):
        if name in theirs and len(theirs[name]) == len(ANSWERS):
            theirs[name] = theirs[name].repeat(COLUMNS // GRAIN, *[1] * (theirs[name].ndim - 1))
    # One of an earlier version saw walls in fewer channels; where the line is and what it is there
    # were the last ones, as now.
    first = theirs.get('outline.0.0.weight')
    if first is not None:
        more = mine['outline.0.0.weight'].shape[1] - first.shape[1]
        zeros = first.new_zeros(len(first), max(more, 0), *first.shape[2:])
        theirs['outline.0.0.weight'] = torch.cat([first[:, :-2], zeros, first[:, -2:]], 1)
    wrong = [name for name, weights in theirs.items()
             if name not in mine or mine[name].shape != weights.shape]
    if wrong:
        raise FedefmError(f'{start} has other layers than widths {plan.widths} and {plan.along} '
                          f'make: {", ".join(wrong[:3])}')
    network.load_state_dict(theirs, strict=False)
