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

"""New models in shadow: compared with the one in use on frames that stay in memory."""

from exchange import Exchange
from exchange import plans

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.frames import FrameMemory
from fedefm_ros.federation.station.frames import read_frames
from fedefm_ros.federation.station.gate import objection
from fedefm_ros.federation.station.shadow import compare

import numpy as np

import pytest

import torch
from torch import nn

NAMES = ('ada', 'bert')


class Threshold(nn.Module):
    """Marks as catheter what is brighter than its weight."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.5))

    def forward(self, images):
        marked = (images > self.level).float()
        return torch.cat([1 - marked, marked, torch.zeros_like(marked)], dim=1)


def at(level):
    return {'level': torch.tensor(level)}


def frame_with(*squares):
    """Return an image with squares of 10 x 10 pixels: (corner, brightness)."""
    image = torch.zeros(1, 1, 64, 64)
    for corner, brightness in squares:
        image[..., corner:corner + 10, corner:corner + 10] = brightness
    return image


def test_two_models_that_see_the_same_agree():
    frames = [frame_with((5, 0.9)), frame_with((5, 0.9), (40, 0.9))]
    told = compare(Threshold(), at(0.4), at(0.5), frames)
    assert told['agreement'] == 1 and told['new_instruments'] == 0 and told['frames'] == 2
    assert told['slowdown'] > 0
    assert objection(told, 1.0) == ''


def test_what_only_the_new_one_sees_is_counted_and_told():
    frames = [frame_with((5, 0.9), (40, 0.3)), frame_with((5, 0.9))]
    told = compare(Threshold(), at(0.2), at(0.5), frames)
    assert told['new_instruments'] == 0.5
    assert told['agreement'] == pytest.approx(2 * 200 / (300 + 200))
    assert '0.800' in objection(told, 0.9) and objection(told, 0.7) == ''
    # The other way round something is missing, and nothing is new.
    told = compare(Threshold(), at(0.5), at(0.2), frames)
    assert told['new_instruments'] == 0 and told['agreement'] < 0.9


def test_two_that_see_nothing_agree_and_no_frames_are_a_mistake():
    assert compare(Threshold(), at(2.0), at(3.0), [frame_with()])['agreement'] == 1
    with pytest.raises(FedefmError, match='no frames'):
        compare(Threshold(), at(2.0), at(3.0), [])


def test_frames_are_kept_in_memory_one_a_period_and_the_newest():
    now = [0.0]
    memory = FrameMemory(3, 1.0, lambda: now[0])
    assert memory.as_file(np.asarray) == ''
    for number in range(80):
        now[0] = number / 8
        memory.add(np.full((4, 4), number, np.uint8))
    path = memory.as_file(np.asarray)
    assert [int(image[0, 0]) for image in read_frames(path)] == [56, 64, 72]
    memory.clear()
    assert len(memory) == 0
    with pytest.raises(FedefmError, match='cannot be read'):
        read_frames(path)
    none = FrameMemory(0)
    none.add(np.zeros((4, 4), np.uint8))
    assert len(none) == 0


def test_a_frame_that_cannot_be_read_is_left_out():
    memory = FrameMemory(2, 0.0)

    def decode(frame):
        if frame == 'bad':
            raise FedefmError('unknown encoding')
        return np.zeros((4, 4), np.uint16)
    memory.add('bad')
    assert memory.as_file(decode) == ''
    memory.add('good')
    assert [image.dtype for image in read_frames(memory.as_file(decode))] == [np.uint16]


@pytest.fixture
def exchange(tmp_path, monkeypatch):
    """Give two stations that segment, and are not started."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    torch.set_num_threads(1)
    return Exchange(tmp_path, NAMES, plans(
        NAMES, ('human', 'animal'), task='segmentation', images=4, held_out=2, size=64, batch=2,
        widths=(4, 8, 8, 8)), rounds=1, peer_margin=1.0, gate_margin=1.0, gate_slowdown=100.0)


def with_frames(member):
    """Let a station remember two frames of noise."""
    memory = FrameMemory(2, 0.0)
    for seed in range(2):
        memory.add(np.random.default_rng(seed).integers(0, 255, (80, 80), np.uint8))
    member.remember(lambda: memory.as_file(np.asarray))


def test_a_round_tries_its_model_on_the_last_procedure(exchange):
    for name in NAMES:
        with_frames(exchange.start(name, shadow_agreement=0.0))
    exchange.run(exchange.rounds(1), 20000)
    alone, first = exchange.members['ada'].journal.history
    # There was nothing to compare the first model with.
    assert alone['accepted'] and alone['shadow'] == {}
    assert first['accepted'] and first['shadow']['frames'] == 2
    assert 0 <= first['shadow']['agreement'] <= 1


def test_a_model_that_sees_other_things_is_not_used(exchange, monkeypatch):
    for name in NAMES:
        with_frames(exchange.start(name, shadow_agreement=0.9))
    work = exchange.crews['ada']._work
    shadow = work.task.shadow

    def other(candidate, used, frames):
        # All its last layer's signs are turned: it sees where the other sees nothing.
        return shadow({key: -value if key.startswith('head') else value
                       for key, value in candidate.items()}, used, frames)
    assert any(key.startswith('head') for key in work.task.network.state_dict())
    monkeypatch.setattr(work.task, 'shadow', other)
    exchange.run(exchange.rounds(1), 20000)
    journal = exchange.members['ada'].journal
    alone, first = journal.history
    assert not first['accepted'] and first['model'] == alone['model'] == journal.used
    assert first['shadow']['agreement'] < 0.9
    assert 'in shadow' in (exchange.state('ada') / 'audit.jsonl').read_text()
    assert exchange.members['bert'].journal.round == 1
