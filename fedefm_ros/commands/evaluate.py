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

"""`evaluate`: score a model on frames whose truth is known."""

from collections.abc import Iterator
from pathlib import Path
import time
from typing import Annotated

import cv2

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.cases import Case
from fedefm_ros.evaluation.cases import labelled_cases
from fedefm_ros.evaluation.cases import simulated_cases
from fedefm_ros.evaluation.scoring import Scores

import numpy as np

import typer

#: Pictures in the sheet.
_PICTURES = 12


def evaluate(
    source: Annotated[str, typer.Argument(
        metavar='INPUT', help='simulator:KIND (human, animal, phantom, simulation), or a file or '
        'folder with --labels.')],
    labels: Annotated[Path | None, typer.Option(
        help='Centreline JSON with the truth of INPUT.')] = None,
    model: output.ModelOption = 'realtime',
    runtime: output.RuntimeOption = 'auto',
    frames: Annotated[int, typer.Option(min=1, help='How many simulated frames.')] = 200,
    out: Annotated[Path | None, typer.Option(
        '-o', '--out', help='Folder for pictures.')] = None,
    json_file: output.JsonOption = None,
):
    """Score a model against ground truth, frame by frame, with the engine that the node runs."""
    from fedefm_ros.segmentation.engine import SegmentationEngine

    cases, total = _cases(source, labels, frames)
    engine = SegmentationEngine.open(model, runtime=runtime)
    scores, pictures, seconds, count = Scores(), [], 0.0, 0
    with output.progress('scoring', total) as advance:
        for case in cases:
            start = time.perf_counter()
            raw = engine.infer(case.image)
            found = engine.instruments(raw, case.spacing_mm)
            seconds += time.perf_counter() - start
            count += 1
            if case.mask is not None:
                scores.add_mask(raw.mask, case.mask)
            scores.add_instruments(found, case.instruments)
            if out and len(pictures) < _PICTURES:
                pictures.append(_picture(case, raw.mask, found))
            advance(count, '')
    if not count:
        raise FedefmError(f'{labels} names no frame of {source}')
    summary = {**scores.summary(), 'fps': count / seconds, 'model_id': engine.info.model_id,
               'runtime': engine.info.runtime, 'precision': engine.info.precision,
               'pictures': []}
    if out:
        summary['pictures'] = [_write_sheet(pictures, out)]
    _print(source, summary)
    output.write_json(summary, json_file)


def _cases(source, labels_path, frames) -> tuple[Iterator[Case], int | None]:
    if source.startswith('simulator'):
        from fedefm_ros.simulation.anatomy import KINDS
        kind = source.partition(':')[2] or 'human'
        if kind not in KINDS:
            raise FedefmError(f'{source}: known kinds are {", ".join(KINDS)}')
        return simulated_cases(kind, frames), frames
    if labels_path is None:
        raise FedefmError(f'{source} has no ground truth of its own: name it with --labels FILE')
    return labelled_cases(Path(source), labels_path), None


def _picture(case, mask, found):
    from fedefm_ros.imaging.windowing import to_8_bit
    from fedefm_ros.segmentation.overlay import draw_overlay
    grey = to_8_bit(case.image)
    picture = draw_overlay(grey, mask, found, case.name)
    for instrument in case.instruments:
        points = np.rint(instrument.centerline).astype(int)
        cv2.polylines(picture, [points], False, (0, 200, 0), 1)
    return cv2.resize(picture, (512, 512), interpolation=cv2.INTER_AREA)


def _write_sheet(pictures, folder):
    folder.mkdir(parents=True, exist_ok=True)
    while len(pictures) % 4:
        pictures.append(np.zeros_like(pictures[0]))
    sheet = np.vstack([np.hstack(pictures[i:i + 4]) for i in range(0, len(pictures), 4)])
    path = folder / 'frames.png'
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise FedefmError(f'{path} cannot be written')
    return path


def _print(source, summary):
    rows = []
    for name, values in summary['classes'].items():
        rows += [[f'{name} Dice, all pixels together', values['dice']],
                 [f'{name} Dice, mean of frames', values['dice_frame_mean']]]
    rows += [['centreline precision, 3 px', summary['union']['precision_3px']],
             ['centreline recall, 3 px', summary['union']['recall_3px']],
             ['right class on the centreline', summary['union']['right_class']],
             ['tip error, median, px', summary['tip_error_px']['median']],
             ['tips missed', summary['tip_error_px']['missed']],
             ['false instruments a frame', summary['false_instruments_per_frame']],
             ['frames a second', summary['fps']]]
    output.table(f'{source}: {summary["frames"]} frames, model {summary["model_id"]}',
                 ['measure', 'value'], rows)
