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

"""A judge learns to weigh what it says of a piece by what the others of its frame are."""

from dataclasses import replace

from fedefm_ros.backbones.checkpoint import load_checkpoint, read_description, read_file
from fedefm_ros.backbones.piece_relations import PieceRelations
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning import judge_relations
from fedefm_ros.learning.averaged_judge import average_judges
from fedefm_ros.learning.judge_relations import learn_relations, RelationsPlan
from fedefm_ros.learning.judge_worth import frames_of, said_of, weighed
from fedefm_ros.learning.judging import JudgeTrainer
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.judgement import MOST_PIECES
from fedefm_ros.segmentation.relations import POINTS, relations, SAID, shapes

from linenet import save_line_model

import numpy as np

import pytest

from safetensors.numpy import load_file

from test_judging import COLLECTIONS, judge_of, PLAN, write_pieces

ALONG = np.linspace(0.0, 1.0, POINTS)[:, None]
# What relations are learnt of: frames that the judge never saw, and others.
OTHERS = tuple(replace(COLLECTIONS[0], seed=seed) for seed in (3, 4))
SHORT = RelationsPlan(steps=300, batch=32, learning_rate=1e-2, widths=(12, 12, 8, 12), dropout=0.0,
                      otherwise=0, missed=0.0)


def in_frames(pieces, seed):
    """
    Make what pieces are known by where they lie only, in place.

    Two of a frame: one winds, and is nothing, or both are straight; the shorter one that goes on
    where the longer ends is a guidewire, and the longer a catheter.
    """
    rng = np.random.default_rng(seed)
    for first in range(0, len(pieces), 2):
        start, length = rng.uniform(20, 60, 2), rng.uniform(80, 120)
        pieces.lines[first] = start + ALONG * (length, 0.0)
        pieces.lengths[first:first + 2] = length, length / 2
        if rng.random() < 0.5:
            begins = start + (length + 2.0, 0.0)
            pieces.lines[first + 1] = begins + ALONG * (length / 2, 0.0)
            pieces.answers[first:first + 2] = 1, 2
        else:
            wound = np.stack([ALONG[:, 0] * 60, 10 * np.sin(30 * ALONG[:, 0])], 1)
            pieces.lines[first + 1] = start + (0.0, 90.0) + wound
            pieces.answers[first:first + 2] = 1, 0
    pieces.parts[pieces.parts < 3] = 0
    return pieces


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """Return the pieces of the judge, those of which relations are learnt, and others."""
    root = tmp_path_factory.mktemp('pieces')
    mine, *others = (write_pieces(root / str(seed), seed, 240 if seed > 1 else 60)
                     for seed in (1, 2, 3))
    return mine, *(in_frames(pieces, seed) for seed, pieces in enumerate(others))


@pytest.fixture(scope='module')
def judge(sets, tmp_path_factory):
    return judge_of((sets[0], sets[0]), tmp_path_factory.mktemp('judge') / 'run')


@pytest.fixture(scope='module')
def related(sets, judge, tmp_path_factory):
    """Return the file of the judge that relates, its id, and its worth."""
    out = tmp_path_factory.mktemp('related') / 'related.safetensors'
    losses = []
    told = learn_relations(judge, *sets[1:], OTHERS, SHORT, out,
                           lambda step, loss: losses.append((step, loss)))
    assert [step for step, _ in losses] == list(range(1, 301))
    assert losses[-1][1] < 0.5 * losses[0][1]
    return out, *told


def test_what_pieces_are_is_learnt_of_how_they_lie(sets, judge, related):
    out, model_id, scores = related
    assert scores['area'] > 0.95 and scores['wrong_guidewire'] < 0.1
    assert Judge(out).model_id == model_id and Judge(out).relates and not Judge(judge).relates
    network = load_checkpoint(judge).network().eval()
    chances, places, *_ = said_of(network, sets[2])
    before = (chances.argmax(1) == sets[2].answers).mean()
    after, _ = weighed(load_checkpoint(out).network().eval(), chances, places, sets[2])
    assert before < 0.6 and (after.argmax(1) == sets[2].answers).mean() > 0.9
    # The rest of it is as it was.
    weights, others = load_file(judge), load_file(out)
    assert all(np.array_equal(others[name], values) for name, values in weights.items())
    assert {name.split('.')[0] for name in others.keys() - weights.keys()} == {'relations'}
    spec = read_description(read_file(out))[0]
    assert spec.provenance['relations']['judge'] == read_file(judge).model_id
    assert spec.provenance['relations']['plan']['steps'] == 300
    assert spec.min_confidence != read_description(read_file(judge))[0].min_confidence


