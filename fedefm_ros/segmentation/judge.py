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
see (``strips``): the judge takes pieces out of a mask and gives them their class. It runs in numpy
in f32, the same on every runtime: some millions of products a piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from functools import lru_cache
from pathlib import Path

import cv2

from fedefm_ros import labels
from fedefm_ros.backbones.checkpoint import read_description
from fedefm_ros.backbones.checkpoint import read_file
from fedefm_ros.backbones.spec import ModelSpec
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.preprocess import Prepared
from fedefm_ros.segmentation.strips import CHANNELS
from fedefm_ros.segmentation.strips import FACTS
from fedefm_ros.segmentation.strips import GREYS
from fedefm_ros.segmentation.strips import HALF
from fedefm_ros.segmentation.strips import LENGTH
from fedefm_ros.segmentation.strips import MEAN_GREY
from fedefm_ros.segmentation.strips import strips

import numpy as np

#: What a judge says of a piece.
ANSWERS = ('nothing', *labels.NAMES[1:])
#: What it counts, of ``Judged`` and ``RawSegmentation``.
COUNTS = ('taken_out', 'renamed', 'unjudged')
#: The name of a judge's architecture in its file.
BACKBONE = 'piece_judge'
#: Rows and columns from place to place of each layer.
STRIDES = ((1, 2), (2, 2), (2, 2), (2, 1), (2, 2))
#: Rows that are left of a strip's after the layers, and columns of a strip for one that is left.
ROWS, COLUMNS = 3, 16

_MAX_BYTES = 1 << 22
# Pixels from a centreline, of an image of about 512 x 512, up to which foreground is the piece's:
# half a wide catheter and its edge.
_REACH = 20.0
# Pixels, of an image of about 512 x 512, that an instrument moves from one frame to the next.
_NEAR = 12.0
# The owner of pixels that are no piece's.
_NOBODY = 255
# More would take longer than a frame; a mask with so many is noise for the most part.
_MOST_PIECES = 24


@dataclass(frozen=True)
class Opinion:
    """What was said of one piece."""

    centerline: np.ndarray
    """(N, 2) float64, in the network's pixels."""
    chances: np.ndarray
    """(3,) probabilities of ``ANSWERS``."""

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
    """Pieces that are no instruments."""
    renamed: int
    """Pieces that stay by the other name."""
    unjudged: int
    """Pieces that were too many to be looked at."""
    opinions: tuple[Opinion, ...] = ()
    """What the next frame is to know of this one."""


class Judge:
    """A judge's weights, checked."""

    def __init__(self, path: str | Path):
        """
        Read and check a file; raises FedefmError where it is no judge.

        torch is not needed.
        """
        file = read_file(path, _MAX_BYTES)
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
        self._layers, self._along, self._facts, self._answer = _checked(path, weights)
        plain = np.full((CHANNELS, 2 * HALF + 1, LENGTH), 128, np.uint8)
        try:
            with np.errstate(all='ignore'):
                self.chances(plain, np.zeros(FACTS, np.float32))
        except FedefmError as error:
            raise FedefmError(f'{path}: {error}') from error

    def __call__(self, seen: np.ndarray, facts: np.ndarray,
                 threads: int = 1) -> list[np.ndarray]:
        """
        Return the probabilities of each piece as ``strips`` shows it, see ``chances``.

        :param threads: pieces that are looked at at once.
        """
        each = _pool(threads).map if min(threads, len(seen)) > 1 else map
        return list(each(self.chances, seen, facts))

    def chances(self, strip: np.ndarray, facts: np.ndarray) -> np.ndarray:
        """
        Return the probabilities, (3,) float32 of ``ANSWERS``, of one piece.

        Raises FedefmError where they are not finite.
        """
        found = _scaled(strip)
        there = found[0, :, -1].reshape(-1, COLUMNS).max(1, keepdims=True) > 0
        for (weight, bias), stride in zip(self._layers, STRIDES):
            found = _convolved(found, weight, bias, stride)
        # Channels first, then rows, as the layer along the strip was trained.
        line = found.transpose(1, 2, 0).reshape(1, found.shape[1], -1)
        weight, bias = self._along
        along = _convolved(line, weight, bias, (1, 1))[0] * there
        mean = along.sum(0) / np.float32(there.sum())
        values = np.concatenate([mean, along.max(0), facts])
        hidden = np.maximum(values @ self._facts[0] + self._facts[1], 0.0)
        logits = hidden @ self._answer[0] + self._answer[1]
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        if not np.isfinite(chances).all():
            raise FedefmError('the judge gives numbers that are not finite')
        return chances


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
    return read_description(read_file(path, _MAX_BYTES))[0].provenance.get('made_for')


