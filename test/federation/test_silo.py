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

"""Weights and a silo's steps: checks, averages, trips, distilling, aggregating."""

import copy

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.distillation import DistillationOptions
from fedefm_ros.federation.silo import aggregate
from fedefm_ros.federation.silo import come_home
from fedefm_ros.federation.silo import distil
from fedefm_ros.federation.silo import overseas
from fedefm_ros.federation.silo import StepOptions
from fedefm_ros.federation.silo import Workbench
from fedefm_ros.federation.weights import average
from fedefm_ros.federation.weights import check_state
from fedefm_ros.federation.weights import MOMENTUM
from fedefm_ros.federation.weights import norm_keys
from fedefm_ros.federation.weights import state_bytes
from fedefm_ros.federation.weights import with_momentum
from fedefm_ros.federation.weights import without_momentum

import pytest

from tiny import accuracy
from tiny import difference
from tiny import silo_of
from tiny import TinyNet

import torch


@pytest.fixture
def bench():
    torch.manual_seed(3)
    return Workbench(TinyNet(), StepOptions(learning_rate=0.5))


def poisoned(state):
    state = copy.deepcopy(state)
    state['head.weight'][0, 0] = float('nan')
    return state


def misshapen(state):
    return {**state, 'head.bias': torch.zeros(7)}


def incomplete(state):
    return {key: value for key, value in state.items() if key != 'head.bias'}


def test_average_of_equal_shares_is_the_mean():
    states = [{'a': torch.full((2,), float(k)), 'n': torch.tensor(k)} for k in (1, 2, 6)]
    mean = average(iter(states), [1 / 3] * 3)
    assert mean['a'].tolist() == [3, 3] and mean['a'].dtype == torch.float32
    assert mean['n'] == 3 and mean['n'].dtype == torch.int64


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(FedefmError, match='sum'):
        average([{'a': torch.ones(1)}], [0.5])


@pytest.mark.parametrize('spoil, said', [
    (poisoned, 'not finite'), (misshapen, 'head.bias'), (incomplete, 'head.bias')])
def test_bad_weights_are_refused_everywhere(bench, spoil, said):
    good, bad = bench.reference, spoil(bench.reference)
    batches = list(silo_of((0,)).batches(1))
    with pytest.raises(FedefmError, match=said):
        check_state(bad, good)
    with pytest.raises(FedefmError, match=said):
        overseas(bench, bad, batches)
    with pytest.raises(FedefmError, match=said):
        come_home(bench, good, bad, 1.0)
    with pytest.raises(FedefmError, match=said):
        distil(bench, good, [bad], batches, DistillationOptions())
    with pytest.raises(FedefmError, match=said):
        average([good, bad], [0.5, 0.5])


def test_steps_change_nothing_that_was_given(bench):
    before = copy.deepcopy(bench.reference)
    after = overseas(bench, bench.reference, silo_of((0,)).batches(3))
    assert difference(before, bench.reference) == 0
    assert difference(before, after) > 0
    assert bench.steps == 3


@pytest.fixture
def heavy():
    """Return a bench whose steps have momentum."""
    torch.manual_seed(3)
    return Workbench(TinyNet(), StepOptions(learning_rate=0.05, momentum=0.9))


def test_momentum_that_travels_makes_a_trip_one_training(heavy):
    batches = list(silo_of((0, 1)).batches(4))
    whole = heavy.train(heavy.reference, batches)
    carried = with_momentum(heavy.reference, heavy.network)
    for stop in (batches[:1], batches[1:2], batches[2:]):
        carried = overseas(heavy, carried, stop)
    assert difference(whole, without_momentum(carried)) == 0
    anew = heavy.reference
    for stop in (batches[:1], batches[1:2], batches[2:]):
        anew = overseas(heavy, anew, stop)
    assert anew.keys() == whole.keys()
    assert difference(whole, anew) > 0


def test_momentum_is_checked_and_averaged_as_weights_are(heavy):
    state = overseas(heavy, with_momentum(heavy.reference, heavy.network),
                     silo_of((0,)).batches(1))
    key = MOMENTUM + 'head.bias'
    half = average([state, with_momentum(heavy.reference, heavy.network)], [0.5, 0.5])
    assert torch.allclose(half[key], state[key] / 2)
    for bad in ({**state, key: state[key] / 0}, {**state, key: torch.zeros(7)},
                {**state, MOMENTUM + 'nobody': torch.zeros(1)}):
        with pytest.raises(FedefmError, match='head.bias|nobody'):
            overseas(heavy, bad, [])
    with pytest.raises(FedefmError, match='momentum/.* is missing'):
        average([state, without_momentum(state)], [0.5, 0.5])


