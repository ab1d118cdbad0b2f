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
Weights of matchings that bound the eigenvalues of their graph's Laplacian.

The two semidefinite programs of the topologies, MATCHA's probabilities and the fastest mixing
weights, have one form, so one small interior-point method solves both: no modelling language, no
solver beside numpy and scipy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fedefm_ros.errors import FedefmError

import numpy as np

from scipy.linalg import cho_factor
from scipy.linalg import cho_solve
from scipy.linalg import LinAlgError

_NEWTON_STEPS = 50
_GROWTH = 20.0
# Half of it bounds how far a point is from the centre, in units of the barrier, so far below
# the number of constraints, which is what a centre's distance from the optimum is made of.
_CENTRED = 1e-5


@dataclass(frozen=True)
class Bound:
    """The constraint sign L(w) + (constant + slope s) I >= 0 on differences from the mean."""

    sign: float
    constant: float
    slope: float


def minimise_bound(
    matchings: Sequence[np.ndarray], count: int, direction: float, bounds: Sequence[Bound],
    rows: np.ndarray, limits: np.ndarray, start: np.ndarray, tolerance: float,
) -> tuple[np.ndarray, float]:
    """
    Return weights w (M,) and the scalar s for which direction s is least, within the tolerance.

    matchings: M arrays (k, 2) int of links between nodes 0 to count - 1 (any sets of links will
    do); L(w) = sum_m w_m L_m is their weighted Laplacian. Subject to the bounds and to
    rows (c, M) @ w <= limits (c,). start (M + 1,): weights and s strictly inside.

    The barrier method (Boyd and Vandenberghe, Convex Optimization, 2004, section 11.3): Newton's
    method on t direction s minus the logarithms of slacks and determinants, for growing t; the
    optimum is at most (number of constraints) / t away, which is the test for the end. Raises
    FedefmError if the start is outside.
    """
    problem = _Problem(matchings, count, bounds, rows, limits)
    x = np.array(start, float)
    if problem.barrier(x) == np.inf:
        raise FedefmError('a spectral program was started outside its constraints')
    constraints = len(limits) + len(bounds) * (count - 1)
    t = 1.0
    while True:
        x = _centre(problem, x, t * direction)
        if constraints / t <= tolerance:
            return x[:-1], float(x[-1])
        t *= _GROWTH


def _centre(problem: '_Problem', x: np.ndarray, pull: float) -> np.ndarray:
    """Return the minimiser of pull x[-1] plus the barrier, by Newton's method from x."""
    barrier = problem.barrier(x)
    for _ in range(_NEWTON_STEPS):
        gradient, hessian = problem.derivatives(x)
        gradient[-1] += pull
        try:
            step = -cho_solve(cho_factor(hessian), gradient)
        except LinAlgError:
            # The central path is as narrow as doubles can tell: x is on it.
            return x
        decrement = -gradient @ step
        if decrement < _CENTRED:
            return x
        length = 1.0
        while True:
            candidate = x + length * step
            reached = problem.barrier(candidate)
            # Only the change of the pull's term: the term itself is large and would drown it.
            gain = barrier - reached - pull * (candidate[-1] - x[-1])
            if gain >= 0.1 * length * decrement:
                break
            length /= 2
            if length < 1e-6:
                return x
        x, barrier = candidate, reached
    return x


class _Problem:
    """The barrier of the constraints and its derivatives; x is the weights and s."""

    def __init__(self, matchings, count, bounds, rows, limits):
        sizes = [len(links) for links in matchings]
        self._first, self._second = np.concatenate([np.reshape(m, (-1, 2)) for m in matchings]).T
        self._stops = np.cumsum(sizes)
        self._starts = self._stops - sizes
        self._owners = np.repeat(np.arange(len(sizes)), sizes)
        self._bounds = bounds
        self._rows = np.hstack([rows, np.zeros((len(rows), 1))])
        self._limits = limits
        self._mean = np.full((count, count), 1 / count)
        self._across = np.eye(count) - self._mean

    def barrier(self, x: np.ndarray) -> float:
        """Return minus the logarithms of slacks and determinants; inf outside."""
        slacks = self._limits - self._rows @ x
        if not (slacks > 0).all():
            return np.inf
        value = -np.log(slacks).sum()
        for matrix in self._matrices(x):
            try:
                value -= 2 * np.log(np.linalg.cholesky(matrix).diagonal()).sum()
            except np.linalg.LinAlgError:
                return np.inf
        return float(value)

    def derivatives(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the barrier's gradient (M + 1,) and Hessian (M + 1, M + 1)."""
        scaled = self._rows / (self._limits - self._rows @ x)[:, None]
        gradient, hessian = scaled.sum(0), scaled.T @ scaled
        for bound, matrix in zip(self._bounds, self._matrices(x)):
            inverse = np.linalg.inv(matrix) - self._mean
            slopes, curvatures, mixed = self._laplacian_traces(inverse)
            gradient[:-1] -= bound.sign * slopes
            gradient[-1] -= bound.slope * np.trace(inverse)
            hessian[:-1, :-1] += curvatures
            hessian[:-1, -1] += bound.sign * bound.slope * mixed
            hessian[-1, :-1] += bound.sign * bound.slope * mixed
            hessian[-1, -1] += bound.slope ** 2 * (inverse ** 2).sum()
        return gradient, hessian

    def _laplacian_traces(self, inverse):
        """
        Return tr(X L_m) (M,), tr(X L_m X L_n) (M, M) and tr(X L_m X) (M,) for X = inverse.

        L_m is the sum of (e_i - e_j)(e_i - e_j)' over its links, so all are sums over links of
        differences of X's elements. Products of the matrices would be shorter to write, but the
        threads of a BLAS make them a hundred times slower wherever the cores are busy.
        """
        first, second, starts = self._first, self._second, self._starts
        differences = inverse[first] - inverse[second]
        links = np.arange(len(first))
        slopes = np.add.reduceat(differences[links, first] - differences[links, second], starts)
        mixed = np.add.reduceat((differences ** 2).sum(1), starts)
        curvatures = np.empty((len(starts), len(starts)))
        for m, (start, stop) in enumerate(zip(starts, self._stops)):
            block = differences[start:stop]
            across = block[:, first[start:]] - block[:, second[start:]]
            sums = np.add.reduceat((across ** 2).sum(0), starts[m:] - start)
            curvatures[m, m:] = curvatures[m:, m] = sums
        return slopes, curvatures, mixed

    def _matrices(self, x: np.ndarray):
        """Yield the (N, N) matrix of each bound, with the mean's eigenvalue put to one."""
        shares = x[self._owners]
        laplacian = np.zeros_like(self._mean)
        laplacian[self._first, self._second] = -shares
        laplacian += laplacian.T
        np.fill_diagonal(laplacian, -laplacian.sum(1))
        for bound in self._bounds:
            shift = bound.constant + bound.slope * x[-1]
            yield bound.sign * laplacian + shift * self._across + self._mean
