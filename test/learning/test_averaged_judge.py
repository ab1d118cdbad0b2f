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

"""A judge between one and what was trained on from it."""

from dataclasses import replace

from fedefm_ros.backbones.checkpoint import read_description, read_file
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.averaged_judge import average_judges
from fedefm_ros.learning.judging import JudgeTrainer
from fedefm_ros.segmentation.judge import Judge

from linenet import save_line_model

import numpy as np

import pytest

from safetensors.numpy import load_file

from test_judging import COLLECTIONS, judge_of, PLAN, write_pieces


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """Return pieces to learn from and others."""
    root = tmp_path_factory.mktemp('pieces')
    return write_pieces(root / 'training', 1), write_pieces(root / 'validation', 2)


@pytest.fixture(scope='module')
def judges(sets, tmp_path_factory):
    """Return a judge, and what training made of it."""
    folder = tmp_path_factory.mktemp('judges')
    first = judge_of(sets, folder / 'first')
    plan = replace(PLAN, steps=6, start=read_file(first).model_id)
    JudgeTrainer(plan, folder / 'second', *sets, COLLECTIONS, start=first).run()
    return first, folder / 'second' / 'judge.safetensors'


def test_each_weight_lies_between_those_of_the_two(judges, sets, tmp_path):
    out = tmp_path / 'mean.safetensors'
    model_id, scores = average_judges(*judges, 0.25, sets[1], COLLECTIONS[1], 0.9, out)
    first, second, mean = (load_file(path) for path in (*judges, out))
    assert any((first[name] != second[name]).any() for name in first)
    for name, weights in mean.items():
        assert weights == pytest.approx(0.75 * first[name] + 0.25 * second[name], abs=1e-6)
    assert Judge(out).model_id == model_id and 0.0 <= scores['area'] <= 1.0
    spec = read_description(read_file(out))[0]
    assert spec.provenance['averaged']['older'] == read_file(judges[0]).model_id
    assert spec.provenance['plan']['steps'] == 6


def test_one_that_comes_by_way_of_another_needs_that_one(judges, sets, tmp_path):
    first, second = judges
    plan = replace(PLAN, steps=3, start=read_file(second).model_id)
    JudgeTrainer(plan, tmp_path / 'third', *sets, COLLECTIONS, start=second).run()
    third, out = tmp_path / 'third' / 'judge.safetensors', tmp_path / 'mean.safetensors'
    told = (0.5, sets[1], COLLECTIONS[1], 0.9, out)
    for between in ((), (first, third)):
        with pytest.raises(FedefmError, match='nor by way of the judges between'):
            average_judges(first, third, *told, between)
    assert not out.exists()
    average_judges(first, third, *told, [second])
    weights = [load_file(path) for path in (first, third, out)]
    for name, mean in weights[2].items():
        assert mean == pytest.approx((weights[0][name] + weights[1][name]) / 2, abs=1e-6)
    averaged = read_description(read_file(out))[0].provenance['averaged']
    assert averaged['between'] == [read_file(second).model_id]


def test_the_limit_is_that_of_the_validation_pieces(judges, sets, tmp_path):
    limits = []
    for kept in (0.95, 0.6):
        average_judges(*judges, 0.5, sets[1], COLLECTIONS[1], kept, tmp_path / 'mean.safetensors')
        limits.append(Judge(tmp_path / 'mean.safetensors').limit)
    assert limits[0] < limits[1]
    # All of the newer is the newer, with its limit.
    average_judges(*judges, 1.0, sets[1], COLLECTIONS[1], PLAN.kept, tmp_path / 'all.safetensors')
    assert Judge(tmp_path / 'all.safetensors').limit == pytest.approx(Judge(judges[1]).limit)


def test_what_has_no_mean_is_refused(judges, sets, tmp_path):
    out = tmp_path / 'mean.safetensors'
    other = tmp_path / 'other' / 'judge.safetensors'
    JudgeTrainer(replace(PLAN, seed=5), other.parent, *sets, COLLECTIONS).check(0.0)
    model = tmp_path / 'lines.safetensors'
    save_line_model(model, 256)
    for pair, message in ((judges[::-1], 'was not trained on from'),
                          ((other, judges[1]), 'was not trained on from .*other'),
                          ((model, judges[1]), 'lines.* is a model .*, no judge')):
        with pytest.raises(FedefmError, match=message):
            average_judges(*pair, 0.5, sets[1], COLLECTIONS[1], 0.9, out)
    assert not out.exists()


def test_pieces_that_tell_no_limit_are_refused(judges, sets, tmp_path, monkeypatch):
    out = tmp_path / 'mean.safetensors'
    for collection, message in ((replace(COLLECTIONS[1], size=512), 'what other models find'),
                                (COLLECTIONS[0], 'frames that .* was trained on')):
        with pytest.raises(FedefmError, match=message):
            average_judges(*judges, 0.5, sets[1], collection, 0.9, out)
    for answer in (0, 1):
        monkeypatch.setattr(sets[1], 'answers', np.full_like(sets[1].answers, answer))
        with pytest.raises(FedefmError, match='validation needs pieces that are instruments and'):
            average_judges(*judges, 0.5, sets[1], COLLECTIONS[1], 0.9, out)
    assert not out.exists()
