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

"""`judge collect`: what models find in simulated frames, straightened, and what it is."""

from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands import train_config
from fedefm_ros.errors import FedefmError

import typer


def collect(
    out: Annotated[Path, typer.Option(
        '-o', '--out', help='Folder for the pieces; one that holds some goes on.')],
    frames: Annotated[int, typer.Option(min=1, help='Frames to look at; about 2 pieces and '
                                        '0.2 MB a frame.')] = 20000,
    models: Annotated[list[str] | None, typer.Option(
        '--model', metavar='MODEL', help='A .safetensors file or a shipped name; several take '
        'turns, so that the judge does not depend on one. Default: realtime.')] = None,
    seed: Annotated[int, typer.Option(min=0, help='Decides the frames.')] = 9_000_001,
    scenes: Annotated[list[Path] | None, typer.Option(
        metavar='FILE', help="Settings of a kind of simulated frames in place of that kind's "
        'own, such as config/simulation/training/human.yaml; give one for each kind.')] = None,
    data: Annotated[Path | None, typer.Option(
        help="Data set in AIOZ's layout, of the models' input size, whose training images are "
        'looked at in place of simulated frames; `./run collect` makes one.')] = None,
    runtime: Annotated[str, typer.Option(help='openvino, onnxruntime or torch.')] = 'openvino',
    precision: Annotated[str, typer.Option(help='f32, bf16 or int8.')] = 'f32',
    threads: Annotated[int, typer.Option(min=1, help='CPU threads of the models.')] = 1,
    json_file: output.JsonOption = None,
):
    """
    Collect the pieces that models find in simulated frames, straightened, with what each is.

    Stop it at will: the same command goes on. Several may run at once, with a seed and a folder
    each.
    """
    import cv2

    from fedefm_ros.learning.datasets import open_dataset
    from fedefm_ros.learning.pieces import collect as collect_pieces
    from fedefm_ros.learning.pieces import Collection
    from fedefm_ros.learning.pieces import MaskedImages
    from fedefm_ros.learning.pieces import Pieces
    from fedefm_ros.learning.pieces import simulated
    from fedefm_ros.segmentation.engine import model_path
    from fedefm_ros.segmentation.piece_network import ANSWERS
    from fedefm_ros.segmentation.runtimes.cache import graph_of
    from fedefm_ros.segmentation.runtimes.selection import select

    cv2.setNumThreads(1)
    paths = [model_path(model) for model in models or ['realtime']]
    graphs = [graph_of(path) for path in paths]
    kinds = {(graph.spec.backbone, str(graph.spec.config), graph.spec.input_size,
              graph.spec.normalisation) for graph in graphs}
    if len(kinds) > 1:
        raise FedefmError('the models are not of one architecture, input size and normalisation')
    if 'auto' in (runtime, precision):
        raise FedefmError("auto: what is collected may not depend on the machine's speed; name "
                          '--runtime and --precision')
    settings, scene_hashes = train_config.settings_of(scenes)
    images = open_dataset('aioz', data) if data else ()
    if data:
        frames = min(frames, len(images))
    spec = graphs[0].spec
    collection = Collection(
        seed, tuple(graph.checkpoint_sha256[:16] for graph in graphs), precision, runtime,
        scene_hashes, train_config.hash_of_images(images), spec.backbone, spec.config,
        spec.input_size)
    runtimes = [select(graph, path, runtime=runtime, precision=precision, threads=threads)[0]
                for graph, path in zip(graphs, paths)]
    with output.progress('frames', frames) as advance:
        collect_pieces(out, collection, runtimes, frames,
                       MaskedImages(images) if data else simulated(collection, settings),
                       spec.normalisation,
                       lambda done, pieces: advance(done, f'{pieces} pieces'))
    found = Pieces([out])
    rows = [[name, int((found.answers == label).sum()),
             float(found.lengths[found.answers == label].sum())]
            for label, name in enumerate(ANSWERS)]
    output.table(f'{len(found)} pieces of {found.frames} frames in {out}',
                 ['what it is', 'pieces', 'length, px'], rows)
    output.write_json({'folder': out, 'frames': found.frames,
                       'pieces': {row[0]: row[1] for row in rows}}, json_file)
