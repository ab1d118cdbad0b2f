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
Topologies: whom a silo hears from in a round, and what share it takes of each model.

Everything is a function of the round's number, so all silos that know the network and the seed
agree on every round without a word.
"""

from abc import ABC
from abc import abstractmethod
import hashlib

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.topology.delays import checked_adjacency
from fedefm_ros.federation.topology.mixing import check_mixing_matrix
from fedefm_ros.federation.topology.mixing import mixing_rate

import numpy as np


class Topology(ABC):
    """
    What the rounds of a federation of N silos ask for.

    Silos are 0 to N - 1 in the order of the network, rounds 0, 1, 2, ... A topology with a hub is
    client-server: all models go to the hub, its mean goes back, and the mixing matrix is what
    each silo has after both. Without a hub, silos mix with their neighbours.

    Attributes: name, count (N), hub (a silo or None) and rate: the factor by which the models'
    mean squared distance to their mean shrinks in a round at least, for random topologies in
    expectation.
    """

    def __init__(self, name: str, count: int, rate: float, hub: int | None = None):
        self.name = name
        self.count = count
        self.rate = rate
        self.hub = hub

    @abstractmethod
    def adjacency(self, round_number: int) -> np.ndarray:
        """Return (N, N) bool: silo i sends to silo j in this round. Not to be written to."""

    @abstractmethod
    def mixing_matrix(self, round_number: int) -> np.ndarray:
        """
        Return W (N, N) float64: theta_i <- sum_j W_ij theta_j at the end of this round.

        Rows and columns sum to one; W_ij is zero unless j sends to i (or there is a hub). Not to
        be written to.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """
        Return a hash (hex) of what decides who sends to whom in every round.

        Silos whose fingerprints are equal agree; another version of a library may lay another
        ring.
        """

    def neighbours(self, round_number: int, silo: int) -> tuple[int, ...]:
        """Return the silos whose models this one receives in this round, in order."""
        return tuple(map(int, np.nonzero(self.adjacency(round_number)[:, self._known(silo)])[0]))

    def receivers(self, round_number: int, silo: int) -> tuple[int, ...]:
        """Return the silos that this one sends its model to in this round, in order."""
        return tuple(map(int, np.nonzero(self.adjacency(round_number)[self._known(silo)])[0]))

    def transfers(self, round_number: int) -> int:
        """Return how many models are sent in this round, all silos together."""
        return int(self.adjacency(round_number).sum())

    def mean_transfers(self, rounds: int) -> float:
        """Return the models sent in a round, the mean of the first so many."""
        return float(np.mean([self.transfers(k) for k in range(rounds)]))

    def _known(self, silo: int) -> int:
        if not 0 <= silo < self.count:
            raise FedefmError(f'silo {silo} in topology {self.name}; expected 0 to '
                              f'{self.count - 1}')
        return silo


class FixedTopology(Topology):
    """The same overlay (N, N) bool and mixing matrix (N, N) in every round."""

    def __init__(self, name: str, adjacency: np.ndarray, weights: np.ndarray,
                 hub: int | None = None):
        adjacency = checked_adjacency(adjacency, len(weights))
        check_mixing_matrix(weights, None if hub is not None else adjacency, nonnegative=False)
        super().__init__(name, len(weights), mixing_rate(weights) ** 2, hub)
        self._adjacency, self._weights = adjacency.copy(), np.array(weights, float)
        for values in (self._adjacency, self._weights):
            values.flags.writeable = False

    def adjacency(self, round_number: int) -> np.ndarray:
        """Return the overlay; see Topology."""
        return self._adjacency

    def mixing_matrix(self, round_number: int) -> np.ndarray:
        """Return the mixing matrix; see Topology."""
        return self._weights

    def fingerprint(self) -> str:
        """Return a hash of name, hub and overlay; see Topology."""
        return digest(self.name, self.hub, self._adjacency.astype(int).tolist())


def digest(*values) -> str:
    """Return the SHA-256 (hex) of the texts of these values."""
    return hashlib.sha256(repr(values).encode()).hexdigest()
