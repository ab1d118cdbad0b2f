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

"""Each compared method's defining property, and what all of them share."""

import copy
import math

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.distillation import label_loss
from fedefm_ros.federation.methods import create_method
from fedefm_ros.federation.methods import FedefmOptions
from fedefm_ros.federation.methods import method_names
from fedefm_ros.federation.methods.cdl import backbone_loss
from fedefm_ros.federation.methods.cdl import divergence
from fedefm_ros.federation.methods.method import key
from fedefm_ros.federation.methods.moon import contrast
from fedefm_ros.federation.rounds import run
from fedefm_ros.federation.rounds import RunPlan
from fedefm_ros.federation.silo import StepOptions
from fedefm_ros.federation.silo import supervised
from fedefm_ros.federation.topology import create_topology
from fedefm_ros.federation.topology import uniform_network
from fedefm_ros.federation.weights import average
from fedefm_ros.federation.weights import MOMENTUM
from fedefm_ros.federation.weights import norm_keys
from fedefm_ros.federation.weights import state_bytes

import pytest

from tiny import accuracy
from tiny import difference
from tiny import federation_of
from tiny import silo_of
from tiny import TinyNet

import torch


def started(name, **given):
    options = given.pop('method_options', {})
    method = create_method(name, federation_of(name, **given), **options)
    method.start(method.federation.bench.reference)
    method.federation.store.commit({})
    return method


def rounds(method, count):
    for number in range(count):
        method.make_round(number)
        method.federation.store.commit({})
    return method


@pytest.mark.parametrize('name', method_names())
def test_every_method_makes_the_same_number_of_gradient_steps(name):
    method = rounds(started(name), 2)
    assert method.federation.bench.steps == 2 * 4 * 6


@pytest.mark.parametrize('name, models', [
    ('centralised', 0), ('fedavg', 6), ('fedprox', 6), ('moon', 6), ('star', 6),
    ('ring', 4), ('cdl', 4),
    # On a ring of 4: three stops and the way home; then the mixing.
    ('fedefm', 4 * 4 + 4),
    # Nobody travels in round 0, then one neighbour and back.
    ('fedefm-literal', 0),
    # The hub's model: hub to a, a to b over the hub, ...: 1 + 2 + 2 + 1. Another's meets the hub
    # once, as a stop: of its four legs two have the hub at an end. Then star averaging.
    ('fedefm-cfl', 6 + 3 * 6 + 6)])
def test_transfers_and_bytes_are_counted(name, models):
    method = rounds(started(name), 1)
    made = method.federation
    assert made.transfers == models
    assert made.bytes_sent == models * state_bytes(made.bench.reference)


@pytest.mark.parametrize('name', ['fedefm', 'fedefm-cfl'])
def test_momentum_travels_with_fedefms_models_and_is_counted(name):
    method = rounds(started(name, momentum=0.9), 1)
    made = method.federation
    weights = state_bytes(made.bench.reference)
    assert made.bytes_sent == made.transfers * (weights + made.momentum_bytes)
    parameters = sum(value.numel() for value in made.bench.network.parameters())
    assert made.momentum_bytes == 4 * parameters
    assert method.model(0).keys() == method.foundation().keys() == made.bench.reference.keys()
    assert any(key.startswith(MOMENTUM) for key in made.store.get('silo/0'))


@pytest.mark.parametrize('name', ['ring', 'matcha', 'cdl', 'fedefm-literal'])
def test_momentum_of_the_others_stays_at_its_silo(name):
    method = rounds(started(name, momentum=0.9), 2)
    made = method.federation
    assert made.bytes_sent == made.transfers * state_bytes(made.bench.reference)
    for i in range(4):
        trained, mixed = (made.store.get(key(i, what)) for what in ('trained', 'silo'))
        kept = {name: value for name, value in mixed.items() if name.startswith(MOMENTUM)}
        assert kept and difference(kept, {name: trained[name] for name in kept}) == 0


def test_shared_momentum_of_gossip_is_mixed_by_the_matrix():
    method = rounds(started('matcha', momentum=0.9, method_options={'momentum': 'shared'}), 1)
    store, weights = method.federation.store, method.federation.topology.mixing_matrix(0)
    trained = [store.get(key(i, 'trained')) for i in range(4)]
    for i in range(4):
        assert difference(store.get(key(i)), average(trained, list(weights[i]))) < 1e-6


