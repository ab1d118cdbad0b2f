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

"""`segment`: find the instruments in a recording, with the engine that the node runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import signal
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import numpy as np

import typer

#: Frames taken of the simulator, which has no end.
_SIMULATED_FRAMES = 150


def segment(
    source: Annotated[str, typer.Argument(
        metavar='INPUT', help='DICOM file or folder, image, video, folder of images, bag, device '
        'or simulator[:KIND].')],
    out: Annotated[Path, typer.Option('-o', '--out', help='Folder for the results.')],
    model: Annotated[str, typer.Option(
        help='A .safetensors file or a shipped name.')] = 'realtime',
    runtime: Annotated[str, typer.Option(
        help='auto, openvino, onnxruntime, torch or cuda.')] = 'auto',
    precision: Annotated[str, typer.Option(help='auto, f32, bf16 or int8.')] = 'auto',
    min_confidence: Annotated[float | None, typer.Option(
        min=0.0, max=0.999, help='How sure the judge, or without one the model, must be of a '
        'piece of foreground to keep it; the judge of one of 80 px of the network, longer ones '
        'need less. By default as these say.')] = None,
    judge: output.JudgeOption = 'auto',
    threads: Annotated[int, typer.Option(min=1, help='CPU threads of the network.')] = 2,
    frames: Annotated[int | None, typer.Option(
        min=1, help='Stop after so many frames; the simulator stops after '
        f'{_SIMULATED_FRAMES}.')] = None,
    overwrite: Annotated[bool, typer.Option(
        '--overwrite', help='Replace results that are already in the folder.')] = False,
    json_file: output.JsonOption = None,
):
    """
    Segment a recording into masks, instruments and an overlay video.

    The folder gets masks/000000.png (0 background, 1 catheter, 2 guidewire), instruments.jsonl
    (one line a frame), overlay.mp4 and overlay.png (a contact sheet). Ctrl-C ends it after the
    frame at hand; what was written stays whole.
    """
    from fedefm_ros.commands.segment_results import Results
    from fedefm_ros.imaging.source import is_simulator
    from fedefm_ros.imaging.source import open_source
    from fedefm_ros.segmentation.engine import SegmentationEngine
    from fedefm_ros.segmentation.frame_before import FrameBefore
    from fedefm_ros.segmentation.judge import COUNTS
    from fedefm_ros.segmentation.postprocess import SpeckParameters

    if frames is None and is_simulator(source):
        frames = _SIMULATED_FRAMES
    with open_source(source) as opened:
        engine = SegmentationEngine.open(model, runtime, threads, precision, judge=judge,
                                         specks=SpeckParameters(min_confidence=min_confidence))
        info = engine.info
        output.say(f'model {info.model_id} on {info.runtime} {info.precision}, '
                   f'{info.threads} threads, judge {info.judge_id or "none"}')
        count = opened.frame_count
        total = count if frames is None else min(frames, count or frames)
        times, with_instrument, refused, before = [], 0, 0, FrameBefore()
        judged = dict.fromkeys(COUNTS, 0)
        started = time.perf_counter()
        with Results(out, opened.rate, overwrite) as results, _stoppable() as stopped, \
                output.progress('segmenting', total) as advance:
            for frame in opened:
                spacing = opened.carm.patient_spacing_mm  # of the file being read
                try:
                    raw = before.infer(engine, frame.image, round(1e9 * frame.time))
                except FedefmError as error:
                    found = ()
                    refused += 1
                    results.add(frame, None, (), {'spacing_mm': spacing, 'refused': str(error)})
                else:
                    found = before.instruments(engine, raw, spacing, round(1e9 * frame.time))
                    results.add(frame, raw.mask, found, {'spacing_mm': spacing})
                    times.append(raw.total_ms)
                    for what in judged:
                        judged[what] += getattr(raw, what)
                with_instrument += bool(found)
                advance(results.frames, '')
                if stopped() or results.frames == frames:
                    break
            if not results.frames:
                raise FedefmError(f'{source}: holds no frame')
            interrupted = stopped()
        seconds = time.perf_counter() - started
    p50, p99 = np.percentile(times, (50, 99)) if times else (float('nan'),) * 2
    summary = {
        'input': source, 'frames': results.frames, 'interrupted': interrupted,
        'refused': refused, 'frames_with_instrument': with_instrument,
        'fps': results.frames / seconds,
        'latency_ms': {'p50': float(p50), 'p99': float(p99)}, 'model_id': info.model_id,
        'runtime': info.runtime, 'precision': info.precision, 'threads': info.threads,
        'judge_id': info.judge_id or 'none',
        **{f'pieces_{what}': count for what, count in judged.items()},
        'min_confidence': engine.min_confidence,
        'masks': str(results.masks), 'instruments': str(results.instruments),
        'video': str(results.video), 'pictures': [str(results.sheet)]}
    output.table(f'{source} -> {out}', ['what', 'value'], [
        ['frames', results.frames],
        ['refused, without a mask', refused],
        ['with an instrument', with_instrument],
        ['frames per second, all included', summary['fps']],
        ['image to mask, p50 / p99 ms', f'{p50:.1f} / {p99:.1f}'],
        ['picture', str(results.sheet)]])
    output.write_json(summary, json_file)
    if refused == results.frames:
        raise FedefmError(f'{source}: no mask for any of its {refused} frames; the reasons are in '
                          f'{results.instruments}')
    if interrupted:
        output.say('interrupted; the frames so far are whole')
        raise typer.Exit(130)


@contextmanager
def _stoppable() -> Iterator:
    """
    Yield a function that tells whether to stop after the frame at hand.

    The first SIGINT or SIGTERM asks to stop; the second interrupts at once, as always.
    """
    asked = []

    def ask(number, _):
        asked.append(number)
        for each, old in before.items():
            signal.signal(each, old)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for each, old in before.items():
            signal.signal(each, old)
