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

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.emd import transport_score
from fedefm_ros.federation.emd_solvers import entropic_plan
from fedefm_ros.federation.emd_solvers import exact_plan

import numpy as np
import ot
import pytest
from scipy.optimize import linprog
import torch


def problems(batch=3, rows=7, columns=9, seed=0, equal=False):
    """Return random costs in [0, 2] and weights of mass one, float64."""
    random = torch.Generator().manual_seed(seed)
    cost = 2 * torch.rand(batch, rows, columns, generator=random, dtype=torch.float64)
    a, b = (torch.ones(batch, n, dtype=torch.float64) if equal else
            torch.rand(batch, n, generator=random, dtype=torch.float64) for n in (rows, columns))
    return cost, a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)


def cost_by_linear_program(cost, a, b):
    """Return the optimal cost of one problem, from scipy's general solver."""
    rows, columns = cost.shape
    equations = np.zeros((rows + columns, rows * columns))
    for p in range(rows):
        equations[p, p * columns:(p + 1) * columns] = 1
    for q in range(columns):
        equations[rows + q, q::columns] = 1
    solved = linprog(cost.ravel(), A_eq=equations, b_eq=np.concatenate([a, b]), method='highs')
    assert solved.success
    return solved.fun


def costs_of(plan, cost):
    return (plan.flow * cost).sum(dim=(1, 2))


def misplaced(plan, a, b):
    return max((plan.flow.sum(2) - a).abs().max(), (plan.flow.sum(1) - b).abs().max())


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('rows, columns, equal', [
    (9, 9, False), (9, 9, True), (6, 11, False), (6, 11, True), (1, 5, False), (1, 1, True),
    (25, 25, False), (25, 25, True)])
def test_exact_cost_is_that_of_scipys_linear_program(rows, columns, equal, seed):
    cost, a, b = problems(3, rows, columns, seed, equal)
    expected = [cost_by_linear_program(*(part.numpy() for part in one)) for one in zip(cost, a, b)]
    for duals in (False, True):
        plan = exact_plan(cost, a, b, duals)
        assert np.allclose(costs_of(plan, cost), expected, rtol=0, atol=1e-9)
        assert misplaced(plan, a, b) < 1e-12
        assert (plan.flow >= 0).all()


def test_assignment_and_simplex_agree_and_only_the_simplex_has_duals():
    cost, a, b = problems(4, 30, 30, equal=True)
    assigned, simplex = exact_plan(cost, a, b, duals=False), exact_plan(cost, a, b, duals=True)
    assert torch.allclose(assigned.flow, simplex.flow, atol=1e-12)
    assert assigned.dual_a is None and simplex.dual_a is not None


def test_duals_prove_the_flow_optimal():
    cost, a, b = problems(4, 12, 15)
    plan = exact_plan(cost, a, b)
    assert torch.allclose((plan.dual_a * a).sum(1), torch.zeros(4, dtype=torch.float64))
    assert torch.allclose((plan.dual_b * b).sum(1), torch.zeros(4, dtype=torch.float64))
    # Centring moved both; one constant an image brings the reduced costs back.
    reduced = cost - plan.dual_a[:, :, None] - plan.dual_b[:, None, :]
    reduced = reduced - costs_of(plan, cost)[:, None, None]
    assert reduced.min() > -1e-12
    assert reduced[plan.flow > 0].abs().max() < 1e-12


def test_large_problems_are_spread_over_threads_with_the_same_result():
    cost, a, b = problems(6, 110, 100)
    one_by_one = torch.cat([exact_plan(cost[i:i + 1], a[i:i + 1], b[i:i + 1]).flow
                            for i in range(6)])
    assert torch.equal(exact_plan(cost, a, b, threads=3).flow, one_by_one)


@pytest.mark.parametrize('solver', ['exact', 'entropic'])
def test_nodes_without_mass_take_no_part(solver):
    cost, a, b = problems(2, 5, 6)
    a[:, 1], b[:, 4] = 0, 0
    a, b = a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)
    rows, columns = [0, 2, 3, 4], [0, 1, 2, 3, 5]

    def solve(*problem):
        if solver == 'exact':
            return exact_plan(*problem)
        return entropic_plan(*problem, 0.02, 2000, 1e-8)

    whole = solve(cost, a, b)
    part = solve(cost[:, rows][:, :, columns], a[:, rows], b[:, columns])
    assert torch.allclose(whole.flow[:, rows][:, :, columns], part.flow, atol=1e-6)
    assert not whole.flow[:, 1].any() and not whole.flow[:, :, 4].any()
    assert torch.isfinite(whole.dual_a).all() and torch.isfinite(whole.dual_b).all()


@pytest.mark.parametrize('rows, columns', [(16, 16), (49, 49), (20, 33)])
@pytest.mark.parametrize('regularisation', [0.05, 0.01, 0.005])
def test_entropic_cost_is_above_the_exact_one_by_no_more_than_its_tolerance(
        rows, columns, regularisation):
    cost, a, b = problems(4, rows, columns)
    plan = entropic_plan(cost, a, b, regularisation, 4000, 1e-4)
    excess = costs_of(plan, cost) - costs_of(exact_plan(cost, a, b), cost)
    assert excess.min() > -1e-9
    assert excess.max() < regularisation * np.log(min(rows, columns)) + 2 * 1e-4
    assert misplaced(plan, a, b) < 1e-12


def test_entropic_flow_is_that_of_pots_sinkhorn():
    cost, a, b = problems(3, 14, 11)
    plan = entropic_plan(cost, a, b, 0.05, 5000, 1e-10)
    for i in range(3):
        expected = ot.sinkhorn(a[i].numpy(), b[i].numpy(), cost[i].numpy(), 0.05,
                               method='sinkhorn_log', stopThr=1e-12, numItermax=10_000)
        assert np.allclose(plan.flow[i], expected, atol=1e-8)


def test_entropic_solver_that_was_cut_short_says_so_and_still_meets_the_weights(caplog):
    cost, a, b = problems(2, 20, 20)
    plan = entropic_plan(cost, a, b, 0.001, 10, 1e-9)
    assert 'after 10 iterations' in caplog.text
    assert misplaced(plan, a, b) < 1e-12
    assert (costs_of(plan, cost) >= costs_of(exact_plan(cost, a, b), cost)).all()


def test_entropic_solver_converges_in_float32():
    cost, a, b = (part.float() for part in problems(2, 49, 49))
    plan = entropic_plan(cost, a, b, 0.01, 5000, 1e-3)
    exact = exact_plan(cost, a, b)
    assert plan.flow.dtype == exact.flow.dtype == torch.float32
    assert (costs_of(plan, cost) - costs_of(exact, cost)).abs().max() < 0.01 * np.log(49)


@pytest.mark.parametrize('spoil, word', [
    (lambda c, a, b: (c.index_fill(1, torch.tensor([2]), float('nan')), a, b), 'NaN'),
    (lambda c, a, b: (c[0], a, b), r'\(B, N, M\)'),
    (lambda c, a, b: (c, -a, b), 'below zero'),
    (lambda c, a, b: (c, a * 0, b), 'above zero'),
    (lambda c, a, b: (c, a, b * float('inf')), 'finite'),
    (lambda c, a, b: (c, a, b[:, :-1]), 'shape'),
])
def test_costs_and_weights_that_make_no_sense_are_refused(spoil, word):
    with pytest.raises(FedefmError, match=word):
        transport_score(*spoil(*problems()))