@pytest.mark.parametrize('name, options', [
    ('matcha', {'momentum': 'lost'}),
    ('fedefm', {'options': {'momentum': 'lost'}}), ('fedefm', {'options': {'momentum': 'kept'}})])
def test_unknown_ways_of_momentum_are_refused(name, options):
    with pytest.raises(FedefmError, match='momentum'):
        if 'options' in options:
            options = {'options': FedefmOptions(**options['options'])}
        started(name, method_options=options)


def test_literal_fedefm_sends_there_and_back():
    method = rounds(started('fedefm-literal'), 2)
    assert method.federation.transfers == 4 * 2


def test_fedavg_of_equal_silos_is_the_mean():
    method = started('fedavg')
    made = method.federation
    before = made.store.before('server')
    trained = [made.bench.train(before, silo.batches(6, 0, 'local')) for silo in made.silos]
    rounds(method, 1)
    assert difference(method.model(2), average(trained, [0.25] * 4)) < 1e-7


def test_fedavg_weighs_by_samples_and_star_does_not():
    counts = {0: 72}
    fedavg, star = (rounds(started(name, counts=counts), 1) for name in ('fedavg', 'star'))
    made = fedavg.federation
    start = made.bench.reference
    trained = [made.bench.train(start, silo.batches(6, 0, 'local')) for silo in made.silos]
    assert difference(fedavg.model(0), average(trained, [0.5, 1 / 6, 1 / 6, 1 / 6])) < 1e-6
    assert difference(star.model(0), average(trained, [0.25] * 4)) < 1e-6


def test_fedprox_pulls_to_the_server():
    method = started('fedprox')
    server = method.federation.bench.reference
    network = TinyNet()
    network.load_state_dict(server)
    images, labels = next(silo_of((0,)).batches(1))
    loss = method.local_loss(0, server)
    assert float(loss(network, images, labels).detach()) == pytest.approx(
        float(supervised(network, images, labels).detach()), rel=1e-6)
    with torch.no_grad():
        network.head.bias += 2.0
    gap = loss(network, images, labels) - supervised(network, images, labels)
    assert float(gap) == pytest.approx(method.mu / 2 * 4 * 4.0, rel=1e-4)

    def drift(mu):
        # mu times the rate must be below 2 for the pull to be stable.
        moved = rounds(started('fedprox', method_options={'mu': mu}, steps=10, rate=0.2), 1)
        return difference(moved.model(0), server)

    assert drift(3.0) < drift(0.0)


def test_moon_pulls_towards_the_server_and_off_the_previous():
    generator = torch.Generator().manual_seed(0)
    server, previous = (torch.randn(6, 8, 4, 4, generator=generator) for _ in range(2))
    near, far = (contrast(made, server, previous, 0.5) for made in (server, previous))
    assert float(near) < math.log(2) < float(far)
    own = torch.randn(6, 8, 4, 4, generator=generator, requires_grad=True)
    loss = contrast(own, server, previous, 0.5)
    loss.backward()
    stepped = (own - 20 * own.grad).detach()
    assert float(contrast(stepped, server, previous, 0.5)) < float(loss)


def test_moon_contrasts_from_the_second_round_on():
    moon, plain = (started(name) for name in ('moon', 'fedavg'))
    rounds(moon, 1), rounds(plain, 1)
    assert difference(moon.model(0), plain.model(0)) == 0
    moon.make_round(1), plain.make_round(1)
    assert difference(moon.model(0), plain.model(0)) > 0


def test_cdl_backbone_has_two_terms_and_sub_network_the_third():
    generator = torch.Generator().manual_seed(0)
    backbone, sub = (torch.randn(5, 4, generator=generator, requires_grad=True)
                     for _ in range(2))
    labels = torch.tensor([0, 1, 2, 3, 0])
    loss = backbone_loss(backbone, labels, sub, 0.3)
    divergences = torch.nn.functional.kl_div(
        backbone.log_softmax(1), sub.softmax(1), reduction='batchmean')
    expected = label_loss(backbone, labels).mean() + 0.3 * divergences
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    loss.backward()
    assert sub.grad is None and float(backbone.grad.abs().sum()) > 0
    backbone.grad = None
    divergence(sub, backbone, 0.7).backward()
    assert backbone.grad is None and float(sub.grad.abs().sum()) > 0


