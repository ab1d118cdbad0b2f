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

"""Weights from peers: what is refused, what clipping bounds, and both against attackers."""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.silo import local
from fedefm_ros.federation.silo import StepOptions
from fedefm_ros.federation.silo import Workbench
from fedefm_ros.federation.trust.admission import admit
from fedefm_ros.federation.trust.clipping import clip_difference
from fedefm_ros.federation.trust.clipping import default_radius
from fedefm_ros.federation.trust.clipping import distance
from fedefm_ros.federation.trust.clipping import privatise
from fedefm_ros.federation.trust.held_out import held_out_refusal
from fedefm_ros.federation.trust.limits import Limits
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.weights import average
from fedefm_ros.federation.weights import MOMENTUM
from fedefm_ros.federation.weights import state_of
from fedefm_ros.federation.weights import with_momentum

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

import pytest

from tiny import difference
from tiny import images_of
from tiny import TinyNet

import torch

OWN, FOREIGN, ALL = (0, 1), (2, 3), (0, 1, 2, 3)


@pytest.fixture
def bench():
    torch.manual_seed(1)
    return Workbench(TinyNet(), StepOptions(learning_rate=0.3))


@pytest.fixture
def own(bench):
    return state_of(bench.network)


def refusal(state, own, limits=Limits()):
    with pytest.raises(Refused) as refused:
        admit(state, own, own, limits)
    return refused.value.reason


def changed(state, key, change):
    return {**state, key: change(state[key].clone())}


def with_statistics(state):
    """Return a state that also has what a batch normalisation keeps."""
    return {**state, 'bn.running_mean': torch.tensor([300.0, -5.0]),
            'bn.running_var': torch.tensor([4000.0, 9.0]), 'bn.count': torch.tensor(7)}


def test_a_neighbours_model_is_admitted_as_it_is(own):
    theirs = {key: value * 1.1 for key, value in own.items()}
    assert admit(theirs, own, own) is theirs


def test_an_old_station_is_admitted_by_a_new_one(bench, own):
    trained = local(bench, own, batches(ALL, 40, 1))
    assert distance(trained, own) > 0.2 * distance(own, zeros(own))
    admit(trained, own, own)
    admit(own, own, trained)


def zeros(state):
    return {key: torch.zeros_like(value) for key, value in state.items()}


@pytest.mark.parametrize('spoil, reason', [
    (lambda s: changed(s, 'head.weight', lambda v: v * float('nan')), 'not_finite'),
    (lambda s: changed(s, 'head.bias', lambda v: v + float('inf')), 'not_finite'),
    (lambda s: changed(s, 'head.bias', lambda v: v.double()), 'wrong_shape'),
    (lambda s: changed(s, 'head.bias', lambda v: v[:1]), 'wrong_shape'),
    (lambda s: {key: value for key, value in s.items() if key != 'norm.bias'}, 'wrong_shape'),
    (lambda s: {**s, 'more': torch.zeros(1)}, 'wrong_shape'),
    (zeros, 'norm'),
    (lambda s: {key: value * 10 for key, value in s.items()}, 'norm'),
    (lambda s: {key: value * -10 for key, value in s.items()}, 'norm'),
    (lambda s: {key: torch.full_like(value, 3e38) for key, value in s.items()}, 'norm'),
    (lambda s: changed(s, 'norm.bias', lambda v: v + 1e6), 'norm')])
def test_what_does_not_fit_is_refused_with_its_reason(own, spoil, reason):
    assert refusal(spoil(own), own) == reason


def test_a_momentum_longer_than_honest_steps_leave_is_refused(bench, own):
    bench.options = StepOptions(learning_rate=0.3, momentum=0.9, clip_norm=0.01)
    honest = local(bench, with_momentum(own, bench.network), batches(ALL, 60, 1))
    own = with_momentum(own, bench.network)
    longest = 0.01 / (1 - 0.9)
    admit(honest, own, own, longest_momentum=longest)
    assert sum(float(value.square().sum()) for key, value in honest.items()
               if key.startswith(MOMENTUM)) ** 0.5 > longest / 10
    for factor in (-40.0, 1e30):
        huge = {key: value * factor if key.startswith(MOMENTUM) else value
                for key, value in honest.items()}
        with pytest.raises(Refused) as refused:
            admit(huge, own, own, longest_momentum=longest)
        assert refused.value.reason == 'norm' and 'momentum' in str(refused.value)


