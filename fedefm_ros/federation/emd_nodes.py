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
Nodes for the earth mover's distance: pooling, node weights and the cosine cost.

Pure functions of torch tensors; gradients flow through all of them.
"""

import math

from fedefm_ros.errors import FedefmError

import torch
from torch.nn import functional

#: What DeepEMD adds to every cross-reference weight, so that no node is without mass.
WEIGHT_FLOOR = 1e-3


def to_nodes(features: torch.Tensor, grid: int | None = 7) -> torch.Tensor:
    """
    Return dense features as nodes, averaged down to at most ``grid`` x ``grid`` of them.

    A side that is no longer than ``grid`` stays as it is. Half precision becomes float32.

    :param features: (B, C, H, W) maps, or (B, N, C) tokens without a class token. More than
        ``grid`` squared tokens must come from a square image, row by row, to be averaged.
    :param grid: the longest side in nodes; None keeps every position.
    :returns: (B, N, C) float32 or float64.
    :raises FedefmError: other shapes, nothing in them, or no floating point.
    """
    shape = tuple(features.shape)
    if features.dim() not in (3, 4) or 0 in shape:
        raise FedefmError(f'dense features of shape {shape}; expected maps (B, C, H, W) or tokens '
                          '(B, N, C), none of them zero')
    if not features.is_floating_point():
        raise FedefmError(f'dense features of type {features.dtype}; expected floating point')
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    if features.dim() == 3:
        if grid is None or features.shape[1] <= grid * grid:
            return features
        side = math.isqrt(features.shape[1])
        if side * side != features.shape[1]:
            raise FedefmError(f'{features.shape[1]} tokens are no square image, so they cannot be '
                              f'averaged to {grid} x {grid}; drop the class token or pass maps '
                              '(B, C, H, W)')
        features = features.transpose(1, 2).unflatten(2, (side, side))
    if grid is not None and max(features.shape[2:]) > grid:
        features = functional.adaptive_avg_pool2d(
            features, [min(side, grid) for side in features.shape[2:]])
    return features.flatten(2).transpose(1, 2)


def products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """
    Return the inner products of all pairs of nodes.

    :param a: (B, N, C) nodes.
    :param b: (B, M, C) nodes.
    :returns: (B, N, M).
    """
    return a @ b.transpose(1, 2)


def cosine_cost(a: torch.Tensor, b: torch.Tensor, inner: torch.Tensor | None = None,
                ) -> torch.Tensor:
    r"""
    Return the cost of moving mass between the nodes of two images.

    .. math:: c_{pq} = 1 - \frac{\langle a_p, b_q \rangle}{\|a_p\| \, \|b_q\|}

    A node of zeros has no direction: it counts as unlike everything (c = 1) and gets no gradient.
    In float32, nodes shorter than 1e-19 are taken for zeros and longer ones than 1e19 give NaN.

    :param a: (B, N, C) nodes.
    :param b: (B, M, C) nodes.
    :param inner: their products, where they are at hand.
    :returns: (B, N, M) in [0, 2] up to rounding.
    """
    if inner is None:
        inner = products(a, b)
    # Dividing the products takes fewer passes over the features than dividing the nodes.
    return 1.0 - inner / _lengths(a)[:, :, None] / _lengths(b)[:, None, :]


def cross_reference_weights(inner: torch.Tensor, floor: float = WEIGHT_FLOOR,
                            ) -> tuple[torch.Tensor, torch.Tensor]:
    r"""
    Return how much each node of one image has in common with the other image as a whole.

    .. math:: w_p = \max(0, \langle a_p, \tfrac{1}{M} \sum_q b_q \rangle) + floor

    and the same for the other side. These are DeepEMD's node weights, from features before any
    centring; they are not normalised.

    :param inner: (B, N, M) products of the nodes.
    :param floor: keeps the mass above zero where nothing is in common.
    :returns: (B, N) and (B, M), at least ``floor``.
    """
    return inner.mean(dim=2).relu() + floor, inner.mean(dim=1).relu() + floor


def _lengths(nodes: torch.Tensor) -> torch.Tensor:
    # The comparison is such that NaN is not taken for a zero, and comes before the root, whose
    # gradient at zero is infinite.
    squares = nodes.square().sum(dim=2)
    return torch.where(squares <= torch.finfo(nodes.dtype).tiny, torch.inf, squares).sqrt()