def judged(mask: np.ndarray, otherwise: np.ndarray, probability: np.ndarray, prepared: Prepared,
           pieces: Sequence[Instrument], judge: Judge, limit: float, *, threads: int = 1,
           before: Sequence[Opinion] = ()) -> Judged:
    """
    Return a mask without the pieces that are no instruments, and with the judge's classes.

    What is said of a piece is the mean of what the judge says now and what was said of the piece
    there in the frame before: one look in doubt takes out no instrument that was seen well.

    :param mask: (H, W) uint8 of ``labels`` values, in the network's pixels, the image only.
    :param otherwise: what stays of foreground that no piece judged of is near, (H, W) uint8.
    :param probability: (H, W) uint8 of any instrument, 255 = sure.
    :param prepared: the network's input; its image is (H, W).
    :param pieces: instruments found in the mask; the 24 longest are judged.
    :param limit: least probability that a piece is an instrument.
    :param threads: cores that the judge may use.
    :param before: the opinions of the frame before; none where this one follows no other.
    :returns: what became of them; the given arrays are not changed.
    """
    pieces = sorted(pieces, key=lambda piece: -piece.length_px)
    looked_at, unjudged = pieces[:_MOST_PIECES], len(pieces[_MOST_PIECES:])
    if not looked_at:
        return Judged(otherwise, 0, 0, unjudged)
    scale = max(1.0, max(mask.shape) / 512.0)
    said = judge(*strips(prepared, mask, probability, looked_at), threads)
    verdicts = tuple(Opinion(piece.centerline, _smoothed(piece, chances, before, _NEAR * scale))
                     for piece, chances in zip(looked_at, said))
    stays = [verdict.instrument >= limit for verdict in verdicts]
    renamed = [stay and verdict.kind != piece.kind
               for stay, verdict, piece in zip(stays, verdicts, looked_at)]
    counts = stays.count(False), renamed.count(True), unjudged
    if otherwise is mask and counts[:2] == (0, 0):
        return Judged(mask, *counts, verdicts)
    left, top, width, height = cv2.boundingRect((mask > 0).view(np.uint8))
    window = (slice(top, top + height), slice(left, left + width))
    here = mask[window]
    # Last, over the others, what stays: where lines cross, the crossing is theirs.
    order = [*range(len(looked_at), min(len(pieces), _NOBODY)), *sorted(
        range(len(looked_at)), key=lambda place: (stays[place], looked_at[place].confidence))]
    owner = _owners(here.shape, (left, top), pieces, order, _REACH * scale)
    # What becomes of each class of each owner's pixels.
    become = np.tile(np.arange(len(labels.NAMES), dtype=np.uint8), (_NOBODY + 1, 1))
    for number, verdict in enumerate(verdicts):
        if not stays[number]:
            become[number] = labels.BACKGROUND
        elif renamed[number]:
            become[number, 1:] = verdict.kind
    result = np.zeros_like(mask)
    result[window] = np.where(owner < len(looked_at), become[owner, here], otherwise[window])
    return Judged(result, *counts, verdicts)


def _smoothed(piece: Instrument, chances: np.ndarray, before: Sequence[Opinion],
              near: float) -> np.ndarray:
    """Return the mean with what was said of the piece that half of this one lies on, if any."""
    best, most = None, 0.5
    for opinion in before:
        away = np.hypot(*(piece.centerline[:, None] - opinion.centerline[None]).transpose(2, 0, 1))
        share = float((away.min(1) <= near).mean())
        if share >= most:
            best, most = opinion, share
    return chances if best is None else (chances + best.chances) / 2


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads of the process: numpy's long operations leave the others to run."""
    return ThreadPoolExecutor(threads, 'judge')


