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

"""The in-process engine: resumable, the same bit for bit, on disk or in memory."""

import json

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.methods import create_method
from fedefm_ros.federation.rounds import run
from fedefm_ros.federation.rounds import RunPlan
from fedefm_ros.federation.silo import StepOptions
from fedefm_ros.federation.store import StateStore

import pytest

from tiny import difference
from tiny import federation_of

import torch

PLAN = RunPlan(rounds=4, step=StepOptions(learning_rate=0.3))


class Stopped(Exception):
    pass


def made_run(name, folder=None, plan=PLAN, **more):
    method = create_method(name, federation_of(name, folder=folder))
    record = run(method, plan, method.federation.bench.reference, **more)
    return method, record


@pytest.mark.parametrize('name', ['fedefm', 'moon', 'cdl', 'fedbn'])
def test_stopped_run_ends_like_one_that_was_not(name, tmp_path):
    whole, record = made_run(name)

    def stop(number, _):
        if number == 2:
            raise Stopped

    with pytest.raises(Stopped):
        made_run(name, tmp_path, on_round=stop)
    rest, resumed = made_run(name, tmp_path)
    assert all(difference(whole.model(i), rest.model(i)) == 0 for i in range(4))
    for figure in ('rounds', 'transfers', 'bytes', 'steps', 'notes'):
        assert record[figure] == resumed[figure]


def test_run_killed_within_a_round_goes_on_from_the_last_whole_one(tmp_path):
    whole, _ = made_run('fedefm')
    method = create_method('fedefm', federation_of('fedefm', folder=tmp_path))
    run(method, PLAN, method.federation.bench.reference, until=2)
    # Half of the next round is on the disk when the power goes.
    for silo in (0, 1):
        state = {k: torch.zeros_like(v) for k, v in method.federation.bench.reference.items()}
        method.federation.store.put(f'silo/{silo}', state)
    rest, _ = made_run('fedefm', tmp_path)
    assert all(difference(whole.model(i), rest.model(i)) == 0 for i in range(4))


def test_same_seed_same_weights_and_another_plan_others():
    first, again = (made_run('fedavg')[0].model(0) for _ in range(2))
    other = made_run('fedavg', plan=RunPlan(rounds=4, step=StepOptions(learning_rate=0.2)))[0]
    assert difference(first, again) == 0
    assert difference(first, other.model(0)) > 0


def test_folder_of_another_run_is_refused(tmp_path):
    made_run('ring', tmp_path, until=1)
    with pytest.raises(FedefmError, match='another plan, method or data'):
        made_run('ring', tmp_path, plan=RunPlan(rounds=5))
    with pytest.raises(FedefmError, match='another plan, method or data'):
        made_run('cdl', tmp_path)
    with pytest.raises(FedefmError, match='another plan, method or data'):
        made_run('ring', tmp_path, identity={'seed': 2})


def test_damaged_folder_is_refused(tmp_path):
    made_run('ring', tmp_path, until=1)
    next(tmp_path.glob('silo-0.*')).write_bytes(b'rubbish')
    with pytest.raises(FedefmError, match='silo-0'):
        made_run('ring', tmp_path)
    (tmp_path / 'run.json').write_text('{"states":')
    with pytest.raises(FedefmError, match=r'run\.json'):
        made_run('ring', tmp_path)


def test_disk_keeps_only_the_last_round(tmp_path):
    made_run('ring', tmp_path)
    states = json.loads((tmp_path / 'run.json').read_text())['states']
    assert {path.name for path in tmp_path.glob('*.safetensors')} == set(states.values())


def test_what_was_put_is_read_and_what_was_committed_stays_readable():
    store = StateStore()
    old, new = {'a': torch.zeros(1)}, {'a': torch.ones(1)}
    store.put('silo/0', old)
    store.commit({})
    store.put('silo/0', new)
    assert store.get('silo/0') is new and store.before('silo/0') is old
    with pytest.raises(FedefmError, match="no state 'silo/1'"):
        store.get('silo/1')


def test_learning_rate_falls_to_its_last_share():
    plan = RunPlan(rounds=10, step=StepOptions(learning_rate=1.0), last_rate=0.1, decay_from=0.5)
    rates = [plan.rate(number) for number in range(10)]
    assert rates[:5] == [1.0] * 5 and rates[-1] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)


def test_progress_is_told_after_each_round():
    seen = []
    made_run('ring', on_round=lambda number, record: seen.append((number, record['transfers'])))
    assert seen == [(1, 4), (2, 8), (3, 12), (4, 16)]
