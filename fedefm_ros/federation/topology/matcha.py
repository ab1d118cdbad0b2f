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

import hashlib

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology.matchings import decompose
from fedefm_ros.federation.topology.mixing import laplacian
from fedefm_ros.federation.topology.mixing import links_of
from fedefm_ros.federation.topology.mixing import off_mean_basis
from fedefm_ros.federation.topology.semidefinite import MatrixInequality
from fedefm_ros.federation.topology.semidefinite import minimise
from fedefm_ros.federation.topology.topology import Topology

import numpy as np

from scipy.optimize import minimize_scalar

# Probabilities and mixing weight are cut to this, so that the last bits, which differ from one
# machine's linear algebra to another's, do not make silos draw or mix differently.
_DIGITS = 6


def matching_laplacians(matchings: tuple[np.ndarray, ...], count: int) -> np.ndarray:
    """Return (M, N, N): the Laplacian of each matching."""
    laplacians = np.zeros((len(matchings), count, count))
    for m, links in enumerate(matchings):
        i, j = links.T
        laplacians[m, i, i] = laplacians[m, j, j] = 1
        laplacians[m, i, j] = laplacians[m, j, i] = -1
    return laplacians


def activation_probabilities(laplacians: np.ndarray, budget: float) -> np.ndarray:
    """
    Return p (M,): how often to use each matching so that the mean graph is best connected.

    laplacians (M, N, N); budget in (0, 1]: the share of matchings used in the mean round.
    Maximises lambda_2(sum p_m L_m) subject to sum p_m <= budget M, 0 <= p_m <= 1 (Wang et al.,
    equation 4), a semidefinite program: the largest s with sum p_m L_m >= s across the mean. The
    result's lambda_2 is within 1e-7 of the largest link's share N of the optimum.
    """
    _check_budget(budget)
    total, count = len(laplacians), laplacians.shape[1]
    if budget == 1:
        return np.ones(total)
    across = off_mean_basis(count)
    terms = across @ laplacians @ across.T
    inequality = MatrixInequality(
        np.zeros((count - 1, count - 1)), np.concatenate([terms, -np.eye(count - 1)[None]]))
    rows = np.zeros((2 * total + 1, total + 1))
    rows[:total, :total], rows[total:2 * total, :total] = np.eye(total), -np.eye(total)
    rows[-1, :total] = 1
    bounds = np.concatenate([np.ones(total), np.zeros(total), [budget * total]])
    # A little below the budget, everywhere alike, is strictly inside.
    start = np.full(total + 1, 0.9 * budget)
    start[-1] = np.linalg.eigvalsh(np.tensordot(start[:-1], terms, 1))[0] - 0.1
    objective = np.zeros(total + 1)
    objective[-1] = -1.0
    best, _ = minimise(objective, start, rows, bounds, [inequality], 1e-8 * count)
    return np.clip(best[:-1], 0, 1)


def mixing_weight(laplacians: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """
    Return alpha and the rate rho: the mean squared distance to the mean shrinks by rho a round.

    laplacians (M, N, N); probabilities (M,). Minimises the norm rho of E[W'W] - J/N =
    I - 2 alpha E[L] + alpha^2 (E[L]^2 + 2 sum p_m (1 - p_m) L_m) - J/N. That is the program of
    Wang et al. (their lemma 1) with beta = alpha^2, to which beta always falls because its factor
    is positive semidefinite; rho is convex in alpha, so one bounded search finds it.
    """
    across = off_mean_basis(laplacians.shape[1])
    terms = across @ laplacians @ across.T
    mean = np.tensordot(probabilities, terms, 1)
    square = mean @ mean + 2 * np.tensordot(probabilities * (1 - probabilities), terms, 1)
    identity = np.eye(len(mean))

    def rate(alpha: float) -> float:
        return float(np.linalg.eigvalsh(identity - 2 * alpha * mean + alpha ** 2 * square)[-1])

    # Along the largest eigenvector of E[L] the rate is at least (1 - alpha lambda)^2, so beyond
    # 2 / lambda it is above its value at 0.
    largest = np.linalg.eigvalsh(mean)[-1]
    found = minimize_scalar(rate, bounds=(0, 2 / largest), method='bounded',
                            options={'xatol': 1e-9 / largest})
    return float(found.x), float(found.fun)


class Matcha(Topology):
    """
    A random choice of matchings each round, the same for all who know graph, budget and seed.

    adjacency (N, N) bool: the graph, taken as undirected; budget in (0, 1]: the share of matchings
    used in the mean round. Attributes: matchings (tuple of (k, 2) int), probabilities (M,), alpha,
    rate. Raises FedefmError if the graph is not connected.
    """

    def __init__(self, name: str, adjacency: np.ndarray, budget: float = 0.5, seed: int = 0):
        super().__init__(name, len(adjacency))
        _check_budget(budget)
        if np.linalg.eigvalsh(laplacian(adjacency))[1] < 1e-9:
            raise FedefmError(f'{name}: the graph falls into parts that never hear of one '
                              'another; expected one that connects all silos')
        self.budget, self.seed = budget, seed
        self.matchings = decompose(links_of(adjacency), self.count)
        self._laplacians = matching_laplacians(self.matchings, self.count)
        best = activation_probabilities(self._laplacians, budget)
        self.probabilities = np.round(best, _DIGITS)
        alpha, self.rate = mixing_weight(self._laplacians, self.probabilities)
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


def _uniform(*values: int) -> float:
    """Return a number in [0, 1) that depends on these integers only."""
    digest = hashlib.sha256(','.join(map(str, values)).encode()).digest()
    return int.from_bytes(digest[:7], 'big') / 2 ** 56


def _check_budget(budget: float) -> None:
    if not 0 < budget <= 1:
        raise FedefmError(f'a communication budget of {budget}; expected above 0, at most 1')
