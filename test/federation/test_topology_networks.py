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

import json

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology import LinkModel
from fedefm_ros.federation.topology import load_network
from fedefm_ros.federation.topology import network_from_lengths
from fedefm_ros.federation.topology import shipped_networks
from fedefm_ros.federation.topology import uniform_network
from fedefm_ros.federation.topology.geodesy import geodesic_km

import numpy as np

import pytest


def lengths(count, **links):
    """Return (N, N) km from e.g. ab=5, NaN where there is no link."""
    km = np.full((count, count), np.nan)
    for ends, length in links.items():
        i, j = (ord(letter) - ord('a') for letter in ends)
        km[i, j] = km[j, i] = length
    return km


@pytest.mark.parametrize('start, end, km', [
    # Vincenty's own test line (Flinders Peak to Buninyong), a quarter meridian, a piece of the
    # equator, across the date line, no distance at all.
    ((-37.95103342, 144.42486789), (-37.65282114, 143.92649554), 54.972271),
    ((0, 0), (90, 0), 10001.965729), ((0, 0), (0, 1), 111.319491),
    ((0, 179.5), (0, -179.5), 111.319491), ((12, 34), (12, 34), 0),
])
def test_distances_are_those_of_the_ellipsoid(start, end, km):
    assert geodesic_km(start, end) == pytest.approx(km, abs=2e-5)
    assert geodesic_km(end, start) == pytest.approx(km, abs=2e-5)


def test_nearly_antipodal_places_have_a_plausible_distance():
    assert geodesic_km((0, 0), (0.5, 179.7)) == pytest.approx(19_940, rel=0.01)


@pytest.mark.parametrize('name, silos, links', [
    ('gaia', 11, 55), ('amazon', 22, 231), ('geant', 40, 61), ('exodus', 79, 147),
    ('ebone', 87, 161)])