def test_cdl_sub_network_stays_at_home():
    method = rounds(started('cdl'), 2)
    store = method.federation.store
    subs = [store.get(key(i, 'sub')) for i in range(4)]
    assert difference(subs[0], method.model(0)) > 0
    trained = [store.get(key(i, 'trained')) for i in range(4)]
    weights = method.federation.topology.mixing_matrix(1)
    assert difference(method.model(0), average(trained, list(weights[0]))) < 1e-7


@pytest.mark.parametrize('name', ['ring', 'matcha'])
def test_gossip_mixes_by_the_matrix_and_keeps_the_mean(name):
    method = rounds(started(name), 1)
    store, weights = method.federation.store, method.federation.topology.mixing_matrix(0)
    trained = [store.get(key(i, 'trained')) for i in range(4)]
    for i in range(4):
        assert difference(method.model(i), average(trained, list(weights[i]))) < 1e-7
    assert difference(method.foundation(), average(trained, [0.25] * 4)) < 1e-6


def test_fedbn_keeps_norms_at_home_and_does_not_send_them():
    method = rounds(started('fedbn'), 1)
    norms = norm_keys(TinyNet())
    first, second = method.model(0), method.model(1)
    for name in first:
        assert torch.equal(first[name], second[name]) == (name not in norms)
    made = method.federation
    state = made.bench.reference
    assert made.bytes_sent == made.transfers * state_bytes(state, state.keys() - norms)


def test_centralised_sees_the_images_that_silos_would():
    method, seen = started('centralised'), []
    method.federation.bench.train = lambda state, batches: (seen.extend(batches), state)[1]
    method.make_round(0)
    assert len(seen) == 24 and {len(labels) for _, labels in seen} == {8}
    assert sorted(torch.cat([labels for _, labels in seen]).tolist()) == [
        kind for kind in range(4) for _ in range(48)]
    assert any(len(labels.unique()) > 1 for _, labels in seen)


def test_centralised_can_make_the_steps_of_one_model():
    method = rounds(started('centralised', method_options={'steps': 'one'}), 2)
    assert method.federation.bench.steps == 2 * 6
    with pytest.raises(FedefmError, match='all or one'):
        started('centralised', method_options={'steps': 'some'})


@pytest.mark.parametrize('server', ['', '-cfl'])
def test_fedefm_learns_kinds_a_silo_never_had_and_its_literal_form_does_not(server):
    def learnt(name):
        method = create_method(name, federation_of(name, steps=6))
        run(method, RunPlan(rounds=12, step=StepOptions(learning_rate=0.5)),
            method.federation.bench.reference)
        return sum(accuracy(method.federation.bench, method.model(i)) for i in range(4)) / 4

    assert learnt('fedefm' + server) > 0.9
    if not server:
        assert learnt('fedefm-literal') < 0.5


def test_fedefm_runs_on_any_topology():
    for name in ('complete', 'mst', 'matcha'):
        made = federation_of('fedefm')
        made.topology = create_topology(name, uniform_network(4), 1e6)
        method = create_method('fedefm', made)
        method.start(made.bench.reference)
        made.store.commit({})
        rounds(method, 1)
        assert made.bench.steps == 4 * 6


def test_silo_that_is_sent_rubbish_goes_on_alone():
    method = started('fedefm')

    def spoiled(state, route, owner, number):
        state = copy.deepcopy(state)
        if owner == 1:
            state['head.weight'][:] = float('nan')
        return state

    method._travelled = spoiled
    rounds(method, 1)
    assert all(value.isfinite().all() for i in range(4) for value in method.model(i).values())


def test_trips_that_do_not_fit_the_budget_are_refused():
    with pytest.raises(FedefmError, match='do not fit'):
        create_method('fedefm', federation_of('fedefm', steps=6),
                      options=FedefmOptions(stop_steps=3))


def test_cycle_time_of_fedefm_holds_the_trips():
    network, fedefm, ring = uniform_network(4, 10.0), started('fedefm'), started('ring')
    sending = 8e3 * state_bytes(fedefm.federation.bench.reference) / 1e9
    # Three stops with a step each, four legs, three steps at home, then mixing.
    assert fedefm.cycle_ms(network, 5.0, 10) == pytest.approx(
        4 * (10.0 + sending) + 6 * 5.0 + 10.0 + sending)
    assert ring.cycle_ms(network, 5.0, 10) == pytest.approx(10.0 + sending + 6 * 5.0)


def test_unknown_method_is_refused():
    with pytest.raises(FedefmError, match='expected centralised'):
        create_method('magic', federation_of('ring'))
