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
Relations: how a piece winds, and how those of a frame lie to each other.

``strips`` straighten a piece and show it alone. But a vessel winds as no catheter does, and what
goes on where a catheter ends is a wire: what is said of a piece is weighed once more when all of
a frame have been looked at (as Hu et al., Relation Networks for Object Detection, CVPR 2018; the
messages are those of Gilmer et al., Neural Message Passing, ICML 2017, in one round).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from fedefm_ros.segmentation.centerline import by_count
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

#: Points by which a line is described, the same way from each to the next.
POINTS = 96
#: Numbers that tell how a line winds, and how one lies to another.
SHAPES, RELATIONS = 18, 10
#: What is known of a piece: the logarithms of its probabilities, and its shape.
SAID = 3
KNOWN = SAID + SHAPES
#: The network's layers; all but the last one have a width of their own.
LAYERS = ('own', 'message', 'told', 'joint', 'more')
#: A probability counts as no smaller.
LEAST = 1e-4
#: Logarithms, and sums over the other pieces, are told divided by it: of about 1.
SCALE = 4.0

# Pixels of the deviation with which a line is smoothed before its curvature is taken.
_SMOOTHED = (3.0, 8.0, 20.0)
# Pixels: where the other line's nearest end is no further than its nearest point and so many more,
# that end is what is met; what is no further away than so many goes along it.
_MEETS = 16.0
# The points of a line that are asked how far away the other one is.
_ASKED = np.rint(np.linspace(0, POINTS - 1, 32)).astype(int)
# A smoothed line that turns by less than half of this angle on the way of a deviation is straight.
_STRAIGHT = 0.05


def lines_of(pieces: Sequence[Instrument]) -> np.ndarray:
    """Return the pieces' centrelines by ``POINTS`` each, (N, POINTS, 2) float32 pixels."""
    found = np.empty((len(pieces), POINTS, 2), np.float32)
    for line, piece in zip(found, pieces):
        line[:] = by_count(piece.centerline, POINTS)
    return found


def shapes(lines: np.ndarray) -> np.ndarray:
    """
    Return how lines wind, (N, SHAPES) float32 of about 0 to 1.

    How far their ends are apart as a share of their length, the sides of the box around them in
    512 px, and at three scales: the curvature's mean, deviation, maximum and how often it goes
    over between left, straight and right, and the angle between the directions at both ends.

    :param lines: (N, POINTS, 2) of ``lines_of``.
    """
    if not len(lines):
        return np.zeros((0, SHAPES), np.float32)
    # Smoothed, a short line's points lie so near each other that f32 cannot tell them apart.
    lines = (lines - lines.mean(1, keepdims=True)).astype(np.float64)
    ahead = np.diff(lines, axis=1)
    spacing = np.maximum(np.linalg.norm(ahead, axis=2).mean(1), 1e-3)
    smooth = np.stack([[_smoothed(line, deviation / step) for deviation in _SMOOTHED]
                       for line, step in zip(lines, spacing)])
    ahead = np.diff(smooth, axis=2)  # (N, scales, POINTS - 1, 2)
    heading = np.unwrap(np.arctan2(ahead[..., 1], ahead[..., 0]))
    scale = np.array(_SMOOTHED) / spacing[:, None]
    curvature = np.diff(heading) * scale[..., None]
    size = np.abs(curvature)
    changes = np.count_nonzero(np.diff(np.sign(np.rint(curvature / _STRAIGHT))), axis=-1)
    wound = np.stack([
        4.0 * size.mean(-1), 3.0 * curvature.std(-1), size.max(-1), changes * scale / POINTS,
        np.abs(heading[..., -1] - heading[..., 0]) / np.pi], -1)
    apart = np.linalg.norm(lines[:, -1] - lines[:, 0], axis=1) / (spacing * (POINTS - 1))
    box = np.ptp(lines, axis=1) / 512.0
    found = np.concatenate([apart[:, None], box, wound.reshape(len(lines), -1)], 1)
    return np.clip(found, 0.0, 2.0).astype(np.float32)