def test_a_momentum_has_to_be_there_whole_and_finite(bench, own):
    whole = with_momentum(own, bench.network)
    first = next(key for key in whole if key.startswith(MOMENTUM))
    assert refusal(own, whole) == 'wrong_shape'
    assert refusal({key: value for key, value in whole.items() if key != first},
                   whole) == 'wrong_shape'
    assert refusal(changed(whole, first, lambda v: v + float('nan')), whole) == 'not_finite'


@pytest.mark.parametrize('key, value', [
    ('bn.running_var', [-1.0, 9.0]), ('bn.running_var', [1e30, 9.0]),
    ('bn.running_mean', [-1e12, 0.0])])
def test_absurd_statistics_are_refused(own, key, value):
    mine = with_statistics(own)
    admit(mine, mine, mine)
    assert refusal({**mine, key: torch.tensor(value)}, mine) == 'norm'


def test_large_statistics_hide_no_large_weights(own):
    mine = with_statistics(own)
    assert refusal(changed(mine, 'head.weight', lambda v: v * 100), mine) == 'norm'


def test_a_station_can_be_stricter(own):
    flipped = {key: -value for key, value in own.items()}
    admit(flipped, own, own)
    assert refusal(flipped, own, Limits(whole_ratio=1.9)) == 'norm'
    with pytest.raises(FedefmError, match='whole_ratio'):
        Limits(whole_ratio=0)


@settings(max_examples=50, deadline=None)
@given(seed=strategies.integers(0, 1000), scale=strategies.floats(0, 1e6),
       radius=strategies.floats(0, 1e3))
def test_clipping_moves_no_further_than_the_radius_and_in_the_same_direction(seed, scale, radius):
    generator = torch.Generator().manual_seed(seed)
    own = {'a': torch.randn(20, generator=generator), 'n': torch.tensor(3)}
    theirs = {'a': own['a'] + scale * torch.randn(20, generator=generator), 'n': torch.tensor(9)}
    clipped = clip_difference(own, theirs, radius)
    far = distance(own, theirs)
    share = min(1.0, radius / far) if far else 1.0
    expected = own['a'].double() + share * (theirs['a'].double() - own['a'].double())
    assert torch.allclose(clipped['a'].double(), expected, rtol=1e-5,
                          atol=1e-5 * float(theirs['a'].abs().max()))
    assert distance(own, clipped) <= radius + 1e-5 * (far + 10)
    assert clipped['n'] == 3 and clipped['a'].dtype == torch.float32


def test_clipping_keeps_what_is_near_and_survives_what_is_huge(own):
    near = {key: value + 1e-3 for key, value in own.items()}
    assert difference(clip_difference(own, near, 100.0), near) == 0
    assert difference(clip_difference(own, near, 0.0), own) == 0
    huge = {key: torch.full_like(value, 3.4e38) for key, value in own.items()}
    clipped = clip_difference(changed(own, 'head.bias', lambda v: v - 3e38), huge, 1.0)
    assert all(value.isfinite().all() for value in clipped.values())


def test_a_momentum_is_moved_by_the_share_of_its_weights(bench, own):
    mine = with_momentum(own, bench.network)
    theirs = {key: value + (8.0 if key.startswith(MOMENTUM) else 1.0)
              for key, value in mine.items()}
    clipped = clip_difference(mine, theirs, distance(own, {key: own[key] + 0.25 for key in own}))
    for key, value in mine.items():
        moved = 2.0 if key.startswith(MOMENTUM) else 0.25
        assert torch.allclose(clipped[key] - value, torch.tensor(moved), atol=1e-5)


