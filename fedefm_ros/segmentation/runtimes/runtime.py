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

"""What every runtime is to the engine, and which ones there are."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Protocol

from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.preprocess import Prepared
from fedefm_ros.segmentation.runtimes.graph import Graph

import numpy as np

#: What may be asked for, beside 'auto'.
NAMES = ('openvino', 'onnxruntime', 'torch', 'cuda')
PRECISIONS = ('auto', 'f32', 'bf16', 'int8')

_MODULES = {'openvino': 'openvino', 'onnxruntime': 'onnx', 'torch': 'torch', 'cuda': 'torch'}
_PACKAGES = {'openvino': 'openvino', 'onnxruntime': 'onnxruntime', 'torch': 'torch',
             'cuda': 'torch'}


class Runtime(Protocol):
    """
    A compiled network.

    Not re-entrant: one call at a time. What a call returns is a view of the runtime's own memory
    and holds until the next call.
    """

    name: str
    precision: str
    """'f32', 'bf16' or 'int8'."""
    threads: int

    def __call__(self, prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and probability, (S, S) uint8, for a prepared image."""
        ...


def one_line(error: Exception) -> str:
    """Return another library's error as text for one line."""
    text = ' '.join(str(error).split())
    return text if len(text) <= 300 else f'{text[:150]} ... {text[-150:]}'


def installed(name: str) -> bool:
    """Return whether a runtime's package is there; imports nothing."""
    return importlib.util.find_spec(_PACKAGES[name]) is not None


def precisions(name: str) -> tuple[str, ...]:
    """Return what a runtime can compute in on this machine, 'f32' first."""
    return _module(name).precisions(name)


def compile_runtime(name: str, graph: Graph, path: Path, *, threads: int,
                    precision: str) -> Runtime:
    """
    Compile a graph.

    :param path: the checkpoint that the graph is of; torch reads the weights from it.
    :param threads: how many cores one inference may use, at least 1.
    :param precision: one of ``precisions(name)``.
    Raises FedefmError where the runtime or the precision is not to be had here.
    """
    if precision not in precisions(name):
        raise FedefmError(f'runtime {name!r} cannot compute in {precision!r} on this machine; '
                          f'it can in {", ".join(precisions(name))}')
    try:
        return _module(name).compile_graph(name, graph, path, threads, precision)
    except FedefmError:
        raise
    except Exception as error:  # each runtime has its own, unrelated types
        raise FedefmError(f'runtime {name!r} cannot compile {path}: {one_line(error)}') from error


def _module(name: str):
    if name not in NAMES:
        raise FedefmError(f'runtime {name!r} is not known; known are auto, {", ".join(NAMES)}')
    if not installed(name):
        raise FedefmError(f'runtime {name!r} is not installed; install the Python package '
                          f'{_PACKAGES[name]!r} or choose another runtime')
    return importlib.import_module(f'fedefm_ros.segmentation.runtimes.{_MODULES[name]}')
