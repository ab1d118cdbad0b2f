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

"""What is sent can be clipped and made noisy: for messages of whole stations."""

from exchange import Exchange
from exchange import plans

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.crew import Crew
from fedefm_ros.federation.station.plan import TaskPlan
from fedefm_ros.federation.station.task import make_task
from fedefm_ros.federation.station.work import Work
from fedefm_ros.federation.transfer.codec import decode
from fedefm_ros.federation.trust.clipping import distance

import pytest

import torch


@pytest.fixture(scope='module')
def task(tmp_path_factory):
    torch.set_num_threads(1)
    return make_task(TaskPlan('foundation', 'simulator:human', images=6, held_out=3, size=32,
                              batch=4, model=''), tmp_path_factory.mktemp('cache'))


def sent(work, model):
    """Return the weights that others would get."""
    path = work.pack(model, {'name': 'it', 'codec': 'safetensors', 'chunk_size': 1 << 16,
                             'encrypt': False})['sealed']['path']
    with open(path, 'rb') as file:
        return decode(file.read(), 'safetensors', work.task.network.state_dict())


def test_nothing_is_changed_unless_it_is_asked_for(task, tmp_path):
    work = Work(task, tmp_path)
    trained = work.local(work.start()['model'], 3, 0)['model']
    assert distance(sent(work, trained), work.read(trained)) == 0
    assert not (tmp_path / Work.SENT).exists()


def test_one_message_carries_a_bounded_change_and_the_next_ones_the_rest(task, tmp_path):
    work = Work(task, tmp_path)
    start = work.start()['model']
    trained = work.local(start, 6, 0)['model']
    whole = distance(work.read(start), work.read(trained))
    work._clip = clip = 0.4 * whole
    first, second, third = (sent(work, trained) for _ in range(3))
    assert distance(first, work.read(start)) == pytest.approx(clip, rel=1e-3)
    assert distance(second, first) == pytest.approx(clip, rel=1e-3)
    # As floats are, what was in reach arrives nearly whole.
    assert distance(third, work.read(trained)) < 1e-4 * whole
    # What others know survives a restart.
    again = Work(task, tmp_path, send_clip=clip)
    assert distance(sent(again, start), third) == pytest.approx(clip, rel=1e-3)


def test_noise_has_the_asked_size_and_is_never_the_same(task, tmp_path):
    work = Work(task, tmp_path, send_clip=0.5, send_noise=0.2)
    start = work.start()['model']
    got = []
    for _ in range(2):
        (tmp_path / Work.SENT).unlink(missing_ok=True)
        got.append(sent(work, start))
    assert distance(*got) > 0
    noise = torch.cat([(got[0][key] - value).reshape(-1)
                       for key, value in work.read(start).items()
                       if value.is_floating_point() and 'running' not in key])
    assert float(noise.std()) == pytest.approx(0.1, rel=0.05)


def test_a_visitor_goes_on_with_a_bounded_change(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    torch.set_num_threads(1)
    exchange = Exchange(tmp_path, ('ada', 'bert'), plans(('ada', 'bert'), ('human', 'animal')),
                        rounds=1, peer_margin=1.0, gate_margin=1.0)
    for name in exchange.names:
        exchange.start(name, stop_steps=4)
    work = exchange.crews['bert']._work
    work._clip = 1e-3
    trained = []
    private = work._private

    def watched(state, base):
        made = private(state, base)
        trained.append((distance(state, base), distance(made, base)))
        return made
    monkeypatch.setattr(work, '_private', watched)
    exchange.run(exchange.rounds(1), 20000)
    assert trained and all(bare > 1e-3 >= clipped - 1e-6 for bare, clipped in trained)
    assert exchange.members['ada'].journal.history[-1]['present'] == ['bert']


def test_a_momentum_that_travels_cannot_be_clipped(tmp_path):
    with pytest.raises(FedefmError, match='momentum'):
        Crew(tmp_path, TaskPlan(), send_clip=0.1, momentum=0.9)


def test_noise_without_a_clip_is_a_mistake(tmp_path):
    with pytest.raises(FedefmError, match='send_clip'):
        Crew(tmp_path, TaskPlan(), send_noise=0.1)
