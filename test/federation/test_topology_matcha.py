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

from itertools import product

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology import load_network
from fedefm_ros.federation.topology.matcha import activation_probabilities
from fedefm_ros.federation.topology.matcha import Matcha
from fedefm_ros.federation.topology.matcha import matching_laplacians
from fedefm_ros.federation.topology.matcha import mixing_weight
from fedefm_ros.federation.topology.matchings import decompose
from fedefm_ros.federation.topology.mixing import check_mixing_matrix
from fedefm_ros.federation.topology.overlays import complete_overlay

import networkx as nx

import numpy as np

import pytest


def overlay(graph):
    return nx.to_numpy_array(graph, nodelist=sorted(graph)).astype(bool)


def links(graph):
    return np.array(sorted(map(sorted, graph.edges)))


def second_eigenvalue(laplacians, probabilities):
    return np.linalg.eigvalsh(np.tensordot(probabilities, laplacians, 1))[1]


def optimised(graph, budget):
    matchings = decompose(links(graph), len(graph))
    laplacians = matching_laplacians(matchings, len(graph))
    return laplacians, activation_probabilities(matchings, len(graph), budget)


@pytest.mark.parametrize('graph', [
    *(nx.gnp_random_graph(count, density, seed=count)
      for count in (2, 5, 9, 16, 30) for density in (0.2, 0.5, 0.9)),
    *(nx.complete_graph(count) for count in (2, 3, 8, 11, 22)),
    nx.petersen_graph(), nx.star_graph(7), nx.complete_bipartite_graph(5, 5)], ids=str)
def test_matchings_share_no_end_and_are_few(graph):
    given = np.random.default_rng(1).permutation(links(graph)) if graph.size() else []
    matchings = decompose(np.reshape(given, (-1, 2)), len(graph))
    for matching in matchings:
        assert len(set(matching.ravel())) == 2 * len(matching) > 0
    assert sorted(map(tuple, np.concatenate(matchings))) == sorted(map(tuple, links(graph))) \
        if graph.size() else matchings == ()
    assert len(matchings) <= max((d for _, d in graph.degree), default=0) + 1


@pytest.mark.parametrize('count, budget', [(3, 0.5), (7, 0.3), (11, 0.5)])
def test_on_an_odd_complete_graph_all_matchings_are_alike(count, budget):
    laplacians, probabilities = optimised(nx.complete_graph(count), budget)
    assert len(probabilities) == count
    assert probabilities == pytest.approx(budget, abs=1e-4)
    assert second_eigenvalue(laplacians, probabilities) == pytest.approx(budget * count, abs=1e-5)


def test_on_a_path_both_links_are_alike():
    laplacians, probabilities = optimised(nx.path_graph(3), 0.5)
    assert probabilities == pytest.approx(0.5, abs=1e-4)
    assert second_eigenvalue(laplacians, probabilities) == pytest.approx(0.5, abs=1e-6)


def test_the_only_way_between_two_parts_is_used_most():
    graph = nx.barbell_graph(5, 0)
    matchings = decompose(links(graph), 10)
    bridge = next(m for m, matching in enumerate(matchings) if [4, 5] in matching.tolist())
    probabilities = activation_probabilities(matchings, 10, 0.4)
    assert probabilities[bridge] == probabilities.max() > 0.9


@pytest.mark.parametrize('budget', [0.2, 0.5, 0.9])
@pytest.mark.parametrize('seed', range(3))
def test_no_change_of_the_probabilities_connects_better(seed, budget):
    graph = nx.connected_watts_strogatz_graph(12, 4, 0.6, seed=seed)
    laplacians, best = optimised(graph, budget)
    assert best.sum() <= budget * len(best) + 1e-9 and 0 <= best.min() <= best.max() <= 1
    reached, random = second_eigenvalue(laplacians, best), np.random.default_rng(seed)
    for size in (1, 1e-1, 1e-2, 1e-3):
        for _ in range(200):
            other = np.clip(best + random.normal(0, size, len(best)), 0, 1)
            other *= min(1, budget * len(best) / max(other.sum(), 1e-9))
            assert second_eigenvalue(laplacians, other) <= reached + 1e-6


def test_optimised_probabilities_connect_better_than_equal_ones():
    geant = load_network('geant')
    matcha = Matcha('matcha', geant.links)
    laplacians = matching_laplacians(matcha.matchings, len(geant))
    equal = np.full(len(laplacians), 0.5)
    assert second_eigenvalue(laplacians, matcha.probabilities) > \
        1.3 * second_eigenvalue(laplacians, equal)


