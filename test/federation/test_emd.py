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
from fedefm_ros.federation.emd import emd_score
from fedefm_ros.federation.emd import EmdOptions
from fedefm_ros.federation.emd_nodes import cosine_cost
from fedefm_ros.federation.emd_nodes import to_nodes

import numpy as np
import pytest
from scipy.optimize import linprog
import torch

OPTIONS = [EmdOptions(weights=weights, centred=centred)
           for weights in ('cross-reference', 'uniform') for centred in (False, True)]
every_option = pytest.mark.parametrize(
    'options', OPTIONS, ids=lambda options: f'{options.weights}-{options.centred}')


def features(*shape, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def score_from_first_principles(student, teacher, options):
    """Return the score of one image's nodes (N, C), (M, C) as DeepEMD and eq. 3 write it."""
    a, b = np.ones(len(student)), np.ones(len(teacher))
    if options.weights == 'cross-reference':
        a = np.array([max(0, float(u @ teacher.mean(0))) + options.weight_floor for u in student])
        b = np.array([max(0, float(v @ student.mean(0))) + options.weight_floor for v in teacher])
    if options.centred:
        student = student - student.mean(1, keepdims=True)
        teacher = teacher - teacher.mean(1, keepdims=True)
    alike = np.array([[u @ v / np.linalg.norm(u) / np.linalg.norm(v) for v in teacher]
                      for u in student])
    rows, columns = alike.shape
    from_row = np.kron(np.eye(rows), np.ones(columns))
    to_column = np.kron(np.ones(rows), np.eye(columns))
    solved = linprog(1 - alike.ravel(), A_eq=np.vstack([from_row, to_column]),
                     b_eq=np.concatenate([a / a.sum(), b / b.sum()]), method='highs')
    return alike.ravel() @ solved.x


@every_option
def test_score_is_that_of_first_principles(options):
    student, teacher = features(3, 10, 4, 5), features(3, 10, 3, 6, seed=1)
    expected = [score_from_first_principles(u.flatten(1).T.numpy(), v.flatten(1).T.numpy(),
                                            options) for u, v in zip(student, teacher)]
    assert np.allclose(emd_score(student, teacher, options), expected, rtol=0, atol=1e-9)


@every_option
def test_equal_features_score_one(options):
    equal = features(3, 12, 9, 9)
    assert torch.allclose(emd_score(equal, equal, options), torch.ones(3, dtype=torch.float64))


@every_option
def test_the_more_alike_the_greater(options):
    student, noise = features(4, 12, 7, 7), features(4, 12, 7, 7, seed=1)
    scores = torch.stack([emd_score(student, student + share * noise, options)
                          for share in (0.0, 0.1, 0.3, 1.0, 3.0)])
    assert (scores.diff(dim=0) < 0).all()


def test_opposite_features_score_minus_one():
    one_node = features(2, 12, 1, 1)
    assert torch.allclose(emd_score(one_node, -one_node), -torch.ones(2, dtype=torch.float64))


@every_option
@pytest.mark.parametrize('seed', range(5))
def test_score_lies_between_minus_one_and_one(options, seed):
    student = features(8, 3, 5, 5, seed=seed).float()
    score = emd_score(student, features(8, 3, 5, 5, seed=seed + 99).float(), options)
    assert score.dtype == torch.float32 and score.shape == (8,)
    assert (score.abs() <= 1 + 1e-6).all()


@every_option
def test_score_is_symmetric(options):
    student, teacher = features(3, 10, 4, 5), features(3, 10, 6, 3, seed=1)
    assert torch.allclose(emd_score(student, teacher, options),
                          emd_score(teacher, student, options), atol=1e-12)


@every_option
def test_score_does_not_depend_on_the_order_of_nodes_or_on_where_they_are(options):
    student, teacher = features(3, 20, 10), features(3, 20, 10, seed=1)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(emd_score(student, teacher, options),
                          emd_score(student[:, order], teacher, options), atol=1e-12)
    assert torch.allclose(emd_score(student, student[:, order], options),
                          torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize('scale', [1e-6, 1e6])
@pytest.mark.parametrize('weights', ['cross-reference', 'uniform'])
def test_score_does_not_depend_on_the_scale_of_features(weights, scale):
    options = EmdOptions(weights=weights, weight_floor=0.0)
    student, teacher = features(3, 10, 4, 4).abs(), features(3, 10, 4, 4, seed=1)
    teacher[:, :, 0] = teacher[:, :, 0].abs()
    assert torch.allclose(emd_score(student, teacher, options),
                          emd_score(scale * student, teacher / scale, options), atol=1e-12)


def test_images_of_a_batch_do_not_touch_each_other():
    student, teacher = features(4, 10, 4, 4), features(4, 10, 4, 4, seed=1)
    student[2] *= 1e8
    together = emd_score(student, teacher)
    alone = torch.cat([emd_score(student[i:i + 1], teacher[i:i + 1]) for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-12)


@pytest.mark.parametrize('regularisation', [0.05, 0.01])
@every_option
def test_entropic_score_is_below_the_exact_one_by_no_more_than_its_tolerance(
        options, regularisation):
    student, teacher = features(3, 16, 6, 6), features(3, 16, 6, 6, seed=1)
    entropic = EmdOptions(weights=options.weights, centred=options.centred, solver='entropic',
                          regularisation=regularisation)
    less = emd_score(student, teacher, options) - emd_score(student, teacher, entropic)
    assert less.min() > -1e-9 and less.max() < regularisation * np.log(36)


def test_nodes_are_the_averages_of_at_most_seven_by_seven_windows():
    maps = features(2, 3, 14, 21)
    nodes = to_nodes(maps)
    assert nodes.shape == (2, 49, 3)
    assert torch.allclose(nodes[:, 8], maps[:, :, 2:4, 3:6].mean(dim=(2, 3)))
    assert to_nodes(maps, None).shape == (2, 14 * 21, 3)
    assert to_nodes(features(2, 3, 5, 30)).shape == (2, 35, 3)


def test_tokens_of_a_square_image_are_pooled_as_its_map():
    maps = features(2, 3, 16, 16)
    tokens = maps.flatten(2).transpose(1, 2)
    assert torch.equal(to_nodes(tokens), to_nodes(maps))
    assert torch.equal(to_nodes(tokens, None), tokens)


def test_a_node_of_zeros_is_unlike_everything():
    student, teacher = features(1, 5, 4), features(1, 5, 4, seed=1)
    student[:, 2] = 0
    cost = cosine_cost(student, teacher)
    assert torch.equal(cost[:, 2], torch.ones(1, 5, dtype=torch.float64))
    blank = torch.zeros(1, 4, 3, 3)
    assert torch.equal(emd_score(blank, blank), torch.zeros(1))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype):
    student, teacher = features(2, 8, 6, 6).to(dtype), features(2, 8, 6, 6, seed=1).to(dtype)
    expected = emd_score(student.float(), teacher.float())
    assert torch.equal(emd_score(student, teacher), expected)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(emd_score(student.float(), teacher.float()), expected)


@pytest.mark.parametrize('student, word', [
    (torch.full((2, 8, 4, 4), float('nan')), 'nan to nan'),
    (torch.full((2, 8, 4, 4), float('inf')), 'inf to inf'),
    (torch.ones(2, 8, 4, 4, dtype=torch.int64), 'floating point'),
    (torch.ones(2, 8), 'shape'),
    (torch.ones(0, 8, 4, 4), 'shape'),
    (torch.ones(3, 8, 4, 4), 'the same batch'),
    (torch.ones(2, 9, 4, 4), 'the same batch and channels'),
    (torch.ones(2, 197, 8), 'class token'),
    (torch.full((2, 8, 4, 4), 1e30), '1e.30 .* below 1e18'),
])
def test_features_that_cannot_be_scored_are_refused_with_the_reason(student, word):
    with pytest.raises(FedefmError, match=word):
        emd_score(student, 1e10 * torch.ones(2, 8, 4, 4))


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
@every_option
def test_a_single_bad_value_is_refused_and_blank_images_do_not_hide_it(options, bad):
    blank = torch.zeros(2, 8, 4, 4)
    student = blank.clone()
    student[1, 3, 2, 1] = bad
    for teacher in (blank, features(2, 8, 4, 4).float()):
        with pytest.raises(FedefmError, match='expected finite'):
            emd_score(student, teacher, options)
        with pytest.raises(FedefmError, match='expected finite'):
            emd_score(teacher, student, options)


def test_images_without_anything_in_common_need_a_floor():
    student = torch.zeros(1, 4, 2, 2)
    student[:, 0] = 1
    teacher = student.roll(1, dims=1)
    assert torch.equal(emd_score(student, teacher), torch.zeros(1))
    with pytest.raises(FedefmError, match='weight_floor above zero'):
        emd_score(student, teacher, EmdOptions(weight_floor=0.0))


@pytest.mark.parametrize('wrong', [
    {'weights': 'heavy'}, {'gradient': 'maybe'}, {'solver': 'qp'}, {'grid': 0}, {'threads': 0},
    {'weight_floor': -1.0}, {'weight_floor': float('nan')}, {'regularisation': 0.0},
    {'iterations': 0}, {'tolerance': -1e-3}])
def test_options_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(FedefmError, match=next(iter(wrong))):
        EmdOptions(**wrong)
