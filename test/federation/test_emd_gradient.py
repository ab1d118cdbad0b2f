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

from fedefm_ros.federation.emd import emd_score
from fedefm_ros.federation.emd import EmdOptions
from fedefm_ros.federation.emd import transport_score

import pytest
import torch
from torch.autograd import gradcheck


def features(*shape, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize('rows, columns', [(6, 6), (5, 8), (1, 4)])
def test_gradient_of_cost_and_weights_is_that_of_finite_differences(rows, columns):
    cost = features(2, rows, columns)
    a = torch.rand(2, rows, dtype=torch.float64).add(0.1).requires_grad_()
    b = torch.rand(2, columns, dtype=torch.float64).add(0.1).requires_grad_()
    assert gradcheck(transport_score, (cost, a, b), eps=1e-7, atol=1e-6)


def test_gradient_of_equal_weights_is_that_of_finite_differences():
    assert gradcheck(transport_score, (features(4, 7, 7),), eps=1e-7, atol=1e-6)
    assert gradcheck(transport_score, (features(4, 5, 7),), eps=1e-7, atol=1e-6)


@pytest.mark.parametrize('weights', ['cross-reference', 'uniform'])
@pytest.mark.parametrize('centred', [False, True])
def test_gradient_of_features_is_that_of_finite_differences(weights, centred):
    options = EmdOptions(grid=3, weights=weights, centred=centred, gradient='through')
    student, teacher = features(2, 4, 4, 4), features(2, 4, 3, 5, seed=1)
    assert gradcheck(lambda u, v: emd_score(u, v, options), (student, teacher),
                     eps=1e-7, atol=1e-6)


def test_gradient_of_weights_does_not_depend_on_their_scale_along_itself():
    cost, a = features(1, 5, 5), torch.rand(1, 5, dtype=torch.float64).requires_grad_()
    transport_score(cost, a).sum().backward()
    assert abs(float((a.detach() * a.grad).sum())) < 1e-12


def test_first_mass_on_an_empty_node_changes_the_score_as_its_dual_says():
    cost = features(1, 4, 4).detach()
    a = torch.tensor([[0.4, 0.0, 0.3, 0.3]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[0.2, 0.5, 0.3, 0.0]], dtype=torch.float64, requires_grad=True)
    score = transport_score(cost, a, b)
    score.sum().backward()
    for weights, empty in ((a, 1), (b, 3)):
        step = torch.zeros_like(weights)
        step[0, empty] = 1e-6
        moved = (a + step, b) if weights is a else (a, b + step)
        difference = float((transport_score(cost, *moved) - score).detach()) / 1e-6
        assert difference == pytest.approx(float(weights.grad[0, empty]), abs=1e-4)


def test_cross_reference_weights_carry_gradient_of_their_own():
    student, teacher = features(2, 6, 3, 3), features(2, 6, 3, 3, seed=1)
    gradients = []
    for weights in ('cross-reference', 'uniform'):
        score = emd_score(student, teacher, EmdOptions(weights=weights, gradient='through'))
        gradients.append(torch.autograd.grad(score.sum(), student)[0])
    assert not torch.allclose(*gradients)


def test_ascending_the_gradient_makes_student_and_teacher_alike():
    teacher = features(1, 8, 4, 4).detach()
    student = features(1, 8, 4, 4, seed=1)
    scores = []
    for _ in range(60):
        score = emd_score(student, teacher, EmdOptions(gradient='through')).sum()
        step, = torch.autograd.grad(score, student)
        student = (student + 5 * step).detach().requires_grad_()
        scores.append(float(score.detach()))
    assert scores[-1] > 0.9 > 0.7 > scores[0]


def test_detached_score_is_the_same_number_without_gradient():
    student, teacher = features(2, 6, 8, 8), features(2, 6, 8, 8, seed=1)
    detached = emd_score(student, teacher, EmdOptions(gradient='detached'))
    through = emd_score(student, teacher, EmdOptions(gradient='through'))
    assert torch.allclose(detached, through)
    assert not detached.requires_grad and through.requires_grad


def test_detached_weight_leaves_a_loss_its_own_gradient():
    student, teacher = features(3, 6, 4, 4), features(3, 6, 4, 4, seed=1).detach()
    weight = emd_score(student, teacher)
    loss = student.square().sum(dim=(1, 2, 3))
    gradient, = torch.autograd.grad((weight * loss).sum(), student)
    assert torch.allclose(gradient, 2 * student * weight[:, None, None, None])


def test_gradient_is_given_only_to_those_who_want_it():
    student, teacher = features(2, 6, 4, 4), features(2, 6, 4, 4, seed=1)
    options = EmdOptions(gradient='through')
    emd_score(student, teacher.detach(), options).sum().backward()
    assert student.grad is not None and teacher.grad is None
    with torch.no_grad():
        assert not emd_score(student, teacher, options).requires_grad


@pytest.mark.parametrize('weights', ['cross-reference', 'uniform'])
def test_gradient_stays_finite_at_dead_nodes_and_equal_features(weights):
    dead = features(2, 6, 4, 4).detach()
    dead[:, :, 1, 2] = 0
    dead[1] = 0
    dead.requires_grad_()
    options = EmdOptions(weights=weights, gradient='through')
    emd_score(dead, features(2, 6, 4, 4, seed=1), options).sum().backward()
    assert torch.isfinite(dead.grad).all() and dead.grad.abs().max() < 10
    equal = features(2, 6, 4, 4)
    gradient, = torch.autograd.grad(
        emd_score(equal, equal.detach().clone(), EmdOptions(weights='uniform', gradient='through'))
        .sum(), equal)
    assert gradient.abs().max() < 1e-12


def test_entropic_gradient_comes_near_the_exact_one():
    student, teacher = features(2, 16, 5, 5), features(2, 16, 5, 5, seed=1)
    gradients = []
    for solver in ('exact', 'entropic'):
        options = EmdOptions(solver=solver, gradient='through', regularisation=0.002,
                             iterations=20_000)
        score = emd_score(student, teacher, options)
        gradients.append(torch.autograd.grad(score.sum(), student)[0].flatten())
    exact, entropic = gradients
    assert torch.nn.functional.cosine_similarity(exact, entropic, dim=0) > 0.98
