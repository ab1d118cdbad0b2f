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
Small semidefinite programs, by an interior-point method.

Enough for the weights of a mixing matrix (up to a few hundred unknowns and silos), so that the
package needs no modelling language and no solver beside scipy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fedefm_ros.errors import FedefmError

import numpy as np

from scipy.linalg import LinAlgError
from scipy.linalg import solve

_NEWTON_STEPS = 60
_GROWTH = 15.0


@dataclass(frozen=True, eq=False)
class MatrixInequality:
    """The constraint constant + sum_k x_k terms_k >= 0; constant (m, m), terms (n, m, m)."""

    constant: np.ndarray
    terms: np.ndarray

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the (m, m) symmetric matrix that must be positive semidefinite."""
        return self.constant + np.tensordot(x, self.terms, 1)


def minimise(
    objective: np.ndarray, start: np.ndarray, rows: np.ndarray, bounds: np.ndarray,
    inequalities: Sequence[MatrixInequality], tolerance: float = 1e-8,
) -> tuple[np.ndarray, float]:
    """
    Return the x (n,) that minimises objective . x, and how far from the optimum it may be.

    Subject to rows (m, n) @ x <= bounds (m,) and the matrix inequalities. start (n,) must be
    strictly feasible. The barrier method (Boyd and Vandenberghe, Convex Optimization, 2004,
    section 11.3): Newton's method on t objective . x minus the logarithms of slacks and
    determinants, for t growing until the gap, (number of constraints) / t, is below the
    tolerance; t stops there, as do the figures' accuracy. Raises FedefmError if start is not
    feasible.
    """
    x = np.array(start, float)
    if not _feasible(x, rows, bounds, inequalities):
        raise FedefmError('a semidefinite program was started outside its constraints')
    constraints = len(bounds) + sum(len(inequality.constant) for inequality in inequalities)
    t = 1.0
    while True:
        x = _centre(x, t * objective, rows, bounds, inequalities)
        if constraints / t <= tolerance:
            return x, constraints / t
        t *= _GROWTH


def _centre(x, objective, rows, bounds, inequalities):
    """Return the minimiser of objective . x plus the barrier, by damped Newton steps."""
    for _ in range(_NEWTON_STEPS):
        gradient, hessian = _derivatives(x, objective, rows, bounds, inequalities)
        try:
            step = -solve(hessian, gradient, assume_a='pos')
        except LinAlgError:
            # Rounding has the last word: x is as central as doubles can tell.
            return x
        decrement = -gradient @ step
        if decrement < 1e-9:
            return x
        # Self-concordance: this step length stays inside and gains by a fixed amount.
        length = 1.0 if decrement < 0.06 else 1 / (1 + np.sqrt(decrement))
        while not _feasible(x + length * step, rows, bounds, inequalities):
            length /= 2
            if length < 1e-12:
                return x
        x = x + length * step
    return x


def _derivatives(x, objective, rows, bounds, inequalities):
    """Return the gradient (n,) and the Hessian (n, n) of the function that _centre minimises."""
    scaled = rows / (bounds - rows @ x)[:, None]
    gradient = objective + scaled.sum(0)
    hessian = scaled.T @ scaled
    for inequality in inequalities:
        # With X = L L', tr(X^-1 A X^-1 B) = <L^-1 A L^-T, L^-1 B L^-T>.
        inverse = np.linalg.inv(np.linalg.cholesky(inequality.at(x)))
        whitened = inverse @ inequality.terms @ inverse.T
        gradient -= np.trace(whitened, axis1=1, axis2=2)
        flat = whitened.reshape(len(whitened), -1)
        hessian += flat @ flat.T
    return gradient, hessian


def _feasible(x, rows, bounds, inequalities) -> bool:
    """Return whether x is strictly inside all constraints."""
    if not (rows @ x < bounds).all():
        return False
    try:
        for inequality in inequalities:
            np.linalg.cholesky(inequality.at(x))
    except np.linalg.LinAlgError:
        return False
    return True
