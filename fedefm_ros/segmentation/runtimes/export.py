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
From a checkpoint to a graph; the only step that needs torch, so it may run as its own process.

``python -m fedefm_ros.segmentation.runtimes.export CHECKPOINT GRAPH [background] [int8]`` prints
nothing and exits 0, or prints the reason on one line and exits 1.
"""

import inspect
import io
import os
from pathlib import Path
import sys
import warnings

from fedefm_ros import labels
from fedefm_ros.backbones.checkpoint import Checkpoint, load_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.runtimes.graph import Graph
from fedefm_ros.segmentation.runtimes.graph import grey_coefficients
from fedefm_ros.segmentation.runtimes.picture import line_picture
from fedefm_ros.segmentation.runtimes.runtime import one_line

import torch
from torch import nn

_OPSET = 17


class Deployable(nn.Module):
    """A network with normalisation before it and the choice of the label behind it."""

    def __init__(self, network: nn.Module, clip: tuple[float, float]):
        """Wrap a network of three output channels: background, catheter, guidewire."""
        super().__init__()
        self.network = network
        self.clip = clip

    def logits(self, image: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
        """Return (B, 3, S, S) float for (B, 1, S, S) uint8 and the two grey coefficients."""
        scaled = image.to(torch.float32) * grey[0] + grey[1]
        return self.network(scaled.clamp(*self.clip))

    def forward(self, image: torch.Tensor,
                grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return labels and probability, (B, 1, S, S) uint8 each."""
        logits = self.logits(image, grey)
        # Written out instead of argmax and softmax over channels: a third faster in ONNX Runtime.
        background, catheter, guidewire = logits[:, :1], logits[:, 1:2], logits[:, 2:3]
        best = torch.maximum(catheter, guidewire)
        label = torch.where(best > background, torch.where(guidewire > catheter, 2, 1), 0)
        either = best + torch.log1p(torch.exp(-(catheter - guidewire).abs()))
        probability = torch.sigmoid(either - background)
        return label.to(torch.uint8), torch.round(255.0 * probability).to(torch.uint8)


def deployable(checkpoint: Checkpoint) -> Deployable:
    """Return a checkpoint's network wrapped for use, in evaluation mode."""
    normalisation = checkpoint.spec.normalisation
    clip = (normalisation.clip_low, normalisation.clip_high)
    return Deployable(checkpoint.network(), clip).eval()


def export(checkpoint: Checkpoint) -> Graph:
    """
    Return the graph of a checkpoint.

    Raises FedefmError where the network does not give three finite logits a pixel or torch
    cannot export it.
    """
    if tuple(checkpoint.spec.labels) != labels.NAMES:
        raise FedefmError(f'{checkpoint.path} is a model of {", ".join(checkpoint.spec.labels)}; '
                          f'a segmentation model is of {", ".join(labels.NAMES)}')
    size = checkpoint.spec.input_size
    module = deployable(checkpoint)
    prepared = prepare(line_picture(size), size, checkpoint.spec.normalisation)
    inputs = (torch.from_numpy(prepared.image)[None, None],
              torch.from_numpy(grey_coefficients(prepared.low, prepared.high)))
    with torch.inference_mode():
        logits = module.logits(*inputs)
        if tuple(logits.shape) != (1, 3, size, size):
            raise FedefmError(
                f'{checkpoint.path}: the network gives {tuple(logits.shape)} for a picture of '
                f'{size} x {size}; (1, 3, {size}, {size}) was expected')
        if not bool(logits.isfinite().all()):
            raise FedefmError(f'{checkpoint.path}: the network gives numbers that are not finite '
                              'for an ordinary picture; it must be trained anew')
        found, _ = module(*inputs)
    return Graph(_to_onnx(module, inputs, checkpoint.path), checkpoint.spec, checkpoint.sha256,
                 found[0, 0].numpy())


def export_as(checkpoint: Checkpoint, int8: bool) -> Graph:
    """Return the graph of a checkpoint, quantised where asked for; raises FedefmError."""
    graph = export(checkpoint)
    if not int8:
        return graph
    from fedefm_ros.segmentation.runtimes.quantise import quantise
    return quantise(graph)


def _to_onnx(module: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path) -> bytes:
    # The tracing exporter: 0.2 s against 1.5 s of the dynamo one for a graph of equal speed, and
    # it needs no onnxscript. The keyword came with torch 2.5, where the default was still this.
    arguments = {'opset_version': _OPSET, 'input_names': ['image', 'grey'],
                 'output_names': ['labels', 'probability']}
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        arguments['dynamo'] = False
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter('ignore')  # deprecation and tracing notes, meant for developers
            torch.onnx.export(module, inputs, buffer, **arguments)
    except Exception as error:  # the exporter's own errors have no common type
        raise FedefmError(f'{path}: torch {torch.__version__} cannot export this network: '
                          f'{one_line(error)}') from error
    return buffer.getvalue()


def main(arguments: list[str]) -> int:
    """Export one checkpoint to a graph file."""
    checkpoint, target, *words = arguments
    if 'background' in words:
        os.nice(10)
    try:
        graph = export_as(load_checkpoint(checkpoint), 'int8' in words)
        write_atomically(Path(target), graph.to_bytes())
    except FedefmError as error:
        print(error)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
