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

r"""
Solvers of the transport problem under the earth mover's distance: exact and entropic.

Both take a batch and return flows and duals without gradients; fedefm_ros.federation.emd adds
those. For one problem with costs c (N, M) and node weights a (N,), b (M,) of mass one:

.. math::
    \min_{x \ge 0} \sum_{pq} c_{pq} x_{pq} \quad
    \text{s.t.} \quad \sum_q x_{pq} = a_p, \quad \sum_p x_{pq} = b_q
"""

from concurrent.futures import ThreadPoolExecutor
import logging
from typing import NamedTuple

from fedefm_ros.errors import FedefmError

import numpy as np
import ot
from scipy.optimize import linear_sum_assignment
import torch

_LOG = logging.getLogger(__name__)

#: With more nodes the network simplex is faster than the assignment on features of real networks.
_ASSIGNMENT_NODES = 100

#: Problems with fewer entries than this are solved faster than a thread is handed them.
_THREADED_ENTRIES = 100 * 100


class TransportPlan(NamedTuple):
    """
    Solutions of a batch of transport problems.

    The duals are the change of the optimal cost per mass added to a node, up to a constant, which
    is chosen so that their weighted means are zero.
    """

    #: (B, N, M): how much mass goes from node p to node q.
    flow: torch.Tensor
    #: (B, N), or None where it was not asked for.
    dual_a: torch.Tensor | None
    #: (B, M), or None where it was not asked for.
    dual_b: torch.Tensor | None


def exact_plan(cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor,
               duals: bool = True, threads: int | None = None) -> TransportPlan:
    """
    Solve each problem exactly on the CPU, in float64.

    Equal weights and as many nodes on both sides make it a linear assignment (Birkhoff), which
    scipy solves several times faster at 49 nodes, but without duals; all else goes to POT's
    network simplex.
    Large problems are spread over threads, since both solvers release the GIL.

    :param cost: (B, N, M).
    :param a: (B, N), mass one each.
    :param b: (B, M), mass one each.
    :param duals: whether duals are needed.
    :param threads: None for as many as torch has.
    :returns: the plan, with the type and on the device of ``cost``.
    :raises FedefmError: the simplex did not come to an end.
    """
    costs, sources, targets = (_array(tensor) for tensor in (cost, a, b))
    assignment = (not duals and cost.shape[1] == cost.shape[2] <= _ASSIGNMENT_NODES
                  and _equal(sources, targets))
    solve = _assignment if assignment else _network_simplex
    threads = min(len(costs), threads or torch.get_num_threads())
    if threads > 1 and costs[0].size >= _THREADED_ENTRIES:
        with ThreadPoolExecutor(threads) as pool:
            solved = list(pool.map(solve, costs, sources, targets))
    else:
        solved = [solve(*problem) for problem in zip(costs, sources, targets)]
    flow, *potentials = (
        torch.from_numpy(np.stack(parts)).to(cost) for parts in zip(*solved))
    return TransportPlan(flow, *potentials) if potentials else TransportPlan(flow, None, None)


