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
The earth mover's distance score between dense features of two networks.

FedEFM weighs each teacher by how alike its dense features are to the student's (eq. 2, 3):

.. math::
    s(U, V) = \sum_{pq} (1 - c_{pq}) \, x^*_{pq}, \qquad
    x^* = \arg\min_{x \ge 0} \sum_{pq} c_{pq} x_{pq}
    \quad \text{s.t.} \quad x 1 = a, \; x^T 1 = b

with the cosine cost c and node weights a, b of mass one. The paper calls s a distance; it is a
similarity in [-1, 1]: the more alike, the greater, and 1 for equal features. docs/emd.md derives
its gradient.

References: Do et al., FedEFM, ICRA 2025 (arXiv 2501.16992), eq. 2 and 3; Zhang et al., DeepEMD,
CVPR 2020 (arXiv 2003.06777); Rubner et al., The earth mover's distance as a metric for image
retrieval, IJCV 2000; Flamary et al., POT: Python Optimal Transport, JMLR 2021.
"""

from dataclasses import dataclass

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.emd_nodes import cosine_cost
from fedefm_ros.federation.emd_nodes import cross_reference_weights
from fedefm_ros.federation.emd_nodes import products
from fedefm_ros.federation.emd_nodes import to_nodes
from fedefm_ros.federation.emd_nodes import WEIGHT_FLOOR
from fedefm_ros.federation.emd_solvers import entropic_plan
from fedefm_ros.federation.emd_solvers import exact_plan
from fedefm_ros.federation.emd_solvers import TransportPlan

import torch

#: Above this many nodes on an accelerator, solving there beats copying the costs to the CPU.
_ENTROPIC_NODES = 196

_CHOICES = {
    'weights': ('cross-reference', 'uniform'),
    'gradient': ('detached', 'through'),
    'solver': ('auto', 'exact', 'entropic'),
}


@dataclass(frozen=True)
class EmdOptions:
    """
    Choices that eq. 3 leaves open, each with its reason.

    :raises FedefmError: a value out of its range.
    """

    #: Longest side in nodes after pooling; None keeps every position. 7 as in design.md: what the
    #: nodes say survives the averaging and the solvers' time grows with about the sixth power.
    grid: int | None = 7
    #: 'cross-reference' (DeepEMD: nodes that the other image lacks count little) or 'uniform'.
    weights: str = 'cross-reference'
    #: Added to every cross-reference weight; DeepEMD's value.
    weight_floor: float = WEIGHT_FLOOR
    #: Subtract each node's channel mean before the cosine, as DeepEMD does; eq. 3 does not say so.
    centred: bool = False
    #: 'detached': the score is a plain number, as eq. 2 reads, where it multiplies a gradient;
    #: 'through': the score is differentiated, too.
    gradient: str = 'detached'
    #: 'exact', 'entropic', or 'auto': exact but for many nodes on an accelerator.
    solver: str = 'auto'
    #: Exact solver: threads across a batch of large problems; None for as many as torch has.
    threads: int | None = None
    #: Entropic solver: weight of the entropy in units of the cost (which lies in [0, 2]).
    regularisation: float = 0.01
    #: Entropic solver: most iterations.
    iterations: int = 2000
    #: Entropic solver: mass that may be misplaced before the flow is rounded to the weights.
    tolerance: float = 1e-4

    def __post_init__(self):
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise FedefmError(f'{name} {getattr(self, name)!r}; expected one of '
                                  f'{", ".join(allowed)}')
        if self.grid is not None and self.grid < 1:
            raise FedefmError(f'grid {self.grid}; expected at least 1, or None for no pooling')
        if not self.weight_floor >= 0:
            raise FedefmError(f'weight_floor {self.weight_floor}; expected at least 0')
        if self.threads is not None and self.threads < 1:
            raise FedefmError(f'threads {self.threads}; expected at least 1, or None')
        for name in ('regularisation', 'iterations', 'tolerance'):
            if not getattr(self, name) > 0:
                raise FedefmError(f'{name} {getattr(self, name)}; expected more than 0')


def emd_score(student: torch.Tensor, teacher: torch.Tensor,
              options: EmdOptions = EmdOptions()) -> torch.Tensor:
    """
    Return how alike the dense features of a student and a teacher are, image by image.

    Symmetric in its two arguments; independent of the order of nodes and, but for
    ``weight_floor``, of the features' scales. Half precision and autocast regions are computed
    in float32. With ``gradient='through'`` gradients reach both arguments; detach the teacher's
    features where only the student learns.

    :param student: (B, C, H, W) maps or (B, N, C) tokens.
    :param teacher: the same batch and channels; the number of nodes may differ.
    :returns: (B,) scores in [-1, 1], float32 or float64; 1 for equal features.
    :raises FedefmError: shapes that do not match, NaN or infinity, or no weight above zero.
    """
    with torch.set_grad_enabled(torch.is_grad_enabled() and options.gradient == 'through'), \
            torch.autocast(student.device.type, enabled=False):
        a, b = to_nodes(student, options.grid), to_nodes(teacher, options.grid)
        if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[2]:
            raise FedefmError(f'student features {tuple(student.shape)} and teacher features '
                              f'{tuple(teacher.shape)}; expected the same batch and channels')
        dtype = torch.promote_types(a.dtype, b.dtype)
        a, b = a.to(dtype), b.to(dtype)
        inner = products(a, b)
        weights = None, None
        if options.weights == 'cross-reference':
            weights = cross_reference_weights(inner, options.weight_floor)
        if options.centred:
            a, b = (nodes - nodes.mean(dim=2, keepdim=True) for nodes in (a, b))
            inner = None
        cost = cosine_cost(a, b, inner)
        # Whatever is not finite in the features has become NaN here.
        if not cost.sum().isfinite():
            raise FedefmError(
                f'student features {_range(student)}, teacher features {_range(teacher)}; '
                'expected finite ones (and below 1e18 in float32): look for a training that '
                'diverged')
        return transport_score(cost, *weights, options)


def transport_score(cost: torch.Tensor, weights_a: torch.Tensor | None = None,
                    weights_b: torch.Tensor | None = None,
                    options: EmdOptions = EmdOptions()) -> torch.Tensor:
    r"""
    Return the score of eq. 3 for given costs and node weights; always differentiable.

    .. math::
        \frac{\partial s}{\partial c_{pq}} = -x^*_{pq}, \qquad
        \frac{\partial s}{\partial a_p} = -u_p, \qquad
        \frac{\partial s}{\partial b_q} = -v_q

    with the optimal flow and the duals u, v of the two constraints, so no layer has to
    differentiate through a solver. This is exact for the exact solver (a subgradient where the
    optimum is not unique); the entropic solver's differs by the order of its regularisation.

    :param cost: (B, N, M), finite.
    :param weights_a: (B, N), at least zero; scaled to mass one. None for equal weights.
    :param weights_b: (B, M), likewise.
    :param options: only the solver and its parameters matter here.
    :returns: (B,) scores.
    :raises FedefmError: costs that are not finite, or weights that are negative, not finite or
        zero altogether.
    """
    if cost.dim() != 3 or not cost.sum().isfinite():
        raise FedefmError(f'costs of shape {tuple(cost.shape)}; expected (B, N, M) without NaN or '
                          'infinity')
    a = _unit_mass(weights_a, cost.shape[:2], cost)
    b = _unit_mass(weights_b, (cost.shape[0], cost.shape[2]), cost)
    return _TransportScore.apply(cost, a, b, options)


def _range(features: torch.Tensor) -> str:
    return f'from {float(features.min()):.3g} to {float(features.max()):.3g}'


def _unit_mass(weights: torch.Tensor | None, shape: tuple[int, int],
               cost: torch.Tensor) -> torch.Tensor:
    if weights is None:
        return cost.new_full(shape, 1.0 / shape[1])
    if weights.shape != shape:
        raise FedefmError(f'node weights of shape {tuple(weights.shape)}; expected {tuple(shape)} '
                          f'for costs {tuple(cost.shape)}')
    mass = weights.sum(dim=1, keepdim=True)
    if not (torch.isfinite(mass) & (mass > 0) & (weights >= 0).all(dim=1, keepdim=True)).all():
        raise FedefmError('node weights must be finite, none below zero and in each image some '
                          'above zero; cross-reference weights need a weight_floor above zero '
                          'where images have nothing in common, and features below about 1e18')
    return weights / mass


class _TransportScore(torch.autograd.Function):
    """Solves the transport problems and hands flow and duals to the gradient."""

    @staticmethod
    def forward(ctx, cost, a, b, options):
        plan = _plan(cost, a, b, options, duals=any(ctx.needs_input_grad[1:3]))
        ctx.save_for_backward(*plan)
        return ((1.0 - cost) * plan.flow).sum(dim=(1, 2))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        flow, dual_a, dual_b = ctx.saved_tensors
        return (-gradient[:, None, None] * flow,
                -gradient[:, None] * dual_a if ctx.needs_input_grad[1] else None,
                -gradient[:, None] * dual_b if ctx.needs_input_grad[2] else None,
                None)


def _plan(cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor, options: EmdOptions,
          duals: bool) -> TransportPlan:
    entropic = options.solver == 'entropic' or (
        options.solver == 'auto' and cost.device.type != 'cpu'
        and max(cost.shape[1:]) > _ENTROPIC_NODES)
    if entropic:
        return entropic_plan(cost, a, b, options.regularisation, options.iterations,
                             options.tolerance)
    return exact_plan(cost, a, b, duals, options.threads)
