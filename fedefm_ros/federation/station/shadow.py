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
A candidate model in shadow: run on frames of the last procedure beside the model in use.

Nobody knows the truth of these frames. What can be told is how far the two agree, how many
instruments only the candidate sees, and what it costs in time.
"""

from __future__ import annotations

from collections.abc import Sequence
import time

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.weights import State

import numpy as np

import torch
from torch import nn

#: Pixels that a piece has at least to count as an instrument.
LEAST_PIECE = 30
#: Pixels within which a piece of the candidate's counts as one that the model in use sees, too.
_NEAR = 5


def compare(network: nn.Module, candidate: State, used: State,
            images: Sequence[torch.Tensor]) -> dict[str, float]:
    """
    Return what a candidate makes of frames beside the model in use.

    :param network: takes the weights of both; classes 0 background, 1 and 2 instruments.
    :param images: (1, 1, H, W) float32 each, as the network takes them.
    :returns: agreement (Dice of the two foregrounds over all frames, 0 to 1; 1: both see
        nothing), new_instruments (pieces a frame that only the candidate sees), slowdown (median
        time as a multiple of that of the model in use), frames.
    :raises FedefmError: no images.
    """
    if not images:
        raise FedefmError('no frames to compare two models on')
    (ours, slow), (theirs, quick) = (_run(network, state, images) for state in (candidate, used))
    both = sum(int((one & other).sum()) for one, other in zip(ours, theirs))
    either = sum(int(one.sum() + other.sum()) for one, other in zip(ours, theirs))
    return {'agreement': 2 * both / either if either else 1.0,
            'new_instruments': float(np.mean([_new_pieces(*pair) for pair in zip(ours, theirs)])),
            'slowdown': slow / quick, 'frames': len(images)}


def _run(network, state, images):
    """Return the foregrounds, (H, W) bool each, and the median seconds of a frame."""
    network.load_state_dict(state)
    network.eval()
    found, seconds = [], []
    with torch.inference_mode():
        for image in images:
            began = time.perf_counter()
            found.append((network(image).argmax(1)[0] > 0).numpy())
            seconds.append(time.perf_counter() - began)
    return found, float(np.median(seconds))


def _new_pieces(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Return how many pieces the first has that are not near anything of the second."""
    count, pieces, sizes, _ = cv2.connectedComponentsWithStats(ours.astype(np.uint8))
    near = cv2.dilate(theirs.astype(np.uint8), np.ones((2 * _NEAR + 1,) * 2, np.uint8))
    known = set(np.unique(pieces[near > 0]))
    return sum(sizes[k, cv2.CC_STAT_AREA] >= LEAST_PIECE and k not in known
               for k in range(1, count))
