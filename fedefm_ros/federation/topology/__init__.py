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
Topologies of a federation and how long their rounds take.

    network = load_network('gaia')
    ring = create_topology('ring', network, model_bits=4_843_243, compute_ms=4.6)
    ring.neighbours(0, silo=3), ring.mixing_matrix(0)
    cycle_time(ring, network, model_bits=4_843_243, compute_ms=4.6)
"""

from fedefm_ros.federation.topology.create import create_topology
from fedefm_ros.federation.topology.create import cycle_time
from fedefm_ros.federation.topology.create import TOPOLOGIES
from fedefm_ros.federation.topology.mixing import mixing_rate
from fedefm_ros.federation.topology.network_files import load_network
from fedefm_ros.federation.topology.network_files import shipped_networks
from fedefm_ros.federation.topology.networks import LinkModel
from fedefm_ros.federation.topology.networks import Network
from fedefm_ros.federation.topology.networks import network_from_lengths
from fedefm_ros.federation.topology.networks import uniform_network
from fedefm_ros.federation.topology.topology import FixedTopology
from fedefm_ros.federation.topology.topology import Topology
from fedefm_ros.federation.topology.trips import trip
from fedefm_ros.federation.topology.trips import trips_time

__all__ = [
    'create_topology', 'cycle_time', 'FixedTopology', 'LinkModel', 'load_network', 'mixing_rate',
    'Network', 'network_from_lengths', 'shipped_networks', 'TOPOLOGIES', 'Topology', 'trip',
    'trips_time', 'uniform_network']