def entropic_plan(cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor, regularisation: float,
                  iterations: int, tolerance: float) -> TransportPlan:
    r"""
    Solve all problems at once, on their device, by Sinkhorn iterations in the log domain.

    .. math:: \min_x \sum_{pq} c_{pq} x_{pq} + \epsilon \, KL(x \,\|\, a b^T)

    The regularisation epsilon is lowered to its value in steps, which takes far fewer iterations
    than starting there, and the flow is rounded to meet the weights exactly [1]_. Its cost is
    therefore never below the optimum, and above it by at most epsilon log(min(N, M)) once
    converged. Where it has not converged after ``iterations`` a warning is logged.

    :param cost: (B, N, M).
    :param a: (B, N), mass one each.
    :param b: (B, M), mass one each.
    :param regularisation: epsilon, in units of the cost.
    :param iterations: the most that are done at the final epsilon.
    :param tolerance: mass that may be misplaced before rounding.

    .. [1] Altschuler, Weed, Rigollet: Near-linear time approximation algorithms for optimal
       transport via Sinkhorn iteration. NeurIPS 2017.
    """
    log_a, log_b = a.log()[:, :, None], b.log()[:, None, :]
    f, g = torch.zeros_like(log_a), torch.zeros_like(log_b)

    def sweep(epsilon):
        rows = -epsilon * torch.logsumexp(log_b + (g - cost) / epsilon, dim=2, keepdim=True)
        return rows, -epsilon * torch.logsumexp(
            log_a + (rows - cost) / epsilon, dim=1, keepdim=True)

    epsilon = max(float(cost.max() - cost.min()), regularisation)
    while epsilon > regularisation:
        for _ in range(4):
            f, g = sweep(epsilon)
        epsilon = max(0.5 * epsilon, regularisation)
    misplaced = float('inf')
    for iteration in range(iterations):
        previous = f
        f, g = sweep(regularisation)
        if iteration % 10 == 9:
            # The flow before this sweep had row sums a exp((previous - f) / epsilon).
            excess = ((previous - f) / regularisation).squeeze(2).expm1().abs()
            misplaced = float((a * excess).sum(dim=1).max())
            if misplaced <= tolerance:
                break
    else:
        _LOG.warning('Sinkhorn misplaces %.2g of the mass after %d iterations at a regularisation '
                     'of %g (tolerance %g); the flow was rounded to the weights. Raise one of '
                     'them or use the exact solver.', misplaced, iterations, regularisation,
                     tolerance)
    flow = (log_a + log_b + (f + g - cost) / regularisation).exp()
    return TransportPlan(
        _rounded(flow, a, b), _centred(f.squeeze(2), a), _centred(g.squeeze(1), b))


def _rounded(flow: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    tiny = torch.finfo(flow.dtype).tiny
    flow = flow * (a / flow.sum(dim=2).clamp_min(tiny)).clamp_max(1.0)[:, :, None]
    flow = flow * (b / flow.sum(dim=1).clamp_min(tiny)).clamp_max(1.0)[:, None, :]
    lacking_a = (a - flow.sum(dim=2)).clamp_min(0.0)
    lacking_b = (b - flow.sum(dim=1)).clamp_min(0.0)
    mass = lacking_a.sum(dim=1).clamp_min(tiny)[:, None, None]
    return flow + lacking_a[:, :, None] / mass * lacking_b[:, None, :]


def _centred(dual: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return dual - (dual * weights).sum(dim=1, keepdim=True)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().to('cpu', torch.float64).numpy())


def _equal(sources: np.ndarray, targets: np.ndarray) -> bool:
    return bool((sources == sources[:, :1]).all() and (targets == targets[:, :1]).all())


def _assignment(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray]:
    rows, columns = linear_sum_assignment(cost)
    flow = np.zeros_like(cost)
    flow[rows, columns] = 1.0 / len(cost)
    return (flow,)


def _network_simplex(cost: np.ndarray, a: np.ndarray, b: np.ndarray,
                     ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Float32 weights add up to one only nearly; the simplex needs equal masses.
    a, b = a / a.sum(), b / b.sum()
    flow, log = ot.emd(a, b, cost, numItermax=10_000_000, center_dual=False, log=True)
    if log['warning'] is not None:
        raise FedefmError(f'no optimal flow between {len(a)} and {len(b)} nodes: '
                          f'{log["warning"]}; pool to fewer nodes or use the entropic solver')
    u, v = log['u'], log['v']
    # POT only bounds the duals of nodes without mass; what a first bit of mass there costs is
    # the cheapest way into the other side.
    if not a.all():
        u = np.where(a > 0, u, (cost - v)[:, b > 0].min(axis=1))
    if not b.all():
        v = np.where(b > 0, v, (cost - log['u'][:, None])[a > 0].min(axis=0))
    return flow, u - a @ u, v - b @ v
