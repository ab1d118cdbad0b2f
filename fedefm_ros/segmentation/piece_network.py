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
The network that judges a piece, in numpy: its weights, checked, and what they make of pictures.

``backbones.piece_judge`` trains it; ``runtimes.pieces`` is the same in OpenVINO, in an eighth of
the time.
"""

from __future__ import annotations

from pathlib import Path

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.ends import LAYERS as END_LAYERS
from fedefm_ros.segmentation.overviews import LAYERS as OVERVIEW_LAYERS
from fedefm_ros.segmentation.overviews import SIDE
from fedefm_ros.segmentation.relations import LAYERS as RELATION_LAYERS
from fedefm_ros.segmentation.relations import shapes_of_weights
from fedefm_ros.segmentation.strips import CHANNELS
from fedefm_ros.segmentation.strips import FACTS
from fedefm_ros.segmentation.strips import GREYS
from fedefm_ros.segmentation.strips import MEAN_GREY

import numpy as np

#: What it says of a piece.
ANSWERS = ('nothing', *labels.NAMES[1:])
#: Channels of its layers over a strip and of that along it, unless a file says otherwise.
WIDTHS, ALONG = (24, 32, 48, 64, 72), 96
#: Channels of its layers over an overview, each of half the rows and columns, and of one after.
OVERVIEW_WIDTHS = (16, 24, 32, 48, 48)
#: Channels of its layers over the view of an end, and of the one after.
END_WIDTHS = (16, 24, 32, 48, 96)
#: Rows and columns from place to place of each layer over the view of an end.
END_STRIDES = ((1, 1), (2, 2), (2, 2), (2, 2))
#: What is left of such a view after the layers, rows and columns.
END_LEFT = (5, 8)
#: Channels of its layers over what a strip shows most finely, and of the two along that.
OUTLINE_WIDTHS = (16, 32, 48, 64, 96)
#: Rows and columns from place to place of each such layer.
OUTLINE_STRIDES = ((2, 2), (2, 2), (2, 1), (2, 1))
#: Which channels of a strip these see, and one more tells what each column is: the finest ones,
#: and the next, in which there is something to be seen beside a wide catheter, too.
OUTLINE_CHANNELS = (0, 1, 2, 3, 4, 5, CHANNELS - 1)
#: What the names of weights begin with that weigh what is said by what the others of a frame are.
OF_RELATIONS = 'relations.'
#: Rows and columns from place to place of each layer.
STRIDES = ((1, 2), (2, 2), (2, 2), (2, 1), (2, 2))
#: Rows that are left of a strip's after the layers, and columns of a strip for one that is left.
ROWS, COLUMNS = 3, 16
#: Columns of a strip that one answer along it is about: a place.
GRAIN = 4


class PieceNetwork:
    """The network in numpy, in f32: some tens of millions of products a piece."""

    def __init__(self, weights: dict[str, np.ndarray]):
        """Take weights that were ``checked``."""
        def products(name: str) -> tuple[np.ndarray, np.ndarray]:
            weight = weights[f'{name}.weight']
            # Kernel rows, kernel columns, channels: the order of a patch's values.
            order = (*range(2, weight.ndim), 1, 0)
            return (np.ascontiguousarray(weight.transpose(order)).reshape(-1, len(weight)),
                    weights[f'{name}.bias'])

        self._layers = [products(f'layers.{place}.0') for place in range(len(STRIDES))]
        self._overview = [products(f'overview.{place}.0')
                          for place in range(len(OVERVIEW_WIDTHS) - 1)]
        self._ends = [products(f'ends.{place}.0') for place in range(len(END_STRIDES))]
        self._outline = [products(f'outline.{place}.0') for place in range(len(OUTLINE_STRIDES))]
        (self._outline_along, self._outline_known, self._outline_more, self._walls) = map(
            products, ('outline_along.0', 'outline_known', 'outline_more.0', 'walls'))
        (self._along, self._facts, self._answer, self._part, self._part_answer, self._context,
         self._of_context, self._end, self._tip) = map(products, (
             'along.0', 'facts', 'answer', 'part', 'part_answer', 'context', 'of_context', 'end',
             'tip'))

    def __call__(self, strip: np.ndarray, overview: np.ndarray,
                 facts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        Return the probabilities of ``ANSWERS`` of a piece of ``strips``, float32.

        (3,) of the whole, and (LENGTH / GRAIN, 3) of each place along it.
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
        hidden = np.maximum(values @ self._facts[0] + self._facts[1] + self._around(overview),
                            0.0)
        known = np.concatenate([along, np.tile(hidden, (len(along), 1))], 1)
        places = np.maximum(known @ self._part[0] + self._part[1], 0.0)
        return (_softmax(hidden @ self._answer[0] + self._answer[1]),
                _softmax((places @ self._part_answer[0]
                          + self._part_answer[1]).reshape(-1, len(ANSWERS))))

    def tip(self, view: np.ndarray) -> np.ndarray:
        """
        Return what is to be seen at an end, (3,) float32.

        The probability of a tip being near, and where it lies from there, in pixels: along the
        line, outwards, and aside, to the right of it.

        :param view: of ``ends``.
        """
        found = view.transpose(1, 2, 0).astype(np.float32)
        found[:, :, 0] = (found[:, :, 0] - MEAN_GREY) / GREYS
        found[:, :, 1] /= 255.0
        for (weight, bias), stride in zip(self._ends, END_STRIDES):
            found = _convolved(found, weight, bias, stride)
        flat = found.transpose(2, 0, 1).ravel()
        said = np.maximum(flat @ self._end[0] + self._end[1], 0.0) @ self._tip[0] + self._tip[1]
        said[0] = 0.5 + 0.5 * np.tanh(0.5 * said[0])  # the logistic function, without overflow
        return said

    def walls(self, strip: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """
        Return where the walls of an instrument are, (LENGTH / GRAIN, 2) float32.

        Pixels from its line along the strip's rows, of each place along it; without meaning where
        it is no instrument.

        :param strip: of ``strips``.
        :param kinds: (LENGTH,) uint8, the ``labels`` value of each column.
        """
        found = _scaled(strip[list(OUTLINE_CHANNELS)])
        there = found[0, :, -1].reshape(-1, GRAIN).max(1, keepdims=True) > 0
        kind = _kind(kinds)[None, :, None]
        found = np.concatenate([found, np.broadcast_to(kind, (*found.shape[:2], 1))], 2)
        for (weight, bias), stride in zip(self._outline, OUTLINE_STRIDES):
            found = _convolved(found, weight, bias, stride)
        line = found.transpose(1, 2, 0).reshape(1, found.shape[1], -1)
        along = _convolved(line, *self._outline_along, (1, 1))[0] * there
        whole = np.concatenate([along.sum(0) / np.float32(there.sum()), along.max(0)])
        hidden = np.maximum(whole @ self._outline_known[0] + self._outline_known[1], 0.0)
        known = np.concatenate([along, np.tile(hidden, (len(along), 1))], 1)
        more = _convolved(known[None], *self._outline_more, (1, 1))[0]
        return more @ self._walls[0] + self._walls[1]

    def _around(self, overview: np.ndarray) -> np.ndarray:
        """Return what the overview adds to what is known of the whole."""
        found = overview.transpose(1, 2, 0).astype(np.float32) / np.float32(255.0)
        for weight, bias in self._overview:
            found = _convolved(found, weight, bias, (2, 2))
        flat = found.transpose(2, 0, 1).ravel()
        context = np.maximum(flat @ self._context[0] + self._context[1], 0.0)
        return context @ self._of_context[0] + self._of_context[1]


def _kind(kinds: np.ndarray) -> np.ndarray:
    """Return what columns are as the network takes it, float32."""
    return (kinds == labels.GUIDEWIRE).astype(np.float32) - (kinds == labels.CATHETER)


def _softmax(logits: np.ndarray) -> np.ndarray:
    chances = np.exp(logits - logits.max(-1, keepdims=True))
    return chances / chances.sum(-1, keepdims=True)


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


def checked(path: str | Path, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a file's weights; raises FedefmError where they are not those of this network."""
    try:
        widths = [len(weights[f'layers.{place}.0.bias']) for place in range(len(STRIDES))]
        over = [len(weights[f'overview.{place}.0.bias'])
                for place in range(len(OVERVIEW_WIDTHS) - 1)]
        at_end = [len(weights[f'ends.{place}.0.bias']) for place in range(len(END_STRIDES))]
        outline = [len(weights[f'outline.{place}.0.bias'])
                   for place in range(len(OUTLINE_STRIDES))]
        along, hidden, part, context, of_end, of_walls, known = (
            len(weights[f'{name}.bias']) for name in (
                'along.0', 'facts', 'part', 'context', 'end', 'outline_along.0', 'outline_known'))
        expected = {f'layers.{place}.0': (after, before, 3, 3) for place, (before, after)
                    in enumerate(zip([CHANNELS, *widths], widths))}
        expected |= {f'overview.{place}.0': (after, before, 3, 3) for place, (before, after)
                     in enumerate(zip([OVERVIEW_LAYERS, *over], over))}
        expected |= {f'ends.{place}.0': (after, before, 3, 3) for place, (before, after)
                     in enumerate(zip([END_LAYERS, *at_end], at_end))}
        expected |= {f'outline.{place}.0': (after, before, 3, 3) for place, (before, after)
                     in enumerate(zip([len(OUTLINE_CHANNELS) + 1, *outline], outline))}
        expected |= {'outline_along.0': (of_walls, ROWS * outline[-1], 3),
                     'outline_known': (known, 2 * of_walls),
                     'outline_more.0': (of_walls, of_walls + known, 3),
                     'walls': (2, of_walls),
                     'along.0': (along, ROWS * widths[-1], 3),
                     'facts': (hidden, 2 * along + FACTS),
                     'context': (context, over[-1] * (SIDE >> len(over)) ** 2),
                     'of_context': (hidden, context),
                     'end': (of_end, at_end[-1] * END_LEFT[0] * END_LEFT[1]),
                     'tip': (3, of_end),
                     'answer': (len(ANSWERS), hidden),
                     'part': (part, along + hidden),
                     'part_answer': (COLUMNS // GRAIN * len(ANSWERS), part)}
        if any(name.startswith(OF_RELATIONS) for name in weights):
            sizes = [len(weights[f'{OF_RELATIONS}{name}.bias']) for name in RELATION_LAYERS[:-1]]
            expected |= {OF_RELATIONS + name: shape
                         for name, shape in shapes_of_weights(*sizes).items()}
        found = {name: (weights[f'{name}.weight'], weights[f'{name}.bias']) for name in expected}
    except (KeyError, TypeError) as error:
        raise FedefmError(f'{path} does not have the weights of a judge of pieces: '
                          f'{error} is missing or no list; from one of an earlier version '
                          '`./run judge train --start` goes on') from error
    for name, shape in expected.items():
        weight, bias = found[name]
        if (weight.shape, bias.shape) != (shape, shape[:1]) or 0 in shape \
                or weight.dtype != np.float32 or bias.dtype != np.float32:
            raise FedefmError(f'{path}: {name} is {weight.dtype}{list(weight.shape)}, expected '
                              f'float32{list(shape)}; if it is of an earlier version, '
                              '`./run judge train --start` goes on from it')
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise FedefmError(f'{path} has numbers in {name} that are not finite')
    more = weights.keys() - {f'{name}.{end}' for name in expected for end in ('weight', 'bias')}
    if more:
        raise FedefmError(f'{path} has weights that no judge has: '
                          f'{", ".join(sorted(more)[:3])}')
    return weights