def test_statistics_and_counters_stay_the_own(own):
    mine = with_statistics(own)
    theirs = {key: value * 2 for key, value in mine.items()}
    clipped = clip_difference(mine, theirs, 1e9)
    assert difference({key: clipped[key] for key in own}, {k: theirs[k] for k in own}) < 1e-6
    assert all(torch.equal(clipped[key], mine[key]) for key in mine if key.startswith('bn.'))


def test_a_negative_radius_is_a_mistake(own):
    with pytest.raises(FedefmError, match='radius'):
        clip_difference(own, own, -1.0)


def test_what_is_sent_is_clipped_and_has_noise_of_the_promised_size():
    base = {'a': torch.zeros(100_000), 'bn.running_mean': torch.ones(2), 'n': torch.tensor(1)}
    state = {'a': torch.full((100_000,), 5.0), 'bn.running_mean': torch.zeros(2),
             'n': torch.tensor(2)}
    rng = torch.Generator().manual_seed(0)
    bare = privatise(state, base, 2.0, 0.0, rng)
    assert distance(bare, base) == pytest.approx(2.0, rel=1e-4)
    noisy = privatise(state, base, 2.0, 0.5, rng)
    noise = noisy['a'] - bare['a']
    assert float(noise.std()) == pytest.approx(1.0, rel=0.02)
    assert abs(float(noise.mean())) < 0.02
    assert noisy['bn.running_mean'].tolist() == [1, 1] and noisy['n'] == 1
    again = privatise(state, base, 2.0, 0.5, rng)
    assert not torch.equal(again['a'], noisy['a'])
    for clip, sigma in ((0.0, 1.0), (1.0, -1.0)):
        with pytest.raises(FedefmError):
            privatise(state, base, clip, sigma, rng)


def test_worse_than_the_own_by_more_than_the_margin_may_not_teach():
    assert held_out_refusal(0.9, 0.85, 0.1) is None and held_out_refusal(0.5, 0.9, 0.0) is None
    for score in (0.79, 0.0, float('nan')):
        assert held_out_refusal(0.9, score, 0.1).reason == 'held_out'


# Attackers, in a small but real learning problem: the station has kinds 0 and 1, an honest
# neighbour has 2 and 3, the attacker is the other neighbour of a ring.


