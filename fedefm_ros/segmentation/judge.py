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
The judge: a small network that looks at each piece of a mask once more, straightened.

The segmentation network sees a picture; whether a line in it is a wire or a lead, a thin catheter
or a thick wire, it often tells wrongly for the whole line. Along its centreline that is easier to
see (``strips``): the judge takes pieces out of a mask and gives them their class.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cache
from functools import lru_cache
import logging
from pathlib import Path

import cv2

from fedefm_ros import labels
from fedefm_ros.backbones.checkpoint import read_description
from fedefm_ros.backbones.checkpoint import read_file
from fedefm_ros.backbones.spec import ModelSpec
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.division import divided
from fedefm_ros.segmentation.division import places_of
from fedefm_ros.segmentation.ends import LAYERS as END_LAYERS
from fedefm_ros.segmentation.ends import VIEW
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.overviews import LAYERS
from fedefm_ros.segmentation.overviews import overviews
from fedefm_ros.segmentation.overviews import SIDE
from fedefm_ros.segmentation.piece_network import ANSWERS
from fedefm_ros.segmentation.piece_network import checked
from fedefm_ros.segmentation.piece_network import COLUMNS
from fedefm_ros.segmentation.piece_network import GRAIN
from fedefm_ros.segmentation.piece_network import PieceNetwork
from fedefm_ros.segmentation.preprocess import Prepared
from fedefm_ros.segmentation.runtimes.runtime import installed
from fedefm_ros.segmentation.strips import CHANNELS
from fedefm_ros.segmentation.strips import columns_of
from fedefm_ros.segmentation.strips import FACTS
from fedefm_ros.segmentation.strips import HALF
from fedefm_ros.segmentation.strips import LENGTH
from fedefm_ros.segmentation.strips import strips

import numpy as np

#: What it counts, of ``Judged`` and ``RawSegmentation``.
COUNTS = ('taken_out', 'renamed', 'unjudged')
#: The name of a judge's architecture in its file.
BACKBONE = 'piece_judge'

#: Of a judge's file.
MAX_BYTES = 1 << 22

_log = logging.getLogger(__name__)
# Pixels from a centreline, of an image of about 512 x 512, up to which foreground is the piece's:
# half a wide catheter and its edge.
_REACH = 20.0
# Pixels, of an image of about 512 x 512, that an instrument moves from one frame to the next.
_NEAR = 12.0
# How much a look counts beside what was said until then: about three frames decide.
_NOW = 0.3
# The owner of pixels that are no piece's.
_NOBODY = 255
# Pixels, of an image of about 512 x 512, of the shorter part of a piece: as short as what geometry
# takes for an instrument by default.
_SHORTEST = 12.0
# More would take longer than a frame; a mask with so many is noise for the most part.
_MOST_PIECES = 24


@dataclass(frozen=True)
class Opinion:
    """What was said of one piece."""

    centerline: np.ndarray
    """(N, 2) float64, in the network's pixels."""
    chances: np.ndarray
    """(3,) probabilities of ``ANSWERS``."""
    at_points: np.ndarray
    """(N, 3) the same of what lies at each point."""

    @property
    def instrument(self) -> float:
        """Return the probability that it is an instrument."""
        return float(self.chances[labels.CATHETER] + self.chances[labels.GUIDEWIRE])

    @property
    def kind(self) -> int:
        """Return the instrument that it is if it is one."""
        catheter, guidewire = self.chances[labels.CATHETER], self.chances[labels.GUIDEWIRE]
        return labels.GUIDEWIRE if guidewire > catheter else labels.CATHETER


@dataclass(frozen=True)
class Judged:
    """What became of a mask."""

    mask: np.ndarray
    """(H, W) uint8; one of the arrays that were given where it is equal to it."""
    taken_out: int
    """Pieces that are no instruments, wholly or in part."""
    renamed: int
    """Pieces that stay by the other name, wholly or in part."""
    unjudged: int
    """Pieces that were too many to be looked at."""
    opinions: tuple[Opinion, ...] = ()
    """What the next frame is to know of this one."""


