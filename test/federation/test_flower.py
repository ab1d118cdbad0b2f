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

"""FedAvg over our silo code is FedAvg over Flower's own averaging, round after round."""

from fedefm_ros.federation.methods import create_method
from fedefm_ros.federation.rounds import run
from fedefm_ros.federation.rounds import RunPlan
from fedefm_ros.federation.silo import local
from fedefm_ros.federation.silo import StepOptions

import pytest

from tiny import difference
from tiny import federation_of

import torch


def test_fedavg_of_the_same_silos_and_seeds_is_flowers():
    flower = pytest.importorskip('flwr.server.strategy.aggregate')
    plan = RunPlan(rounds=3, step=StepOptions(learning_rate=0.1), last_rate=1.0)
    kinds, counts = ((0,), (1, 2), (3,)), {0: 10, 1: 40, 2: 7}
    made = federation_of('fedavg', kinds, counts=counts)
    first = made.bench.reference
    method = create_method('fedavg', made)
    run(method, plan, first)

    theirs, bench = first, federation_of('fedavg', kinds, counts=counts).bench
    bench.options = plan.step
    for number in range(plan.rounds):
        trained = [local(bench, theirs, silo.batches(made.steps, number, 'local'))
                   for silo in made.silos]
        mean = flower.aggregate([([value.numpy() for value in state.values()], len(silo))
                                 for state, silo in zip(trained, made.silos)])
        theirs = {key: torch.from_numpy(value).to(first[key].dtype)
                  for key, value in zip(first, mean)}
    assert difference(method.foundation(), theirs) < 1e-6
    assert difference(first, theirs) > 0.01
