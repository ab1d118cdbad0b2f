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

from itertools import pairwise

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology import create_topology
from fedefm_ros.federation.topology import cycle_time
from fedefm_ros.federation.topology import load_network
from fedefm_ros.federation.topology import uniform_network
from fedefm_ros.federation.topology.delays import maximum_cycle_mean
from fedefm_ros.federation.topology.delays import overlay_cycle_time
from fedefm_ros.federation.topology.delays import overlay_delays
from fedefm_ros.federation.topology.overlays import bottleneck_tree_overlay
from fedefm_ros.federation.topology.overlays import ring_overlay
from fedefm_ros.federation.topology.overlays import spanning_tree_overlay

import networkx as nx

import numpy as np

import pytest

# FEMNIST's model in bits and its training in ms, which the published cycle times are of; the
# authors' foundation model, 44.4 million float32.
FEMNIST = (4_843_243, 4.6)
FOUNDATION = (44.4e6 * 32, 4.6)


def random_delays(random, count, density):
    delays = random.uniform(-5, 20, (count, count))
    return np.where(random.random((count, count)) < density, delays, -np.inf)


def cycle_mean_of_all_cycles(delays):
    graph = nx.DiGraph(list(map(tuple, np.argwhere(np.isfinite(delays)))))
    return max((np.mean([delays[i, j] for i, j in pairwise([*cycle, cycle[0]])])
                for cycle in nx.simple_cycles(graph)), default=-np.inf)


@pytest.mark.parametrize('seed', range(30))
def test_maximum_cycle_mean_is_that_of_all_cycles(seed):
    random = np.random.default_rng(seed)
    delays = random_delays(random, count=random.integers(1, 8), density=random.uniform(0.1, 1))
    assert maximum_cycle_mean(delays) == pytest.approx(cycle_mean_of_all_cycles(delays))


def test_without_a_circuit_there_is_no_cycle_mean():
    assert maximum_cycle_mean(np.where(np.triu(np.ones((4, 4)), 1), 3.0, -np.inf)) == -np.inf


@pytest.mark.parametrize('name', ['star', 'mst', 'ring', 'complete'])
def test_rounds_that_wait_for_models_take_the_cycle_time(name):
    network = load_network('gaia')
    overlay = create_topology(name, network, *FEMNIST).adjacency(0)
    delays = overlay_delays(overlay, network, *FEMNIST)
    starts = np.zeros(len(network))
    for _ in range(2000):
        starts = (starts[:, None] + delays).max(0)
    assert starts.max() / 2000 == pytest.approx(
        overlay_cycle_time(overlay, network, *FEMNIST), rel=2e-3)


@pytest.mark.parametrize('name, milliseconds', [
    ('star', 289.8169), ('mst', 77.2009), ('delta-mbst', 77.2009), ('ring', 57.1865)])
def test_gaia_takes_the_published_times(name, milliseconds):
    gaia = load_network('gaia')
    topology = create_topology(name, gaia, *FEMNIST)
    assert cycle_time(topology, gaia, *FEMNIST) == pytest.approx(milliseconds, abs=6e-5)


def test_gaia_with_matcha_takes_about_the_published_time():
    gaia = load_network('gaia')
    topology = create_topology('matcha', gaia, *FEMNIST)
    assert cycle_time(topology, gaia, *FEMNIST) == pytest.approx(166.4, abs=2)


@pytest.mark.parametrize('name, milliseconds', [('star', 3122), ('mst', 1493), ('ring', 1473)])
def test_gaia_with_the_real_foundation_model_takes_seconds(name, milliseconds):
    gaia = load_network('gaia')
    topology = create_topology(name, gaia, *FOUNDATION)
    assert cycle_time(topology, gaia, *FOUNDATION) == pytest.approx(milliseconds, abs=0.5)


