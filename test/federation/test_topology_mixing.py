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

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology import load_network
from fedefm_ros.federation.topology import mixing_rate
from fedefm_ros.federation.topology.mixing import check_mixing_matrix
from fedefm_ros.federation.topology.mixing import equal_weights
from fedefm_ros.federation.topology.mixing import fastest_weights
from fedefm_ros.federation.topology.mixing import links_of
from fedefm_ros.federation.topology.mixing import metropolis_weights
from fedefm_ros.federation.topology.overlays import complete_overlay
from fedefm_ros.federation.topology.overlays import star_overlay
from fedefm_ros.federation.topology.spectral import Bound
from fedefm_ros.federation.topology.spectral import minimise_bound

import networkx as nx

import numpy as np

import pytest


def overlay(graph):
    return nx.to_numpy_array(graph, nodelist=sorted(graph)).astype(bool)


def random_graph(seed, count=9):
    return nx.connected_watts_strogatz_graph(count, 4, 0.5, seed=seed)


GRAPHS = {
    'pair': nx.path_graph(2), 'path': nx.path_graph(7), 'cycle': nx.cycle_graph(8),
    'star': nx.star_graph(5), 'barbell': nx.barbell_graph(4, 1), 'random': random_graph(0)}
every_graph = pytest.mark.parametrize('graph', GRAPHS.values(), ids=GRAPHS)


@every_graph
@pytest.mark.parametrize('weigh', [
    metropolis_weights, fastest_weights, lambda a: fastest_weights(a, nonnegative=False)],
    ids=['metropolis', 'fastest', 'fastest of any sign'])
def test_weights_are_doubly_stochastic_and_use_only_links(graph, weigh):
    weights = weigh(overlay(graph))
    check_mixing_matrix(weights, overlay(graph), nonnegative=False)
    assert weights == pytest.approx(weights.T)
    assert mixing_rate(weights) < 1


@every_graph
def test_fastest_weights_mix_no_slower_than_any_rule(graph):
    adjacency = overlay(graph)
    fastest, of_any_sign = (mixing_rate(fastest_weights(adjacency, nonnegative))
                            for nonnegative in (True, False))
    assert fastest_weights(adjacency).min() > -1e-6
    assert of_any_sign <= fastest + 1e-6
    assert fastest <= mixing_rate(metropolis_weights(adjacency)) + 1e-6


@pytest.mark.parametrize('graph', [
    nx.cycle_graph(5), nx.cycle_graph(8), nx.star_graph(4), nx.hypercube_graph(3),
    nx.complete_bipartite_graph(2, 4)], ids=['C5', 'C8', 'K1,4', 'Q3', 'K2,4'])
def test_where_all_links_are_alike_the_fastest_weight_is_known(graph):
    # On edge-transitive graphs: 2 / (lambda_2 + lambda_N) on each link.
    eigenvalues = np.sort(nx.laplacian_spectrum(graph))
    second, last = eigenvalues[1], eigenvalues[-1]
    weights = fastest_weights(overlay(graph), nonnegative=False)
    assert mixing_rate(weights) == pytest.approx((last - second) / (last + second), abs=1e-6)


def test_a_star_with_weights_of_zero_or_more_mixes_as_known():
    # The centre's own weight stops at 0, so each link has 1/4 and the rest 3/4.
    weights = fastest_weights(star_overlay(5, hub=0))
    assert mixing_rate(weights) == pytest.approx(0.75, abs=1e-6)
    assert weights[0, 1:] == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize('seed', range(4))
def test_no_change_of_the_fastest_weights_mixes_faster(seed):
    adjacency = overlay(random_graph(seed))
    best = fastest_weights(adjacency, nonnegative=False)
    links, random = links_of(adjacency), np.random.default_rng(seed)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(100):
            other = best.copy()
            for (i, j), change in zip(links, random.normal(0, size, len(links))):
                other[[i, j, i, j], [j, i, i, j]] += [change, change, -change, -change]
            assert mixing_rate(other) >= mixing_rate(best) - 1e-6


def test_all_to_all_mixes_at_once():
    assert fastest_weights(complete_overlay(6)) == pytest.approx(np.full((6, 6), 1 / 6))
    assert mixing_rate(metropolis_weights(complete_overlay(6))) == pytest.approx(0)


def test_many_links_fall_back_to_metropolis():
    adjacency = complete_overlay(60)
    adjacency[0, 1] = adjacency[1, 0] = False
    assert fastest_weights(adjacency) == pytest.approx(metropolis_weights(adjacency))


def test_a_directed_ring_takes_half_of_the_one_before():
    ring = np.roll(np.eye(4, dtype=bool), 1, axis=1)
    assert equal_weights(ring)[1] == pytest.approx([0.5, 0.5, 0, 0])


def test_mixing_keeps_the_mean_and_shrinks_the_rest_by_the_rate():
    weights = fastest_weights(load_network('gaia').links & overlay(nx.cycle_graph(11)))
    models = np.random.default_rng(0).normal(size=(11, 50))
    mixed = weights @ models
    assert mixed.mean(0) == pytest.approx(models.mean(0))
    spread, mixed_spread = (np.linalg.norm(m - m.mean(0)) for m in (models, mixed))
    assert mixed_spread <= mixing_rate(weights) * spread + 1e-12


@pytest.mark.parametrize('weights, message', [
    (np.full((2, 2), 0.4), 'row 0 .* sums to 0.8'),
    (np.array([[1.0, 0.0], [0.5, 0.5]]), 'column 0 .* sums to 1.5'),
    (np.array([[1.5, -0.5], [-0.5, 1.5]]), 'the weight -0.5'),
    (np.array([[np.nan, 1], [1, 0]]), 'not finite'),
    (np.ones((2, 3)) / 3, 'shape'),
])
def test_matrices_that_do_not_mix_are_refused(weights, message):
    with pytest.raises(FedefmError, match=message):
        check_mixing_matrix(weights)


def test_a_share_of_what_is_not_sent_is_refused():
    # Silo 0 sends to silo 1 but not the other way round.
    one_way = np.array([[False, True], [False, False]])
    with pytest.raises(FedefmError, match='silo 0 a share of silo 1, which does not send'):
        check_mixing_matrix(np.full((2, 2), 0.5), one_way)


@pytest.mark.parametrize('make', [fastest_weights, equal_weights])
def test_overlays_that_cannot_mix_are_refused(make):
    parts = np.zeros((5, 5), bool)
    parts[0, 1] = parts[1, 0] = parts[2, 3] = True
    with pytest.raises(FedefmError):
        make(parts)


def test_a_spectral_program_started_outside_is_refused():
    with pytest.raises(FedefmError, match='outside its constraints'):
        minimise_bound([np.array([[0, 1]])], 2, 1.0, [Bound(-1, 1, 1)], np.zeros((0, 1)),
                       np.zeros(0), np.array([9.0, 0.0]), 1e-6)
