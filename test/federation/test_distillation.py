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

"""The distillation loss of eq. 11 and the weights of its teachers (eq. 2, 3)."""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.distillation import distillation_loss
from fedefm_ros.federation.distillation import DistillationOptions
from fedefm_ros.federation.distillation import Outputs
from fedefm_ros.federation.distillation import soft_loss
from fedefm_ros.federation.distillation import teacher_weight
from fedefm_ros.federation.emd import EmdOptions
from fedefm_ros.learning.losses import soft_dice

import pytest

import torch
from torch.nn import functional

OFF = DistillationOptions(emd='off')


def outputs(seed, logits=(5, 3), features=(5, 6, 4, 4)):
    generator = torch.Generator().manual_seed(seed)
    return Outputs(torch.randn(logits, generator=generator),
                   torch.randn(features, generator=generator).abs())


def test_loss_is_that_of_the_equation():
    student, teachers = outputs(0), [outputs(1), outputs(2)]
    labels = torch.tensor([0, 1, 2, 0, 1])
    options = DistillationOptions(temperature=3.0, beta=0.3)
    loss, weights = distillation_loss(student, teachers, labels, options)
    expected = 0.7 * functional.cross_entropy(student.logits, labels)
    for teacher, weight in zip(teachers, weights):
        p, q = (torch.softmax(made.logits / 3.0, 1) for made in (teacher, student))
        divergence = (p * (p / q).log()).sum(1)
        expected = expected + 0.3 * 9.0 * (weight * divergence).mean() / 2
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_soft_loss_has_the_gradient_of_the_soft_cross_entropy():
    student = outputs(0).logits.double().requires_grad_()
    teacher = outputs(1).logits.double()
    ours, = torch.autograd.grad(soft_loss(student, teacher, 2.0).sum(), student)
    soft = torch.softmax(teacher / 2.0, 1)
    paper, = torch.autograd.grad(
        4.0 * functional.cross_entropy(student / 2.0, soft, reduction='sum'), student)
    torch.testing.assert_close(ours, paper)


def test_teacher_that_agrees_pulls_nowhere():
    student = outputs(0)
    assert float(soft_loss(student.logits, student.logits, 2.0).abs().max()) < 1e-6


def test_like_features_weigh_more_and_equal_ones_one():
    student = outputs(0)
    noise = outputs(1).features
    weights = [teacher_weight(student, Outputs(student.logits, student.features + far * noise),
                              DistillationOptions()) for far in (0.0, 0.5, 3.0)]
    assert torch.allclose(weights[0], torch.ones(5), atol=1e-4)
    assert (weights[0] > weights[1]).all() and (weights[1] > weights[2]).all()
    assert (weights[2] > 0).all()


def test_opposite_features_weigh_nothing():
    student = outputs(0)
    teacher = Outputs(student.logits, -student.features)
    assert float(teacher_weight(student, teacher, DistillationOptions()).max()) == 0


@pytest.mark.parametrize('gradient, reached', [('detached', False), ('through', True)])
def test_score_is_differentiated_only_where_asked(gradient, reached):
    student, teacher = outputs(0), outputs(1)
    features = student.features.clone().requires_grad_()
    options = DistillationOptions(score=EmdOptions(gradient=gradient))
    logits = student.logits.clone().requires_grad_()
    loss, _ = distillation_loss(Outputs(logits, features), [teacher],
                                torch.zeros(5, dtype=torch.long), options)
    loss.backward()
    assert (features.grad is not None and bool(features.grad.abs().sum() > 0)) == reached
    assert float(logits.grad.abs().sum()) > 0


def test_teachers_get_no_gradient():
    student, teacher = outputs(0), outputs(1)
    for tensor in (*teacher, student.logits):
        tensor.requires_grad_()
    loss, _ = distillation_loss(student, [teacher], torch.zeros(5, dtype=torch.long),
                                DistillationOptions(score=EmdOptions(gradient='through')))
    loss.backward()
    assert teacher.logits.grad is None and teacher.features.grad is None


def test_segmentation_terms_are_means_over_pixels_and_masks_have_soft_dice():
    student, teacher = (outputs(k, logits=(2, 3, 4, 4), features=(2, 6, 2, 2)) for k in (0, 1))
    labels = torch.randint(3, (2, 4, 4), generator=torch.Generator().manual_seed(0))
    loss, _ = distillation_loss(student, [teacher], labels, OFF)
    pixels = [made.logits.permute(0, 2, 3, 1).reshape(-1, 3) for made in (student, teacher)]
    flat, _ = distillation_loss(Outputs(pixels[0], student.features),
                                [Outputs(pixels[1], teacher.features)], labels.flatten(), OFF)
    dice = (1 - OFF.beta) * soft_dice(student.logits, labels)
    assert float(dice) > 0.01
    assert float(loss) == pytest.approx(float(flat + dice), rel=1e-5)


def test_sum_of_teachers_counts_each_and_mean_does_not():
    student, teacher = outputs(0), outputs(1)
    labels = torch.zeros(5, dtype=torch.long)
    summed = DistillationOptions(emd='off', teachers='sum', beta=1.0)
    averaged = DistillationOptions(emd='off', beta=1.0)
    one, _ = distillation_loss(student, [teacher], labels, averaged)
    two, _ = distillation_loss(student, [teacher, teacher], labels, averaged)
    both, _ = distillation_loss(student, [teacher, teacher], labels, summed)
    assert float(two) == pytest.approx(float(one)) and float(both) == pytest.approx(2 * float(one))


def test_scope_all_scales_the_label_term_too():
    student = outputs(0)
    strange = Outputs(student.logits, -student.features)
    labels = torch.zeros(5, dtype=torch.long)
    literal, _ = distillation_loss(student, [strange], labels,
                                   DistillationOptions(emd_scope='all'))
    default, _ = distillation_loss(student, [strange], labels)
    assert float(literal) == 0
    assert float(default) == pytest.approx(
        0.5 * float(functional.cross_entropy(student.logits, labels)))


def test_without_teachers_only_labels_count():
    student, labels = outputs(0), torch.zeros(5, dtype=torch.long)
    loss, weights = distillation_loss(student, [], labels)
    assert float(loss) == pytest.approx(float(functional.cross_entropy(student.logits, labels)))
    assert weights.shape == (0, 5)


@pytest.mark.parametrize('wrong', [
    {'temperature': 0.5}, {'temperature': float('nan')}, {'beta': 1.5}, {'emd': 'sometimes'},
    {'emd_scope': 'labels'}, {'teachers': 'best'}, {'emd_unit': 'pixel'}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(FedefmError, match=next(iter(wrong))):
        DistillationOptions(**wrong)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(FedefmError, match='same shape'):
        distillation_loss(outputs(0), [outputs(1, logits=(5, 4))],
                          torch.zeros(5, dtype=torch.long))
    with pytest.raises(FedefmError, match='labels'):
        distillation_loss(outputs(0), [], torch.zeros(4, dtype=torch.long))
