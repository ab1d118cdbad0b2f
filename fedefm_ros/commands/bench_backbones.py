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

"""`bench backbones`: accuracy and speed of segmentation models beside the UNet, in one table."""

from collections.abc import Sequence
from pathlib import Path
import statistics
import time
from typing import Annotated

from fedefm_ros import labels
from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError
from fedefm_ros.simulation.anatomy import KINDS

import numpy as np

import typer


def backbones(
    model: Annotated[list[str], typer.Option(
        help='A .safetensors file or a shipped name; several are compared.')] = ['realtime'],
    frames: Annotated[int, typer.Option(min=1, help='Simulated frames of each kind.')] = 25,
    kinds: Annotated[str, typer.Option(help='Of frames, by comma.')] = ','.join(KINDS),
    size: Annotated[int, typer.Option(help='Side of the input that is timed in torch.')] = 512,
    repeats: Annotated[int, typer.Option(min=1, help='Inferences, taken in turns.')] = 15,
    threads: Annotated[int, typer.Option(min=1, help='Threads of torch.')] = 2,
    json_file: output.JsonOption = None,
):
    """
    Compare segmentation models: Dice on the same frames, and time beside the UNet of width 64.

    Dice is of the pixels of all frames together, on the engine with torch. Timed is the bare
    network in eager torch in f32, all at the same input size and in turns; the UNet's time
    does not depend on its weights, so it is there whether or not one of that kind is given. The
    last column is the same network as the station runs it, at the model's own input size.
    """
    import torch

    from fedefm_ros.backbones import registry
    from fedefm_ros.backbones.checkpoint import load_checkpoint
    from fedefm_ros.evaluation import metrics
    from fedefm_ros.segmentation.engine import model_path

    if size % 32:
        raise FedefmError(f'--size {size} must be a multiple of 32')
    paths = [model_path(name) for name in model]
    torch.set_num_threads(threads)
    checkpoints = [load_checkpoint(path) for path in paths]
    networks = [checkpoint.network().eval() for checkpoint in checkpoints]
    rows = [{'model': path.stem, 'backbone': checkpoint.spec.backbone,
             'parameters': sum(value.numel() for value in network.parameters())}
            for path, checkpoint, network in zip(paths, checkpoints, networks)]
    unet = registry.create('unet').eval()
    with output.progress('scoring', len(kinds.split(',')) * frames) as advance:
        confusions = _confusions(paths, kinds.split(','), frames, advance)
    with output.progress('timing', repeats) as advance:
        eager = _eager([unet, *networks], size, repeats, advance)
    for row, path, counts, seconds in zip(rows, paths, confusions, eager[1:]):
        row |= {f'dice_{labels.NAMES[label]}': metrics.dice(
            counts[label, label], counts[:, label].sum(), counts[label].sum())
            for label in (labels.CATHETER, labels.GUIDEWIRE)}
        row |= {'eager_ms': 1e3 * seconds, 'times_faster_than_unet': eager[0] / seconds,
                'openvino_ms': _openvino_ms(path, repeats)}
    output.table(f'{frames} frames of each kind ({kinds}); UNet of width 64 in eager torch: '
                 f'{1e3 * eager[0]:.0f} ms', [
                     'model', 'backbone', 'parameters, M', 'catheter Dice', 'guidewire Dice',
                     'eager ms', 'times faster than UNet', 'OpenVINO ms'],
                 [[row['model'], row['backbone'], row['parameters'] / 1e6, row['dice_catheter'],
                   row['dice_guidewire'], row['eager_ms'], row['times_faster_than_unet'],
                   row['openvino_ms']] for row in rows])
    output.write_json({'rows': rows, 'frames': frames, 'kinds': kinds, 'size': size,
                       'unet_eager_ms': 1e3 * eager[0], 'threads': threads}, json_file)


def _confusions(models: Sequence[Path], kinds: Sequence[str], frames: int, advance
                ) -> np.ndarray:
    """Return pixels by model, true and found label, (models, 3, 3), of all frames together."""
    from fedefm_ros.evaluation import metrics
    from fedefm_ros.evaluation.cases import open_cases
    from fedefm_ros.segmentation.engine import SegmentationEngine
    engines = [SegmentationEngine.open(model, runtime='torch', precision='auto',
                                       judge='none')  # of one of the architectures
               for model in models]
    counts, done = np.zeros((len(models), 3, 3)), 0
    for kind in kinds:
        for case in open_cases(f'simulator:{kind}', simulated=frames).frames:
            for of_model, engine in zip(counts, engines):
                try:
                    mask = engine.infer(case.image).mask
                except FedefmError:  # what the station would not show counts as nothing found
                    mask = np.zeros_like(case.mask)
                of_model += metrics.confusion(mask, case.mask)
            done += 1
            advance(done, kind)
    return counts


def _eager(networks: Sequence, size: int, repeats: int, advance) -> list[float]:
    """Return the median seconds of an inference of each network."""
    import torch
    image = torch.rand(1, 1, size, size)
    taken: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            for network, seconds in zip(networks, taken):
                began = time.perf_counter()
                network(image)
                seconds.append(time.perf_counter() - began)
            advance(repeat, '')
    return [statistics.median(seconds[1:]) for seconds in taken]  # the first makes caches


def _openvino_ms(model: Path, repeats: int) -> float:
    """Return the median ms of the engine's network on OpenVINO, NaN where that cannot run it."""
    from fedefm_ros.segmentation.engine import SegmentationEngine
    try:
        engine = SegmentationEngine.open(model, runtime='openvino', precision='auto')
    except FedefmError as error:
        output.say(f'{model.stem}: {error}')
        return float('nan')
    return float(np.median(engine.bare_inference_ms(repeats)))
