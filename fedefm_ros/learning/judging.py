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

from fedefm_ros import labels
from fedefm_ros.backbones.checkpoint import ModelSpec, read_description, read_file
from fedefm_ros.backbones.checkpoint import save_checkpoint
from fedefm_ros.backbones.piece_judge import PieceJudge, scaled
from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.learning.loop import Loop
from fedefm_ros.learning.pieces import Collection, Pieces, UNTOLD
from fedefm_ros.learning.shuffled import Shuffled
from fedefm_ros.segmentation.division import divided
from fedefm_ros.segmentation.judge import BACKBONE, MAX_BYTES
from fedefm_ros.segmentation.piece_network import ALONG, ANSWERS, COLUMNS, WIDTHS
from fedefm_ros.segmentation.strips import MEAN_GREY, OF_FIRST_END, OF_LAST_END

import numpy as np

from safetensors import SafetensorError
from safetensors.torch import load

from scipy.stats import rankdata

import torch
from torch import nn

#: Shares of the true length at which false instruments are counted.
KEPT = (0.98, 0.96, 0.94, 0.92)
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
        if not (0 < np.count_nonzero(validation.answers) < len(validation)):
            raise FedefmError('validation needs pieces that are instruments and such that are '
                              'none')
        self._made_for = collections[0].made_for
        self._of = json.dumps({'plan': asdict(plan), 'collections': [
            asdict(one) for one in collections], 'pieces': [len(training), len(validation)]})
        torch.manual_seed(plan.seed)
        super().__init__(_network(plan, start), plan, folder, device, workers)
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
            self.follow(_TrainingStrips(self._training, self.plan, first), check_every, report)

    def outputs(self, pieces: tuple[torch.Tensor, torch.Tensor]
                ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of a batch, see ``PieceJudge``."""
        # What is dropped is the step's: a run that was stopped goes on as it would have.
        torch.manual_seed(1_000_003 * self.plan.seed + self.step)
        return self.network(*self._taken(*pieces))

    def loss(self, logits: tuple[torch.Tensor, torch.Tensor],
             target: torch.Tensor) -> torch.Tensor:
        """
        Return the cross-entropy of the pieces and, weighed, that of their places, a scalar.

        :param target: (B, 1 + places): what the piece is, and each of its places.
        """
        whole = nn.functional.cross_entropy(logits[0], target[:, 0])
        if not (target[:, 1:] != UNTOLD).any():
            return whole
        return whole + self.plan.part_weight * nn.functional.cross_entropy(
            logits[1].flatten(0, 1), target[:, 1:].flatten(), ignore_index=UNTOLD)

    def check(self, loss: float) -> dict[str, float]:
        """Validate, write the judge, the state and the log; return the measures."""
        chances, places = self.chances(self._validation)
        scores, limit = measures(chances, places, self._validation, self.plan.kept)
        self.log.append({'step': self.step, 'loss': loss, **scores})
        self.average.eval()
        plain = self.average.module.folded()
        save_checkpoint(self.folder / 'judge.safetensors', plain, ModelSpec(
            BACKBONE, plain.config, ANSWERS, self._made_for['input_size'],
            min_confidence=limit, provenance={
                'made_for': self._made_for, 'plan': asdict(self.plan), 'steps_done': self.step,
                'pieces': len(self._training), 'frames': self._training.frames,
                'collections': json.loads(self._of)['collections'], 'validation': scores}))
        self.save(of=self._of, log=json.dumps(self.log))
        lines = ''.join(json.dumps(row) + '\n' for row in self.log)
        write_atomically(self.folder / 'log.jsonl', lines.encode())
        return scores

    def chances(self, pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
        """Return what the averaged weights say of pieces, as ``PieceNetwork`` does."""
        self.average.eval()
        found = []
        with torch.inference_mode():
            for first in range(0, len(pieces), 64):
                part = [pieces[n] for n in range(first, min(first + 64, len(pieces)))]
                strips, facts = (torch.from_numpy(np.stack(column))
                                 for column in list(zip(*part))[:2])
                found.append([logits.softmax(-1).cpu()
                              for logits in self.average(*self._taken(strips, facts))])
        whole, places = (torch.cat(column).numpy() for column in zip(*found))
        return whole, places

    def _taken(self, strips, facts):
        strips = scaled(strips.to(self.device)).contiguous(memory_format=self.memory_format)
        return strips, facts.to(self.device)


def _network(plan: JudgePlan, start: Path | None) -> PieceJudge:
    """
    Return a plan's network; raises FedefmError where it is larger than a judge may be.

    One that begins with a judge's weights has no norms, as that has none.
    """
    try:
        network = PieceJudge(plan.widths, plan.along, norms=not plan.start)
    except ValueError as error:
        raise FedefmError(str(error)) from error
    size = 4 * sum(weights.numel() for weights in network.folded().parameters())
    if size > MAX_BYTES - _DESCRIPTION:
        raise FedefmError(f'a judge of widths {plan.widths} and {plan.along} has {size} bytes, '
                          f'at most {MAX_BYTES - _DESCRIPTION} are allowed')
    if plan.start:
        _begin_with(network, start, plan)
    return network


def _begin_with(network: PieceJudge, start: Path | None, plan: JudgePlan) -> None:
    """Take a judge's weights, but for layers that it has not: judges once had fewer."""
    if start is None:
        raise FedefmError(f'the run begins with the judge {plan.start}: its file is needed')
    file = read_file(start, MAX_BYTES)
    if read_description(file)[0].backbone != BACKBONE or file.model_id != plan.start:
        raise FedefmError(f'{start} is not the judge {plan.start} that the run begins with')
    try:
        theirs, mine = load(file.data), network.state_dict()
    except SafetensorError as error:
        raise FedefmError(f'{start} is damaged: {error}') from error
    wrong = [name for name, weights in theirs.items()
             if name not in mine or mine[name].shape != weights.shape]
    if wrong:
        raise FedefmError(f'{start} has other layers than widths {plan.widths} and {plan.along} '
                          f'make: {", ".join(wrong[:3])}')
    network.load_state_dict(theirs, strict=False)


class _TrainingStrips(Shuffled):
    """Pieces turned around, mirrored, and otherwise as another frame might show them."""

    def sample(self, rng, strip, facts, answer, parts):
        """Return ((strip, facts), answers), the piece's and those of its places."""
        strip, facts = strip.copy(), facts.copy()
        if rng.random() < 0.5:
            strip = strip[:, ::-1]
        if rng.random() < 0.5:
            length = int((strip[0, 0] > 0).sum())
            strip[:, :, :length] = strip[:, :, :length][:, :, ::-1].copy()
            parts = np.concatenate([parts[:length][::-1], parts[length:]])
            first, last = list(OF_FIRST_END), list(OF_LAST_END)
            facts[first + last] = facts[last + first]
        grey = strip[:-1:3].astype(np.float32)
        there = grey > 0
        grey = MEAN_GREY + (grey - MEAN_GREY) * rng.uniform(0.8, 1.25)
        grey += rng.normal(0.0, rng.uniform(0.0, 6.0), grey.shape)
        strip[:-1:3] = np.where(there, np.clip(grey, 1.0, 255.0), 0.0)
        # What the segmentation network thinks is not all there is to be seen.
        for layer in (1, 2):
            if rng.random() < 0.1:
                strip[layer:-1:3] = 0
        facts += rng.normal(0.0, 0.03, facts.shape).astype(np.float32)
        if rng.random() < 0.1:
            facts[:] = 0.0
        answers = torch.from_numpy(np.concatenate([[answer], at_places(parts)]).astype(np.int64))
        return (torch.from_numpy(np.ascontiguousarray(strip)), torch.from_numpy(facts)), answers


def at_places(parts: np.ndarray) -> np.ndarray:
    """Return what is told of the middle of every 16 columns, (..., LENGTH) to (..., places)."""
    return parts[..., COLUMNS // 2::COLUMNS]


def measures(chances: np.ndarray, places: np.ndarray, pieces: Pieces,
             kept: float) -> tuple[dict[str, float], float]:
    """
    Return what a judge is worth on pieces, and the limit that leaves ``kept`` of the true length.

    The measures: the area under the curve of true and false pieces; false instruments a frame
    where ``KEPT`` of the true length stay; the share of the length of either class that is called
    the other; the share of the places of true pieces that are called what they are not, nothing
    or another class, as wholes and as they are ``divided``.

    :param chances: (N, 3).
    :param places: (N, places, 3).
    """
    true, length = pieces.answers > 0, pieces.lengths
    sure = 1.0 - chances[:, 0]
    order = sure.argsort(kind='stable')
    positive, negative = int(true.sum()), int((~true).sum())
    # Mann and Whitney's statistic: the share of pairs in the right order, ties half.
    scores = {'area': float((rankdata(sure)[true].sum() - positive * (positive + 1) / 2)
                            / (positive * negative))}

    def limit_of(share: float) -> float:
        """Return the highest limit at which so much of the true length stays."""
        down = order[::-1][true[order[::-1]]]
        enough = np.searchsorted(np.cumsum(length[down]), share * length[true].sum())
        return float(sure[down[min(enough, len(down) - 1)]])

    for share in KEPT:
        false = (~true & (sure >= limit_of(share))).sum() / pieces.frames
        scores[f'false_at_{100 * share:.0f}'] = float(false)
    kind = np.where(chances[:, 2] > chances[:, 1], labels.GUIDEWIRE, labels.CATHETER)
    for label in (labels.CATHETER, labels.GUIDEWIRE):
        mine = pieces.answers == label
        wrong = float(length[mine & (kind != label)].sum() / max(length[mine].sum(), 1e-6))
        scores[f'wrong_{labels.NAMES[label]}'] = wrong
    told = at_places(pieces.parts)
    known = (told != UNTOLD) & true[:, None]
    scores['wrong_as_wholes'] = _share((told != kind[:, None])[known])
    found = told.copy()
    for number in np.flatnonzero(known.any(1)):
        inside = told[number] != UNTOLD
        found[number, inside] = divided(places[number, inside], np.ones(inside.sum()),
                                        kind[number])
    scores['wrong_divided'] = _share((told != found)[known])
    return scores, min(limit_of(kept), 0.999)


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0
