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

"""Trips: the silos a model visits before it comes home, and how long that takes."""

from collections.abc import Sequence

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology.networks import Network
from fedefm_ros.federation.topology.topology import Topology

import numpy as np


def trip(topology: Topology, round_number: int, silo: int, stops: int) -> tuple[int, ...]:
    """
    Return the silos that this one's model visits in this round, in order, itself left out.

    The first `stops` silos depth first along the round's overlay, from each silo to its receivers
    in the order of their numbers after it: on a ring the successors, on a complete graph the
    following numbers, so that trips of all silos never meet there. Fewer where fewer can be
    reached; each is visited once. From a dead end the model goes straight to the next.
    """
    adjacency, count = topology.adjacency(round_number), topology.count
    if not 0 <= silo < count or stops < 0:
        raise FedefmError(f'a trip of silo {silo} with {stops} stops; expected one of the '
                          f'{count} silos and zero or more stops')
    seen, order, stack = {silo}, [], [silo]
    while stack and len(order) < stops:
        here = stack[-1]
        following = next((k % count for k in range(here + 1, here + count)
                          if adjacency[here, k % count] and k % count not in seen), None)
        if following is None:
            stack.pop()
            continue
        seen.add(following)
        order.append(following)
        stack.append(following)
    return tuple(order)


def trips_time(
    trips: Sequence[Sequence[int]], network: Network, model_bits: float,
    stop_ms: float | np.ndarray = 0.0, home_ms: float | np.ndarray = 0.0,
) -> float:
    """
    Return the ms of a round in which the model of each silo k goes on trips[k] and comes home.

    stop_ms: training at each stop, home_ms: training at home, of all silos or (N,) of each. Trips
    run at the same time; the transfers of a silo's n-th legs share its access links as in
    overlay_delays. The round ends when the last silo is done.
    """
    count = len(network)
    if len(trips) != count:
        raise FedefmError(f'{len(trips)} trips on network {network.name}; expected one for each '
                          f'of its {count} silos')
    stop_ms, home_ms = (np.broadcast_to(np.asarray(ms, float), (count,))
                        for ms in (stop_ms, home_ms))
    routes = [[k, *stops, k] if len(stops) else [k] for k, stops in enumerate(trips)]
    elapsed = home_ms.copy()
    for leg in range(max(len(route) for route in routes) - 1):
        moving = [k for k, route in enumerate(routes) if leg + 1 < len(route)]
        source = np.array([routes[k][leg] for k in moving])
        target = np.array([routes[k][leg + 1] for k in moving])
        uploads, downloads = np.bincount(source), np.bincount(target)
        rate = np.minimum(network.upload_bps[source] / uploads[source],
                          network.download_bps[target] / downloads[target])
        rate = np.minimum(rate, network.bandwidth_bps[source, target])
        elapsed[moving] += network.latency_ms[source, target] + 1e3 * model_bits / rate
        # The last leg leads home, where home_ms is already counted.
        trains = np.array([leg + 2 < len(routes[k]) for k in moving])
        elapsed[moving] += np.where(trains, stop_ms[target], 0)
    return float(elapsed.max())
