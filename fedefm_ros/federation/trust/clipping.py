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
Bounding what one neighbour can do, and what one can learn from what is sent.

Lengths are those of the weights. What normalisation layers count and average (running means and
variances, which can be a thousand times longer than all weights together) does not take part: it
stays the own, as it describes the own images. A momentum that travels with weights is no part of
their length, and is moved by the same share.
"""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.weights import MOMENTUM
from fedefm_ros.federation.weights import State

import torch

_STATISTICS = ('running_mean', 'running_var')
#: Entries that are compared at a time, so that float64 costs no second model in memory.
_BLOCK = 1 << 20


def clip_difference(own: State, theirs: State, radius: float) -> State:
    """
    Return own + min(1, radius / ||d||) d with d = theirs - own: ClippedGossip.

    He, Karimireddy and Jaggi, Byzantine-robust decentralized learning via ClippedGossip, arXiv
    2202.01545: whatever a neighbour sends, it moves a station by at most the radius.
    Needs no majority of honest neighbours, as a rule that compares them would: in a ring there
    are two.

    :param radius: length of the difference over all tensors, 0 or more; default_radius is a rule.
    :returns: a new state; running statistics and counters are the own ones.
    """
    if not radius >= 0:
        raise FedefmError(f'clipping radius {radius}; expected 0 or more')
    length = distance(own, theirs)
    share = 1.0 if length <= radius else radius / length
    # Not own + share d: d may overflow where neither of the two does.
    return {key: value * (1 - share) + theirs[key] * share
            if is_weight(key.removeprefix(MOMENTUM), value) else value.clone()
            for key, value in own.items()}


def default_radius(before: State, after: State, factor: float = 2.0) -> float:
    """
    Return the radius from a station's own latest local training: factor times how far it moved.

    An honest neighbour's model made about as many steps from a common ancestor, so it is about
    sqrt(2) of the own way off (the paper's tau, too, is of the order of the spread of the honest
    stations), and an attacker moves a station about as far as a round or two of training.
    """
    return factor * distance(before, after)


def privatise(state: State, base: State, clip: float, sigma: float,
              rng: torch.Generator) -> State:
    """
    Return what may be sent: base + d shortened to clip + Gaussian noise of sigma clip an entry.

    The Gaussian mechanism on one message. What it gives: with a base that does not depend on
    the station's data, and sigma = sqrt(2 ln(1.25 / delta)) / epsilon times 2 (two outcomes may
    be 2 clip apart), this one message is (epsilon, delta)-differentially private as to the whole
    data of the station, for epsilon below 1. What it does not promise: every further message
    adds to epsilon, and nothing here keeps account of it; with a sigma that leaves a model of
    millions of weights useful, epsilon is far above what means something, and the noise is then
    an obstacle to reconstructing images, not a guarantee; nothing is said about single patients
    (that needs DP-SGD while training). torch's generator is no cryptographic one, and the number
    of samples that a manifest reports is as it is. Running statistics and counters are those of
    the base: of them nothing is sent.

    :param clip: length of the difference over all tensors, above 0.
    :param sigma: noise as a multiple of clip; 0: clipping alone, which promises nothing.
    """
    if not clip > 0 or not sigma >= 0:
        raise FedefmError(f'clip {clip}, sigma {sigma}; expected more than 0, and 0 or more')
    sent = {}
    for key, value in clip_difference(base, state, clip).items():
        if is_weight(key, value):
            noise = torch.empty(value.shape, dtype=torch.float32).normal_(generator=rng)
            sent[key] = value.add_(noise.to(value.dtype), alpha=sigma * clip)
        else:
            sent[key] = value
    return sent


def distance(first: State, second: State) -> float:
    """Return the Euclidean distance of two states over all weights, in float64."""
    return sum(tensor_distance(value, second[key]) ** 2 for key, value in first.items()
               if is_weight(key, value)) ** 0.5


def is_weight(key: str, value: torch.Tensor) -> bool:
    """Return whether an entry of a state is trained, not counted or averaged along the way."""
    return (value.is_floating_point() and not key.endswith(_STATISTICS)
            and not key.startswith(MOMENTUM))


def tensor_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the Euclidean distance of two tensors; it does not overflow."""
    parts = zip(first.reshape(-1).split(_BLOCK), second.reshape(-1).split(_BLOCK), strict=True)
    return sum(tensor_length(one.double() - other.double()) ** 2 for one, other in parts) ** 0.5


def tensor_length(tensor: torch.Tensor) -> float:
    """Return the Euclidean length of a tensor; it does not overflow."""
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
