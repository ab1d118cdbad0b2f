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
import hashlib
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
    common: Annotated[bool, typer.Option(
        '--common', help='Score only frames for which every contestant has a mask; models run on '
        'these alone, as the station did that skipped the others.')] = False,
    topic: Annotated[str, typer.Option(help='Images of a bag; by default found.')] = '',
    mask_topic: Annotated[str, typer.Option(
        metavar='TOPIC', help='Masks that --recorded scores; by default segmentation/mask of the '
        "images' station.")] = '',
    runtime: output.RuntimeOption = 'auto',
    precision: Annotated[str, typer.Option(
        help='auto (of a bag: as its station had the model; else as the node, by a measurement), '
        'f32, bf16 or int8.')] = 'auto',
    min_confidence: Annotated[list[float] | None, typer.Option(
        min=0.0, max=0.999, help='How sure the judge, or without one the model, must be of a '
        'piece of foreground to keep it (the judge of one of 80 px of the network, longer ones '
        'need less); several are compared with the first. By default as these say.')] = None,
    judge: Annotated[list[str] | None, typer.Option(
        help='Of the pieces that a model finds: a .safetensors file, none, or auto (the shipped '
        'one where it is made for the architecture, but none of a bag whose station had none, '
        'unless --runtime or --precision is named); several are compared with the first.')
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help='How many simulated frames.')] = 200,
    part: Annotated[str, typer.Option(help='Of a data set that has parts.')] = 'test',
    out: Annotated[Path | None, typer.Option(
        '-o', '--out', help='Folder for report.html, metrics.json, tables, pictures and '
        'video.')] = None,
    video: Annotated[bool, typer.Option(help='Write overlay.mp4, too.')] = True,
    resamples: Annotated[int, typer.Option(
        min=10, help='Bootstrap resamples for the intervals.')] = 1000,
    seed: Annotated[int, typer.Option(min=0, help='Of the bootstrap.')] = 20250519,
    json_file: output.JsonOption = None,
):
    """
    Score models, or masks that were made before, frame by frame.

    Models run on the engine that the node runs. With several contestants the first is what the
    others are compared with (models first, then --masks folders, then bags). Without ground
    truth only consistency from frame to frame is measured.
    """
    from fedefm_ros.commands.evaluate_results import Folder
    from fedefm_ros.commands.evaluate_results import json_of
    from fedefm_ros.commands.evaluate_results import print_tables
    from fedefm_ros.evaluation.cases import open_cases
    from fedefm_ros.evaluation.run import run
    from fedefm_ros.evaluation.summary import summary_of

    with ExitStack() as stack:
        cases = open_cases(source, against, frames, part, topic)
        stack.callback(cases.close)
        contestants = _contestants(source, cases, model, recorded, mask_topic, masks or [],
                                   runtime, precision, min_confidence or [None],
                                   judge or ['auto'])
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
            outcome = run(cases.frames, contestants,
                          [*(folder.watchers if folder else ()), show], common)
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


def _contestants(source, cases, models, recorded, mask_topic, masks, runtime, precision, limits,
                 judges):
    from fedefm_ros.evaluation.contestants import BagContestant
    from fedefm_ros.evaluation.contestants import FolderContestant
    from fedefm_ros.imaging.bag_files import is_bag
    if not models and not recorded and not masks:
        models = [_MODEL]
    found = [_model(name, cases, runtime, precision, limit, judge)
             for name in models or () for judge in judges for limit in limits]
    bags = [(Path(source), 'recorded', mask_topic)] if recorded else []
    if recorded and cases.bag is None:
        raise FedefmError(f'{source} is no bag: --recorded scores the masks in a bag')
    for path in masks:
        if not path.exists():
            raise FedefmError(f'{path}: no such file or folder; --masks takes a folder of '
                              '`segment` or a bag')
        if is_bag(path):
            bags.append((path, path.stem, ''))
        else:
            found.append(FolderContestant(path))
    for path, name, of_masks in bags:
        if cases.bag is None:
            raise FedefmError(f'{path}: masks in a bag belong to images by their stamps, and '
                              f'{source} is no bag')
        found.append(BagContestant(path, Path(source), cases.bag.topic, name, of_masks))
    for number, each in enumerate(found):
        same = sum(other.name == each.name for other in found[:number])
        if same:
            each.name = f'{each.name} ({same + 1})'
    return found


def _model(name, cases, runtime, precision, limit, judge):
    """Return a model on what was asked for, else on what the station of a bag had it on."""
    from fedefm_ros.evaluation.contestants import EngineContestant
    from fedefm_ros.imaging.bag_topics import recorded_engine
    from fedefm_ros.segmentation.engine import model_path
    if (runtime, precision) == ('auto', 'auto') and cases.bag is not None:
        theirs = recorded_engine(cases.bag.path, _model_id(model_path(name)), cases.bag.topic)
        if theirs:
            where = f'{theirs.runtime} {theirs.precision}, judge {theirs.judge_id}'
            try:
                made = _as_recorded(name, theirs, limit, judge)
            except FedefmError as error:
                output.say(f'the station had {name} on {where}, which cannot be had '
                           f'here ({error}); masks may differ in a few pixels')
            else:
                mine = made.facts['judge_id']
                output.say(f'{name} runs as the station had it: {where}'
                           if mine == theirs.judge_id else
                           f'{name} runs as the station had it ({where}), but for the judge: '
                           f'{mine}')
                return _named(made, limit, judge)
    return _named(EngineContestant(name, runtime, precision, limit, judge), limit, judge)


def _as_recorded(name, theirs, limit, judge):
    """Return a model as a station had it, but for the limit and the judge that are given."""
    from fedefm_ros.evaluation.contestants import EngineContestant

    def made(least):
        return EngineContestant(
            name, theirs.runtime, theirs.precision, least,
            'none' if (judge, theirs.judge_id) == ('auto', 'none') else judge)
    if limit is not None:
        return made(limit)
    mine = made(theirs.min_confidence)
    # A limit is of the judge that it was chosen for.
    return mine if mine.facts['judge_id'] == theirs.judge_id else made(None)


def _named(contestant, limit, judge):
    """Return a contestant with what was asked for in its name."""
    if judge != 'auto':
        contestant.name += ' without judge' if judge == 'none' else \
            f' with judge {contestant.facts["judge_id"][:8]}'
    if limit is not None:
        contestant.name += f' at {limit:g}'
    return contestant


def _model_id(path):
    """Return what diagnostics call a model file: the beginning of its SHA-256."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise FedefmError(f'{path} cannot be read: {error.strerror}') from error


def _facts(source, cases, outcome):
    notes = [f'{each.name}: {each.facts["refused"]} frames were refused, lately because '
             f'{each.facts["last_refusal"]}' for each in outcome.records
             if each.facts.get('refused')]
    if outcome.derived_truth:
        notes.append(f'The truth of {outcome.derived_truth} frames is masks only: their '
                     'centrelines and tips were taken from the masks as the engine does it.')
    if cases.bag is not None:
        notes += cases.bag.losses
    return {'title': f'Evaluation of {Path(source).name}', 'input': source, 'truth': cases.truth,
            'frames': outcome.frames, 'scored': outcome.scored, 'notes': notes, 'files': [],
            'made': f'Made by fedefm_ros {__version__}, '
            f'{time.strftime("%Y-%m-%d %H:%M", time.localtime())}.'}