def test_the_same_plan_makes_the_same_judge(sets, judge, tmp_path):
    plan = replace(SHORT, steps=5)
    ids = [learn_relations(judge, *sets[1:], OTHERS, replace(plan, seed=seed),
                           tmp_path / 'judge.safetensors')[0] for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_frames_are_learnt_of_otherwise_too(sets, judge, tmp_path, monkeypatch):
    shown, learnt = [], []
    own_frames = judge_relations._frames

    def frames(*given):
        learnt.append(own_frames(*given))
        return learnt[-1]

    monkeypatch.setattr(judge_relations, '_frames', frames)
    own = judge_relations.said_of

    def said(network, pieces, *others, **more):
        shown.append(pieces)
        return own(network, pieces, *others, **more)

    monkeypatch.setattr(judge_relations, 'said_of', said)
    plan = replace(SHORT, steps=5)
    ids = [learn_relations(judge, *sets[1:], OTHERS, replace(plan, otherwise=times),
                           tmp_path / 'judge.safetensors')[0] for times in (0, 2)]
    assert ids[0] != ids[1]
    _, mine, once, twice = shown
    assert mine is sets[1] and len(once) == len(mine)
    assert np.array_equal(once[7].strip, once[7].strip)
    for other in (mine, twice):
        for name in ('strip', 'overview', 'ends', 'facts'):
            one, two = getattr(once[7], name), getattr(other[7], name)
            assert one.dtype == two.dtype and one.shape == two.shape
        assert not np.array_equal(once[7].strip, other[7].strip)
    assert once[7].answer == mine[7].answer
    of_pieces, between, *_ = learnt[1]
    for time, pieces in enumerate((mine, once, twice)):
        lines = pieces.lines[frames_of(mine)[3]]
        assert np.array_equal(of_pieces[time, 3, :, SAID:], shapes(lines))
        assert np.array_equal(between[time, 3], relations(lines))
    assert not np.array_equal(between[0], between[1])
    # Their lines are cut short, elsewhere each time: straight ones stay on themselves.
    straight = np.flatnonzero(np.ptp(mine.lines[..., 1], axis=1) == 0)
    before, after, other = (pieces.lines[straight] for pieces in (mine, once, twice))
    assert after.shape == before.shape and after.dtype == before.dtype
    assert np.array_equal(after, once.lines[straight]) and not np.array_equal(after, other)
    assert np.allclose(after[..., 1], before[..., 1], atol=1e-3)
    share = np.ptp(after[..., 0], axis=1) / np.ptp(before[..., 0], axis=1)
    assert 0.7 <= share.min() < 0.76 and 0.94 < share.max() <= 1.0
    for end in (0, -1):
        short = (after[:, end, 0] - before[:, end, 0]) / np.ptp(before[..., 0], axis=1)
        assert 0.12 < np.abs(short).max() <= 0.15 + 1e-4
    assert np.allclose(np.diff(after[..., 0], 2), 0.0, atol=1e-3)


def test_pieces_are_missed_as_often_as_the_plan_says(sets, judge, tmp_path, monkeypatch):
    asked, told = [], []
    own, forward = judge_relations.nn.functional.cross_entropy, PieceRelations.forward

    def cross_entropy(logits, answers):
        asked.append(len(answers))
        return own(logits, answers)

    def spoken(network, of_pieces, between, there):
        told.append(int(there.sum()))
        return forward(network, of_pieces, between, there)

    monkeypatch.setattr(judge_relations.nn.functional, 'cross_entropy', cross_entropy)
    monkeypatch.setattr(PieceRelations, 'forward', spoken)
    steps, of_a_frame = 40, 2
    for missed in (0.0, 0.4):
        asked.clear(), told.clear()
        learn_relations(judge, *sets[1:], OTHERS, replace(SHORT, steps=steps, missed=missed),
                        tmp_path / 'judge.safetensors')
        # What is missed tells the others nothing, either.
        assert asked == told
        every = steps * SHORT.batch * of_a_frame
        assert np.sum(asked) / every == pytest.approx(1.0 - missed, abs=0.04)
        assert (len(set(asked)) == 1) == (missed == 0.0)


def test_a_step_of_which_all_pieces_would_be_missed_misses_none(sets, judge, tmp_path):
    """Else its loss would be that of nothing, which is not a number."""
    plan = replace(SHORT, steps=60, batch=1, missed=0.9, learning_rate=1e-4)
    _, scores = learn_relations(judge, *sets[1:], OTHERS, plan, tmp_path / 'judge.safetensors')
    assert np.isfinite(scores['area'])


def test_what_is_said_is_what_the_running_judge_says(sets, related):
    network, judge = load_checkpoint(related[0]).network().eval(), Judge(related[0])
    chances, places, *_ = said_of(network, sets[2], walls=False)
    chances, places = weighed(network, chances, places, sets[2])
    for numbers in frames_of(sets[2])[:6]:
        strips, overviews, _, facts = (np.stack(column) for column in list(
            zip(*(sets[2][number] for number in numbers)))[:4])
        said = judge(strips, overviews, facts, sets[2].lines[numbers])
        for number, (whole, along) in zip(numbers, said):
            assert whole == pytest.approx(chances[number], abs=1e-5)
            assert along == pytest.approx(places[number], abs=1e-5)


def test_a_frame_holds_its_longest_pieces():
    class Found:
        numbers = np.array([4, 4, 7] + [9] * (MOST_PIECES + 3))
        lengths = np.concatenate([[10.0, 30.0, 5.0], np.arange(MOST_PIECES + 3.0)])

    first, second, third = frames_of(Found)
    assert first.tolist() == [1, 0] and second.tolist() == [2]
    assert third.tolist() == list(range(MOST_PIECES + 5, 5, -1))


def test_what_it_cannot_be_learnt_of_is_refused(sets, judge, related, tmp_path):
    out = tmp_path / 'judge.safetensors'

    def learn(*pieces, collections=OTHERS, of=judge):
        learn_relations(of, *pieces, collections, SHORT, out)

    with pytest.raises(FedefmError, match='was trained on, of which it is surer'):
        learn(*sets[1:], collections=(COLLECTIONS[0], OTHERS[1]))
    with pytest.raises(FedefmError, match='validation pieces show frames that are trained on'):
        learn(*sets[1:], collections=(OTHERS[1], OTHERS[1]))
    with pytest.raises(FedefmError, match='of what other models find'):
        learn(*sets[1:], collections=(replace(OTHERS[0], size=512), OTHERS[1]))
    with pytest.raises(FedefmError, match="is a model 'lines', no judge"):
        learn(*sets[1:], of=save_line_model(tmp_path / 'lines.safetensors'))
    earlier = write_pieces(tmp_path / 'earlier', 5, of_frames=False)
    assert (earlier.numbers == -1).all() and np.isnan(earlier.lines).all()
    for pieces in ((earlier, sets[2]), (sets[1], earlier)):
        with pytest.raises(FedefmError, match='earlier version, without the frames'):
            learn(*pieces)
    plan = replace(PLAN, steps=2, walls_only=True, start=related[1])
    with pytest.raises(FedefmError, match='earlier version, without the frames'):
        JudgeTrainer(plan, tmp_path / 'walls', sets[0], earlier, COLLECTIONS, start=related[0])
    with pytest.raises(FedefmError, match='the loss of step .* take a lower learning rate'):
        learn_relations(judge, *sets[1:], OTHERS, replace(SHORT, learning_rate=1e30), out)
    assert not out.exists()


def test_of_frames_with_more_pieces_the_longest_are_learnt_of(sets, judge, tmp_path):
    many = write_pieces(tmp_path / 'many', 7, 30)
    many.numbers[:] = [0] * 16 + [1] * 3 + [2] * 11
    learn_relations(judge, many, sets[2], OTHERS, replace(SHORT, steps=2, batch=3),
                    tmp_path / 'judge.safetensors')
    network = load_checkpoint(tmp_path / 'judge.safetensors').network().eval()
    chances, places, *_ = said_of(network, many, walls=False)
    chances[0] = 0.0, 1.0, 0.0
    for part in weighed(network, chances, places, many):
        assert np.isfinite(part).all() and part.sum(-1) == pytest.approx(1.0, abs=1e-5)


def test_what_is_trained_on_begins_without_relations(sets, related, judge, tmp_path):
    plan = replace(PLAN, steps=2, start=related[1])
    mine = sets[0], sets[2]
    JudgeTrainer(plan, tmp_path / 'run', *mine, COLLECTIONS, start=related[0]).run()
    assert not Judge(tmp_path / 'run' / 'judge.safetensors').relates
    mean = tmp_path / 'mean.safetensors'
    average_judges(related[0], tmp_path / 'run' / 'judge.safetensors', 0.5, sets[2],
                   replace(COLLECTIONS[1], seed=9), 0.9, mean)
    assert not Judge(mean).relates
    assert 'relations' not in read_description(read_file(mean))[0].provenance
    # What tells walls is told alone.
    only = replace(plan, walls_only=True)
    JudgeTrainer(only, tmp_path / 'walls', *mine, COLLECTIONS, start=related[0]).run()
    weights, others = load_file(related[0]), load_file(tmp_path / 'walls' / 'judge.safetensors')
    assert weights.keys() == others.keys()
    same = {name for name in weights if np.array_equal(weights[name], others[name])}
    assert same == {name for name in weights if not name.startswith(('outline', 'walls'))}
    limits = [read_description(read_file(path))[0].min_confidence for path in (
        related[0], tmp_path / 'walls' / 'judge.safetensors')]
    assert limits[0] == limits[1]
