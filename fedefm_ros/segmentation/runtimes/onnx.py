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

"""ONNX Runtime on the CPU."""

from pathlib import Path

from fedefm_ros.segmentation.preprocess import Prepared
from fedefm_ros.segmentation.runtimes.graph import Graph, grey_coefficients

import numpy as np

import onnxruntime


def precisions(name: str) -> tuple[str, ...]:
    """Return 'f32'; its CPU kernels know no bf16."""
    return ('f32',)


class OnnxRuntime:
    """A session bound to memory it was given once."""

    name = 'onnxruntime'
    precision = 'f32'

    def __init__(self, graph: Graph, threads: int):
        """Compile a graph."""
        self.threads = threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait take the cores from the other nodes.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        self._session = onnxruntime.InferenceSession(
            graph.onnx, options, providers=['CPUExecutionProvider'])
        size = graph.spec.input_size
        self._image, self._labels, self._probability = (
            np.zeros((1, 1, size, size), np.uint8) for _ in range(3))
        self._binding = self._session.io_binding()
        self._grey = np.zeros(2, np.float32)
        for name, array in (('image', self._image), ('grey', self._grey)):
            self._binding.bind_input(name, 'cpu', 0, array.dtype, array.shape, array.ctypes.data)
        for output, array in (('labels', self._labels), ('probability', self._probability)):
            self._binding.bind_output(output, 'cpu', 0, np.uint8, array.shape, array.ctypes.data)

    def __call__(self, prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and probability, (S, S) uint8."""
        np.copyto(self._image[0, 0], prepared.image)
        self._grey[:] = grey_coefficients(prepared.low, prepared.high)
        self._session.run_with_iobinding(self._binding)
        return self._labels[0, 0], self._probability[0, 0]


def compile_graph(name: str, graph: Graph, path: Path, threads: int,
                  precision: str) -> OnnxRuntime:
    """Return the compiled graph."""
    return OnnxRuntime(graph, threads)