@pytest.mark.parametrize('network, star, mst, ring', [
    ('amazon', 98.8173, 28.7497, 20.3498), ('geant', 132.2, 40.1, 27.7),
    ('exodus', 265.2, 84.4, 24.7), ('ebone', 190.9, 60.9, 18.5)])
def test_other_networks_take_the_published_times(network, star, mst, ring):
    loaded = load_network(network)
    digits = 6e-5 if network == 'amazon' else 0.06
    times = [cycle_time(create_topology('star', loaded, *FEMNIST), loaded, *FEMNIST)]
    for make in (spanning_tree_overlay, bottleneck_tree_overlay):
        times.append(overlay_cycle_time(make(loaded, *FEMNIST), loaded, *FEMNIST))
    assert times == pytest.approx([star, mst, mst], abs=digits)
    # Christofides leaves choices (of matchings, and where to start), so tours differ a little.
    time = overlay_cycle_time(ring_overlay(loaded, *FEMNIST), loaded, *FEMNIST)
    assert time == pytest.approx(ring, rel=0.02)


def test_delays_follow_the_formula():
    network = uniform_network(3, latency_ms=2.0)
    overlay = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0]], bool)
    delays = overlay_delays(overlay, network, model_bits=1e7, compute_ms=np.array([1, 2, 3]))
    # 10 Mbit: 10 ms at the 1 Gbit/s of a link, which is slower than the shared access.
    expected = [[1, 13, 13], [-np.inf, 2, 14], [15, -np.inf, 3]]
    assert delays == pytest.approx(np.array(expected))


def test_transfers_share_the_access_links():
    network = uniform_network(4, latency_ms=0.0)
    network.upload_bps[0], network.download_bps[3] = 3e8, 1e8
    everybody = ~np.eye(4, dtype=bool)
    delays = overlay_delays(everybody, network, model_bits=1e6)
    assert delays[0, 1] == pytest.approx(10)       # a third of 0.3 Gbit/s
    assert delays[1, 3] == pytest.approx(30)       # a third of 0.1 Gbit/s
    assert delays[1, 2] == pytest.approx(1)        # the link itself


def test_local_steps_and_slow_silos_make_rounds_longer():
    gaia = load_network('gaia')
    ring = create_topology('ring', gaia, *FEMNIST)
    once, five = (cycle_time(ring, gaia, FEMNIST[0], 4.6 * steps) for steps in (1, 5))
    assert five - once == pytest.approx(4 * 4.6)
    slow = np.full(11, 4.6)
    slow[2] = 500
    assert cycle_time(ring, gaia, FEMNIST[0], slow) == pytest.approx(500)


def test_a_star_waits_for_the_slowest_way_up_and_down_and_the_slowest_training():
    network = uniform_network(4, latency_ms=5.0)
    network.latency_ms[3, 0] = network.latency_ms[0, 3] = 20.0
    star = create_topology('star', network, 1e6, 0, hub='silo0')
    assert cycle_time(star, network, 1e6, np.array([1, 2, 9, 4])) == pytest.approx(2 * 21 + 9)


@pytest.mark.parametrize('overlay', [
    np.ones((3, 3), bool), np.zeros((2, 2), bool), np.zeros((3, 3))],
    ids=['loops', 'shape', 'type'])
def test_overlays_that_are_none_are_refused(overlay):
    with pytest.raises(FedefmError, match='overlay'):
        overlay_delays(overlay, uniform_network(3), 1e6)


@pytest.mark.parametrize('bits, compute', [(-1, 0), (np.inf, 0), (1, -1), (1, np.nan)])
def test_sizes_and_times_that_are_none_are_refused(bits, compute):
    with pytest.raises(FedefmError, match='expected finite values of zero or more'):
        overlay_delays(np.zeros((3, 3), bool), uniform_network(3), bits, compute)


def test_a_topology_of_another_size_is_refused():
    with pytest.raises(FedefmError, match='topology of 4 silos on network uniform of 5'):
        cycle_time(create_topology('ring', uniform_network(4), 1), uniform_network(5), 1)
