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

"""
Networks from files: the ones that come with the package, and anybody's JSON or GML.

JSON: {"name": ..., "silos": [{"name": ..., "latitude": ..., "longitude": ...}, ...],
"links": "complete" or [[name, name] or [name, name, km], ...], "model": {...}}. Coordinates in
degrees may be left out where every link has its length in km; "model" overrides fields of
LinkModel. GML: nodes with Latitude and Longitude, as the Internet Topology Zoo has them, or links
with a `distance` in km.
"""

from dataclasses import fields
import json
import math
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology.geodesy import geodesic_km
from fedefm_ros.federation.topology.networks import LinkModel
from fedefm_ros.federation.topology.networks import Network
from fedefm_ros.federation.topology.networks import network_from_lengths

import networkx as nx

import numpy as np

_DATA = Path(__file__).parent / 'data'

Place = tuple[float, float] | None


def shipped_networks() -> tuple[str, ...]:
    """Return the names of the networks that come with the package."""
    return tuple(sorted(path.stem for path in _DATA.glob('*.json')))


def load_network(name_or_path: str | Path, model: LinkModel | None = None) -> Network:
    """
    Return a shipped network by its name, or that of a .json or .gml file.

    model: constants to use instead of the file's. Raises FedefmError, naming the file, if it
    cannot be used.
    """
    path = Path(name_or_path)
    if str(name_or_path) in shipped_networks():
        path = _DATA / f'{name_or_path}.json'
    elif path.suffix not in ('.json', '.gml') or not path.is_file():
        raise FedefmError(f'no network {name_or_path}; expected a .json or .gml file or one of '
                          f'{", ".join(shipped_networks())}')
    return _load_gml(path, model) if path.suffix == '.gml' else _load_json(path, model)


def _load_json(path: Path, model: LinkModel | None) -> Network:
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
        names = [str(silo['name']) for silo in data['silos']]
        places = [_place(silo, 'latitude', 'longitude') for silo in data['silos']]
        links = data['links']
        if links == 'complete':
            links = [[a, b] for i, a in enumerate(names) for b in names[:i]]
        links = [(a, b, *map(float, length)) for a, b, *length in links]
        published = {str(k): float(v) for k, v in data.get('published_cycle_ms', {}).items()}
        given = {str(k): float(v) for k, v in data.get('model', {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FedefmError(f'{path} is not a network: {type(error).__name__} {error}; expected '
                          'JSON with "silos" and "links"') from error
    unknown = set(given) - {field.name for field in fields(LinkModel)}
    if unknown:
        raise FedefmError(f'{path}: "model" has {sorted(unknown)[0]!r}; expected '
                          f'{", ".join(field.name for field in fields(LinkModel))}')
    if data.get('exchange_coordinates'):
        places = [place and place[::-1] for place in places]
    lengths = _lengths(path, names, places, links)
    return network_from_lengths(str(data.get('name', path.stem)), names, lengths,
                                model or LinkModel(**given), published)


def _load_gml(path: Path, model: LinkModel | None) -> Network:
    try:
        graph = nx.Graph(nx.read_gml(path))
        names = [str(name) for name in graph]
        places = [_place(data, 'Latitude', 'Longitude') for _, data in graph.nodes(data=True)]
        links = [(str(a), str(b), *([float(data['distance'])] if 'distance' in data else []))
                 for a, b, data in graph.edges(data=True) if a != b]
    except (nx.NetworkXError, ValueError, KeyError, TypeError) as error:
        raise FedefmError(f'{path} is not a network: {error}; expected GML with labelled nodes '
                          'and links') from error
    return network_from_lengths(path.stem, names, _lengths(path, names, places, links),
                                model or LinkModel())


def _place(data: dict, latitude: str, longitude: str) -> Place:
    if latitude not in data or longitude not in data:
        return None
    return float(data[latitude]), float(data[longitude])


def _lengths(path: Path, names: list[str], places: list[Place], links: list) -> np.ndarray:
    """Return (N, N) km, inf where no link; FedefmError for a link without ends or length."""
    lengths = np.full((len(names), len(names)), np.inf)
    index = {name: k for k, name in enumerate(names)}
    for first, second, *length in links:
        if first not in index or second not in index or first == second:
            raise FedefmError(f'{path}: link {first!r} to {second!r}; expected two silos of it')
        i, j = index[first], index[second]
        if not length and (places[i] is None or places[j] is None):
            raise FedefmError(f'{path}: link {first!r} to {second!r} has no length; expected a '
                              'length in km, or coordinates of both silos')
        km = length[0] if length else geodesic_km(places[i], places[j])
        if not math.isfinite(km) or km < 0:
            raise FedefmError(f'{path}: link {first!r} to {second!r} is {km} km long; expected a '
                              'length of zero or more')
        # Of parallel links the shortest carries the traffic.
        lengths[i, j] = lengths[j, i] = min(km, lengths[i, j])
    return lengths
