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

"""A judge tells which frames it learnt of, in its last training and in all before."""

from dataclasses import asdict, replace

from fedefm_ros.backbones.checkpoint import load_checkpoint, read_description, read_file
from fedefm_ros.backbones.checkpoint import save_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.averaged_judge import average_judges
from fedefm_ros.learning.judge_relations import learn_relations, RelationsPlan
from fedefm_ros.learning.judging import JudgeTrainer
from fedefm_ros.learning.learnt_of import also_of, learnt_of

import pytest

from test_judging import COLLECTIONS, judge_of, PLAN, write_pieces

FIRST, VALIDATION = COLLECTIONS
SECOND, THIRD = (replace(FIRST, seed=seed) for seed in (3, 4))
RELATIONS = RelationsPlan(steps=2, batch=8, widths=(8, 8, 8, 8), otherwise=0)


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp('pieces')
    return tuple(write_pieces(root / str(seed), seed) for seed in (1, 2))


@pytest.fixture(scope='module')
def judges(sets, tmp_path_factory):
    """Return a judge and one that goes on from it, with pieces of other frames."""
    root = tmp_path_factory.mktemp('judges')
    first = judge_of(sets, root / 'first')
    return first, trained_on(first, root / 'second', sets, SECOND)


def trained_on(start, folder, sets, training, validation=VALIDATION):
    plan = replace(PLAN, steps=1, start=read_file(start).model_id)
    JudgeTrainer(plan, folder, *sets, (training, validation), start=start).run()
    return folder / 'judge.safetensors'


def told_by(judge):
    return learnt_of(read_description(read_file(judge))[0].provenance, judge)


def test_a_judge_tells_of_all_its_trainings(sets, judges, tmp_path):
    first, second = judges
    assert told_by(first) == [FIRST] and told_by(second) == [FIRST, SECOND]
    again = trained_on(second, tmp_path / 'again', sets, FIRST)
    assert told_by(again) == [FIRST, SECOND]
    related = tmp_path / 'related.safetensors'
    learn_relations(second, *sets, (THIRD, VALIDATION), RELATIONS, related)
    assert told_by(related) == [FIRST, SECOND, THIRD]
    mean = tmp_path / 'mean.safetensors'
    average_judges(first, second, 0.5, sets[1], VALIDATION, 0.9, mean)
    assert told_by(mean) == [FIRST, SECOND]


def test_frames_of_an_earlier_training_are_refused(sets, judges, tmp_path):
    first, second = judges
    out = tmp_path / 'judge.safetensors'
    with pytest.raises(FedefmError, match='was trained on, of which it is surer'):
        learn_relations(second, *sets, (FIRST, VALIDATION), RELATIONS, out)
    third = trained_on(second, tmp_path / 'third', sets, THIRD)
    with pytest.raises(FedefmError, match='validation pieces show frames that .*third'):
        average_judges(first, third, 0.5, sets[1], SECOND, 0.9, out, between=[second])
    with pytest.raises(FedefmError, match='validation pieces show frames that .*second'):
        trained_on(second, tmp_path / 'run', sets, THIRD, validation=FIRST)
    assert not out.exists()


def test_an_earlier_version_told_of_the_last_training(tmp_path):
    told = [asdict(one) for one in (FIRST, SECOND, VALIDATION)]
    assert learnt_of({'collections': told}, tmp_path) == [FIRST, SECOND]
    assert learnt_of({}, tmp_path) == []
    with pytest.raises(FedefmError, match='does not tell what it was trained on'):
        learnt_of({'collections': 7}, tmp_path)


def test_each_is_told_once():
    assert also_of([FIRST, SECOND], [SECOND, FIRST]) == [asdict(FIRST), asdict(SECOND)]


@pytest.mark.parametrize('forged', [
    [{'seed': 1}], [7], 7, [{**asdict(FIRST), 'more': 1}], [{**asdict(FIRST), 'models': None}]])
def test_what_is_forged_is_refused(sets, judges, tmp_path, forged):
    checkpoint = load_checkpoint(judges[1])
    spec = replace(checkpoint.spec, provenance={**checkpoint.spec.provenance,
                                                'learnt_of': forged})
    judge = tmp_path / 'forged.safetensors'
    save_checkpoint(judge, checkpoint.network(), spec)
    with pytest.raises(FedefmError, match='does not tell what it was trained on'):
        learn_relations(judge, *sets, (THIRD, VALIDATION), RELATIONS, tmp_path / 'out')
