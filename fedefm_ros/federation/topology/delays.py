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
How long a round takes: delays of an overlay's links and its cycle time.

After Marfoq et al., Throughput-Optimal Topology Design for Cross-Silo Federated Learning, NeurIPS
2020. Silos start a round when the models they wait for have arrived, so the starts obey
t_i(k+1) = max_j (t_j(k) + d(j, i)) and the time a round takes in the long run is the greatest mean
delay of a circuit of the overlay.
"""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology.networks import Network

import numpy as np


def overlay_delays(
    adjacency: np.ndarray, network: Network, model_bits: float,
    compute_ms: float | np.ndarray = 0.0,
) -> np.ndarray:
    """
    Return (N, N) ms: from the start of silo i's round until its model is at silo j.

    adjacency (N, N) bool: silo i sends to silo j; compute_ms: a round's own training, of all or
    (N,) of each. d(i, j) = compute_i + latency_ij + bits / min(upload_i / receivers of i,
    download_j / senders to j, bandwidth_ij), d(i, i) = compute_i, -inf where nothing is sent.
    """
    count = len(network)
    adjacency = checked_adjacency(adjacency, count)
    compute = np.broadcast_to(np.asarray(compute_ms, float), (count,))
    if not (np.isfinite(compute) & (compute >= 0)).all() or not 0 <= model_bits < np.inf:
        raise FedefmError(f'model_bits {model_bits}, compute_ms {compute_ms}: expected finite '
                          'values of zero or more')
    receivers, senders = adjacency.sum(1), adjacency.sum(0)
    rate = np.minimum((network.upload_bps / np.maximum(receivers, 1))[:, None],
                      network.download_bps / np.maximum(senders, 1))
    rate = np.minimum(rate, network.bandwidth_bps)
    delays = compute[:, None] + network.latency_ms + 1e3 * model_bits / rate
    delays = np.where(adjacency, delays, -np.inf)
    np.fill_diagonal(delays, compute)
    return delays


def maximum_cycle_mean(delays: np.ndarray) -> float:
    """
    Return the greatest mean delay of the circuits of a graph, by Karp's theorem.

    delays (N, N): of the arc i -> j, -inf where there is none. -inf if there is no circuit. The
    graph need not be strongly connected: walks may start anywhere, which is Karp's theorem for
    the graph with one more node and arcs of no delay from it to all others. O(N^3).
    """
    count = len(delays)
    walks = np.zeros((count + 1, count))
    for k in range(count):
        walks[k + 1] = (walks[k][:, None] + delays).max(0)
    ends = np.isfinite(walks[count])
    if not ends.any():
        return -np.inf
    # A node that no walk of k arcs reaches does not bound: (finite - -inf) is +inf, as it should.
    spans = count - np.arange(count)[:, None]
    means = (walks[count][None, ends] - walks[:count, ends]) / spans
    return float(means.min(0).max())


def overlay_cycle_time(
    adjacency: np.ndarray, network: Network, model_bits: float,
    compute_ms: float | np.ndarray = 0.0,
) -> float:
    """Return the cycle time in ms of a fixed overlay; arguments as of overlay_delays."""
    return maximum_cycle_mean(overlay_delays(adjacency, network, model_bits, compute_ms))


def slowest_link(
    adjacency: np.ndarray, network: Network, model_bits: float,
    compute_ms: float | np.ndarray = 0.0,
) -> float:
    """
    Return the ms of a single round in which all wait for all, its largest delay.

    That is a round of an overlay that changes from round to round. Arguments as of
    overlay_delays.
    """
    return float(overlay_delays(adjacency, network, model_bits, compute_ms).max())


def checked_adjacency(adjacency: np.ndarray, count: int) -> np.ndarray:
    """Return it as (N, N) bool; FedefmError if its shape is another or a silo sends to itself."""
    adjacency = np.asarray(adjacency)
    if adjacency.shape != (count, count) or adjacency.dtype != bool:
        raise FedefmError(f'an overlay of shape {adjacency.shape} and type {adjacency.dtype}; '
                          f'expected ({count}, {count}) bool')
    if adjacency.diagonal().any():
        raise FedefmError('an overlay in which a silo sends to itself; expected none')
    return adjacency
