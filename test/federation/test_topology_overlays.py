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

from itertools import permutations

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology import load_network
from fedefm_ros.federation.topology import uniform_network
from fedefm_ros.federation.topology.delays import overlay_cycle_time
from fedefm_ros.federation.topology.overlays import bottleneck_tree_overlay
from fedefm_ros.federation.topology.overlays import central_silo
from fedefm_ros.federation.topology.overlays import checked_hub
from fedefm_ros.federation.topology.overlays import ring_overlay
from fedefm_ros.federation.topology.overlays import spanning_tree_overlay
from fedefm_ros.federation.topology.overlays import star_overlay

import networkx as nx

import numpy as np

import pytest

FEMNIST = (4_843_243, 4.6)


def scattered(count, seed):
    """Return a network of silos at random places of a plane, equally wide links."""
    network = uniform_network(count)
    places = np.random.default_rng(seed).uniform(0, 100, (count, 2))
    network.latency_ms[:] = np.linalg.norm(places[:, None] - places, axis=2) + 1
    return network


def visits(ring):
    order = [0]
    while len(order) <= len(ring):
        order.append(int(np.nonzero(ring[order[-1]])[0][0]))
    return order


@pytest.mark.parametrize('count', [2, 3, 4, 5, 11, 40])
def test_a_ring_visits_every_silo_once_and_comes_home(count):
    ring = ring_overlay(scattered(count, seed=count), 1e6)
    assert (ring.sum(0) == 1).all() and (ring.sum(1) == 1).all()
    order = visits(ring)
    assert sorted(order[:-1]) == list(range(count)) and order[-1] == 0


@pytest.mark.parametrize('seed', range(5))
def test_a_ring_is_within_half_of_the_shortest(seed):
    network = scattered(8, seed)
    ring = ring_overlay(network, 1e6)
    weights = network.latency_ms + 1
    ours = sum(weights[i, j] for i, j in np.argwhere(ring))
    best = min(sum(weights[i, j] for i, j in zip((0, *rest), (*rest, 0)))
               for rest in permutations(range(1, 8)))
    assert best - 1e-9 <= ours <= 1.5 * best


def test_the_ring_of_gaia_is_the_published_one():
    gaia = load_network('gaia')
    order = [gaia.silos[k] for k in visits(ring_overlay(gaia, *FEMNIST))]
    published = ['Virginia', 'Sao Paulo', 'Dublin', 'Frankfurt', 'Mumbai', 'Singapore', 'Sydney',
                 'Seoul', 'Tokyo', 'Oregon', 'California', 'Virginia']
    assert order in (published, published[::-1])


@pytest.mark.parametrize('make', [spanning_tree_overlay, bottleneck_tree_overlay])
@pytest.mark.parametrize('count', [2, 3, 10, 30])
def test_trees_connect_all_silos_both_ways(make, count):
    overlay = make(scattered(count, seed=count), 1e6)
    assert (overlay == overlay.T).all()
    assert nx.is_tree(nx.from_numpy_array(overlay.astype(int)))


@pytest.mark.parametrize('seed', range(3))
def test_the_spanning_tree_is_the_lightest(seed):
    network = scattered(6, seed)
    overlay = spanning_tree_overlay(network, 1e6)
    tree = nx.from_numpy_array(overlay.astype(int))
    # No tree that differs by one exchanged link is lighter: then no tree at all is.
    for i, j in np.argwhere(np.triu(~overlay, 1)):
        path = nx.shortest_path(tree, i, j)
        heaviest = max(network.latency_ms[a, b] for a, b in zip(path, path[1:]))
        assert network.latency_ms[i, j] >= heaviest


def test_slow_access_links_ask_for_trees_of_few_links():
    network = uniform_network(9, latency_ms=1.0)
    network.upload_bps[:] = network.download_bps[:] = 1e9
    network.latency_ms[0] = network.latency_ms[:, 0] = 0.5
    tree = spanning_tree_overlay(network, 1e8)
    bounded = bottleneck_tree_overlay(network, 1e8)
    assert tree.sum(1).max() == 8 and bounded.sum(1).max() == 2
    times = [overlay_cycle_time(overlay, network, 1e8) for overlay in (tree, bounded)]
    assert times[1] < times[0] / 3


@pytest.mark.parametrize('seed', range(4))
def test_the_bottleneck_tree_is_never_slower_than_the_spanning_tree(seed):
    network = scattered(15, seed)
    network.upload_bps[:] = 2e9
    tree, bounded = (overlay_cycle_time(make(network, 1e8), network, 1e8)
                     for make in (spanning_tree_overlay, bottleneck_tree_overlay))
    assert bounded <= tree + 1e-9


def test_the_hub_is_the_silo_that_carries_the_most_paths():
    network = uniform_network(5, latency_ms=10.0)
    network.latency_ms[3] = network.latency_ms[:, 3] = 1.0
    assert central_silo(network) == 3
    assert checked_hub(network, None) == 3


def test_where_all_paths_are_direct_the_first_silo_is_the_hub():
    gaia = load_network('gaia')
    assert gaia.silos[central_silo(gaia)] == 'Virginia'
    assert checked_hub(gaia, 'Tokyo') == 5
    with pytest.raises(FedefmError, match="hub 'Paris' is no silo of gaia"):
        checked_hub(gaia, 'Paris')


def test_a_star_has_one_centre():
    star = star_overlay(4, 2)
    assert star.sum() == 6 and star[2].sum() == 3 and star[:, 2].sum() == 3
