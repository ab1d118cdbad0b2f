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

"""torch itself: on CUDA where there is a card, else eagerly on the CPU."""

from pathlib import Path

from fedefm_ros.arithmetic import has_bf16
from fedefm_ros.backbones.checkpoint import load_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.preprocess import Prepared
from fedefm_ros.segmentation.runtimes.export import deployable
from fedefm_ros.segmentation.runtimes.graph import Graph, grey_coefficients

import numpy as np

import torch


def precisions(name: str) -> tuple[str, ...]:
    """Return 'f32', and 'bf16' where the device computes in it rather than imitates it."""
    if name == 'cuda':
        _need_cuda()
    return ('f32', 'bf16') if has_bf16('cuda' if name == 'cuda' else 'cpu') else ('f32',)


class TorchRuntime:
    """The network as torch runs it, channels last."""

    def __init__(self, name: str, graph: Graph, path: Path, threads: int, precision: str):
        """Load the weights; raises FedefmError where there is no CUDA device."""
        if name == 'cuda':
            _need_cuda()
        checkpoint = load_checkpoint(path)
        if checkpoint.sha256 != graph.checkpoint_sha256:
            raise FedefmError(f'{path} changed while it was read; try again')
        self.name = name
        self.threads = threads
        self.precision = precision
        self._device = torch.device('cuda' if name == 'cuda' else 'cpu')
        self._module = deployable(checkpoint).to(self._device,
                                                 memory_format=torch.channels_last)
        torch.set_num_threads(threads)

    def __call__(self, prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and probability, (S, S) uint8."""
        with torch.inference_mode(), torch.autocast(
                self._device.type, torch.bfloat16, enabled=self.precision == 'bf16'):
            image = torch.from_numpy(prepared.image)[None, None].to(self._device)
            grey = torch.from_numpy(grey_coefficients(prepared.low, prepared.high))
            labels, probability = self._module(image, grey.to(self._device))
            # Copying to the CPU waits until the device is done.
            return labels[0, 0].cpu().numpy(), probability[0, 0].cpu().numpy()


def compile_graph(name: str, graph: Graph, path: Path, threads: int,
                  precision: str) -> TorchRuntime:
    """Return the network of the graph's checkpoint, ready to run."""
    return TorchRuntime(name, graph, path, threads, precision)


def _need_cuda() -> None:
    if not torch.cuda.is_available():
        raise FedefmError("runtime 'cuda' was asked for, but torch "
                          f'{torch.__version__} finds no CUDA device; check the driver and that '
                          'torch is a CUDA build, or choose openvino, onnxruntime or torch')