def test_shipped_networks_have_their_published_size(name, silos, links):
    network = load_network(name)
    assert (len(network), network.links.sum() // 2) == (silos, links)
    assert name in shipped_networks()


def test_gaia_is_where_its_regions_are():
    gaia = load_network('gaia')
    dublin, frankfurt = gaia.silos.index('Dublin'), gaia.silos.index('Frankfurt')
    assert gaia.latency_ms[dublin, frankfurt] == pytest.approx(4 + 0.0085 * 1091.0035, abs=1e-6)
    assert gaia.bandwidth_bps[dublin, frankfurt] == 1e9


def test_traffic_takes_the_shortest_path_and_shares_its_links():
    network = network_from_lengths('line', 'abc', lengths(3, ab=100, bc=200, ac=1000))
    assert network.latency_ms[0, 2] == pytest.approx(4 + 0.0085 * 300)
    assert network.bandwidth_bps[0, 2] == 5e8
    assert network.links[0, 2]


def test_of_equally_long_paths_the_one_of_fewest_links_is_taken():
    network = network_from_lengths('square', 'abcd', lengths(4, ab=0, bc=0, cd=0, ad=0))
    assert network.bandwidth_bps[0, 3] == 1e9
    assert network.bandwidth_bps[0, 2] == 5e8
    assert network.latency_ms[0, 2] == 4


def test_a_network_in_two_parts_is_refused():
    with pytest.raises(FedefmError, match='no path from a to c'):
        network_from_lengths('parts', 'abcd', lengths(4, ab=1, cd=1))


def test_uniform_network_is_equally_far_everywhere():
    network = uniform_network(4, latency_ms=0.5, model=LinkModel(bandwidth_bps=1e8))
    assert network.silos == ('silo0', 'silo1', 'silo2', 'silo3')
    assert (network.latency_ms == 0.5).all() and (network.bandwidth_bps == 1e8).all()


def test_restricted_network_keeps_its_paths():
    geant = load_network('geant')
    small = geant.restricted(['UK', 'IT', 'SE'])
    i, j = geant.silos.index('UK'), geant.silos.index('SE')
    assert small.latency_ms[0, 2] == geant.latency_ms[i, j]
    assert small.links.sum() == 6
    with pytest.raises(FedefmError, match="no silo 'US'"):
        geant.restricted(['UK', 'US'])


def test_own_networks_load_from_json_with_coordinates_or_lengths(tmp_path):
    path = tmp_path / 'mine.json'
    path.write_text(json.dumps({
        'name': 'mine', 'model': {'latency_ms': 1, 'bandwidth_bps': 1e8},
        'silos': [{'name': 'a', 'latitude': 0, 'longitude': 0},
                  {'name': 'b', 'latitude': 0, 'longitude': 1}, {'name': 'c'}],
        'links': [['a', 'b'], ['b', 'c', 50]]}))
    network = load_network(path)
    assert network.name == 'mine'
    assert network.latency_ms[0, 1] == pytest.approx(1 + 0.0085 * 111.3195, abs=1e-5)
    assert network.latency_ms[1, 2] == pytest.approx(1 + 0.0085 * 50)
    assert network.bandwidth_bps[0, 2] == 5e7
    assert load_network(path, LinkModel(latency_ms=0)).latency_ms[1, 2] == pytest.approx(0.425)


def test_own_networks_load_from_gml(tmp_path):
    path = tmp_path / 'zoo.gml'
    path.write_text(
        'graph [ multigraph 1 node [ id 0 label "x" Latitude 0.0 Longitude 0.0 ] '
        'node [ id 1 label "y" Latitude 0.0 Longitude 1.0 ] node [ id 2 label "z" ] '
        'edge [ source 0 target 1 key 0 ] edge [ source 1 target 2 key 0 distance 80.0 ] '
        'edge [ source 0 target 1 key 1 ] ]')
    network = load_network(path)
    assert network.silos == ('x', 'y', 'z')
    assert network.latency_ms[0, 2] == pytest.approx(4 + 0.0085 * 191.3195, abs=1e-5)


@pytest.mark.parametrize('text, message', [
    ('[]', 'is not a network'),
    ('{"silos": [{"name": "a"}]}', 'expected JSON with "silos" and "links"'),
    ('{"silos": [{"name": "a"}, {"name": "b"}], "links": [["a", "c", 1]]}', "to 'c'"),
    ('{"silos": [{"name": "a"}, {"name": "b"}], "links": [["a", "a", 1]]}', "to 'a'"),
    ('{"silos": [{"name": "a"}, {"name": "b"}], "links": [["a", "b"]]}', 'has no length'),
    ('{"silos": [{"name": "a"}, {"name": "b"}], "links": [["a", "b", -1]]}', '-1.0 km long'),
    ('{"silos": [{"name": "a"}, {"name": "a"}], "links": []}', 'no path|twice'),
    ('{"silos": [{"name": "a"}], "links": []}', '1 silos; expected two or more'),
    ('{"silos": [], "links": []}', '0 silos; expected two or more'),
    ('{"model": {"speed": 1}, "silos": [], "links": []}', '"model" has \'speed\''),
    ('{"model": {"bandwidth_bps": 0}, "silos": [{"name": "a"}, {"name": "b"}], '
     '"links": [["a", "b", 1]]}', 'not positive'),
])
def test_files_that_are_no_network_are_refused(tmp_path, text, message):
    path = tmp_path / 'broken.json'
    path.write_text(text)
    with pytest.raises(FedefmError, match=message):
        load_network(path)


@pytest.mark.parametrize('text', ['graph [ node [ id 0', 'graph [ node [ label "a" ] ]', ''])
def test_gml_that_is_no_network_is_refused(tmp_path, text):
    path = tmp_path / 'broken.gml'
    path.write_text(text)
    with pytest.raises(FedefmError, match='broken'):
        load_network(path)


def test_unknown_networks_are_refused():
    with pytest.raises(FedefmError, match='no network mars; expected .* gaia'):
        load_network('mars')
    with pytest.raises(FedefmError, match='no network mars.json'):
        load_network('mars.json')
