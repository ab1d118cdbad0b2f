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
A graph in 8 bits: quantised after training, its ranges taken from simulated frames.

Convolutions compute in int8 with a scale a channel, but for those at the two ends of the network:
they work on the most pixels and the fewest channels, gain little, and lose most of the thin wires.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
import tempfile

from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.runtimes.graph import Graph
from fedefm_ros.segmentation.runtimes.graph import grey_coefficients

import numpy as np

import onnx

from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization import QuantFormat
from onnxruntime.quantization import quantize_static
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.shape_inference import quant_pre_process

#: Frames that the ranges are taken from, and their seed: neither trained nor scored on.
FRAMES = 48
SEED = 700_001
#: Convolutions at either end that stay as they are.
_FIRST, _LAST = 2, 4


def quantise(graph: Graph) -> Graph:
    """
    Return the same network in int8, some ten seconds later; its reference stays that of f32.

    The same graph gives the same result on the same kind of processor.
    """
    with tempfile.TemporaryDirectory(prefix='fedefm_ros-') as folder:
        plain, tidy, small = (Path(folder) / name for name in ('f32', 'tidy', 'int8'))
        plain.write_bytes(graph.onnx)
        # All shapes are fixed, and the symbolic inference fails at a Swin's windows.
        quant_pre_process(plain, tidy, skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(tidy).graph.node if node.op_type == 'Conv']
        quantize_static(
            tidy, small, _Frames(graph), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=['Conv'],
            nodes_to_exclude=convolutions[:_FIRST] + convolutions[-_LAST:])
        return replace(graph, onnx=small.read_bytes())


class _Frames(CalibrationDataReader):
    """Frames as the graph takes them, one by one."""

    def __init__(self, graph: Graph):
        self._inputs = _inputs(graph)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next frame's inputs, None after the last."""
        return next(self._inputs, None)


def _inputs(graph: Graph) -> Iterator[dict[str, np.ndarray]]:
    from fedefm_ros.learning.simulated import FRAMES_PER_SCENE
    from fedefm_ros.learning.simulated import SimulatedFrames
    frames = SimulatedFrames(1, SEED)
    spec = graph.spec
    for number in range(FRAMES):
        image, _ = frames.frame(number * FRAMES_PER_SCENE)
        prepared = prepare(image, spec.input_size, spec.normalisation)
        yield {'image': prepared.image[None, None],
               'grey': grey_coefficients(prepared.low, prepared.high)}