def relations(lines: np.ndarray) -> np.ndarray:
    """
    Return how each line lies to each, (N, N, RELATIONS) float32 of about -1 to 1; 0 to itself.

    Of the end that is nearer to the other line: how near (at two scales), the cosine of the angle
    between the two there, whether it is the other's end that is nearest, the cosine of the angle
    between its direction and the way there; how near the further end is; how near the other's
    nearest end is; how near they come anywhere; how much of it goes along the other.

    :param lines: (N, POINTS, 2) of ``lines_of``.
    """
    count = len(lines)
    found = np.zeros((count, count, RELATIONS), np.float32)
    if count < 2:
        return found
    lines = (lines - lines.mean((0, 1))).astype(np.float64)
    ends = lines[:, [0, -1]]  # (N, 2, 2)
    back = lines[:, [8, -9]]
    ahead = _directions(ends - back)
    along = _directions(np.gradient(lines, axis=1))
    # From each end to all points of each line: (N, 2, N, POINTS).
    away = np.sqrt(_squared_distances(ends, lines))
    nearest = away.argmin(-1)
    distance = np.take_along_axis(away, nearest[..., None], -1)[..., 0]
    others = np.arange(count)
    there = lines[others, nearest]  # (N, 2, N, 2)
    parallel = np.abs((along[others, nearest] * ahead[:, :, None]).sum(-1))
    meets = away[..., [0, -1]].min(-1) <= distance + _MEETS
    looks = (_directions(there - ends[:, :, None]) * ahead[:, :, None]).sum(-1)
    order = distance.argsort(1)  # the nearer end first
    near, far = (np.take_along_axis(distance, order[:, place:place + 1], 1)[:, 0]
                 for place in (0, 1))
    first = order[:, :1]
    parallel, meets, looks = (np.take_along_axis(values, first, 1)[:, 0]
                              for values in (parallel, meets, looks))
    anywhere = np.sqrt(_squared_distances(lines[:, _ASKED], lines).min(-1))  # (N, asked, N)
    closest = np.minimum(anywhere.min(1), near)
    found[...] = np.stack([
        np.exp(-near / 8.0), np.exp(-near / 32.0), parallel, meets, looks, np.exp(-far / 32.0),
        np.exp(-near.T / 8.0), np.exp(-near.T / 32.0), np.exp(-closest / 8.0),
        (anywhere < _MEETS).mean(1)], -1)
    found[others, others] = 0.0
    return found


def _smoothed(line: np.ndarray, deviation: float) -> np.ndarray:
    """Return a line, (POINTS, 2), smoothed by so many of its points."""
    if deviation < 0.3:
        return line
    return cv2.GaussianBlur(line[None], (0, 0), deviation, sigmaY=0.1,
                            borderType=cv2.BORDER_REPLICATE)[0]


def _squared_distances(points: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Return how far (N, K, 2) points are from (M, P, 2) points, squared, (N, K, M, P)."""
    a, b = points.reshape(-1, 2), lines.reshape(-1, 2)
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2.0 * (a @ b.T)
    return np.maximum(squared, 0.0).reshape(*points.shape[:2], *lines.shape[:2])


def _directions(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def known(chances: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """
    Return what is known of each piece, (N, KNOWN) float32.

    :param chances: (N, 3) probabilities of ``piece_network.ANSWERS``.
    """
    said = np.log(np.maximum(chances, LEAST)) / SCALE
    return np.concatenate([said, shapes(lines)], 1).astype(np.float32)


class Relations:
    """The network in numpy; a piece's logits change by what it returns."""

    def __init__(self, weights: dict[str, np.ndarray]):
        """Take weights that were checked, by names without the ``relations.`` before them."""
        (self._own, self._message, self._told, self._joint, self._more) = (
            (np.ascontiguousarray(weights[f'{name}.weight'].T), weights[f'{name}.bias'])
            for name in LAYERS)

    def weighed(self, said: Sequence[tuple[np.ndarray, np.ndarray]],
                lines: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """
        Return the probabilities of pieces, and of the places along each, as the relations have it.

        :param said: (3,) and (places, 3) of each, of a frame.
        :param lines: (N, POINTS, 2) of ``lines_of``.
        """
        if not len(said):
            return []
        chances, places = (np.stack(part) for part in zip(*said))
        added = self(known(chances, lines), relations(lines))
        return list(zip(_weighed(chances, added), _weighed(places, added[:, None])))

    def __call__(self, of_pieces: np.ndarray, between: np.ndarray) -> np.ndarray:
        """
        Return what is added to the logits of pieces, (N, 3) float32.

        :param of_pieces: (N, KNOWN) of ``known``.
        :param between: (N, N, RELATIONS) of ``relations``.
        """
        count = len(of_pieces)
        own = _layer(of_pieces, *self._own)
        theirs = np.broadcast_to(of_pieces[None], (count, *of_pieces.shape))
        told = _layer(_layer(np.concatenate([theirs, between], 2), *self._message), *self._told)
        told *= 1.0 - np.eye(count, dtype=np.float32)[:, :, None]
        joint = _layer(np.concatenate([own, told.sum(1) / SCALE, told.max(1)], 1),
                       *self._joint)
        # The logarithms themselves, too: being less sure of all is a matter of one layer.
        return np.concatenate([joint, of_pieces[:, :SAID]], 1) @ self._more[0] + self._more[1]


def shapes_of_weights(own: int, message: int, told: int, joint: int) -> dict[str, tuple]:
    """Return the shape of each layer's weight, as torch has them: out of, into."""
    return dict(zip(LAYERS, ((own, KNOWN), (message, KNOWN + RELATIONS), (told, message),
                             (joint, own + 2 * told), (SAID, joint + SAID))))


def _layer(values: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.maximum(values @ weight + bias, 0.0)


def _weighed(chances: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Return probabilities to whose logarithms something is added."""
    logits = np.log(np.maximum(chances, LEAST)) + added
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
