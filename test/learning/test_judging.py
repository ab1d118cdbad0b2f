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

from fedefm_ros.backbones.checkpoint import load_checkpoint, read_description, read_file
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.judging import JudgePlan
from fedefm_ros.learning.judging import JudgeTrainer
from fedefm_ros.learning.piece_samples import TrainingPieces
from fedefm_ros.learning.piece_truth import UNTOLD
from fedefm_ros.learning.pieces import Collection
from fedefm_ros.learning.pieces import Pieces
from fedefm_ros.segmentation.ends import ASIDE, BEFORE, LAYERS as END_LAYERS, VIEW
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.overviews import LAYERS, SIDE
from fedefm_ros.segmentation.relations import POINTS
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, HALF, LENGTH

import numpy as np

import pytest

from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import torch

COLLECTIONS = tuple(Collection(seed, ('a',), 'f32', 'openvino', backbone='lines', size=256)
                    for seed in (1, 2))
PLAN = JudgePlan(steps=24, batch=16, learning_rate=5e-3, warmup_steps=2, ema=0.8)


def write_pieces(folder, seed, count=60, of_frames=True):
    """
    Write pieces that can be told apart by what is seen.

    Nothing: plain grey; catheters: a wide dark middle; guidewires: a narrow one. Two are of a
    frame.

    :param of_frames: else as an earlier version collected them, without what is of frames.
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
    # Rows are half a pixel apart, and 4 of 6 to each side are dark.
    shown = np.isin(parts, (1, 2))[..., None]
    half = np.where(answers == 1, 3.25, 1.25)[:, None, None]
    walls = np.where(shown, half * np.array([-1, 1]), np.nan).astype(np.float32)
    save_file({'strips': strips, 'answers': answers, 'parts': parts,
               'overviews': rng.integers(0, 256, (count, LAYERS, SIDE, SIDE), np.uint8),
               **ends_and_tips(rng, count), 'walls': walls,
               'facts': rng.normal(size=(count, FACTS)).astype(np.float32),
               'lengths': rng.uniform(20, 300, count).astype(np.float32),
               'confidences': rng.random(count).astype(np.float32),
               **(frames_and_lines(rng, count) if of_frames else {})},
              folder / 'a.safetensors', {'frames': str(count // 2)})
    return Pieces([folder])


def frames_and_lines(rng, count):
    """Return which frame pieces are of, and straight lines."""
    ends = rng.uniform(0.0, 256.0, (count, 2, 2))
    along = np.linspace(0.0, 1.0, POINTS)[:, None]
    lines = ends[:, :1] + along * (ends[:, 1:] - ends[:, :1])
    return {'numbers': (np.arange(count) // 2).astype(np.int32),
            'lines': lines.astype(np.float32)}


def ends_and_tips(rng, count):
    """Return views of ends, half of them with a dark line that ends at a tip."""
    views = rng.integers(120, 136, (count, 2, END_LAYERS, *VIEW), np.uint8)
    tips = np.full((count, 2, 2), np.nan, np.float32)
    for number, end in np.argwhere(rng.random((count, 2)) < 0.5):
        along = int(rng.integers(-8, 9))
        views[number, end, 0, ASIDE - 2:ASIDE + 3, :BEFORE + along] = 40
        tips[number, end] = along, 0.0
    return {'ends': views, 'tips': tips}


@pytest.fixture
def sets(tmp_path):
    return write_pieces(tmp_path / 'training', 1), write_pieces(tmp_path / 'validation', 2)


def test_a_run_learns_what_can_be_seen(sets, tmp_path):
    # At a higher rate walls come and go, by what the order of additions makes of the last digits.
    plan = replace(PLAN, steps=32, learning_rate=2e-3)
    trainer = JudgeTrainer(plan, tmp_path / 'run', *sets, COLLECTIONS)
    first = trainer.check(0.0)
    trainer.run(check_every=16)
    last = trainer.log[-1]
    assert last['step'] == 32 and last['area'] > max(0.97, first['area'])
    assert last['false_at_96'] < 0.1 and last['wrong_catheter'] + last['wrong_guidewire'] < 0.2
    checkpoint = load_checkpoint(tmp_path / 'run' / 'judge.safetensors')
    assert checkpoint.spec.provenance['made_for'] == {
        'backbone': 'lines', 'config': {}, 'input_size': 256}
    assert checkpoint.spec.provenance['pieces'] == len(sets[0])
    assert checkpoint.spec.input_size == 256 and 0 < checkpoint.spec.min_confidence < 1
    judge = Judge(tmp_path / 'run' / 'judge.safetensors')
    *pictures, ends, facts = (np.stack(column) for column in list(zip(*sets[1]))[:4])
    *expected, at_ends, walls = trainer.chances(sets[1])
    for found, right in zip(zip(*judge(*pictures, facts)), expected):
        assert np.stack(found) == pytest.approx(right, abs=1e-5)
    assert judge.tips(ends.reshape(-1, *ends.shape[2:])) == pytest.approx(
        at_ends.reshape(-1, 3), abs=1e-4)
    kinds = np.where(sets[1].parts == UNTOLD, 0, sets[1].parts).astype(np.uint8)
    assert judge.walls(pictures[0], kinds) == pytest.approx(walls, abs=1e-4)
    assert last['wall_error_catheter'] < min(0.6, 0.4 * first['wall_error_catheter'])
    assert last['wall_error_guidewire'] < 0.4
    assert last['tip_told'] > max(0.8, first['tip_told'])
    assert last['wrong_as_wholes'] < 0.2 and last['wrong_divided'] < 0.2
    rows = (tmp_path / 'run' / 'log.jsonl').read_text().splitlines()
    assert [json.loads(row)['step'] for row in rows] == [0, 16, 32]


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
    strips, overviews, _, facts = (np.stack(column) for column in list(zip(*sets[1]))[:4])
    seen = strips, overviews, facts
    for found, expected in zip(trainer.chances(sets[1]), zip(*Judge(judge)(*seen))):
        assert found == pytest.approx(np.stack(expected), abs=1e-5)
    trainer.run()
    assert read_file(tmp_path / 'run' / 'judge.safetensors').model_id != plan.start
    # Where it lacks the layers that see places, or ends, those begin anew.
    old = tmp_path / 'old.safetensors'
    with safe_open(judge, 'numpy') as file:
        save_file({name: file.get_tensor(name) for name in file.keys()
                   if 'part' not in name and 'end' not in name}, old,
                  file.metadata())
    plan = replace(plan, start=read_file(old).model_id)
    trainer = JudgeTrainer(plan, tmp_path / 'more', *sets, COLLECTIONS, start=old)
    assert trainer.chances(sets[1])[0] == pytest.approx(
        np.stack([said for said, _ in Judge(judge)(*seen)]), abs=1e-5)
    # An earlier one: it saw neither overviews nor ends, and told what 16 columns are at once.
    earlier = tmp_path / 'earlier.safetensors'
    with safe_open(judge, 'numpy') as file:
        state = {name: file.get_tensor(name) for name in file.keys() if not name.startswith(
            ('overview', 'context', 'of_context', 'end', 'tip'))}
        for name in ('part_answer.weight', 'part_answer.bias'):
            state[name] = state[name][:3].copy()
        save_file(state, earlier, file.metadata())
    with pytest.raises(FedefmError, match='judge train --start. goes on'):
        Judge(earlier)
    other = replace(plan, start=read_file(earlier).model_id)
    places = JudgeTrainer(other, tmp_path / 'later', *sets, COLLECTIONS,
                          start=earlier).chances(sets[1])[1]
    of_look = places.reshape(len(places), 16, 4, 3)
    assert np.array_equal(of_look, np.repeat(of_look[:, :, :1], 4, 2))
    assert np.ptp(of_look[:, :, 0], axis=0).max() > 0.01
    # Or walls.
    blind = tmp_path / 'blind.safetensors'
    with safe_open(judge, 'numpy') as file:
        save_file({name: file.get_tensor(name) for name in file.keys()
                   if not name.startswith(('outline', 'walls'))}, blind, file.metadata())
    with pytest.raises(FedefmError, match='judge train --start. goes on'):
        Judge(blind)
    # Or saw fewer channels of a strip for them.
    narrow = tmp_path / 'narrow.safetensors'
    with safe_open(judge, 'numpy') as file:
        state = {name: file.get_tensor(name) for name in file.keys()}
        seen = state['outline.0.0.weight']
        state['outline.0.0.weight'] = np.concatenate([seen[:, :3], seen[:, -2:]], 1)
        save_file(state, narrow, file.metadata())
    with pytest.raises(FedefmError, match='outline.0.0 .* `./run judge train --start` goes on'):
        Judge(narrow)
    other = replace(plan, start=read_file(narrow).model_id)
    wider = JudgeTrainer(other, tmp_path / 'wider', *sets, COLLECTIONS, start=narrow)
    taken = dict(wider.network.named_parameters())['outline.0.0.weight'].detach().numpy()
    assert np.array_equal(taken[:, :3], seen[:, :3]) and not taken[:, 3:-2].any()
    assert np.array_equal(taken[:, -2:], seen[:, -2:])
    only = replace(plan, steps=12, kept=0.8, start=read_file(blind).model_id, walls_only=True)
    trainer = JudgeTrainer(only, tmp_path / 'walls', *sets, COLLECTIONS, start=blind)
    before = trainer.check(0.0)
    trainer.run()
    first, last = (load_file(path) for path in (
        judge, tmp_path / 'walls' / 'judge.safetensors'))
    assert {name for name in first if np.array_equal(first[name], last[name])} \
        == {name for name in first if not name.startswith(('outline', 'walls'))}
    limits = [read_description(read_file(path))[0].min_confidence for path in (
        judge, tmp_path / 'walls' / 'judge.safetensors')]
    assert limits[0] == limits[1]
    after = trainer.log[-1]
    assert after['wall_error_catheter'] < 0.7 * before['wall_error_catheter']
    assert after['area'] == before['area'] and after['tip_told'] == before['tip_told']
    with pytest.raises(FedefmError, match='lacks more than what tells walls'):
        JudgeTrainer(replace(only, start=read_file(old).model_id), tmp_path / 'none', *sets,
                     COLLECTIONS, start=old)
    with pytest.raises(FedefmError, match='needs a start'):
        JudgeTrainer(replace(only, start=''), tmp_path / 'none', *sets, COLLECTIONS)
    with pytest.raises(FedefmError, match='its file is needed'):
        JudgeTrainer(plan, tmp_path / 'none', *sets, COLLECTIONS)
    for other, message in ((replace(plan, start='0' * 16), 'is not the judge 0000'),
                           (replace(plan, along=40), 'has other layers than widths .* and 40')):
        with pytest.raises(FedefmError, match=message):
            JudgeTrainer(other, tmp_path / 'none', *sets, COLLECTIONS, start=old)


def test_what_is_wrong_of_a_whole_counts_beside_its_places(sets, tmp_path):
    true = torch.full((2, 64, 2), 3.0)
    true[1, 8:] = torch.nan
    uneven, too_wide = (torch.full((2, 64, 2), 3.0) for _ in range(2))
    uneven[:, ::2] += 0.5
    uneven[:, 1::2] -= 0.5
    too_wide += 0.5
    found = {}
    for weight in (0.0, 2.0):
        plan = replace(PLAN, walls_only=True, whole_wall_weight=weight, steps=1,
                       start=read_file(judge_of(sets, tmp_path / 'first')).model_id)
        trainer = JudgeTrainer(plan, tmp_path / str(weight), *sets, COLLECTIONS,
                               start=tmp_path / 'first' / 'judge.safetensors')
        found[weight] = [float(trainer.loss((walls,), (true,))) for walls in (uneven, too_wide)]
    place = found[0.0][0]
    assert place > 0.3 and found[0.0] == pytest.approx([place, place])
    assert found[2.0] == pytest.approx([place, 3.0 * place])
    # A piece of 8 places has an eighth of the weight of one of 64.
    far = true.nan_to_num(3.0)
    far[1] += 0.5
    assert float(trainer.loss((far,), (true,))) == pytest.approx(3.0 * place / 9.0)


def test_pieces_without_walls_teach_no_walls(sets, tmp_path):
    training, validation = sets
    start = judge_of(sets, tmp_path / 'first')
    plan = replace(PLAN, walls_only=True, steps=6, start=read_file(start).model_id)
    assert not np.isfinite(training.walls).any((1, 2)).all()
    trainer = JudgeTrainer(plan, tmp_path / 'run', *sets, COLLECTIONS, start=start)
    learnt = []
    trainer.follow = lambda pieces, *more: learnt.extend(
        pieces[number][1][2] for number in range(len(pieces)))
    trainer.run()
    assert len(learnt) == 6 * PLAN.batch and all(walls.isfinite().any() for walls in learnt)
    training.walls[:] = np.nan
    with pytest.raises(FedefmError, match='walls that could be learnt'):
        trainer.run()


def test_walls_that_count_nothing_stay(sets, tmp_path):
    start = judge_of(sets, tmp_path / 'first')
    plan = replace(PLAN, wall_weight=0.0, steps=3, start=read_file(start).model_id)
    JudgeTrainer(plan, tmp_path / 'run', *sets, COLLECTIONS, start=start).run()
    first, last = (load_file(path) for path in (start, tmp_path / 'run' / 'judge.safetensors'))
    assert {name for name in first if np.array_equal(first[name], last[name])} \
        == {name for name in first if name.startswith(('outline', 'walls'))}
    for other in (replace(plan, start=''), replace(plan, walls_only=True)):
        with pytest.raises(FedefmError, match='stay as they are in a start'):
            JudgeTrainer(other, tmp_path / 'none', *sets, COLLECTIONS, start=start)
    blind = tmp_path / 'blind.safetensors'
    with safe_open(start, 'numpy') as file:
        save_file({name: file.get_tensor(name) for name in file.keys()
                   if not name.startswith(('outline', 'walls'))}, blind, file.metadata())
    with pytest.raises(FedefmError, match='blind.* cannot tell walls, and with a weight of 0'):
        JudgeTrainer(replace(plan, start=read_file(blind).model_id), tmp_path / 'none', *sets,
                     COLLECTIONS, start=blind)


def judge_of(sets, folder):
    """Return the file of a judge that has learnt nothing."""
    JudgeTrainer(PLAN, folder, *sets, COLLECTIONS).check(0.0)
    return folder / 'judge.safetensors'


def test_noise_is_as_much_as_the_plan_says(sets):
    def deviation(noise):
        pieces = TrainingPieces(sets[0], replace(PLAN, noise=noise))
        strips = [pieces[number][0][0].numpy() for number in range(8)]
        greys = [strip[0].astype(float)[HALF + 8:, strip[0, 0] > 0] for strip in strips]
        return max(np.std(np.diff(grey, axis=0)) for grey in greys)
    assert deviation(0.0) + 10.0 < deviation(60.0)


def test_widths_that_make_no_judge_are_refused(sets, tmp_path):
    for widths, message in (((2000, 8, 8, 8, 8), 'width_0 is 2000'),
                            ((64, 96, 144, 192, 224), 'are allowed')):
        with pytest.raises(FedefmError, match=message):
            JudgeTrainer(replace(PLAN, widths=widths, along=256), tmp_path / 'run', *sets,
                         COLLECTIONS)


def test_validation_needs_true_and_false_pieces(sets, tmp_path):
    training, validation = sets
    for answer in (0, 1):
        validation.answers[:] = answer
        with pytest.raises(FedefmError, match='such that are none'):
            JudgeTrainer(PLAN, tmp_path / 'run', training, validation, COLLECTIONS)
