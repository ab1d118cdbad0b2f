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
Overlays: which silo sends to which, as (N, N) bool, silo i sends to silo j.

After Marfoq et al., Throughput-Optimal Topology Design for Cross-Silo Federated Learning, NeurIPS
2020. All are deterministic, so that silos which know the network agree without a word.
"""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology.delays import overlay_cycle_time
from fedefm_ros.federation.topology.networks import Network

import networkx as nx

import numpy as np

from scipy.sparse.csgraph import shortest_path


def complete_overlay(count: int) -> np.ndarray:
    """Return the overlay in which all send to all."""
    return ~np.eye(count, dtype=bool)


def star_overlay(count: int, hub: int) -> np.ndarray:
    """Return the overlay in which the hub and all others send to each other."""
    adjacency = np.zeros((count, count), bool)
    adjacency[hub], adjacency[:, hub] = True, True
    adjacency[hub, hub] = False
    return adjacency


def central_silo(network: Network) -> int:
    """
    Return the silo with the highest load centrality by latency, the first of several.

    Where no way round is shorter than the direct path, as in the shipped networks, no silo has
    any load and the first is the hub; the published star cycle times are of that.
    """
    direct = np.where(np.eye(len(network), dtype=bool), 0, network.latency_ms)
    if (shortest_path(direct) >= direct).all():
        return 0
    graph = nx.from_numpy_array(direct, create_using=nx.DiGraph)
    load = nx.load_centrality(graph, weight='weight')
    return max(load, key=lambda silo: (load[silo], -silo))


def spanning_tree_overlay(
    network: Network, model_bits: float, compute_ms: float | np.ndarray = 0.0,
) -> np.ndarray:
    """Return the minimum spanning tree by the delays of the pairs, both ways."""
    return _overlay(nx.minimum_spanning_tree(_delay_graph(network, model_bits, compute_ms)))


def ring_overlay(
    network: Network, model_bits: float, compute_ms: float | np.ndarray = 0.0,
) -> np.ndarray:
    """
    Return a directed ring: Christofides' tour, from the first silo on.

    Where the delays obey the triangle inequality it takes at most 1.5 times as long as the best.
    """
    count = len(network)
    tour = list(range(count))
    if count > 3:
        graph = _delay_graph(network, model_bits, compute_ms)
        tour = nx.approximation.christofides(graph)[:-1]
    adjacency = np.zeros((count, count), bool)
    adjacency[tour, np.roll(tour, -1)] = True
    return adjacency


def bottleneck_tree_overlay(
    network: Network, model_bits: float, compute_ms: float | np.ndarray = 0.0,
) -> np.ndarray:
    """
    Return delta-MBST: the fastest of several trees of bounded degree, both ways.

    The candidates (Marfoq et al., algorithm 1): a Hamiltonian path in the cube of the minimum
    spanning tree, and Prim's tree with at most delta links a silo for delta = 2 ... N - 1. Slow
    access links make trees of few links a silo faster.
    """
    graph = _delay_graph(network, model_bits, compute_ms)
    path = _cube_path(nx.minimum_spanning_tree(graph))
    candidates = [_overlay(nx.path_graph(path))]
    for delta in range(2, max(len(network), 3)):
        tree = _bounded_tree(graph, delta)
        candidates.append(_overlay(tree))
        if max(degree for _, degree in tree.degree) < delta:
            # The bound no longer binds: larger ones give the same tree.
            break
    # Of equally fast ones the least bounded, whose silos are fewer steps apart.
    return min(reversed(candidates), key=lambda overlay: round(
        overlay_cycle_time(overlay, network, model_bits, compute_ms), 9))


def _delay_graph(network, model_bits, compute_ms) -> nx.Graph:
    """Return the complete graph, weighted by ms from silo to silo, the mean of both ways."""
    compute = np.broadcast_to(np.asarray(compute_ms, float), (len(network),))
    one_way = compute[:, None] + network.latency_ms + 1e3 * model_bits / network.bandwidth_bps
    weights = (one_way + one_way.T) / 2
    graph = nx.Graph()
    graph.add_nodes_from(range(len(network)))
    graph.add_weighted_edges_from(
        (i, j, weights[i, j]) for i in graph for j in range(i + 1, len(network)))
    return graph


def _overlay(graph: nx.Graph) -> np.ndarray:
    """Return the adjacency of an undirected graph of the nodes 0 to N - 1."""
    return nx.to_numpy_array(graph, nodelist=range(len(graph)), weight=None).astype(bool)


def _bounded_tree(graph: nx.Graph, delta: int) -> nx.Graph:
    """Return Prim's tree from node 0 that takes no node beyond delta links."""
    weights = nx.to_numpy_array(graph, nodelist=range(len(graph)))
    tree = nx.Graph()
    tree.add_node(0)
    offers = np.full(weights.shape, np.inf)
    offers[0, 1:] = weights[0, 1:]
    while len(tree) < len(graph):
        i, j = map(int, np.unravel_index(np.argmin(offers), offers.shape))
        tree.add_edge(i, j)
        outside = [node for node in graph if node not in tree]
        offers[:, j] = np.inf
        offers[j, outside] = weights[j, outside]
        if tree.degree[i] == delta:
            offers[i] = np.inf
    return tree


def _cube_path(tree: nx.Graph) -> list[int]:
    """
    Return all nodes of a tree in an order whose steps are at most three links long.

    Depth first, nodes at even depth on the way down and those at odd depth on the way up.
    """
    depth = nx.single_source_shortest_path_length(tree, 0)
    return [node for _, node, kind in nx.dfs_labeled_edges(tree, 0)
            if kind == ('reverse' if depth[node] % 2 else 'forward')]


def checked_hub(network: Network, hub: str | None) -> int:
    """Return the index of a hub given by name, central_silo if None; FedefmError if unknown."""
    if hub is None:
        return central_silo(network)
    if hub not in network.silos:
        raise FedefmError(f'hub {hub!r} is no silo of {network.name}; it has '
                          f'{", ".join(network.silos)}')
    return network.silos.index(hub)
