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

"""Learn to weigh what a judge says of a piece by what the others of its frame are."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fedefm_ros.backbones.checkpoint import load_checkpoint, save_checkpoint
from fedefm_ros.backbones.piece_judge import PieceJudge
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.judge_worth import check_validation, frames_of, said_of, worth
from fedefm_ros.learning.judging import JudgePlan
from fedefm_ros.learning.learnt_of import also_of, learnt_of
from fedefm_ros.learning.piece_samples import TrainingPieces
from fedefm_ros.learning.pieces import Collection, Piece, Pieces
from fedefm_ros.segmentation.judge import BACKBONE
from fedefm_ros.segmentation.relations import KNOWN, known, POINTS, RELATIONS, relations, SAID
from fedefm_ros.segmentation.relations import SCALE

import numpy as np

import torch
from torch import nn

# Of a frame, the longest that are learnt of. One in a hundred has more, and all frames would take
# the time of the one that has most; what is said of more pieces is weighed all the same.
_MOST = 12
# How pieces are shown otherwise.
_SHOWN = JudgePlan(noise=3.0, hidden=0.3, appearance=0.6)


@dataclass(frozen=True)
class RelationsPlan:
    """
    Everything that decides the result, but the judge and the pieces.

    A network of which less is dropped learns the frames by heart, and so does one that learns for
    so long of few: 2,500 steps were too many for 8,400 frames, 5,000 not for 24,000.
    """

    steps: int = 5000
    batch: int = 128
    """Frames a step."""
    learning_rate: float = 1e-3
    """At its peak: it rises and falls once (Smith and Topin, arXiv:1708.07120)."""
    weight_decay: float = 0.2
    dropout: float = 0.3
    otherwise: int = 1
    """How often each frame is learnt of once more, its pieces shown as another machine might."""
    cut: float = 0.15
    """Up to this share of a line is missing at either end where its piece is shown otherwise: of
    another machine's instruments networks see less, and by the ends is told what meets what."""
    missed: float = 0.2
    """Share of the pieces that are not there, others at each step: a network does not find all."""
    widths: tuple[int, int, int, int] = (48, 48, 32, 48)
    """Of what a piece is, of a message's two layers, and of what is made of both."""
    kept: float = 0.975
    """Share of the true length that the limit has to leave, on the validation pieces."""
    seed: int = 1


def learn_relations(judge: Path, training: Pieces, validation: Pieces,
                    collections: Sequence[Collection], plan: RelationsPlan, out: Path,
                    report: Callable[[int, float], None] = lambda step, loss: None,
                    ) -> tuple[str, dict[str, float]]:
    """
    Write a judge that weighs what it says of the pieces of a frame; return its id and its worth.

    All other weights are as they were; the limit is chosen anew.

    :param training: pieces of frames that the judge was not trained on, as its file tells them.
    :param collections: where the pieces come from, those of validation last.
    :param report: told the step and its loss.
    :raises FedefmError: the file is no judge, or the pieces are not of such models, or of frames
        that were trained on, or collected without the frames they are of.
    """
    check_validation(validation)
    checkpoint = load_checkpoint(judge)
    if checkpoint.spec.backbone != BACKBONE:
        raise FedefmError(f'{judge} is a model {checkpoint.spec.backbone!r}, no judge')
    provenance = checkpoint.spec.provenance
    if any(one.made_for != provenance.get('made_for') for one in collections):
        raise FedefmError(f'{judge} is a judge of what other models find than those of the pieces')
    before = learnt_of(provenance, judge)
    if any(one.shows_frames_of(other) for one in collections for other in before):
        raise FedefmError(f'the pieces show frames that {judge} was trained on, of which it is '
                          'surer than of others: collect some of another seed')
    if any(one.shows_frames_of(collections[-1]) for one in collections[:-1]):
        raise FedefmError('the validation pieces show frames that are trained on')
    for pieces in (training, validation):
        frames_of(pieces)  # what cannot be told of them is told before the work
    torch.manual_seed(plan.seed)
    mine = checkpoint.network().without_relations()
    network = PieceJudge(**{**mine.config, 'relations': plan.widths})
    network.relations.dropout.p = plan.dropout
    network.load_state_dict(mine.state_dict(), strict=False)
    shown = [training, *(_Otherwise(training, (plan.seed, time), plan.cut)
                         for time in range(plan.otherwise))]
    said = [(said_of(mine.eval(), pieces, walls=False)[0], pieces.lines) for pieces in shown]
    _train(network.relations, _frames(said, training), plan, report)
    scores, limit = worth(network.eval(), validation, plan.kept)
    model_id = save_checkpoint(out, network, replace(
        checkpoint.spec, config=network.config, min_confidence=limit, provenance={
            **provenance, 'validation': scores,
            'learnt_of': also_of(before, collections[:-1]), 'relations': {
                'plan': asdict(plan), 'judge': checkpoint.model_id, 'pieces': len(training),
                'collections': [asdict(one) for one in collections]}}))
    return model_id, scores