def _owners(shape: tuple[int, int], corner: tuple[int, int], pieces: Sequence[Instrument],
            order: Sequence[int], reach: float) -> np.ndarray:
    """
    Return the number of the piece whose centreline is nearest, (H, W) uint8.

    :param order: in which lines are drawn, over each other.
    :param reach: in pixels; beyond it ``_NOBODY``.
    """
    lines = np.full(shape, _NOBODY, np.uint8)
    for number in order:
        points = np.rint(pieces[number].centerline - corner).astype(np.int32)
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


def _scaled(strip: np.ndarray) -> np.ndarray:
    """Return a strip as the network takes it, (rows, columns, channels) float32."""
    values = strip.transpose(1, 2, 0).astype(np.float32)
    there = (strip[0] > 0).astype(np.float32)
    values[:, :, :-1:3] = (values[:, :, :-1:3] - MEAN_GREY) / GREYS * there[:, :, None]
    values[:, :, 1:-1:3] /= 255.0
    values[:, :, 2:-1:3] /= 255.0
    values[:, :, -1] = 0.5 * there + values[:, :, -1] / 510.0
    return values


def _convolved(image: np.ndarray, weight: np.ndarray, bias: np.ndarray,
               stride: tuple[int, int]) -> np.ndarray:
    """
    Return a convolution of 3 x 3 (1 x 3 of a single row) with zeros around, and no less than 0.

    :param image: (H, W, C) float32.
    :param weight: (kernel rows * 3 * C, O) float32.
    """
    height, width, channels = image.shape
    rows = len(weight) // (3 * channels)
    aside = rows // 2
    framed = np.zeros((height + 2 * aside, width + 2, channels), np.float32)
    framed[aside:aside + height, 1:-1] = image
    down, right, _ = framed.strides
    shape = ((height - 1) // stride[0] + 1, (width - 1) // stride[1] + 1, rows, 3 * channels)
    patches = np.lib.stride_tricks.as_strided(
        framed, shape, (down * stride[0], right * stride[1], down, framed.itemsize),
        writeable=False)
    out = patches.reshape(shape[0] * shape[1], -1) @ weight
    out += bias
    return np.maximum(out, 0.0, out=out).reshape(*shape[:2], -1)


def _checked(path: str | Path, weights: dict[str, np.ndarray]):
    """Return layers of (weight, bias) for ``_convolved`` and products; raises FedefmError."""
    try:
        widths = [len(weights[f'layers.{place}.0.bias']) for place in range(len(STRIDES))]
        along, hidden = len(weights['along.0.bias']), len(weights['facts.bias'])
        expected = {f'layers.{place}.0': (after, before, 3, 3) for place, (before, after)
                    in enumerate(zip([CHANNELS, *widths], widths))}
        expected |= {'along.0': (along, ROWS * widths[-1], 3),
                     'facts': (hidden, 2 * along + FACTS),
                     'answer': (len(ANSWERS), hidden)}
        found = {name: (weights.pop(f'{name}.weight'), weights.pop(f'{name}.bias'))
                 for name in expected}
    except (KeyError, TypeError) as error:
        raise FedefmError(f'{path} does not have the weights of a judge of pieces: '
                          f'{error} is missing or no list') from error
    for name, shape in expected.items():
        weight, bias = found[name]
        if (weight.shape, bias.shape) != (shape, shape[:1]) or 0 in shape \
                or weight.dtype != np.float32 or bias.dtype != np.float32:
            raise FedefmError(f'{path}: {name} is {weight.dtype}{list(weight.shape)}, expected '
                              f'float32{list(shape)}')
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise FedefmError(f'{path} has numbers in {name} that are not finite')
    if weights:
        raise FedefmError(f'{path} has weights that no judge has: '
                          f'{", ".join(sorted(weights)[:3])}')

    def products(name: str) -> tuple[np.ndarray, np.ndarray]:
        weight, bias = found[name]
        # Kernel rows, kernel columns, channels: the order of a patch's values.
        order = (*range(2, weight.ndim), 1, 0)
        return np.ascontiguousarray(weight.transpose(order)).reshape(-1, len(weight)), bias

    layers = [products(f'layers.{place}.0') for place in range(len(STRIDES))]
    return layers, products('along.0'), products('facts'), products('answer')
