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
What becomes of a mask by what the judge says of its pieces.

The segmentation network sees a picture; whether a line in it is a wire or a lead, a thin catheter
or a thick wire, it often tells wrongly for the whole line. Along its centreline that is easier to
see (``strips``): the judge takes pieces out of a mask, gives them their class, and tells where
their walls are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.division import divided
from fedefm_ros.segmentation.division import places_of
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.outlines import in_two
from fedefm_ros.segmentation.outlines import Outline
from fedefm_ros.segmentation.outlines import outline_of
from fedefm_ros.segmentation.outlines import outlined
from fedefm_ros.segmentation.overviews import overviews
from fedefm_ros.segmentation.parts import Part
from fedefm_ros.segmentation.parts import REACH
from fedefm_ros.segmentation.parts import with_classes
from fedefm_ros.segmentation.piece_network import COLUMNS
from fedefm_ros.segmentation.piece_network import GRAIN
from fedefm_ros.segmentation.preprocess import Prepared
from fedefm_ros.segmentation.relations import lines_of
from fedefm_ros.segmentation.strips import Sections
from fedefm_ros.segmentation.strips import sections
from fedefm_ros.segmentation.strips import strips

import numpy as np

#: More would take longer than a frame; a mask with so many is noise for the most part.
MOST_PIECES = 24

# Pixels, of an image of about 512 x 512, that an instrument moves from one frame to the next.
_NEAR = 12.0
# How much a look counts beside what was said until then: about three frames decide.
_NOW = 0.3
# Share of the limit that is enough for a piece that stayed in the frame before: an instrument that
# was shown is not given up while it is in doubt only (hysteresis, as Canny's edges have it).
_STAYING = 0.5
# Pixels, in the network's, of a piece for which the limit holds as it is, and of what counts as
# short and long. (Half of the limit is less than any piece needs as long as the root of long by
# usual is less than 2.)
_USUAL, _SHORT, _LONG = 80.0, 20.0, 200.0
# Pixels, of an image of about 512 x 512, of the shorter part of a piece: as short as what geometry
# takes for an instrument by default.
_SHORTEST = 12.0


@dataclass(frozen=True)
class Opinion:
    """What was said of one piece."""

    centerline: np.ndarray
    """(N, 2) float64, in the network's pixels."""
    chances: np.ndarray
    """(3,) probabilities of ``ANSWERS``."""
    at_points: np.ndarray
    """(N, 3) the same of what lies at each point."""
    stays: np.ndarray
    """(N,) bool: which points lie on what was taken for an instrument."""

    @property
    def kind(self) -> int:
        """Return the instrument that it is if it is one."""
        catheter, guidewire = self.chances[labels.CATHETER], self.chances[labels.GUIDEWIRE]
        return labels.GUIDEWIRE if guidewire > catheter else labels.CATHETER


def shown_of(opinions: Sequence[Opinion]) -> np.ndarray:
    """Return the points (N, 2) of what stayed of a frame's pieces; of all where none did."""
    stayed = [opinion.centerline[opinion.stays] for opinion in opinions if opinion.stays.any()]
    return np.concatenate(stayed or [opinion.centerline for opinion in opinions])


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


def by_length(sure: np.ndarray | float, length: np.ndarray | float) -> np.ndarray | float:
    """
    Return a probability as it is compared with the limit: one of pieces of 80 px.

    Its odds times the square root of length / 80 px, where the length counts as 20 to 200 px. A
    false instrument is one however long it is, but the longer a true one is the more is lost with
    it: of a long piece one may be less sure, of a short one one has to be surer. (Odds as they are
    would count the instruments that are lost, times their length what is lost of them.)

    :param sure: probability that a piece is an instrument.
    :param length: in the network's pixels.
    """
    more = np.sqrt(np.clip(length, _SHORT, _LONG) / _USUAL)
    return sure * more / (sure * more + (1.0 - sure))