def test_coming_home_takes_the_share_asked_for(bench):
    own, returned = bench.reference, overseas(bench, bench.reference, silo_of((1,)).batches(4))
    assert come_home(bench, own, returned, 0.0) is own
    assert come_home(bench, own, returned, 1.0) is returned
    half = come_home(bench, own, returned, 0.5)
    assert difference(half, average([own, returned], [0.5, 0.5])) == 0


def test_trip_carries_kinds_that_distillation_at_home_cannot(bench):
    home, away = silo_of((0, 1), seed=1), silo_of((2, 3), seed=2)
    own = bench.train(bench.reference, home.batches(20, 'local'))
    # Trips of a few rounds, as one alone forgets what it had.
    returned = own
    for turn in range(10):
        returned = overseas(bench, returned, away.batches(1, 'away', turn))
        returned = overseas(bench, returned, home.batches(1, 'back', turn))
    options = DistillationOptions()
    literal, _ = distil(bench, own, [returned], home.batches(20, 'home'), options)
    adopted, _ = distil(bench, come_home(bench, own, returned, 1.0), [returned],
                        home.batches(20, 'home'), options)
    forgetful = bench.train(returned, home.batches(20, 'home'))
    assert accuracy(bench, returned) > 0.9
    assert accuracy(bench, literal) < 0.6
    assert accuracy(bench, adopted) > accuracy(bench, literal) + 0.2
    assert accuracy(bench, adopted) >= accuracy(bench, forgetful)


def test_distil_reports_the_weight_of_teachers(bench):
    home = silo_of((0, 1))
    _, weight = distil(bench, bench.reference, [bench.reference], home.batches(1),
                       DistillationOptions())
    assert weight == pytest.approx(1, abs=1e-3)
    _, nobody = distil(bench, bench.reference, [], home.batches(1), DistillationOptions())
    assert nobody != nobody


def test_same_steps_segment():
    torch.manual_seed(3)
    bench = Workbench(TinyNet(classes=2, dense=True), StepOptions(learning_rate=0.5))
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(8, 1, 2, 2, generator=generator) > 0.5).float()
    masks = torch.nn.functional.interpolate(masks, scale_factor=4)
    batches = [(2 * masks - 1, masks[:, 0].long())] * 30
    state = overseas(bench, bench.reference, batches)
    student, weight = distil(bench, bench.reference, [state], batches, DistillationOptions())
    right = (bench.logits(student, batches[0][0]).argmax(1) == batches[0][1]).float().mean()
    assert float(right) > 0.9 and 0 < weight <= 1


def test_aggregate_leaves_out_who_is_not_accepted(bench):
    good = bench.reference
    other = {key: value + 1 for key, value in good.items()}
    both = aggregate([good, poisoned(good), other], [True, False, True])
    assert difference(both, average([good, other], [0.5, 0.5])) == 0
    with pytest.raises(FedefmError, match='nothing to aggregate'):
        aggregate([good], [False])


def test_aggregate_weighs_by_samples(bench):
    good, other = bench.reference, {k: v + 1 for k, v in bench.reference.items()}
    weighed = aggregate([good, other], [True, True], [3.0, 1.0])
    assert difference(weighed, {k: v + 0.25 for k, v in good.items()}) < 1e-6


def test_training_that_diverges_says_so(bench):
    bench.options = StepOptions(learning_rate=float('1e30'))
    with pytest.raises(FedefmError, match='diverged'):
        bench.train(bench.reference, silo_of((0, 1)).batches(5))


def test_norms_are_found_and_bytes_counted():
    network = TinyNet()
    assert norm_keys(network) == {'norm.weight', 'norm.bias'}
    state = dict(network.state_dict())
    assert state_bytes(state) == 4 * sum(value.numel() for value in network.parameters())
    assert state_bytes(state, norm_keys(network)) == 4 * 16


def test_batches_depend_on_their_place_only():
    data = silo_of((0, 1))
    first, again = (list(data.batches(3, 5, 'home')) for _ in range(2))
    other = list(data.batches(3, 6, 'home'))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again))
    assert not torch.equal(first[0][0], other[0][0])


def test_average_is_flowers():
    aggregator = pytest.importorskip('flwr.server.strategy.aggregate')
    generator = torch.Generator().manual_seed(0)
    states = [{'a': torch.randn(50, 20, generator=generator),
               'b': torch.randn(7, generator=generator)} for _ in range(5)]
    samples = [10, 400, 33, 7, 250]
    ours = aggregate(states, [True] * 5, samples)
    theirs = aggregator.aggregate(
        [([value.numpy() for value in state.values()], n) for state, n in zip(states, samples)])
    for a, b in zip(ours.values(), theirs):
        assert abs(a.numpy() - b).max() < 1e-6