class Judge:
    """A judge's weights, checked; numpy computes it until it is ``compiled``."""

    def __init__(self, path: str | Path):
        """
        Read and check a file; raises FedefmError where it is no judge.

        torch is not needed.
        """
        file = read_file(path, MAX_BYTES)
        spec = read_description(file)[0]
        if spec.backbone != BACKBONE or tuple(spec.labels) != ANSWERS:
            raise FedefmError(f'{path} is a model {spec.backbone!r} of {", ".join(spec.labels)}; '
                              'a judge of pieces was expected')
        from safetensors import SafetensorError
        from safetensors.numpy import load
        try:
            weights = load(file.data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise FedefmError(f'{path} is damaged: {error}') from error
        self.path = Path(path)
        self.model_id = file.model_id
        self.limit = float(spec.min_confidence)
        self.input_size = spec.input_size
        self._weights = checked(path, weights)
        self._network = PieceNetwork(self._weights)
        self._threads = 1
        self._try_out()

    def compiled(self, threads: int) -> Judge:
        """
        Return this judge as fast as it gets here; it says the same to the last digits of f32.

        OpenVINO, where it is installed and whatever the model runs on, takes a fifth of numpy's
        time. Where it cannot be used, a warning says so.

        :param threads: cores that it may use.
        """
        other = copy(self)
        other._network, other._threads = PieceNetwork(self._weights), threads
        if installed('openvino'):
            try:
                from fedefm_ros.segmentation.runtimes.pieces import compile_pieces
                other._network, other._threads = compile_pieces(self._weights, threads), 1
            except (ImportError, FedefmError) as error:
                _log.warning('numpy computes the judge %s, which takes five times as long: %s',
                             self.path, error)
        other._try_out()
        return other

    def __call__(self, seen: np.ndarray, around: np.ndarray,
                 facts: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """
        Return the probabilities of each piece, see ``PieceNetwork``.

        :param seen: what ``strips`` shows of each, and ``facts`` what it tells.
        :param around: the ``overviews``.

        :raises FedefmError: the probabilities are not finite.
        """
        each = _pool(self._threads).map if min(self._threads, len(seen)) > 1 else map
        said = list(each(self._network, seen, around, facts))
        if not all(np.isfinite(part).all() for one in said for part in one):
            raise FedefmError(f'{self.path}: the judge gives numbers that are not finite')
        return said

    def tips(self, views: np.ndarray) -> np.ndarray:
        """
        Return what is to be seen at ends, (N, 3), see ``PieceNetwork.tip``.

        :param views: (N, LAYERS, *VIEW) of ``ends``.
        :raises FedefmError: the numbers are not finite.
        """
        said = np.array([self._network.tip(view) for view in views]).reshape(-1, 3)
        if not np.isfinite(said).all():
            raise FedefmError(f'{self.path}: the judge gives numbers that are not finite')
        return said

    def _try_out(self) -> None:
        plain = np.full((1, CHANNELS, 2 * HALF + 1, LENGTH), 128, np.uint8)
        around = np.full((1, LAYERS, SIDE, SIDE), 128, np.uint8)
        with np.errstate(all='ignore'):
            self(plain, around, np.zeros((1, FACTS), np.float32))
            self.tips(np.full((1, END_LAYERS, *VIEW), 128, np.uint8))


def is_made_for(path: str | Path, spec: ModelSpec) -> bool:
    """
    Return whether models of this architecture found the pieces that a judge has learnt from.

    Raises FedefmError where the file is none of ours, OSError where there is none; only its
    description is looked at.
    """
    path = Path(path)
    state = path.stat()
    return _made_for(path, state.st_mtime_ns, state.st_size) == {
        'backbone': spec.backbone, 'config': spec.config, 'input_size': spec.input_size}


@lru_cache(4)
def _made_for(path: Path, changed: int, size: int) -> dict | None:
    """Return what a judge says it is for; a node that is configured anew does not read it anew."""
    return read_description(read_file(path, MAX_BYTES))[0].provenance.get('made_for')


def judged(mask: np.ndarray, otherwise: np.ndarray, probability: np.ndarray, prepared: Prepared,
           pieces: Sequence[Instrument], judge: Judge, limit: float, *,
           before: Sequence[Opinion] = ()) -> Judged:
    """
    Return a mask without the pieces that are no instruments, and with the judge's classes.

    A piece may be two instruments, one after the other, or one and what is none (``divided``).
    What is said of a piece is what the judge says now and what was said of the piece there in the
    frame before, weighed: one look in doubt takes out no instrument that was seen well.

    :param mask: (H, W) uint8 of ``labels`` values, in the network's pixels, the image only.
    :param otherwise: what stays of foreground that no piece judged of is near, (H, W) uint8.
    :param probability: (H, W) uint8 of any instrument, 255 = sure.
    :param prepared: the network's input; its image is (H, W).
    :param pieces: instruments found in the mask; the 24 longest are judged.
    :param limit: least probability that a piece is an instrument.
    :param before: the opinions of the frame before; none where this one follows no other.
    :returns: what became of them; the given arrays are not changed.
    """
    pieces = sorted(pieces, key=lambda piece: -piece.length_px)
    looked_at, unjudged = pieces[:_MOST_PIECES], len(pieces[_MOST_PIECES:])
    if not looked_at:
        return Judged(otherwise, 0, 0, unjudged)
    scale = max(1.0, max(mask.shape) / 512.0)
    what = prepared, mask, probability, looked_at
    seen, facts = strips(*what)
    said = judge(seen, overviews(*what), facts)
    verdicts = tuple(_smoothed(piece, *each, before, _NEAR * scale)
                     for piece, each in zip(looked_at, said))
    parts = [part for piece, verdict in zip(looked_at, verdicts)
             for part in _parts(piece, verdict, limit, scale)]
    counts = (len({id(part.of) for part in parts if part.becomes == labels.BACKGROUND}),
              len({id(part.of) for part in parts
                   if part.becomes not in (None, labels.BACKGROUND, part.of.kind)}), unjudged)
    changed = [part.centerline for part in parts if part.becomes is not None]
    window = _where_it_may_change(mask, otherwise, changed, _REACH * scale)
    if window is None:
        return Judged(mask, *counts, verdicts)
    here = mask[window]
    corner = (window[1].start, window[0].start)
    # Last, over the others, what stays: where lines cross, the crossing is theirs.
    parts.sort(key=lambda part: (part.becomes != labels.BACKGROUND, part.of.confidence))
    others = [piece.centerline for piece in pieces[_MOST_PIECES:][:_NOBODY - len(parts)]]
    lines = [part.centerline for part in parts]
    order = [*range(len(lines), len(lines) + len(others)), *range(len(lines))]
    owner = _owners(here.shape, corner, lines + others, order, _REACH * scale)
    # What becomes of each class of each owner's pixels.
    become = np.tile(np.arange(len(labels.NAMES), dtype=np.uint8), (_NOBODY + 1, 1))
    for number, part in enumerate(parts):
        if part.becomes is not None:
            become[number, 1:] = part.becomes
    result = mask.copy()
    result[window] = np.where(owner < len(parts), become[owner, here], otherwise[window])
    return Judged(result, *counts, verdicts)


@dataclass(frozen=True)
class _Part:
    """A piece, or what lies on one side of the place where it is divided."""

    centerline: np.ndarray
    of: Instrument
    becomes: int | None
    """The value of all of its pixels; None: they stay as they are."""


def _where_it_may_change(mask: np.ndarray, otherwise: np.ndarray, lines: Sequence[np.ndarray],
                         reach: float) -> tuple[slice, slice] | None:
    """
    Return rows and columns beyond which a mask stays as it is; None where it does everywhere.

    With what decides: foreground up to ``reach`` from one of these lines is its own unless another
    one is nearer, which lies up to twice as far; what ``otherwise`` tells of counts where no line
    is within reach.
    """
    # Distances are measured in steps to neighbours, which are up to a tenth wrong.
    boxes = [(line.min(0) - 2.2 * reach, line.max(0) + 2.2 * reach) for line in lines]
    left, top, width, height = cv2.boundingRect((mask != otherwise).view(np.uint8))
    if width:
        corner = np.array([left, top])
        boxes.append((corner - 1.1 * reach, corner + (width, height) + 1.1 * reach))
    if not boxes:
        return None
    first, last = (np.array(corners) for corners in zip(*boxes))
    (left, top), (right, bottom) = np.floor(first.min(0)), np.ceil(last.max(0)) + 1.0
    height, width = mask.shape
    return (slice(max(0, int(top)), min(height, int(bottom))),
            slice(max(0, int(left)), min(width, int(right))))


def _parts(piece: Instrument, verdict: Opinion, limit: float, scale: float) -> list[_Part]:
    """Return what becomes of a piece."""
    line = piece.centerline
    if verdict.instrument < limit:
        return [_Part(line, piece, labels.BACKGROUND)]
    places = places_of(columns_of(line))
    # What is told from one look counts as one.
    weights = GRAIN / COLUMNS / np.bincount(places)[places]
    classes = divided(verdict.at_points, weights, verdict.kind)
    first = int(np.count_nonzero(classes == classes[0]))
    if first == len(line) or min(first, len(line) - first) < _SHORTEST * scale * len(line) \
            / max(piece.length_px, 1.0):
        return [_Part(line, piece, None if verdict.kind == piece.kind else verdict.kind)]
    return [_Part(line[:first + 1], piece, int(classes[0])),
            _Part(line[first:], piece, int(classes[-1]))]


def _smoothed(piece: Instrument, chances: np.ndarray, places: np.ndarray,
              before: Sequence[Opinion], near: float) -> Opinion:
    """
    Return what is said of a piece now and was of that which half of it lies on, if any, weighed.

    :param places: (places, 3) along its strip.
    """
    line = piece.centerline
    said = places[places_of(columns_of(line))]
    best, most = None, 0.5
    for opinion in before:
        away = np.hypot(*(line[:, None] - opinion.centerline[None]).transpose(2, 0, 1))
        close = away.min(1) <= near
        if close.mean() >= most:
            best, most = (opinion, close, away.argmin(1)), close.mean()
    if best is None:
        return Opinion(line, chances, said)
    opinion, close, nearest = best
    mean = _NOW * said + (1.0 - _NOW) * opinion.at_points[nearest]
    return Opinion(line, _NOW * chances + (1.0 - _NOW) * opinion.chances,
                   np.where(close[:, None], mean, said))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads of the process: numpy's long operations leave the others to run."""
    return ThreadPoolExecutor(threads, 'judge')


def _owners(shape: tuple[int, int], corner: tuple[int, int], centerlines: Sequence[np.ndarray],
            order: Sequence[int], reach: float) -> np.ndarray:
    """
    Return the number of the centreline that is nearest, (H, W) uint8.

    :param order: in which lines are drawn, over each other.
    :param reach: in pixels; beyond it ``_NOBODY``.
    """
    lines = np.full(shape, _NOBODY, np.uint8)
    for number in order:
        points = np.rint(centerlines[number] - corner).astype(np.int32)
        cv2.polylines(lines, [points], False, number)
    drawn = lines != _NOBODY
    if not drawn.any():
        return lines
    distance, nearest = cv2.distanceTransformWithLabels(
        (~drawn).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3, labelType=cv2.DIST_LABEL_PIXEL)
    of_label = np.full(int(nearest.max()) + 1, _NOBODY, np.uint8)
    of_label[nearest[drawn]] = lines[drawn]
    owner = of_label[nearest]
    owner[distance > reach] = _NOBODY
    return owner
