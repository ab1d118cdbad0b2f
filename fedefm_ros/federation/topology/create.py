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

"""Topologies by name, and the time their rounds take."""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology.delays import overlay_cycle_time
from fedefm_ros.federation.topology.delays import slowest_link
from fedefm_ros.federation.topology.matcha import Matcha
from fedefm_ros.federation.topology.mixing import equal_weights
from fedefm_ros.federation.topology.mixing import fastest_weights
from fedefm_ros.federation.topology.networks import Network
from fedefm_ros.federation.topology.overlays import bottleneck_tree_overlay
from fedefm_ros.federation.topology.overlays import checked_hub
from fedefm_ros.federation.topology.overlays import complete_overlay
from fedefm_ros.federation.topology.overlays import ring_overlay
from fedefm_ros.federation.topology.overlays import spanning_tree_overlay
from fedefm_ros.federation.topology.overlays import star_overlay
from fedefm_ros.federation.topology.topology import FixedTopology
from fedefm_ros.federation.topology.topology import Topology

import numpy as np

#: name -> what it is.
TOPOLOGIES = {
    'star': 'all models to a hub, their mean back',
    'matcha': 'a random choice of matchings of the links each round',
    'matcha+': 'the same of all pairs of silos',
    'mst': 'the minimum spanning tree',
    'delta-mbst': 'the fastest of several trees of bounded degree',
    'ring': 'a directed ring, by Christofides',
    'complete': 'all to all',
    'links': "the network's own links",
}

#: Rounds over which a random topology's time is averaged.
ROUNDS = 1000


def create_topology(
    name: str, network: Network, model_bits: float, compute_ms: float | np.ndarray = 0.0, *,
    hub: str | None = None, budget: float = 0.5, seed: int = 0,
) -> Topology:
    """
    Return a topology of TOPOLOGIES for the silos of a network.

    model_bits and compute_ms (of a round's own training, of all silos or (N,) of each) decide
    which trees and tours are short; hub: the star's silo by name, the most central if None;
    budget, seed: MATCHA's. Trees and `links` have the non-negative weights that mix fastest, the
    ring 1/2 and 1/2, star and complete the mean. Raises FedefmError for an unknown name.
    """
    count = len(network)
    if name == 'star':
        centre = checked_hub(network, hub)
        return FixedTopology(name, star_overlay(count, centre),
                             np.full((count, count), 1 / count), centre)
    if name in ('matcha', 'matcha+'):
        links = network.links if name == 'matcha' else complete_overlay(count)
        return Matcha(name, links, budget, seed)
    if name == 'ring':
        overlay = ring_overlay(network, model_bits, compute_ms)
        return FixedTopology(name, overlay, equal_weights(overlay))
    if name == 'mst':
        overlay = spanning_tree_overlay(network, model_bits, compute_ms)
    elif name == 'delta-mbst':
        overlay = bottleneck_tree_overlay(network, model_bits, compute_ms)
    elif name == 'complete':
        overlay = complete_overlay(count)
    elif name == 'links':
        overlay = network.links
    else:
        raise FedefmError(f'unknown topology {name!r}; expected {", ".join(TOPOLOGIES)}')
    return FixedTopology(name, overlay, fastest_weights(overlay))


def cycle_time(
    topology: Topology, network: Network, model_bits: float,
    compute_ms: float | np.ndarray = 0.0, rounds: int = ROUNDS,
) -> float:
    """
    Return the ms that a round of a topology takes on a network, in the long run.

    model_bits: of one model; compute_ms: a round's own training (steps times ms a step), of all
    silos or (N,) of each. A star's round is the slowest way up, the same down, and the slowest
    training; a fixed overlay's its maximum cycle mean; a random one's the mean over this many
    rounds of the slowest link in use.
    """
    if topology.count != len(network):
        raise FedefmError(f'a topology of {topology.count} silos on network {network.name} of '
                          f'{len(network)}; expected as many')
    if topology.hub is not None:
        way = overlay_cycle_time(topology.adjacency(0), network, model_bits)
        return 2 * way + float(np.max(compute_ms))
    if isinstance(topology, FixedTopology):
        return overlay_cycle_time(topology.adjacency(0), network, model_bits, compute_ms)
    return float(np.mean([slowest_link(topology.adjacency(k), network, model_bits, compute_ms)
                          for k in range(rounds)]))