def judged(mask: np.ndarray, otherwise: np.ndarray, probability: np.ndarray, prepared: Prepared,
           pieces: Sequence[Instrument], judge: Judge, limit: float, *,
           before: Sequence[Opinion] = ()) -> Judged:
    """
    Return a mask without the pieces that are no instruments, and with the judge's classes.

    A piece may be two instruments, one after the other, or one and what is none (``divided``).
    What is said of a piece is what the judge says now and what was said of the piece there in the
    frame before, weighed: one look in doubt takes out no instrument that was seen well. One of
    which half stayed there needs half of the limit, however long it is.
    The edges of what stays go to the walls that the judge sees, and between them all is of one
    class (``outlines.outlined``); that is not counted.

    :param mask: (H, W) uint8 of ``labels`` values, in the network's pixels, the image only.
    :param otherwise: what stays of foreground that no piece judged of is near, (H, W) uint8.
    :param probability: (H, W) uint8 of any instrument, 255 = sure.
    :param prepared: the network's input; its image is (H, W).
    :param pieces: instruments found in the mask; the 24 longest are judged.
    :param limit: least probability that a piece is an instrument, of usual length (``by_length``).
    :param before: the opinions of the frame before; none where this one follows no other.
    :returns: what became of them; the given arrays are not changed.
    """
    pieces = sorted(pieces, key=lambda piece: -piece.length_px)
    looked_at, unjudged = pieces[:MOST_PIECES], len(pieces[MOST_PIECES:])
    if not looked_at:
        return Judged(otherwise, 0, 0, unjudged)
    scale = max(1.0, max(mask.shape) / 512.0)
    what = prepared, mask, probability, looked_at
    lines = [sections(piece.centerline) for piece in looked_at]
    seen, facts = strips(*what, lines)
    said = judge(seen, overviews(*what), facts, lines_of(looked_at) if judge.relates else None)
    places = [places_of(line.of_points) for line in lines]
    verdicts = tuple(_smoothed(piece, whole, along[place], before, _NEAR * scale, limit)
                     for piece, (whole, along), place in zip(looked_at, said, places))
    parts = [part for number, (piece, *more) in enumerate(zip(looked_at, verdicts, places))
             for part in _parts(number, piece, *more, scale)]
    counts = (len({part.number for part in parts if part.becomes == labels.BACKGROUND}),
              len({part.number for part in parts
                   if part.becomes not in (None, labels.BACKGROUND, part.of.kind)}), unjudged)
    others = [piece.centerline for piece in pieces[MOST_PIECES:]]
    result = with_classes(mask, otherwise, parts, others, REACH * scale)
    kinds = [np.zeros(len(line.of_points), np.uint8) for line in lines]
    for part in parts:
        kinds[part.number][part.first:part.first + len(part.centerline)] = part.kind
    try:
        result = outlined(result, _outlines(lines, kinds, seen, judge), others)
    except FedefmError as error:
        judge.tell_once('the edges of masks stay as they are: %s', error)
    return Judged(result, *counts, tuple(replace(verdict, stays=kind > 0)
                                         for verdict, kind in zip(verdicts, kinds)))


def _parts(number: int, piece: Instrument, verdict: Opinion, places: np.ndarray,
           scale: float) -> list[Part]:
    """
    Return what becomes of a piece.

    :param places: (N,) along its strip, those of its points.
    """
    line = piece.centerline
    if not verdict.stays.any():
        return [Part(number, 0, line, piece, labels.BACKGROUND)]
    # What is told from one look counts as one.
    weights = GRAIN / COLUMNS / np.bincount(places)[places]
    classes = divided(verdict.at_points, weights, verdict.kind)
    first = int(np.count_nonzero(classes == classes[0]))
    if first == len(line) or min(first, len(line) - first) < _SHORTEST * scale * len(line) \
            / max(piece.length_px, 1.0):
        return [Part(number, 0, line, piece,
                     None if verdict.kind == piece.kind else verdict.kind)]
    return [Part(number, 0, line[:first + 1], piece, int(classes[0])),
            Part(number, first, line[first:], piece, int(classes[-1]))]


def _smoothed(piece: Instrument, chances: np.ndarray, said: np.ndarray,
              before: Sequence[Opinion], near: float, limit: float) -> Opinion:
    """
    Return what is said of a piece now and was of that which half of it lies on, if any, weighed.

    :param said: (N, 3) now, of its points.
    :param limit: least probability, ``by_length``, with which it stays if it did not before.
    """
    line = piece.centerline
    best, most, stayed = None, 0.5, False
    for opinion in before:
        away = np.hypot(*(line[:, None] - opinion.centerline[None]).transpose(2, 0, 1))
        close = away.min(1) <= near
        if close.mean() >= most:
            best, most = (opinion, close, away.argmin(1)), close.mean()
    if best is not None:
        opinion, close, nearest = best
        mean = _NOW * said + (1.0 - _NOW) * opinion.at_points[nearest]
        said = np.where(close[:, None], mean, said)
        chances = _NOW * chances + (1.0 - _NOW) * opinion.chances
        stayed = opinion.stays[nearest[close]].mean() >= 0.5
    sure = float(chances[1:].sum())
    stays = sure >= _STAYING * limit if stayed else by_length(sure, piece.length_px) >= limit
    return Opinion(line, chances, said, np.full(len(line), stays))


def _outlines(lines: Sequence[Sections], kinds: Sequence[np.ndarray], seen: np.ndarray,
              judge: Judge) -> list[Outline]:
    """
    Return the outlines of what stays; raises FedefmError.

    :param kinds: what each point of each line is, 0 where it goes.
    """
    stay = [number for number, kind in enumerate(kinds) if kind.any()]
    if not stay:
        return []
    columns = np.stack([lines[number].along(kinds[number], labels.BACKGROUND) for number in stay])
    walls = judge.walls(seen[stay], columns)
    return [part for number, *told in zip(stay, columns, walls)
            for part in in_two(outline_of(lines[number], *told))]
