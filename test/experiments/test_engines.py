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

"""Engines: the same figures wherever runs are computed, and errors that get through."""

import importlib.util

from fedefm_ros.backbones.tokens import grid_of
from fedefm_ros.errors import FedefmError
from fedefm_ros.experiments.engines import engine_of
from fedefm_ros.experiments.presets import read_preset
from fedefm_ros.experiments.tables import jobs_of
from fedefm_ros.experiments.tables import run_jobs

import pytest

PRESET = {
    'entries': ['matcha', 'fedefm'], 'seeds': 1, 'data': {'train': 2, 'test': 1, 'size': 32},
    'network': {'kind': 'conv', 'widths': [8, 8, 8]}, 'silos': 3, 'unseen': 1.0, 'steps': 3,
    'batch': 4, 'plan': {'rounds': 2, 'step': {'learning_rate': 0.01, 'momentum': 0.9}}}


@pytest.fixture
def engine(request):
    if request.param == 'ray':
        ray = pytest.importorskip('ray')
        yield request.param
        ray.shutdown()
    else:
        yield request.param


@pytest.mark.parametrize('engine', ['processes', 'ray'], indirect=True)
def test_weights_do_not_depend_on_the_engine_by_a_bit(engine, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    preset = read_preset(PRESET)
    here = jobs_of(preset, (1, 2), tmp_path / 'here')
    there = jobs_of(preset, (1, 2), tmp_path / 'there')
    done = []
    figures = run_jobs(here)
    others = run_jobs(there, 2, lambda rounds, _: done.append(rounds), engine)
    assert done == [2, 4, 6, 8]
    for job, same, one, other in zip(here, there, figures, others):
        clock = 'seconds_per_round'
        assert {**one, clock: 0} == {**other, clock: 0}
        weights = [place / 'foundation.safetensors' for place in (job.place, same.place)]
        assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize('engine', ['in-process', 'processes', 'ray'], indirect=True)
def test_results_come_in_order_and_an_error_is_the_items_own(engine):
    chosen = engine_of(engine, 2)
    assert chosen.compute(grid_of, [16, 4, 9]) == [4, 2, 3]
    with pytest.raises(ValueError, match='5 tokens make no square'):
        chosen.compute(grid_of, [4, 5, 9])


def test_an_engine_that_is_not_there_is_said():
    with pytest.raises(FedefmError, match='unknown engine'):
        engine_of('cluster')
    if importlib.util.find_spec('ray') is None:
        with pytest.raises(FedefmError, match=r'pip install .fedefm_ros\[ray\]'):
            engine_of('ray')
