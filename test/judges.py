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

"""Judges of pieces that are made by hand, so that tests need no training."""

from fedefm_ros.backbones.checkpoint import save_checkpoint
from fedefm_ros.backbones.piece_judge import PieceJudge
from fedefm_ros.backbones.spec import ModelSpec
from fedefm_ros.labels import GUIDEWIRE
from fedefm_ros.segmentation.piece_network import ANSWERS
from fedefm_ros.segmentation.piece_network import GRAIN
from fedefm_ros.segmentation.strips import LENGTH

import numpy as np

import torch

SMALL = {'widths': [4, 4, 6, 6, 8], 'along': 8, 'hidden': 6, 'part': 4,
         'overview': [2, 3, 3, 4, 5], 'end': [2, 3, 3, 4, 5], 'outline': [2, 3, 3, 4, 5]}
# The fact that tells a piece's length, in 512 px.
OF_LENGTH = 1


class SeesNoWalls:
    """What stands in for a judge where masks' edges are to stay."""

    relates = False

    def walls(self, seen, kinds):
        return np.zeros((len(seen), LENGTH // GRAIN, 2), np.float32)


def save_judge(path, network, size=256, limit=0.5, **provenance):
    """Write a judge; return its path."""
    spec = ModelSpec('piece_judge', network.config, ANSWERS, size, min_confidence=limit,
                     provenance=provenance)
    save_checkpoint(path, network, spec)
    return path


def save_judge_by_length(path, length, called=GUIDEWIRE, **more):
    """Write a judge of which pieces up to a length (px) are nothing, and the others one class."""
    network = PieceJudge(**SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.facts.weight[0, 2 * SMALL['along'] + OF_LENGTH] = 512.0
        network.facts.bias[0] = -length
        network.answer.weight[called, 0] = 10.0
        network.answer.bias[0] = 5.0
    return save_judge(path, network, **more)
