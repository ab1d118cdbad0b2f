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

from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.piece_network import COLUMNS, ROWS, STRIDES
from fedefm_ros.segmentation.runtimes.openvino import request_of
from fedefm_ros.segmentation.runtimes.runtime import one_line
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, GREYS, HALF, LENGTH, MEAN_GREY

import numpy as np

import openvino
from openvino import opset13 as ops


class OpenVinoPieces:
    """One infer request: a piece at a time, all threads for each, whoever asks."""

    def __init__(self, weights: dict[str, np.ndarray], threads: int):
        """Compile the network of weights that were checked."""
        self._request = request_of(_graph(weights), threads, 'f32')
        self._lock = threading.Lock()
        self._strip = np.zeros((1, CHANNELS, 2 * HALF + 1, LENGTH), np.uint8)
        self._facts = np.zeros((1, FACTS), np.float32)
        self._request.set_input_tensor(0, openvino.Tensor(self._strip, True))
        self._request.set_input_tensor(1, openvino.Tensor(self._facts, True))

    def __call__(self, strip: np.ndarray, facts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities as ``PieceNetwork`` does; raises FedefmError."""
        with self._lock:
            self._strip[0], self._facts[0] = strip, facts
            try:
                self._request.infer()
            except RuntimeError as error:
                raise FedefmError(f'OpenVINO cannot judge a piece: {one_line(error)}') from error
            whole, places = (self._request.get_output_tensor(n).data[0].copy() for n in (0, 1))
        return whole, places


def compile_pieces(weights: dict[str, np.ndarray], threads: int) -> OpenVinoPieces:
    """Return the compiled network of weights that were checked; raises FedefmError."""
    try:
        return OpenVinoPieces(weights, threads)
    except Exception as error:  # OpenVINO has its own types
        raise FedefmError(f'OpenVINO cannot compile it: {one_line(error)}') from error


def _graph(weights: dict[str, np.ndarray]) -> openvino.Model:
    strip = ops.parameter([1, CHANNELS, 2 * HALF + 1, LENGTH], np.uint8, 'strip')
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
    hidden = ops.relu(_product(seen, weights, 'facts'))
    # (1, places, channels)
    known = ops.concat([
        ops.transpose(ops.squeeze(along, np.array([2])), np.array([0, 2, 1])),
        ops.broadcast(ops.unsqueeze(hidden, np.array([1])),
                      np.array([1, LENGTH // COLUMNS, len(weights['facts.bias'])]))], 2)
    part = ops.relu(_product(known, weights, 'part'))
    answers = _product(hidden, weights, 'answer'), _product(part, weights, 'part_answer')
    return openvino.Model([ops.softmax(answer, -1) for answer in answers], [strip, facts],
                          'piece_judge')


def _scaled(strip):
    """Return a strip as the network takes it."""
    channel = np.arange(CHANNELS).reshape(1, -1, 1, 1)
    where = channel == CHANNELS - 1
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
        weight = weight.reshape(len(weight), -1, ROWS, weight.shape[-1])
    found = ops.convolution(image, weight, list(stride), list(around), list(around), [1, 1])
    return ops.relu(ops.add(found, bias.reshape(1, -1, 1, 1)))


def _product(values, weights: dict[str, np.ndarray], name: str):
    found = ops.matmul(values, weights[f'{name}.weight'], False, True)
    return ops.add(found, weights[f'{name}.bias'])
