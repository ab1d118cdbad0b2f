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
What lies between the silos: latency, bandwidth, access links.

The model is that of Marfoq et al., Throughput-Optimal Topology Design for Cross-Silo Federated
Learning, NeurIPS 2020: silos at the nodes of an underlay of links, traffic on shortest paths.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from fedefm_ros.errors import FedefmError

import numpy as np

from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

# What a hop adds to a length, in km, so that of equally long paths the one of fewer hops is taken
# (and a link of no length is not taken for no link).
_HOP_KM = 1e-6


@dataclass(frozen=True)
class LinkModel:
    """
    Constants that turn kilometres and hops into milliseconds and bits per second.

    The defaults are those of Marfoq et al.: a path of L km over h links has a latency of
    latency_ms + latency_ms_per_km L and a bandwidth of bandwidth_bps / h.
    """

    latency_ms: float = 4.0
    latency_ms_per_km: float = 0.0085
    bandwidth_bps: float = 1e9
    upload_bps: float = 1e10
    download_bps: float = 1e10


@dataclass(frozen=True, eq=False)
class Network:
    """
    A network of N silos, each able to reach each.

    silos: N names; links (N, N) bool, symmetric: the links of the underlay; latency_ms (N, N) and
    bandwidth_bps (N, N): one way from silo i to silo j, end to end (the diagonals are ignored);
    upload_bps, download_bps (N,): a silo's access, shared by its transfers of a round;
    published_cycle_ms: cycle times from the literature, by topology, to compare with.
    """

    name: str
    silos: tuple[str, ...]
    links: np.ndarray
    latency_ms: np.ndarray
    bandwidth_bps: np.ndarray
    upload_bps: np.ndarray
    download_bps: np.ndarray
    published_cycle_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        count = len(self.silos)
        if count < 2:
            raise FedefmError(f'network {self.name} has {count} silos; expected two or more')
        if len(set(self.silos)) != count:
            raise FedefmError(f'network {self.name} names a silo twice; expected unique names')
        for name, shape in (('links', (count, count)), ('latency_ms', (count, count)),
                            ('bandwidth_bps', (count, count)), ('upload_bps', (count,)),
                            ('download_bps', (count,))):
            values = getattr(self, name)
            if values.shape != shape:
                raise FedefmError(f'network {self.name}: {name} has shape {values.shape}; '
                                  f'expected {shape} for {count} silos')
            if name.endswith('_bps') and not (values > 0).all():
                raise FedefmError(f'network {self.name}: {name} has a value that is not positive')
        if not (np.isfinite(self.latency_ms) & (self.latency_ms >= 0)).all():
            raise FedefmError(f'network {self.name}: latency_ms has a negative or infinite value')
        if not (self.links == self.links.T).all() or self.links.diagonal().any():
            raise FedefmError(f'network {self.name}: links must be symmetric and without loops')

    def __len__(self) -> int:
        return len(self.silos)

    def restricted(self, silos: Sequence[str]) -> 'Network':
        """
        Return the network of these silos only, in this order, with the paths it has now.

        As the silos left out carry traffic no longer theirs, any two that are left count as
        linked. Raises FedefmError for a name that the network does not have.
        """
        unknown = [name for name in silos if name not in self.silos]
        if unknown:
            raise FedefmError(f'network {self.name} has no silo {unknown[0]!r}; it has '
                              f'{", ".join(self.silos)}')
        kept = np.array([self.silos.index(name) for name in silos], int)
        pairs = np.ix_(kept, kept)
        return Network(self.name, tuple(silos), ~np.eye(len(kept), dtype=bool),
                       self.latency_ms[pairs], self.bandwidth_bps[pairs],
                       self.upload_bps[kept], self.download_bps[kept])


def network_from_lengths(
    name: str, silos: Sequence[str], lengths_km: np.ndarray, model: LinkModel = LinkModel(),
    published_cycle_ms: Mapping[str, float] | None = None,
) -> Network:
    """
    Return the network over an underlay of links with these lengths.

    lengths_km (N, N), symmetric: inf or NaN where there is no link. Traffic takes the shortest
    path by length, of equally long ones that of fewest links. Raises FedefmError if a silo cannot
    be reached.
    """
    lengths = np.array(lengths_km, float)
    np.fill_diagonal(lengths, np.nan)
    links = np.isfinite(lengths)
    i, j = np.nonzero(links)
    graph = csr_array((lengths[i, j] + _HOP_KM, (i, j)), shape=lengths.shape)
    path_km, before = dijkstra(graph, return_predecessors=True)
    if not np.isfinite(path_km).all():
        silo = silos[int(np.argmax(~np.isfinite(path_km[0])))]
        raise FedefmError(f'network {name}: no path from {silos[0]} to {silo}; expected links '
                          'that connect all silos')
    hops = _hops(path_km, before)
    path_km -= hops * _HOP_KM
    count = len(silos)
    return Network(
        name, tuple(silos), links,
        latency_ms=model.latency_ms + model.latency_ms_per_km * path_km,
        bandwidth_bps=model.bandwidth_bps / np.maximum(hops, 1),
        upload_bps=np.full(count, model.upload_bps),
        download_bps=np.full(count, model.download_bps),
        published_cycle_ms=published_cycle_ms or {})


def uniform_network(
    silos: int | Sequence[str], latency_ms: float = 4.0, model: LinkModel = LinkModel(),
) -> Network:
    """
    Return a network in which all pairs of silos are equally far, such as stations of one site.

    silos: their number (then named silo0, silo1, ...) or their names; latency_ms: of every pair.
    """
    names = tuple(f'silo{k}' for k in range(silos)) if isinstance(silos, int) else tuple(silos)
    count = len(names)
    return Network(
        'uniform', names, ~np.eye(count, dtype=bool), np.full((count, count), latency_ms),
        np.full((count, count), model.bandwidth_bps), np.full(count, model.upload_bps),
        np.full(count, model.download_bps))


def _hops(path_km: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return (N, N) int: the links of each shortest path, from predecessors (N, N)."""
    hops = np.zeros(path_km.shape, int)
    for start, order in enumerate(np.argsort(path_km, axis=1)):
        for silo in order[1:]:
            hops[start, silo] = hops[start, before[start, silo]] + 1
    return hops
