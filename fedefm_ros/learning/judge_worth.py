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

from collections.abc import Sequence

from fedefm_ros.backbones.piece_judge import PieceJudge, scaled, scaled_ends
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.piece_measures import measures, tip_measures, wall_measures
from fedefm_ros.learning.piece_samples import kinds_of
from fedefm_ros.learning.pieces import Piece, Pieces
from fedefm_ros.segmentation.judgement import MOST_PIECES
from fedefm_ros.segmentation.piece_network import OUTLINE_CHANNELS
from fedefm_ros.segmentation.relations import Relations

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


def said_of(network: PieceJudge, pieces: Sequence[Piece],
            device: torch.device = torch.device('cpu'), *,
            walls: bool = True) -> tuple[np.ndarray, ...]:
    """
    Return what a network says of pieces, as ``PieceNetwork`` does.

    Of each as a whole and of its places, of its ends, and, with ``walls``, of those.
    """
    network.eval()
    found = []
    with torch.inference_mode():
        for first in range(0, len(pieces), 64):
            part = [pieces[n] for n in range(first, min(first + 64, len(pieces)))]
            seen = [np.stack(column) for column in list(zip(*part))[:4]]
            seen.append(np.stack([kinds_of(piece.part) for piece in part]))
            answers, told, tips, *more = said(
                network, *(torch.from_numpy(column).to(device) for column in seen), walls=walls)
            tips[..., 0] = tips[..., 0].sigmoid()
            found.append([one.cpu() for one in (answers.softmax(-1), told.softmax(-1), tips,
                                                *more[:walls])])
    return tuple(torch.cat(column).numpy() for column in zip(*found))


def frames_of(pieces: Pieces) -> list[np.ndarray]:
    """Return the numbers of each frame's pieces, the longest of them first, as they are judged."""
    if (pieces.numbers < 0).any():
        raise FedefmError('the pieces were collected by an earlier version, without the frames '
                          'that they are of: collect them anew, into another folder')
    order = np.lexsort((-pieces.lengths, pieces.numbers))
    starts = np.flatnonzero(np.diff(pieces.numbers[order])) + 1
    return [frame[:MOST_PIECES] for frame in np.split(order, starts)]


def weighed(network: PieceJudge, chances: np.ndarray, places: np.ndarray,
            pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
    """Return what is said of pieces and of their places as the others of their frames have it."""
    weights = {name: values.detach().cpu().numpy()
               for name, values in network.relations.state_dict().items()}
    weigh, chances, places = Relations(weights).weighed, chances.copy(), places.copy()
    for numbers in frames_of(pieces):
        said = weigh(list(zip(chances[numbers], places[numbers])), pieces.lines[numbers])
        chances[numbers], places[numbers] = (np.stack(part) for part in zip(*said))
    return chances, places


def check_validation(pieces: Pieces) -> None:
    """Raise FedefmError where pieces cannot tell what a judge is worth."""
    if not 0 < np.count_nonzero(pieces.answers) < len(pieces):
        raise FedefmError('validation needs pieces that are instruments and such that are none')


def said_in_frames(network: PieceJudge, pieces: Pieces,
                   device: torch.device = torch.device('cpu')) -> tuple[np.ndarray, ...]:
    """Return what a network says of pieces, ``said_of``, weighed where it relates them."""
    chances, places, *others = said_of(network, pieces, device)
    if network.relations is not None:
        chances, places = weighed(network, chances, places, pieces)
    return (chances, places, *others)


def worth(network: PieceJudge, pieces: Pieces, kept: float,
          device: torch.device = torch.device('cpu')) -> tuple[dict[str, float], float]:
    """Return the measures of a network, and the limit that leaves ``kept`` of the length."""
    chances, places, at_ends, walls = said_in_frames(network, pieces, device)
    scores, limit = measures(chances, places, pieces, kept)
    return {**scores, **tip_measures(at_ends, pieces.tips), **wall_measures(walls, pieces)}, limit
