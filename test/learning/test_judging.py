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

"""Training a judge of pieces."""

from dataclasses import replace
import json

from fedefm_ros.backbones.checkpoint import load_checkpoint, read_file
from fedefm_ros.errors import FedefmError
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.learning.judging import _TrainingStrips
from fedefm_ros.learning.judging import JudgePlan
from fedefm_ros.learning.judging import JudgeTrainer
from fedefm_ros.learning.judging import measures
from fedefm_ros.learning.pieces import Collection
from fedefm_ros.learning.pieces import Pieces
from fedefm_ros.learning.pieces import UNTOLD
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, HALF, LENGTH

import numpy as np

import pytest

from safetensors import safe_open
from safetensors.numpy import save_file

import torch

COLLECTIONS = tuple(Collection(seed, ('a',), 'f32', 'openvino', backbone='lines', size=256)
                    for seed in (1, 2))
PLAN = JudgePlan(steps=24, batch=16, learning_rate=5e-3, warmup_steps=2, ema=0.8)


def write_pieces(folder, seed, count=60):
    """
    Write pieces that can be told apart by what is seen.

    Nothing: plain grey; catheters: a wide dark middle; guidewires: a narrow one.
    """
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, 3, count).astype(np.uint8)
    strips = rng.integers(120, 136, (count, CHANNELS, 2 * HALF + 1, LENGTH)).astype(np.uint8)
    for number, answer in enumerate(answers):
        half = (0, 6, 2)[answer]
        strips[number, :-1:3, HALF - half:HALF + half] = 40
        length = int(rng.integers(80, LENGTH + 1))
        strips[number, :, :, length:] = 0
    folder.mkdir()
    parts = np.where(strips[:, -1, 0] > 0, answers[:, None], UNTOLD).astype(np.uint8)
    save_file({'strips': strips, 'answers': answers, 'parts': parts,
               'facts': rng.normal(size=(count, FACTS)).astype(np.float32),
               'lengths': rng.uniform(20, 300, count).astype(np.float32),
               'confidences': rng.random(count).astype(np.float32)},
              folder / 'a.safetensors', {'frames': str(count // 2)})
    return Pieces([folder])


@pytest.fixture
def sets(tmp_path):
    return write_pieces(tmp_path / 'training', 1), write_pieces(tmp_path / 'validation', 2)


def test_a_run_learns_what_can_be_seen(sets, tmp_path):
    trainer = JudgeTrainer(PLAN, tmp_path / 'run', *sets, COLLECTIONS)
    first = trainer.check(0.0)
    trainer.run(check_every=12)
    last = trainer.log[-1]
    assert last['step'] == 24 and last['area'] > max(0.97, first['area'])
    assert last['false_at_96'] < 0.1 and last['wrong_catheter'] + last['wrong_guidewire'] < 0.2
    checkpoint = load_checkpoint(tmp_path / 'run' / 'judge.safetensors')
    assert checkpoint.spec.provenance['made_for'] == {
        'backbone': 'lines', 'config': {}, 'input_size': 256}
    assert checkpoint.spec.provenance['pieces'] == len(sets[0])
    assert checkpoint.spec.input_size == 256 and 0 < checkpoint.spec.min_confidence < 1
    judge = Judge(tmp_path / 'run' / 'judge.safetensors')
    said = judge(*(np.stack(column) for column in list(zip(*sets[1]))[:2]))
    for found, expected in zip(zip(*said), trainer.chances(sets[1])):
        assert np.stack(found) == pytest.approx(expected, abs=1e-5)
    assert last['wrong_as_wholes'] < 0.2 and last['wrong_divided'] < 0.2
    rows = (tmp_path / 'run' / 'log.jsonl').read_text().splitlines()
    assert [json.loads(row)['step'] for row in rows] == [0, 12, 24]


def test_a_run_that_was_stopped_ends_with_the_same_judge(sets, tmp_path):
    JudgeTrainer(PLAN, tmp_path / 'whole', *sets, COLLECTIONS).run(check_every=8)

    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 19:
            raise Killed

    with pytest.raises(Killed):
        JudgeTrainer(PLAN, tmp_path / 'parts', *sets, COLLECTIONS).run(kill, check_every=8)
    again = JudgeTrainer(PLAN, tmp_path / 'parts', *sets, COLLECTIONS)
    assert again.step == 16
    again.run(check_every=8)
    for name in ('judge.safetensors', 'log.jsonl'):
        assert (tmp_path / 'parts' / name).read_bytes() == \
            (tmp_path / 'whole' / name).read_bytes()


def test_a_folder_with_another_run_is_refused(sets, tmp_path):
    JudgeTrainer(replace(PLAN, steps=2), tmp_path / 'run', *sets, COLLECTIONS).run()
    with pytest.raises(FedefmError, match='another plan or other pieces'):
        JudgeTrainer(replace(PLAN, steps=3), tmp_path / 'run', *sets, COLLECTIONS)
    with pytest.raises(FedefmError, match='another plan or other pieces'):
        JudgeTrainer(replace(PLAN, steps=2), tmp_path / 'run', *sets,
                     (replace(COLLECTIONS[0], models=('b',)), COLLECTIONS[1]))


def test_a_run_begins_with_what_a_judge_knows(sets, tmp_path):
    JudgeTrainer(PLAN, tmp_path / 'first', *sets, COLLECTIONS).run()
    judge = tmp_path / 'first' / 'judge.safetensors'
    plan = replace(PLAN, steps=4, start=read_file(judge).model_id)
    trainer = JudgeTrainer(plan, tmp_path / 'run', *sets, COLLECTIONS, start=judge)
    strips, facts = (np.stack(column) for column in list(zip(*sets[1]))[:2])
    for found, expected in zip(trainer.chances(sets[1]), zip(*Judge(judge)(strips, facts))):
        assert found == pytest.approx(np.stack(expected), abs=1e-5)
    trainer.run()
    assert read_file(tmp_path / 'run' / 'judge.safetensors').model_id != plan.start
    # Where it lacks the layers that see places, those begin anew.
    old = tmp_path / 'old.safetensors'
    with safe_open(judge, 'numpy') as file:
        save_file({name: file.get_tensor(name) for name in file.keys() if 'part' not in name}, old,
                  file.metadata())
    plan = replace(plan, start=read_file(old).model_id)
    trainer = JudgeTrainer(plan, tmp_path / 'more', *sets, COLLECTIONS, start=old)
    assert trainer.chances(sets[1])[0] == pytest.approx(
        np.stack([said for said, _ in Judge(judge)(strips, facts)]), abs=1e-5)
    with pytest.raises(FedefmError, match='its file is needed'):
        JudgeTrainer(plan, tmp_path / 'none', *sets, COLLECTIONS)
    for other, message in ((replace(plan, start='0' * 16), 'is not the judge 0000'),
                           (replace(plan, along=40), 'has other layers than widths .* and 40')):
        with pytest.raises(FedefmError, match=message):
            JudgeTrainer(other, tmp_path / 'none', *sets, COLLECTIONS, start=old)


def test_what_each_place_is_turns_with_the_strip():
    """The strip shows at each column what is told of it."""
    length = 200
    told = np.full(LENGTH, UNTOLD, np.uint8)
    told[30:length - 30] = np.repeat([CATHETER, GUIDEWIRE], 70)
    strip = np.zeros((CHANNELS, 2 * HALF + 1, LENGTH), np.uint8)
    strip[:, :, :length] = 200
    strip[-1, :, :length] = told[:length]
    samples = _TrainingStrips([], PLAN)
    firsts = set()
    for seed in range(8):
        (seen, _), answers = samples.sample(np.random.default_rng(seed), strip,
                                            np.zeros(FACTS, np.float32), CATHETER, told)
        assert answers[0] == CATHETER and len(answers) == 17
        middles = seen[-1, HALF, 8::16]
        there = torch.isin(middles, torch.tensor([CATHETER, GUIDEWIRE]))
        assert (answers[1:][there] == middles[there]).all() and there.sum() >= 8
        assert (answers[1:][~there] == UNTOLD).all()
        firsts.add(int(answers[1:][there][0]))
    assert firsts == {CATHETER, GUIDEWIRE}


def test_widths_that_make_no_judge_are_refused(sets, tmp_path):
    for widths, message in (((2000, 8, 8, 8, 8), 'width_0 is 2000'),
                            ((64, 96, 144, 192, 224), 'are allowed')):
        with pytest.raises(FedefmError, match=message):
            JudgeTrainer(replace(PLAN, widths=widths, along=256), tmp_path / 'run', *sets,
                         COLLECTIONS)


class Known:
    """Five pieces of two frames."""

    answers = np.array([CATHETER, GUIDEWIRE, 0, GUIDEWIRE, 0])
    lengths = np.array([100.0, 60.0, 30.0, 40.0, 30.0])
    frames = 2
    # Two places of the first are a wire's: it comes out of the catheter.
    parts = np.repeat(np.array([[255, 1, 1, 1, 2, 2, 255], [255, 2, 2, 255, 255, 255, 255],
                                [255, 0, 0, 0, 0, 255, 255], [255, 2, 0, 255, 255, 255, 255],
                                [255, 0, 0, 255, 255, 255, 255]], np.uint8), 16, 1)


def said_of_places(*rows):
    """Return probabilities of rows of answers, each said with 0.9."""
    return 0.05 + 0.85 * np.eye(3)[np.array(rows)]


PLACES = said_of_places([2, 1, 1, 1, 2, 2, 1], [2] * 7, [1] * 7, [2, 2, 0, 0, 0, 0, 0], [0] * 7)


def test_measures_are_those_counted_by_hand():
    chances = np.array([[0.1, 0.8, 0.1],    # surest, right
                        [0.2, 0.5, 0.3],    # an instrument of the other kind
                        [0.3, 0.6, 0.1],    # false, before the last true one
                        [0.6, 0.1, 0.3],
                        [0.9, 0.05, 0.05]])
    scores, limit = measures(chances, PLACES, Known, 0.8)
    # Of six pairs of a true and a false piece, one is in the wrong order.
    assert scores['area'] == pytest.approx(5 / 6)
    # All of the length needs the least sure true one, and with it one false.
    assert scores['false_at_98'] == 0.5
    assert scores['wrong_catheter'] == 0 and scores['wrong_guidewire'] == pytest.approx(0.6)
    assert limit == pytest.approx(0.8)
    # Of nine places two are the wire's that comes out of a catheter, two the wire's that is called
    # a catheter, one is nothing behind a wire. Divided, the first and the last are right; the wire
    # that is called a catheter is so all along, and the whole decides.
    assert scores['wrong_as_wholes'] == pytest.approx(5 / 9)
    assert scores['wrong_divided'] == pytest.approx(2 / 9)
    assert measures(chances, PLACES, Known, 0.81)[1] == pytest.approx(0.4)


def test_equal_chances_count_half():
    scores, _ = measures(np.full((5, 3), 1 / 3), np.full((5, 7, 3), 1 / 3), Known, 0.8)
    assert scores['area'] == pytest.approx(0.5)


def test_validation_needs_true_and_false_pieces(sets, tmp_path):
    training, validation = sets
    for answer in (0, 1):
        validation.answers[:] = answer
        with pytest.raises(FedefmError, match='such that are none'):
            JudgeTrainer(PLAN, tmp_path / 'run', training, validation, COLLECTIONS)
