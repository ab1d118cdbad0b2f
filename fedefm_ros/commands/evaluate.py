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

"""`evaluate`: score models, or masks made before, on a recording, a data set or the simulator."""

from contextlib import ExitStack
from pathlib import Path
import time
from typing import Annotated

from fedefm_ros import __version__
from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer

_MODEL = 'realtime'


def evaluate(
    source: Annotated[str, typer.Argument(
        metavar='INPUT', help='A bag, DICOM file or folder, image, video, folder of images, data '
        'set (AIOZ, CathAction, Guide3D, images/ and masks/) or simulator:KIND (human, animal, '
        'phantom, simulation).')],
    against: Annotated[Path | None, typer.Option(
        '--against', '--labels', help='Ground truth: a label file (centreline JSON, Guide3D JSON, '
        'CVAT XML), a folder of masks, or a bag with ground_truth topics.')] = None,
    model: Annotated[list[str] | None, typer.Option(
        help='A .safetensors file or a shipped name; several are compared with the first. '
        f'[default: {_MODEL}]')] = None,
    recorded: Annotated[bool, typer.Option(
        '--recorded', help='Score the masks that the bag INPUT holds.')] = False,
    masks: Annotated[list[Path] | None, typer.Option(
        help='Score masks made before: a folder of `segment`, or a bag with masks.')] = None,
    runtime: output.RuntimeOption = 'auto',
    precision: Annotated[str, typer.Option(
        help='auto (as the node, by a measurement), f32, bf16 or int8.')] = 'auto',
    frames: Annotated[int, typer.Option(min=1, help='How many simulated frames.')] = 200,
    part: Annotated[str, typer.Option(help='Of a data set that has parts.')] = 'test',
    out: Annotated[Path | None, typer.Option(
        '-o', '--out', help='Folder for report.html, metrics.json, tables, pictures and '
        'video.')] = None,
    video: Annotated[bool, typer.Option(help='Write overlay.mp4, too.')] = True,
    resamples: Annotated[int, typer.Option(
        min=10, help='Bootstrap resamples for the intervals.')] = 1000,
    seed: Annotated[int, typer.Option(help='Of the bootstrap.')] = 20250519,
    json_file: output.JsonOption = None,
):
    """
    Score models, or masks that were made before, frame by frame.

    Models run on the engine that the node runs. With several contestants the first is what the
    others are compared with (models first, then the recorded masks, then --masks). Without ground
    truth only consistency from frame to frame is measured.
    """
    from fedefm_ros.commands.evaluate_results import Folder
    from fedefm_ros.commands.evaluate_results import json_of
    from fedefm_ros.commands.evaluate_results import print_tables
    from fedefm_ros.evaluation.cases import open_cases
    from fedefm_ros.evaluation.run import run
    from fedefm_ros.evaluation.summary import summary_of

    with ExitStack() as stack:
        cases = open_cases(source, against, frames, part)
        stack.callback(cases.close)
        contestants = _contestants(source, cases, model, recorded, masks or [], runtime, precision)
        for each in contestants:
            stack.callback(each.close)
        folder = Folder(out, [each.name for each in contestants], cases.rate, video) \
            if out else None
        with output.progress('scoring', cases.total) as advance:
            count = 0

            def show(case, shown):
                nonlocal count
                count += 1
                advance(count, '')
            outcome = run(cases.frames, contestants, [*(folder.watchers if folder else ()), show])
    if not outcome.frames:
        raise FedefmError(f'{source}: holds no frame')
    if against and not outcome.scored:
        raise FedefmError(f'{against} names no frame of {source}')
    for record in outcome.records:
        if record.missing == outcome.frames:
            raise FedefmError(f'{record.name}: has no mask for any of the {outcome.frames} frames '
                              f'of {source}')
    summary = summary_of(outcome, resamples, seed)
    facts = _facts(source, cases, outcome)
    figures = json_of(facts, summary, outcome)
    if folder:
        figures['pictures'] = folder.finish(facts, summary, outcome)
        figures['report'] = folder.path / 'report.html'
        output.write_json(figures, folder.path / 'metrics.json')
    print_tables(facts, summary)
    output.write_json(figures, json_file)


def _contestants(source, cases, models, recorded, masks, runtime, precision):
    from fedefm_ros.evaluation.contestants import BagContestant
    from fedefm_ros.evaluation.contestants import EngineContestant
    from fedefm_ros.evaluation.contestants import FolderContestant
    from fedefm_ros.imaging.bag_files import is_bag
    if not models and not recorded and not masks:
        models = [_MODEL]
    found = [EngineContestant(name, runtime, precision) for name in models or ()]
    bags = [(Path(source), 'recorded')] if recorded else []
    if recorded and cases.bag is None:
        raise FedefmError(f'{source} is no bag: --recorded scores the masks in a bag')
    for path in masks:
        if not path.exists():
            raise FedefmError(f'{path}: no such file or folder; --masks takes a folder of '
                              '`segment` or a bag')
        if is_bag(path):
            bags.append((path, path.stem))
        else:
            found.append(FolderContestant(path))
    for path, name in bags:
        if cases.bag is None:
            raise FedefmError(f'{path}: masks in a bag belong to images by their stamps, and '
                              f'{source} is no bag')
        found.append(BagContestant(path, Path(source), cases.bag.topic, name))
    for number, each in enumerate(found):
        same = sum(other.name == each.name for other in found[:number])
        if same:
            each.name = f'{each.name} ({same + 1})'
    return found


def _facts(source, cases, outcome):
    notes = []
    if outcome.derived_truth:
        notes.append(f'The truth of {outcome.derived_truth} frames is masks only: their '
                     'centrelines and tips were taken from the masks as the engine does it.')
    if cases.bag is not None:
        notes += cases.bag.losses
    return {'title': f'Evaluation of {Path(source).name}', 'input': source, 'truth': cases.truth,
            'frames': outcome.frames, 'scored': outcome.scored, 'notes': notes, 'files': [],
            'made': f'Made by fedefm_ros {__version__}, '
            f'{time.strftime("%Y-%m-%d %H:%M", time.localtime())}.'}