def test_with_the_whole_budget_the_weight_is_that_of_the_fixed_graph():
    graph = nx.connected_watts_strogatz_graph(9, 4, 0.5, seed=2)
    laplacians, probabilities = optimised(graph, 1)
    assert (probabilities == 1).all()
    eigenvalues = nx.laplacian_spectrum(graph)
    second, last = np.sort(eigenvalues)[[1, -1]]
    alpha, rate = mixing_weight(laplacians, probabilities)
    assert alpha == pytest.approx(2 / (second + last), rel=1e-6)
    assert rate == pytest.approx(((last - second) / (last + second)) ** 2, rel=1e-6)


def test_the_weight_on_a_complete_graph_is_known():
    # E[L] = c on all differences, c = budget N: alpha = 1 / (c + 2 (1 - budget)).
    matcha = Matcha('matcha', complete_overlay(11), budget=0.5)
    assert matcha.alpha == pytest.approx(1 / 6.5, abs=2e-5)
    assert matcha.rate == pytest.approx(1 / 6.5, abs=2e-5)


def test_the_rate_is_that_of_the_mean_of_all_draws():
    graph = nx.connected_watts_strogatz_graph(7, 4, 0.5, seed=3)
    laplacians, probabilities = optimised(graph, 0.5)
    count = len(graph)

    def rate(alpha):
        mean = np.zeros((count, count))
        for drawn in product((0, 1), repeat=len(laplacians)):
            chance = np.prod(np.where(drawn, probabilities, 1 - probabilities))
            weights = np.eye(count) - alpha * np.tensordot(drawn, laplacians, 1)
            mean += chance * weights.T @ weights
        return np.linalg.norm(mean - 1 / count, 2)

    alpha, expected = mixing_weight(laplacians, probabilities)
    assert rate(alpha) == pytest.approx(expected, abs=1e-9)
    for other in np.linspace(0, 2 * alpha, 41):
        assert rate(other) >= expected - 1e-9


def test_silos_draw_the_same_whatever_they_asked_before():
    gaia = load_network('gaia')
    first, second = (Matcha('matcha', gaia.links, seed=7) for _ in range(2))
    for k in (5, 0, 3):
        second.adjacency(k)
    assert all((first.adjacency(k) == second.adjacency(k)).all() for k in range(20))
    assert first.fingerprint() == second.fingerprint()
    other = Matcha('matcha', gaia.links, seed=8)
    assert any((first.adjacency(k) != other.adjacency(k)).any() for k in range(20))
    assert first.fingerprint() != other.fingerprint()


def test_the_draw_of_a_seed_never_changes():
    # Stations of different versions must agree, so these are pinned.
    matcha = Matcha('matcha', complete_overlay(5), budget=0.5, seed=1)
    drawn = [''.join(map(str, matcha.active(np.int64(k)).astype(int)))
             for k in range(4)]
    assert drawn == ['00001', '11100', '01001', '00110']


def test_matchings_are_drawn_as_often_as_they_should():
    matcha = Matcha('matcha', load_network('geant').links)
    share = np.mean([matcha.active(k) for k in range(1500)], axis=0)
    assert share == pytest.approx(matcha.probabilities, abs=0.06)


def test_every_round_uses_a_link_and_mixes_along_those_only():
    matcha = Matcha('matcha', overlay(nx.path_graph(4)), budget=0.1)
    for k in range(50):
        adjacency, weights = matcha.adjacency(k), matcha.mixing_matrix(k)
        assert adjacency.any() and (adjacency == adjacency.T).all()
        check_mixing_matrix(weights, adjacency, nonnegative=False)
        assert ((weights != 0) == (adjacency | np.eye(4, dtype=bool))).all()


def test_repeated_rounds_reach_the_mean_at_the_rate():
    matcha = Matcha('matcha', load_network('geant').links)
    models = np.random.default_rng(0).normal(size=(40, 30))
    start = np.linalg.norm(models - models.mean(0)) ** 2
    mixed = models
    for k in range(300):
        mixed = matcha.mixing_matrix(k) @ mixed
    assert mixed.mean(0) == pytest.approx(models.mean(0))
    assert np.linalg.norm(mixed - mixed.mean(0)) ** 2 < start * matcha.rate ** 300 * 1e3


@pytest.mark.parametrize('budget', [0, -1, 1.1, np.nan])
def test_budgets_out_of_range_are_refused(budget):
    with pytest.raises(FedefmError, match='communication budget'):
        Matcha('matcha', complete_overlay(4), budget)


def test_a_graph_in_parts_is_refused():
    with pytest.raises(FedefmError, match='never hear of one another'):
        Matcha('matcha', overlay(nx.Graph([(0, 1), (2, 3)])))
