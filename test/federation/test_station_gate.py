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

"""The gate: what is carried on, what is used, and how long an inference takes."""

import math

from fedefm_ros.federation.station.gate import Candidate
from fedefm_ros.federation.station.gate import judge
from fedefm_ros.federation.station.plan import TaskPlan
from fedefm_ros.federation.station.task import Task

import pytest

import torch
from torch import nn


def verdict(*candidates, before=0.8):
    made = [Candidate(str(k), {'score': score}, slow)
            for k, (score, slow) in enumerate(candidates)]
    found = judge(made, before, peer_margin=0.3, gate_margin=0.02, slowest=1.5)
    return (found.carried and found.carried.model, found.used and found.used.model)


@pytest.mark.parametrize('candidates, expected', [
    ([(0.9, 1.0)], ('0', '0')),
    ([(0.79, 1.0)], ('0', '0')),             # within the margin
    ([(0.7, 1.0)], ('0', None)),             # worse: others may go on from it
    ([(0.4, 1.0)], (None, None)),            # plainly bad
    ([(0.7, 1.0), (0.8, 1.0)], ('0', '1')),  # mixing spoilt it for the station itself
    ([(0.4, 1.0), (0.8, 1.0)], ('1', '1')),
    ([(0.9, 1.6)], ('0', None)),             # slow
    ([(0.9, 1.6), (0.8, 1.1)], ('0', '1')),
    ([(0.9, math.nan)], ('0', None)),
    ([(math.nan, 1.0)], (None, None)),
])
def test_what_is_carried_on_and_what_is_used(candidates, expected):
    assert verdict(*candidates) == expected


def test_the_first_model_of_a_station_is_taken():
    assert verdict((0.0, 1.0), before=-math.inf) == ('0', '0')


def test_it_says_why_nothing_is_used():
    found = judge([Candidate('m', {'score': 0.9}, 2.0)], 0.5, 0.3, 0.02, 1.5)
    assert '2.00 times as long' in found.why
    assert '0.1000' in judge([Candidate('m', {'score': 0.1})], 0.5, 1.0, 0.02, 1.5).why


class Loops(nn.Module):
    """As slow as its weight says."""

    def __init__(self):
        super().__init__()
        self.loops = nn.Parameter(torch.tensor(1.0))

    def forward(self, images):
        for _ in range(int(self.loops)):
            images = images.sin()
        return images


def test_slowdowns_are_those_of_the_weights():
    images = torch.zeros(3, 1, 64, 64)
    plan = TaskPlan('segmentation', 'simulator:human', size=64, batch=1)
    task = Task(plan, Loops(), (images, images), (images, images))
    same, slow = task.slowdowns([{'loops': torch.tensor(200.0)}, {'loops': torch.tensor(4000.0)}],
                                {'loops': torch.tensor(200.0)}, repeats=3)
    assert 0.1 < same < 5 < slow
