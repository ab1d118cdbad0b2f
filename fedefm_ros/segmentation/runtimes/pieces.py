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

"""The network that judges pieces, compiled by OpenVINO; see ``segmentation.piece_network``."""

import threading

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.ends import LAYERS as END_LAYERS, VIEW
from fedefm_ros.segmentation.overviews import LAYERS, SIDE
from fedefm_ros.segmentation.piece_network import ANSWERS, COLUMNS, END_STRIDES, GRAIN
from fedefm_ros.segmentation.piece_network import OUTLINE_CHANNELS, OUTLINE_STRIDES
from fedefm_ros.segmentation.piece_network import OVERVIEW_WIDTHS, STRIDES
from fedefm_ros.segmentation.runtimes.openvino import request_of
from fedefm_ros.segmentation.runtimes.runtime import one_line
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, GREYS, HALF, LENGTH, MEAN_GREY

import numpy as np

import openvino
from openvino import opset13 as ops


class OpenVinoPieces:
    """
    One infer request of each kind: a piece at a time, whoever asks, on one thread.

    Two are no faster, so small are the layers, and several times slower while the others of a
    station want the cores, too: each layer would wait for both.
    """

    def __init__(self, weights: dict[str, np.ndarray]):
        """Compile the network of weights that were checked."""
        self._request, self._of_end, self._of_walls = (
            request_of(graph(weights), 1, 'f32')
            for graph in (_graph, _graph_of_end, _graph_of_walls))
        self._lock, self._lock_of_end, self._lock_of_walls = (threading.Lock() for _ in range(3))
        self._strip = np.zeros((1, CHANNELS, 2 * HALF + 1, LENGTH), np.uint8)
        self._overview = np.zeros((1, LAYERS, SIDE, SIDE), np.uint8)
        self._facts = np.zeros((1, FACTS), np.float32)
        for place, values in enumerate((self._strip, self._overview, self._facts)):
            self._request.set_input_tensor(place, openvino.Tensor(values, True))
        self._view = np.zeros((1, END_LAYERS, *VIEW), np.uint8)
        self._of_end.set_input_tensor(0, openvino.Tensor(self._view, True))
        self._fine = np.zeros((1, len(OUTLINE_CHANNELS), 2 * HALF + 1, LENGTH), np.uint8)
        self._kinds = np.zeros((1, LENGTH), np.uint8)
        for place, values in enumerate((self._fine, self._kinds)):
            self._of_walls.set_input_tensor(place, openvino.Tensor(values, True))

    def __call__(self, strip: np.ndarray, overview: np.ndarray,
                 facts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities as ``PieceNetwork`` does; raises FedefmError."""
        with self._lock:
            self._strip[0], self._overview[0], self._facts[0] = strip, overview, facts
            try:
                self._request.infer()
            except RuntimeError as error:
                raise FedefmError(f'OpenVINO cannot judge a piece: {one_line(error)}') from error
            whole, places = (self._request.get_output_tensor(n).data.copy() for n in (0, 1))
        return whole[0], places

    def tip(self, view: np.ndarray) -> np.ndarray:
        """Return what ``PieceNetwork.tip`` does; raises FedefmError."""
        with self._lock_of_end:
            self._view[0] = view
            try:
                self._of_end.infer()
            except RuntimeError as error:
                raise FedefmError(f'OpenVINO cannot look at an end: {one_line(error)}') from error
            return self._of_end.get_output_tensor(0).data[0].copy()

    def walls(self, strip: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Return what ``PieceNetwork.walls`` does; raises FedefmError."""
        with self._lock_of_walls:
            self._fine[0], self._kinds[0] = strip[list(OUTLINE_CHANNELS)], kinds
            try:
                self._of_walls.infer()
            except RuntimeError as error:
                raise FedefmError(f'OpenVINO cannot look for walls: {one_line(error)}') from error
            return self._of_walls.get_output_tensor(0).data[0].copy()


def compile_pieces(weights: dict[str, np.ndarray]) -> OpenVinoPieces:
    """Return the compiled network of weights that were checked; raises FedefmError."""
    try:
        return OpenVinoPieces(weights)
    except Exception as error:  # OpenVINO has its own types
        raise FedefmError(f'OpenVINO cannot compile it: {one_line(error)}') from error


def _graph(weights: dict[str, np.ndarray]) -> openvino.Model:
    strip = ops.parameter([1, CHANNELS, 2 * HALF + 1, LENGTH], np.uint8, 'strip')
    overview = ops.parameter([1, LAYERS, SIDE, SIDE], np.uint8, 'overview')
    facts = ops.parameter([1, FACTS], np.float32, 'facts')
    found = scaled = _scaled(ops.convert(strip, 'f32'))
    for place, stride in enumerate(STRIDES):
        found = _convolved(found, weights, f'layers.{place}.0', stride, (1, 1))
    # What is left of the rows lies in the channels: one row that is as high as the kernel.
    along = _convolved(found, weights, 'along.0', (1, 1), (0, 1))
    there = ops.max_pool(_channel(scaled, CHANNELS - 1, row=0), [1, COLUMNS], [1, 1], [0, 0],
                         [0, 0], [1, COLUMNS]).output(0)
    there = _where_positive(there)
    along = ops.multiply(along, there)
    sides = np.array([2, 3])
    mean = ops.divide(ops.reduce_sum(along, sides), ops.reduce_sum(there, sides))
    seen = ops.concat([mean, ops.reduce_max(along, sides), facts], 1)
    hidden = ops.relu(ops.add(_product(seen, weights, 'facts'), _around(overview, weights)))
    # (1, places, channels)
    known = ops.concat([
        ops.transpose(ops.squeeze(along, np.array([2])), np.array([0, 2, 1])),
        ops.broadcast(ops.unsqueeze(hidden, np.array([1])),
                      np.array([1, LENGTH // COLUMNS, len(weights['facts.bias'])]))], 2)
    part = ops.relu(_product(known, weights, 'part'))
    places = ops.reshape(_product(part, weights, 'part_answer'),
                         np.array([-1, len(ANSWERS)]), False)
    answers = _product(hidden, weights, 'answer'), places
    return openvino.Model([ops.softmax(answer, -1) for answer in answers],
                          [strip, overview, facts], 'piece_judge')


def _around(overview, weights: dict[str, np.ndarray]):
    """Return what the overview adds to what is known of the whole."""
    found = ops.multiply(ops.convert(overview, 'f32'), np.float32(1 / 255))
    for place in range(len(OVERVIEW_WIDTHS) - 1):
        found = _convolved(found, weights, f'overview.{place}.0', (2, 2), (1, 1))
    flat = ops.reshape(found, np.array([1, -1]), False)
    return _product(ops.relu(_product(flat, weights, 'context')), weights, 'of_context')


def _graph_of_end(weights: dict[str, np.ndarray]) -> openvino.Model:
    view = ops.parameter([1, END_LAYERS, *VIEW], np.uint8, 'view')
    gain = np.array([1 / GREYS, 1 / 255], np.float32).reshape(1, -1, 1, 1)
    shift = np.array([-MEAN_GREY / GREYS, 0], np.float32).reshape(1, -1, 1, 1)
    found = ops.add(ops.multiply(ops.convert(view, 'f32'), gain), shift)
    for place, stride in enumerate(END_STRIDES):
        found = _convolved(found, weights, f'ends.{place}.0', stride, (1, 1))
    flat = ops.reshape(found, np.array([1, -1]), False)
    said = _product(ops.relu(_product(flat, weights, 'end')), weights, 'tip')
    near, where = ops.split(said, np.int64(1), 3).outputs()[0], ops.slice(
        said, np.array([1]), np.array([3]), np.array([1]), np.array([1]))
    return openvino.Model([ops.concat([ops.sigmoid(near), where], 1)], [view], 'piece_end')


def _graph_of_walls(weights: dict[str, np.ndarray]) -> openvino.Model:
    channels = len(OUTLINE_CHANNELS)
    strip = ops.parameter([1, channels, 2 * HALF + 1, LENGTH], np.uint8, 'strip')
    kinds = ops.parameter([1, LENGTH], np.uint8, 'kinds')
    scaled = _scaled(ops.convert(strip, 'f32'), channels)
    wire, catheter = (ops.convert(ops.equal(kinds, np.uint8(label)), 'f32')
                      for label in (labels.GUIDEWIRE, labels.CATHETER))
    kind = ops.broadcast(ops.unsqueeze(ops.subtract(wire, catheter), np.array([1, 2])),
                         np.array([1, 1, 2 * HALF + 1, LENGTH]))
    found = ops.concat([scaled, kind], 1)
    for place, stride in enumerate(OUTLINE_STRIDES):
        found = _convolved(found, weights, f'outline.{place}.0', stride, (1, 1))
    along = _convolved(found, weights, 'outline_along.0', (1, 1), (0, 1))
    there = _where_positive(ops.max_pool(
        _channel(scaled, channels - 1, row=0), [1, GRAIN], [1, 1], [0, 0], [0, 0],
        [1, GRAIN]).output(0))
    along = ops.multiply(along, there)
    sides = np.array([2, 3])
    mean = ops.divide(ops.reduce_sum(along, sides), ops.reduce_sum(there, sides))
    known = ops.relu(_product(ops.concat([mean, ops.reduce_max(along, sides)], 1), weights,
                              'outline_known'))
    known = ops.broadcast(ops.unsqueeze(known, np.array([2, 3])),
                          np.array([1, len(weights['outline_known.bias']), 1, LENGTH // GRAIN]))
    more = _convolved(ops.concat([along, known], 1), weights, 'outline_more.0', (1, 1), (0, 1))
    places = ops.transpose(ops.squeeze(more, np.array([2])), np.array([0, 2, 1]))
    return openvino.Model([_product(places, weights, 'walls')], [strip, kinds], 'piece_walls')


def _scaled(strip, channels: int = CHANNELS):
    """Return a strip as the network takes it."""
    channel = np.arange(channels).reshape(1, -1, 1, 1)
    where = channel == channels - 1
    grey = (channel % 3 == 0) & ~where
    gain = np.where(grey, 1 / GREYS, np.where(where, 1 / 510, 1 / 255)).astype(np.float32)
    # Where the strip has ended, it is 0, as grey levels' mean is.
    shift = np.where(grey, -MEAN_GREY / GREYS, np.where(where, 0.5, 0.0)).astype(np.float32)
    there = _where_positive(_channel(strip, 0))
    return ops.add(ops.multiply(strip, gain), ops.multiply(there, shift))


def _channel(image, number: int, row: int | None = None):
    first, last = [number, row or 0], [number + 1, 2 ** 31 if row is None else row + 1]
    return ops.slice(image, np.array(first), np.array(last), np.array([1, 1]), np.array([1, 2]))


def _where_positive(image):
    return ops.convert(ops.greater(image, np.float32(0)), 'f32')


def _convolved(image, weights: dict[str, np.ndarray], name: str, stride: tuple[int, int],
               around: tuple[int, int]):
    weight, bias = weights[f'{name}.weight'], weights[f'{name}.bias']
    if weight.ndim == 3:
        # (outputs, channels times rows, columns)
        rows = weight.shape[1] // image.get_output_partial_shape(0)[1].get_length()
        weight = weight.reshape(len(weight), -1, rows, weight.shape[-1])
    found = ops.convolution(image, weight, list(stride), list(around), list(around), [1, 1])
    return ops.relu(ops.add(found, bias.reshape(1, -1, 1, 1)))


def _product(values, weights: dict[str, np.ndarray], name: str):
    found = ops.matmul(values, weights[f'{name}.weight'], False, True)
    return ops.add(found, weights[f'{name}.bias'])
