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

"""What a judge of pieces says of them in torch, and what that is worth."""

from fedefm_ros.backbones.piece_judge import PieceJudge, scaled, scaled_ends
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.piece_measures import measures, tip_measures, wall_measures
from fedefm_ros.learning.piece_samples import kinds_of
from fedefm_ros.learning.pieces import Pieces
from fedefm_ros.segmentation.piece_network import OUTLINE_CHANNELS

import numpy as np

import torch

# How the network's pictures lie in memory: convolutions are faster so.
_FORMAT = torch.channels_last


def said(network: PieceJudge, strips: torch.Tensor, overviews: torch.Tensor, ends: torch.Tensor,
         facts: torch.Tensor, kinds: torch.Tensor, *, others: bool = True,
         walls: bool = True) -> tuple[torch.Tensor | None, ...]:
    """
    Return the logits of pieces and places, what is seen at ends, (B, 2, 3), and the walls.

    :param strips: and all others: of a batch of ``Piece``, where the network computes.
    :param others: else the walls alone.
    :param walls: else None in their place.
    """
    at_walls = None
    if walls:
        fine = scaled(strips[:, list(OUTLINE_CHANNELS)])
        at_walls = network.outlines(fine.contiguous(memory_format=_FORMAT), kinds)
    if not others:
        return (at_walls,)
    pictures = scaled(strips), overviews / 255.0, scaled_ends(ends).flatten(0, 1)
    strips, overviews, ends = (one.contiguous(memory_format=_FORMAT) for one in pictures)
    return (*network(strips, overviews, facts), network.tips(ends).reshape(-1, 2, 3), at_walls)


def said_of(network: PieceJudge, pieces: Pieces,
            device: torch.device = torch.device('cpu')) -> tuple[np.ndarray, ...]:
    """
    Return what a network says of pieces, as ``PieceNetwork`` does.

    Of each as a whole and of its places, of its ends, and of its walls.
    """
    network.eval()
    found = []
    with torch.inference_mode():
        for first in range(0, len(pieces), 64):
            part = [pieces[n] for n in range(first, min(first + 64, len(pieces)))]
            seen = [np.stack(column) for column in list(zip(*part))[:4]]
            seen.append(np.stack([kinds_of(piece.part) for piece in part]))
            answers, told, tips, walls = said(
                network, *(torch.from_numpy(column).to(device) for column in seen))
            tips[..., 0] = tips[..., 0].sigmoid()
            found.append([one.cpu() for one in (answers.softmax(-1), told.softmax(-1), tips,
                                                walls)])
    return tuple(torch.cat(column).numpy() for column in zip(*found))


def check_validation(pieces: Pieces) -> None:
    """Raise FedefmError where pieces cannot tell what a judge is worth."""
    if not 0 < np.count_nonzero(pieces.answers) < len(pieces):
        raise FedefmError('validation needs pieces that are instruments and such that are none')


def worth(network: PieceJudge, pieces: Pieces, kept: float,
          device: torch.device = torch.device('cpu')) -> tuple[dict[str, float], float]:
    """Return the measures of a network, and the limit that leaves ``kept`` of the length."""
    chances, places, at_ends, walls = said_of(network, pieces, device)
    scores, limit = measures(chances, places, pieces, kept)
    return {**scores, **tip_measures(at_ends, pieces.tips), **wall_measures(walls, pieces)}, limit
