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
Mixing matrices: what share each silo takes of each model, theta_i <- sum_j W_ij theta_j.

A matrix W (N, N) whose rows and columns sum to one keeps the mean of all models and pulls them
together by its mixing rate each round. A weight W_ij needs that silo j sends to silo i; an overlay
is its adjacency (N, N) bool, i sends to j.
"""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology.spectral import Bound
from fedefm_ros.federation.topology.spectral import minimise_bound

import numpy as np

_TOLERANCE = 1e-9
# How far from the fastest rate the fastest weights may be.
_GAP = 1e-7
# Links above which the fastest weights are not sought; the memory is links x N^2 doubles.
_MAX_LINKS = 600


def laplacian(adjacency: np.ndarray) -> np.ndarray:
    """Return the Laplacian (N, N) of an overlay taken as undirected: degrees minus links."""
    either = (adjacency | adjacency.T).astype(float)
    return np.diag(either.sum(0)) - either


def links_of(adjacency: np.ndarray) -> np.ndarray:
    """Return (links, 2) int: the pairs i < j of which at least one sends to the other."""
    return np.argwhere(np.triu(adjacency | adjacency.T, 1))


def mixing_rate(weights: np.ndarray) -> float:
    """
    Return the factor by which a round at least shrinks the models' distance to their mean.

    That is the spectral norm of W - J/N; 0 if all have the mean after one round, 1 if some
    difference never goes.
    """
    count = len(weights)
    return float(np.linalg.norm(weights - 1 / count, 2))


def check_mixing_matrix(
    weights: np.ndarray, adjacency: np.ndarray | None = None, nonnegative: bool = True,
) -> None:
    """
    Raise FedefmError unless a matrix is doubly stochastic and uses only what is sent.

    weights (N, N); adjacency: the overlay, None to leave it out; nonnegative: whether every
    weight must be zero or more. Sums must be one within 1e-9.
    """
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1]:
        raise FedefmError(f'a mixing matrix of shape {weights.shape}; expected (N, N)')
    if not np.isfinite(weights).all():
        raise FedefmError('a mixing matrix with a weight that is not finite')
    for axis, what in ((1, 'row'), (0, 'column')):
        worst = np.abs(weights.sum(axis) - 1)
        if worst.max() > _TOLERANCE:
            k = int(worst.argmax())
            raise FedefmError(f'{what} {k} of a mixing matrix sums to '
                              f'{weights.sum(axis)[k]:.12g}; expected 1')
    if nonnegative and weights.min() < -_TOLERANCE:
        raise FedefmError(f'a mixing matrix with the weight {weights.min():.3g}; expected none '
                          'below zero')
    if adjacency is not None:
        unsent = ~(adjacency.T | np.eye(len(weights), dtype=bool)) & (weights != 0)
        if unsent.any():
            i, j = map(int, np.argwhere(unsent)[0])
            raise FedefmError(f'a mixing matrix gives silo {i} a share of silo {j}, which does '
                              'not send to it')


def equal_weights(adjacency: np.ndarray) -> np.ndarray:
    """
    Return the weights by which each silo takes the plain mean of its own and all it receives.

    Doubly stochastic if all send to and receive from the same number: 1/2 and 1/2 on a directed
    ring, 1/N on a complete graph. Raises FedefmError if they do not.
    """
    shares = adjacency.T + np.eye(len(adjacency))
    weights = shares / shares.sum(1, keepdims=True)
    check_mixing_matrix(weights, adjacency)
    return weights


def metropolis_weights(adjacency: np.ndarray) -> np.ndarray:
    """
    Return W_ij = 1 / (1 + max(degree_i, degree_j)) on links, the rest on the diagonal.

    Metropolis-Hastings weights (Xiao, Boyd and Kim, 2007): good, not the best, of any undirected
    overlay, and each silo can compute its own.
    """
    degrees = (adjacency | adjacency.T).sum(0)
    links = links_of(adjacency)
    shares = 1.0 / (1 + degrees[links].max(1)) if len(links) else np.zeros(0)
    return _symmetric(len(adjacency), links, shares)


def fastest_weights(adjacency: np.ndarray, nonnegative: bool = True) -> np.ndarray:
    """
    Return the symmetric weights on an undirected overlay that mix fastest.

    Fastest distributed linear averaging (Xiao and Boyd, Fast linear iterations for distributed
    averaging, 2004): minimise the norm of W - J/N over W = I - sum_l w_l L_l, L_l the Laplacian of
    link l. nonnegative: keep all weights at zero or more, so that a mixed model lies between the
    models it is made of; the optimum without may have negative ones. Metropolis weights instead
    where there are more than 600 links. Raises FedefmError if the overlay is not connected.
    """
    count, links = len(adjacency), links_of(adjacency)
    if count > 1 and np.linalg.eigvalsh(laplacian(adjacency))[1] < 1e-9:
        raise FedefmError('an overlay in parts that never hear of one another; expected one that '
                          'connects all silos')
    if len(links) == count * (count - 1) // 2:
        return np.full((count, count), 1 / count)
    if len(links) > _MAX_LINKS:
        return metropolis_weights(adjacency)
    # r bounds the eigenvalues of I - L(w) from both sides.
    bounds = [Bound(sign=-1, constant=1, slope=1), Bound(sign=1, constant=-1, slope=1)]
    rows, limits = np.zeros((0, len(links))), np.zeros(0)
    if nonnegative:
        ends = np.zeros((count, len(links)))
        ends[links[:, 0], np.arange(len(links))] = ends[links[:, 1], np.arange(len(links))] = 1
        rows = np.concatenate([-np.eye(len(links)), ends])
        limits = np.concatenate([np.zeros(len(links)), np.ones(count)])
    start = np.full(len(links) + 1, 0.9 / np.bincount(links.ravel()).max())
    start[-1] = 2.0
    shares, _ = minimise_bound(links[:, None], count, 1.0, bounds, rows, limits, start, _GAP)
    return _symmetric(count, links, shares)


def _symmetric(count: int, links: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return I - sum of shares times the links' Laplacians, (N, N)."""
    weights = np.zeros((count, count))
    weights[links[:, 0], links[:, 1]] = weights[links[:, 1], links[:, 0]] = shares
    np.fill_diagonal(weights, 1 - weights.sum(1))
    return weights
