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

"""`export`: a segmentation model as an ONNX graph, for programs that are not of this package."""

from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer


def export(
    model: Annotated[str, typer.Argument(help='A .safetensors file or a shipped name.')],
    out: Annotated[Path, typer.Option('-o', '--out', help='ONNX file to write.')],
    int8: Annotated[bool, typer.Option(
        '--int8', help='Quantise its convolutions (needs OpenVINO).')] = False,
    json_file: output.JsonOption = None,
):
    """
    Export a segmentation model to ONNX.

    The graph takes image, (1, 1, S, S) uint8, and grey, (2,) float32: a and b of a * image + b,
    which makes 0 and 1 of the grey levels that the model is shown as such (1st and 99th
    percentile of the image's middle). It gives labels and probability of any instrument, 0 to
    255, both (1, 1, S, S) uint8. A station's masks have the judge's second look besides, which is
    not in it.
    """
    from fedefm_ros.files import write_atomically
    from fedefm_ros.segmentation.engine import model_path
    from fedefm_ros.segmentation.runtimes.cache import graph_of

    path = model_path(model)
    graph = graph_of(path, int8=int8)
    try:
        write_atomically(out, graph.onnx)
    except OSError as error:
        raise FedefmError(f'{out} cannot be written: {error.strerror or error}') from error
    size = graph.spec.input_size
    output.say(f'wrote {out}: {path.name}, {size} x {size}, '
               f'{"int8" if int8 else "f32"}, {len(graph.onnx) / 1e6:.1f} MB')
    output.write_json({'onnx': out, 'model_sha256': graph.checkpoint_sha256, 'input_size': size,
                       'min_confidence': graph.spec.min_confidence, 'int8': int8}, json_file)
