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

from fedefm_ros.backbones.checkpoint import load_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.learning.judging import JudgePlan
from fedefm_ros.learning.judging import JudgeTrainer
from fedefm_ros.learning.judging import measures
from fedefm_ros.learning.pieces import Collection
from fedefm_ros.learning.pieces import Pieces
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, HALF, LENGTH

import numpy as np

import pytest

from safetensors.numpy import save_file

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
    save_file({'strips': strips, 'answers': answers,
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
    found = np.stack(judge(*(np.stack(column) for column in list(zip(*sets[1]))[:2])))
    assert found == pytest.approx(trainer.chances(sets[1]), abs=1e-5)
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


class Known:
    """Five pieces of two frames."""

    answers = np.array([CATHETER, GUIDEWIRE, 0, GUIDEWIRE, 0])
    lengths = np.array([100.0, 60.0, 30.0, 40.0, 30.0])
    frames = 2


def test_measures_are_those_counted_by_hand():
    chances = np.array([[0.1, 0.8, 0.1],    # surest, right
                        [0.2, 0.5, 0.3],    # an instrument of the other kind
                        [0.3, 0.6, 0.1],    # false, before the last true one
                        [0.6, 0.1, 0.3],
                        [0.9, 0.05, 0.05]])
    scores, limit = measures(chances, Known, 0.8)
    # Of six pairs of a true and a false piece, one is in the wrong order.
    assert scores['area'] == pytest.approx(5 / 6)
    # All of the length needs the least sure true one, and with it one false.
    assert scores['false_at_98'] == 0.5
    assert scores['wrong_catheter'] == 0 and scores['wrong_guidewire'] == pytest.approx(0.6)
    assert limit == pytest.approx(0.8)
    assert measures(chances, Known, 0.81)[1] == pytest.approx(0.4)


def test_equal_chances_count_half():
    scores, _ = measures(np.full((5, 3), 1 / 3), Known, 0.8)
    assert scores['area'] == pytest.approx(0.5)


def test_validation_needs_true_and_false_pieces(sets, tmp_path):
    training, validation = sets
    for answer in (0, 1):
        validation.answers[:] = answer
        with pytest.raises(FedefmError, match='such that are none'):
            JudgeTrainer(PLAN, tmp_path / 'run', training, validation, COLLECTIONS)