def batches(kinds, steps, seed, flip=0):
    """Return steps of eight images; flip: labels are wrong by so much."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.cat([images_of(kind, 24, seed + 7) for kind in kinds])
    labels = (torch.tensor(kinds).repeat_interleave(24) + flip) % 4
    picks = [torch.randint(len(labels), (8,), generator=generator) for _ in range(steps)]
    return [(images[pick], labels[pick]) for pick in picks]


def accuracy(bench, state, kinds=ALL):
    images = torch.cat([images_of(kind, 25, 99) for kind in kinds])
    labels = torch.tensor(kinds).repeat_interleave(25)
    return float((bench.logits(state, images).argmax(1) == labels).float().mean())


def attack(name, bench, honest, number):
    """Return what an attacker sends who could send this honest model."""
    if name == 'label-flip':
        return local(bench, honest, batches(ALL, 20, number, flip=1))
    if name == 'noise':
        generator = torch.Generator().manual_seed(number)
        return {key: value + torch.randn(value.shape, generator=generator)
                for key, value in honest.items()}
    return {key: value * {'sign-flip': -1, 'scaled': 10}[name] for key, value in honest.items()}


ATTACKERS = ['sign-flip', 'scaled', 'noise', 'label-flip']


@pytest.mark.parametrize('name', ATTACKERS)
def test_one_exchange_with_an_attacker_does_no_harm_once_it_is_clipped(bench, own, name):
    before = local(bench, own, batches(ALL, 10, 1))
    mine = local(bench, before, batches(OWN, 10, 2))
    theirs = attack(name, bench, local(bench, before, batches(FOREIGN, 10, 3)), 4)
    radius = default_radius(before, mine)
    mixed = average([mine, theirs], [0.5, 0.5])
    safe = average([mine, clip_difference(mine, theirs, radius)], [0.5, 0.5])
    assert accuracy(bench, mine) > 0.95
    assert accuracy(bench, safe) >= accuracy(bench, mine) - 0.05
    assert distance(mine, safe) <= radius / 2 + 1e-4 < distance(mine, mixed) / 3
    if name != 'scaled':  # a network with group norms hardly minds its weights' scale
        assert accuracy(bench, mixed) <= accuracy(bench, mine) - 0.2


@pytest.mark.parametrize('name', ['sign-flip', 'noise', 'label-flip'])
def test_the_held_out_check_or_admission_refuses_each_attacker(bench, own, name):
    before = local(bench, own, batches(ALL, 10, 1))
    mine = local(bench, before, batches(OWN, 10, 2))
    honest = local(bench, before, batches(FOREIGN, 10, 3))
    theirs = attack(name, bench, honest, 4)
    score = accuracy(bench, mine, OWN)
    assert held_out_refusal(score, accuracy(bench, honest, OWN), 0.3) is None
    assert held_out_refusal(score, accuracy(bench, theirs, OWN), 0.3) is not None


def ring(bench, own, name, clipped, rounds=5):
    """Return the accuracy on all kinds after rounds of learning between the two neighbours."""
    mine = honest = local(bench, own, batches(ALL, 3, 1))
    for number in range(10, 10 * rounds + 10, 10):
        before = mine
        mine = local(bench, mine, batches(OWN, 5, number + 2))
        honest = local(bench, honest, batches(FOREIGN, 5, number + 3))
        got = [honest]
        if name:
            got.append(attack(name, bench, honest, number + 4))
        if clipped:
            radius = default_radius(before, mine)
            got = [clip_difference(mine, theirs, radius) for theirs in got]
        honest = average([honest, mine], [0.5, 0.5])
        mine = average([mine, *got], [1 / (1 + len(got))] * (1 + len(got)))
    return accuracy(bench, mine)


@pytest.mark.parametrize('name', ['sign-flip', 'label-flip'])
def test_a_clipped_station_learns_its_neighbours_kinds_beside_an_attacker(bench, own, name):
    assert ring(bench, own, None, clipped=True) > 0.95
    assert ring(bench, own, name, clipped=True) > 0.9
    assert ring(bench, own, name, clipped=False) < 0.8


# Attackers who know what all honest stations send, as in ByzFL (byzfl.attacks, version 0.0.11).


def inner_product(updates, tau=2.0):
    """Return -tau times the mean: InnerProductManipulation; SignFlipping is tau = 1."""
    return {key: -tau * torch.stack([one[key] for one in updates]).mean(0) for key in updates[0]}


def a_little_is_enough(updates, tau=1.5):
    """Return the mean and tau standard deviations: ALittleIsEnough, hard to tell from honest."""
    stacked = {key: torch.stack([one[key] for one in updates]) for key in updates[0]}
    return {key: value.mean(0) + tau * value.var(0, unbiased=True).sqrt()
            for key, value in stacked.items()}


@pytest.mark.parametrize('strength', [1.0, 50.0])
@pytest.mark.parametrize('made', [inner_product, a_little_is_enough])
def test_who_knows_all_honest_models_does_no_harm_in_an_exchange_that_is_clipped(
        bench, own, made, strength):
    before = local(bench, own, batches(ALL, 10, 1))
    mine = local(bench, before, batches(OWN, 10, 2))
    honest = local(bench, before, batches(FOREIGN, 10, 3))
    updates = [{key: state[key] - value for key, value in before.items()}
               for state in (mine, honest)]
    theirs = {key: before[key] + strength * value for key, value in made(updates).items()}
    radius = default_radius(before, mine)
    got = [mine, clip_difference(mine, honest, radius), clip_difference(mine, theirs, radius)]
    safe = average(got, [1 / 3] * 3)
    plain = average([mine, honest, theirs], [1 / 3] * 3)
    assert accuracy(bench, safe, OWN) >= accuracy(bench, mine, OWN) - 0.05
    # What it gets by the attacker is as bounded as by an honest neighbour.
    assert distance(average([mine, got[1]], [0.5, 0.5]), mine) <= radius / 2 + 1e-4
    assert distance(safe, mine) <= 2 * radius / 3 + 1e-4
    if strength > 1:
        assert distance(plain, mine) > 3 * distance(safe, mine)