class _Otherwise(Sequence):
    """Pieces as training shows them: a judge is less sure of them, as of another machine's."""

    def __init__(self, pieces: Pieces, seed: tuple[int, int], cut: float):
        self._pieces, self._seed, self._cut = pieces, seed, cut
        self._shown = TrainingPieces(pieces, _SHOWN)

    @property
    def lines(self) -> np.ndarray:
        """Return the pieces' lines, (N, POINTS, 2), cut short."""
        lines = self._pieces.lines
        rng = np.random.default_rng(self._seed)
        first, last = rng.uniform(0.0, self._cut, (2, len(lines), 1)) * (POINTS - 1)
        places = first + np.linspace(0.0, 1.0, POINTS) * (POINTS - 1 - first - last)
        below = np.minimum(places.astype(int), POINTS - 2)
        each = np.arange(len(lines))[:, None]
        share = (places - below)[..., None]
        return ((1.0 - share) * lines[each, below] + share * lines[each, below + 1]).astype(
            lines.dtype)

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, number: int) -> Piece:
        piece = self._pieces[number]
        rng = np.random.default_rng((*self._seed, number))
        strip, overview, ends, facts, _ = (one.numpy()
                                           for one in self._shown.sample(rng, *piece)[0])
        return piece._replace(strip=strip, overview=overview, ends=ends, facts=facts)


def _frames(said: Sequence[tuple[np.ndarray, np.ndarray]],
            pieces: Pieces) -> tuple[torch.Tensor, ...]:
    """
    Return what is known of each frame's longest pieces, (F, N, ...).

    What they are known to be, (times, F, N, KNOWN), how they lie to each other, likewise, which
    are there, what they are.

    :param said: the probabilities of all pieces, (P, 3), and their lines, each time.
    """
    numbers = [frame[:_MOST] for frame in frames_of(pieces)]
    most = max(map(len, numbers))
    shape = len(numbers), most
    of_pieces = np.zeros((len(said), *shape, KNOWN), np.float32)
    between = np.zeros((len(said), *shape, most, RELATIONS), np.float32)
    there = np.zeros(shape, bool)
    answers = np.zeros(shape, np.int64)
    for row, mine in enumerate(numbers):
        count = len(mine)
        for time, (chances, lines) in enumerate(said):
            of_pieces[time, row, :count] = known(chances[mine], lines[mine])
            between[time, row, :count, :count] = relations(lines[mine])
        there[row, :count] = True
        answers[row, :count] = pieces.answers[mine]
    return tuple(map(torch.from_numpy, (of_pieces, between, there, answers)))


def _train(network: nn.Module, data: tuple[torch.Tensor, ...], plan: RelationsPlan,
           report: Callable[[int, float], None]) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), plan.learning_rate,
                                  weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.learning_rate,
                                                   total_steps=plan.steps)
    network.train()
    of_pieces_each_time, between_each_time, *others = data
    for step in range(1, plan.steps + 1):
        some = torch.randint(len(others[0]), (plan.batch,))
        times = torch.randint(len(of_pieces_each_time), (plan.batch,))
        of_pieces, between = of_pieces_each_time[times, some], between_each_time[times, some]
        there, answers = (part[some] for part in others)
        found = there & (torch.rand(there.shape) >= plan.missed)
        there = found if found.any() else there
        logits = of_pieces[..., :SAID] * SCALE + network(of_pieces, between, there)
        loss = nn.functional.cross_entropy(logits[there], answers[there])
        if not loss.isfinite():
            raise FedefmError(f'the loss of step {step} is {loss.item()}: take a lower learning '
                              'rate')
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        report(step, loss.item())
