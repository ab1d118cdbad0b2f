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
MATCHA: each round a random choice of matchings of a graph, the useful ones more often.

Wang, Sahu, Yang, Joshi and Kar, MATCHA: Speeding Up Decentralized SGD via Matching Decomposition
Sampling, 2019 (arXiv 1905.09435). A graph of N silos is split into M matchings with Laplacians
L_m; matching m is used in a round with probability p_m; W = I - alpha sum of the L_m in use.
"""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology.matchings import decompose
from fedefm_ros.federation.topology.mixing import laplacian
from fedefm_ros.federation.topology.mixing import links_of
from fedefm_ros.federation.topology.spectral import Bound
from fedefm_ros.federation.topology.spectral import minimise_bound
from fedefm_ros.federation.topology.topology import digest
from fedefm_ros.federation.topology.topology import Topology

import numpy as np

from scipy.optimize import minimize_scalar

# Probabilities and mixing weight are cut to this, so that the last bits, which differ from one
# machine's linear algebra to another's, do not make silos draw or mix differently.
_DIGITS = 6
_GAP = 1e-7


def matching_laplacians(matchings: tuple[np.ndarray, ...], count: int) -> np.ndarray:
    """Return (M, N, N): the Laplacian of each matching."""
    laplacians = np.zeros((len(matchings), count, count))
    for matrix, links in zip(laplacians, matchings):
        i, j = links.T
        matrix[i, i] = matrix[j, j] = 1
        matrix[i, j] = matrix[j, i] = -1
    return laplacians


def activation_probabilities(
    matchings: tuple[np.ndarray, ...], count: int, budget: float,
) -> np.ndarray:
    """
    Return p (M,): how often to use each matching so that the mean graph is best connected.

    matchings: M arrays (k, 2) int of links between silos 0 to count - 1; budget in (0, 1]: the
    share of matchings used in the mean round. Maximises lambda_2(sum p_m L_m) subject to
    sum p_m <= budget M, 0 <= p_m <= 1 (Wang et al., equation 4); lambda_2 is within 1e-7 of the
    optimum. There may be several optima; this is the one in their middle.
    """
    _check_budget(budget)
    total = len(matchings)
    if budget == 1:
        return np.ones(total)
    rows = np.concatenate([np.eye(total), -np.eye(total), np.ones((1, total))])
    limits = np.concatenate([np.ones(total), np.zeros(total), [budget * total]])
    # Inside: a little below the budget, alike for all; s below any Laplacian's eigenvalue.
    start = np.append(np.full(total, 0.9 * budget), -1.0)
    # L(p) - s I >= 0 across the mean, for the largest s.
    best, _ = minimise_bound(
        matchings, count, -1.0, [Bound(sign=1, constant=0, slope=-1)], rows, limits, start, _GAP)
    return np.clip(best, 0, 1)


def mixing_weight(laplacians: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """
    Return alpha and the rate rho: the mean squared distance to the mean shrinks by rho a round.

    laplacians (M, N, N); probabilities (M,). Minimises the norm rho of E[W'W] - J/N =
    I - 2 alpha E[L] + alpha^2 (E[L]^2 + 2 sum p_m (1 - p_m) L_m) - J/N. That is the program of
    Wang et al. (their lemma 1) with beta = alpha^2, to which beta always falls because its factor
    is positive semidefinite; rho is convex in alpha, so one bounded search finds it.
    """
    mean = np.tensordot(probabilities, laplacians, 1)
    square = mean @ mean + 2 * np.tensordot(probabilities * (1 - probabilities), laplacians, 1)
    across = np.eye(len(mean)) - 1 / len(mean)

    def rate(alpha: float) -> float:
        return float(np.linalg.eigvalsh(across - 2 * alpha * mean + alpha ** 2 * square)[-1])

    # Along the largest eigenvector of E[L] the rate is at least (1 - alpha lambda)^2, so beyond
    # 2 / lambda it is above its value at 0.
    largest = np.linalg.eigvalsh(mean)[-1]
    found = minimize_scalar(rate, bounds=(0, 2 / largest), method='bounded',
                            options={'xatol': 1e-8 / largest})
    return float(found.x), float(found.fun)


class Matcha(Topology):
    """
    A random choice of matchings each round, the same for all who know graph, budget and seed.

    adjacency (N, N) bool: the graph, taken as undirected; budget in (0, 1]: the share of matchings
    used in the mean round. Attributes: matchings (tuple of (k, 2) int), probabilities (M,), alpha.
    Raises FedefmError if the graph is not connected.
    """

    def __init__(self, name: str, adjacency: np.ndarray, budget: float = 0.5, seed: int = 0):
        count = len(adjacency)
        _check_budget(budget)
        if np.linalg.eigvalsh(laplacian(adjacency))[1] < 1e-9:
            raise FedefmError(f'{name}: the graph falls into parts that never hear of one '
                              'another; expected one that connects all silos')
        self.budget, self.seed = budget, seed
        self.matchings = decompose(links_of(adjacency), count)
        self._laplacians = matching_laplacians(self.matchings, count)
        self.probabilities = np.round(
            activation_probabilities(self.matchings, count, budget), _DIGITS)
        alpha, rate = mixing_weight(self._laplacians, self.probabilities)
        super().__init__(name, count, rate)
        self.alpha = round(alpha, _DIGITS)

    def active(self, round_number: int) -> np.ndarray:
        """
        Return (M,) bool: the matchings of a round; drawn again while there is none.

        The draw hashes seed, round and matching, so it needs no state and no agreement on a
        random number generator's version.
        """
        for attempt in range(10_000):
            drawn = np.array([
                _uniform(self.seed, round_number, attempt, m) < p
                for m, p in enumerate(self.probabilities)])
            if drawn.any():
                return drawn
        raise FedefmError(f'{self.name}: no matching drawn in round {round_number}; budget '
                          f'{self.budget} is too small, expected one that uses a link at times')

    def adjacency(self, round_number: int) -> np.ndarray:
        """Return the links of the round's matchings, both ways; see Topology."""
        adjacency = np.zeros((self.count, self.count), bool)
        for m in np.nonzero(self.active(round_number))[0]:
            i, j = self.matchings[m].T
            adjacency[i, j] = adjacency[j, i] = True
        return adjacency

    def mixing_matrix(self, round_number: int) -> np.ndarray:
        """Return I - alpha times the round's Laplacian; see Topology."""
        return np.eye(self.count) - self.alpha * self._laplacians[self.active(round_number)].sum(0)

    def fingerprint(self) -> str:
        """Return a hash of name, matchings, budget and seed; see Topology."""
        return digest(self.name, self.budget, self.seed, [m.tolist() for m in self.matchings])


def _uniform(*values: int) -> float:
    """Return a number in [0, 1) that depends on these integers only."""
    return int(digest(*map(int, values))[:14], 16) / 2 ** 56


def _check_budget(budget: float) -> None:
    if not 0 < budget <= 1:
        raise FedefmError(f'a communication budget of {budget}; expected above 0, at most 1')
