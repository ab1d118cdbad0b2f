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
The distillation loss of FedEFM: labels, and teachers weighed by the EMD score.

With logits z of the student, z_j of teacher j (a copy of the silo's model that came back from
overseas), temperature T and y the labels (Do et al., FedEFM, ICRA 2025, eq. 2 and 11):

.. math::
    L = (1 - \beta) \, CE(z, y)
        + \beta T^2 \, \frac{1}{J} \sum_j s_j \,
          KL\left(softmax(z_j / T) \,\|\, softmax(z / T)\right)

with the EMD scores s_j of eq. 3. What the equations leave open is in DistillationOptions. Works
for classification, logits (B, K) and labels (B,), and for segmentation, logits (B, K, H, W) and
labels (B, H, W), where an image's terms are means over its pixels and the label term has the
soft Dice of the batch beside the cross-entropy: one pixel in a hundred is an instrument's, and
from random weights cross-entropy alone makes a network that calls nothing an instrument.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import NamedTuple

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.emd import emd_score
from fedefm_ros.federation.emd import EmdOptions
from fedefm_ros.learning.losses import soft_dice

import torch
from torch.nn import functional

_CHOICES = {
    'emd': ('off', 'weigh'),
    'emd_scope': ('distillation', 'all'),
    'emd_unit': ('image', 'batch'),
    'teachers': ('mean', 'sum'),
}


class Outputs(NamedTuple):
    """What a network says of a batch."""

    #: (B, K) or (B, K, H, W).
    logits: torch.Tensor
    #: Dense features, (B, C, h, w) or (B, N, C).
    features: torch.Tensor


@dataclass(frozen=True)
class DistillationOptions:
    """
    Choices that eq. 2 and 11 leave open, each with its reason.

    :raises FedefmError: a value out of its range.
    """

    #: T >= 1 of the soft outputs. Not given in the paper; 2 softens without drowning the classes
    #: that a teacher ranks second (Hinton et al. used 1 to 20).
    temperature: float = 2.0
    #: Weight of the teachers, 0 to 1; labels have 1 - beta. Not given in the paper.
    beta: float = 0.5
    #: 'weigh': teachers count by their EMD score (eq. 2); 'off': all count alike.
    emd: str = 'weigh'
    #: 'distillation': the score weighs the teachers' terms only, as labels are no less right
    #: where a teacher is strange; 'all': the label term, too, as eq. 2 reads when taken literally.
    emd_scope: str = 'distillation'
    #: 'image': each image has its score; 'batch': the batch's mean, as eq. 2 has one a step.
    emd_unit: str = 'image'
    #: 'mean': the step does not grow with the number of neighbours; 'sum': as eq. 2 and 11 read.
    #: (Both have a sum over teachers; it is taken once.)
    teachers: str = 'mean'
    #: How scores come about. Its `gradient` says whether the loss is differentiated through them;
    #: 'detached' by default, as eq. 2 multiplies a gradient by them. Scores below zero (features
    #: that point away from each other) count as zero: no one should unlearn a teacher.
    score: EmdOptions = field(default_factory=EmdOptions)

    def __post_init__(self):
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise FedefmError(f'{name} {getattr(self, name)!r}; expected one of '
                                  f'{", ".join(allowed)}')
        if not 0 <= self.beta <= 1:
            raise FedefmError(f'beta {self.beta}; expected 0 to 1')
        if not 1 <= self.temperature < float('inf'):
            raise FedefmError(f'temperature {self.temperature}; expected 1 or more')


def distillation_loss(student: Outputs, teachers: Sequence[Outputs], labels: torch.Tensor,
                      options: DistillationOptions = DistillationOptions(),
                      ) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Return the loss of a batch and the weights (J, B) its teachers had, detached.

    Teachers get no gradient. Without teachers the loss is that of the labels alone.

    :param labels: (B,) or (B, H, W) int64.
    :raises FedefmError: outputs of different shapes, or features that are not finite.
    """
    label_term = label_terms(student.logits, labels)
    if not teachers:
        return label_term.mean(), label_term.new_zeros(0, len(label_term))
    weights = torch.stack([teacher_weight(student, teacher, options) for teacher in teachers])
    soft = torch.stack([per_image(soft_loss(student.logits, teacher.logits, options.temperature))
                        for teacher in teachers])
    combine = torch.mean if options.teachers == 'mean' else torch.sum
    if options.emd_scope == 'all':
        label_term = combine(weights, 0) * label_term
    loss = (1 - options.beta) * label_term + options.beta * combine(weights * soft, 0)
    return loss.mean(), weights.detach()


def teacher_weight(student: Outputs, teacher: Outputs, options: DistillationOptions,
                   ) -> torch.Tensor:
    """Return the weight (B,) of a teacher for each image, in [0, 1]; ones where EMD is off."""
    if options.emd == 'off':
        return student.logits.new_ones(len(student.logits))
    score = emd_score(student.features, teacher.features.detach(), options.score).clamp(min=0)
    if options.emd_unit == 'batch':
        score = score.mean().expand(len(score))
    return score.to(student.logits.dtype)


def label_terms(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of each image with its labels, (B,)."""
    terms = per_image(label_loss(logits, labels))
    return terms if labels.dim() == 1 else terms + soft_dice(logits, labels)


def label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy, (B,) or (B, H, W)."""
    if labels.shape != logits.shape[:1] + logits.shape[2:]:
        raise FedefmError(f'logits {tuple(logits.shape)} and labels {tuple(labels.shape)}; '
                          'expected (B, K) and (B,), or (B, K, H, W) and (B, H, W)')
    return functional.cross_entropy(logits, labels, reduction='none')


def soft_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """
    Return T^2 KL(teacher || student) of the softened outputs, (B,) or (B, H, W).

    It differs from the cross-entropy of eq. 11 by the teacher's entropy: same gradient, but zero
    at agreement, so that weighing it by a differentiated score rewards nothing else.

    :param student: logits (B, K) or (B, K, H, W); teacher: likewise, gets no gradient.
    """
    if student.shape != teacher.shape:
        raise FedefmError(f'student logits {tuple(student.shape)} and teacher logits '
                          f'{tuple(teacher.shape)}; expected the same shape')
    ours = functional.log_softmax(student / temperature, 1)
    theirs = functional.log_softmax(teacher.detach() / temperature, 1)
    return temperature ** 2 * functional.kl_div(ours, theirs, reduction='none',
                                                log_target=True).sum(1)


def per_image(terms: torch.Tensor) -> torch.Tensor:
    """Return the mean over pixels, (B,), of terms (B,) or (B, H, W)."""
    return terms if terms.dim() == 1 else terms.flatten(1).mean(1)
