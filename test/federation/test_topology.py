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
from fedefm_ros.federation.topology import create_topology
from fedefm_ros.federation.topology import FixedTopology
from fedefm_ros.federation.topology import load_network
from fedefm_ros.federation.topology import TOPOLOGIES
from fedefm_ros.federation.topology import trip
from fedefm_ros.federation.topology import trips_time
from fedefm_ros.federation.topology import uniform_network
from fedefm_ros.federation.topology.mixing import check_mixing_matrix

import numpy as np

import pytest

FEMNIST = (4_843_243, 4.6)
every_topology = pytest.mark.parametrize('name', TOPOLOGIES)


def on_gaia(name, **options):
    return create_topology(name, load_network('gaia'), *FEMNIST, **options)


@every_topology
def test_every_round_mixes_the_models_it_sends_and_keeps_their_mean(name):
    topology = on_gaia(name)
    for k in range(5):
        weights = topology.mixing_matrix(k)
        adjacency = None if topology.hub is not None else topology.adjacency(k)
        check_mixing_matrix(weights, adjacency, nonnegative='matcha' not in name)


@every_topology
def test_what_one_silo_sends_another_receives(name):
    topology = on_gaia(name)
    for k in range(3):
        sent = {(i, j) for i in range(11) for j in topology.receivers(k, i)}
        received = {(i, j) for j in range(11) for i in topology.neighbours(k, j)}
        assert sent == received and len(sent) == topology.transfers(k)


@every_topology
@pytest.mark.parametrize('count', [2, 3, 4])
def test_a_few_silos_have_every_topology(name, count):
    topology = create_topology(name, uniform_network(count), 1e6)
    assert topology.count == count
    check_mixing_matrix(topology.mixing_matrix(0), nonnegative=False)


@every_topology
def test_models_reach_the_mean_after_many_rounds(name):
    topology = on_gaia(name)
    models = np.random.default_rng(0).normal(size=(11, 20))
    mixed = models
    for k in range(400):
        mixed = topology.mixing_matrix(k) @ mixed
    assert mixed == pytest.approx(np.broadcast_to(models.mean(0), mixed.shape), abs=1e-5)


def test_a_ring_hears_from_the_one_before():
    ring = on_gaia('ring')
    frankfurt, dublin, mumbai = (load_network('gaia').silos.index(name)
                                 for name in ('Frankfurt', 'Dublin', 'Mumbai'))
    around = ring.neighbours(0, frankfurt) + ring.receivers(0, frankfurt)
    assert sorted(around) == sorted((dublin, mumbai))
    assert ring.mixing_matrix(0)[frankfurt, ring.neighbours(0, frankfurt)[0]] == 0.5


def test_a_star_averages_at_its_hub():
    star = on_gaia('star', hub='Seoul')
    assert star.hub == 6 and star.neighbours(0, 2) == (6,) and len(star.neighbours(0, 6)) == 10
    assert star.mixing_matrix(9) == pytest.approx(np.full((11, 11), 1 / 11))


def test_own_links_are_a_topology_too():
    geant = load_network('geant').restricted(['UK', 'FR', 'IE'])
    assert create_topology('links', geant, 1e6).neighbours(0, 0) == (1, 2)


def test_fixed_rounds_cannot_be_written_to():
    ring = on_gaia('ring')
    for values in (ring.adjacency(0), ring.mixing_matrix(0)):
        with pytest.raises(ValueError):
            values[0, 0] = 1


def test_silos_with_the_same_ring_have_the_same_fingerprint():
    assert on_gaia('ring').fingerprint() == on_gaia('ring').fingerprint()
    assert on_gaia('ring').fingerprint() != on_gaia('mst').fingerprint()


def test_unknown_names_and_silos_are_refused():
    with pytest.raises(FedefmError, match="unknown topology 'torus'; expected star"):
        on_gaia('torus')
    with pytest.raises(FedefmError, match='silo 11 in topology ring; expected 0 to 10'):
        on_gaia('ring').neighbours(0, 11)


def test_weights_along_no_link_are_refused():
    with pytest.raises(FedefmError, match='does not send'):
        FixedTopology('mine', np.zeros((2, 2), bool), np.full((2, 2), 0.5))


def test_trips_follow_a_ring():
    ring = on_gaia('ring')
    order = trip(ring, 0, 4, 9)
    for before, after in zip((4, *order), order):
        assert ring.receivers(0, before) == (after,)
    assert len(set(order)) == 9 and 4 not in order


def test_trips_on_a_complete_graph_never_meet():
    complete = on_gaia('complete')
    trips = [trip(complete, 0, k, 6) for k in range(11)]
    assert all(len(set(stop)) == 11 for stop in zip(*trips))


@every_topology
def test_trips_visit_every_silo_once_at_most(name):
    topology = on_gaia(name)
    for k in range(3):
        order = trip(topology, k, 2, 99)
        assert len(set(order)) == len(order) <= 10 and 2 not in order
    assert trip(topology, 0, 2, 0) == ()


def test_a_trip_takes_its_legs_its_stops_and_the_way_home():
    network = uniform_network(4, latency_ms=5.0)
    # 10 Mbit take 10 ms a leg; three legs of 15 ms, two stops of 7 ms, 2 ms at home.
    assert trips_time([(1, 2), (), (), ()], network, 1e7, 7.0, 2.0) == pytest.approx(61)
    assert trips_time([(), (), (), ()], network, 1e7, 7.0, 2.0) == pytest.approx(2)


def test_models_on_their_way_to_one_silo_share_its_access():
    network = uniform_network(4, latency_ms=0.0)
    network.download_bps[0] = 1e9
    alone = trips_time([(), (0,), (), ()], network, 1e7)
    together = trips_time([(), (0,), (0,), (0,)], network, 1e7)
    assert (alone, together) == pytest.approx((20, 40))


def test_trips_that_do_not_fit_are_refused():
    with pytest.raises(FedefmError, match='2 trips on network uniform'):
        trips_time([(), ()], uniform_network(3), 1)
    with pytest.raises(FedefmError, match='a trip of silo 11'):
        trip(on_gaia('ring'), 0, 11, 2)
