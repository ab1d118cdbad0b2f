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

"""OpenVINO on the CPU."""

import functools
import importlib.util
from pathlib import Path

from fedefm_ros.segmentation.preprocess import Prepared
from fedefm_ros.segmentation.runtimes.cache import graph_of
from fedefm_ros.segmentation.runtimes.graph import Graph, grey_coefficients

import numpy as np

import openvino


# One for the process: making it loads the CPU plugin.
core = functools.cache(openvino.Core)


def precisions(name: str) -> tuple[str, ...]:
    """Return 'f32', 'bf16' where the CPU has instructions for it, 'int8' where it can be made."""
    found = ('f32', 'bf16') if _has_bf16() else ('f32',)
    return (*found, 'int8') if importlib.util.find_spec('onnxruntime') else found


def _has_bf16() -> bool:
    return 'BF16' in core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


def request_of(model: openvino.Model, threads: int, precision: str) -> openvino.InferRequest:
    """Return a network compiled for one inference at a time, on so many cores."""
    return core().compile_model(model, 'CPU', {
        'INFERENCE_PRECISION_HINT': precision,  # bf16 is the silent default where there is any
        'INFERENCE_NUM_THREADS': threads,
        'NUM_STREAMS': 1,
        'PERFORMANCE_HINT': 'LATENCY',
        # Pinned threads of several processes meet on the same cores.
        'ENABLE_CPU_PINNING': False,
    }).create_infer_request()


class OpenVinoRuntime:
    """One infer request that works on memory it was given once."""

    name = 'openvino'

    def __init__(self, graph: Graph, threads: int, precision: str):
        """Compile a graph."""
        self.threads = threads
        self.precision = precision
        if precision == 'int8':  # of the convolutions; this is of all else
            precision = 'bf16' if _has_bf16() else 'f32'
        self._request = request_of(core().read_model(graph.onnx), threads, precision)
        size = graph.spec.input_size
        self._image = np.zeros((size, size), np.uint8)
        self._labels = np.zeros((size, size), np.uint8)
        self._probability = np.zeros((size, size), np.uint8)
        self._grey = np.zeros(2, np.float32)
        self._request.set_tensor('image', openvino.Tensor(self._image[None, None], True))
        self._request.set_tensor('grey', openvino.Tensor(self._grey, True))
        self._request.set_tensor('labels', openvino.Tensor(self._labels[None, None], True))
        self._request.set_tensor('probability',
                                 openvino.Tensor(self._probability[None, None], True))

    def __call__(self, prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and probability, (S, S) uint8."""
        np.copyto(self._image, prepared.image)
        self._grey[:] = grey_coefficients(prepared.low, prepared.high)
        self._request.infer()
        return self._labels, self._probability


def compile_graph(name: str, graph: Graph, path: Path, threads: int,
                  precision: str) -> OpenVinoRuntime:
    """Return the compiled graph; in int8 it may have to be made first."""
    if precision == 'int8':
        graph = graph_of(path, background=True, int8=True)
    return OpenVinoRuntime(graph, threads, precision)
