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

"""`bench latency`: from an image's publication to its mask in another process."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextlib import nullcontext
import json
import os
from pathlib import Path
import sys
import tempfile
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.processes import Processes
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.timing import milliseconds

import typer

#: Of the stations that are measured: of two measurements at a time each hears its own.
NAMESPACE = f'bench_{os.getpid()}'


def latency(
    sizes: Annotated[str, typer.Option(help='Image sides in pixels, by comma.')] = '512,1024',
    rate: Annotated[float, typer.Option(help='Images a second.')] = 30.0,
    seconds: Annotated[float, typer.Option(help='Length of each repeat.')] = 30.0,
    repeats: Annotated[int, typer.Option(min=1, help='Repeats of each size.')] = 3,
    model: output.ModelOption = 'realtime',
    runtime: output.RuntimeOption = 'auto',
    precision: Annotated[str, typer.Option(help='auto, f32, bf16 or int8.')] = 'auto',
    judge: output.JudgeOption = 'auto',
    threads: Annotated[int, typer.Option(min=1, help='Cores of one inference.')] = 2,
    json_file: output.JsonOption = None,
):
    """
    Measure published -> mask received, beside the bare network.

    Three processes: a publisher of frames rendered beforehand, the segmentation node, and this
    one as the receiver. The bare network, without the judge, runs in this process before and
    after each repeat, while the others wait: one inference after the other, and once more at the
    images' rate, which tells how much of the ratio is a processor that had time to fall asleep.
    Sizes take turns, so that a slow spell of the machine hits them alike.
    """
    from fedefm_ros.segmentation.engine import SegmentationEngine

    chosen = [int(size) for size in sizes.split(',')]
    engine = SegmentationEngine.open(model, runtime, threads, precision)
    runs = {size: [] for size in chosen}
    with output.progress('measuring', repeats * len(chosen)) as advance:
        for repeat in range(repeats):
            for size in chosen:
                bare, paced = _bare(engine, rate)
                run = one_run(size, rate, int(seconds * rate), model, runtime, threads,
                              precision=precision, judge=judge)
                more, more_paced = _bare(engine, rate)
                runs[size].append({**run, 'bare': bare + more, 'paced': paced + more_paced})
                advance(repeat * len(chosen) + chosen.index(size) + 1,
                        f'{size} px: p50 {milliseconds(run["latencies"])["p50"]:.1f} ms')
    rows = [_row(size, rate, runs[size]) for size in chosen]
    output.table(
        f'published -> mask received, {rate:g} Hz, {repeats} x {seconds:g} s, '
        f'{engine.info.runtime} {engine.info.precision}, {threads} threads',
        ['size', 'published', 'received', 'lost', 'skipped', 'p50 ms', 'p99 ms', 'max ms',
         'instruments p50', 'bare p50 ms', 'ratio p50', 'bare at rate', 'ratio at rate'],
        [[row['size'], row['frames_published'], row['masks_received'], row['lost'],
          row['skipped'], row['latency_ms']['p50'], row['latency_ms']['p99'],
          row['latency_ms']['max'], row['instruments_ms']['p50'],
          row['bare_inference_ms']['p50'], row['ratio_p50'],
          row['bare_at_rate_ms']['p50'], row['ratio_at_rate']] for row in rows])
    output.write_json({**rows[0], 'rows': rows, 'runtime': engine.info.runtime,
                       'precision': engine.info.precision, 'threads': threads,
                       'model_id': engine.info.model_id}, json_file)


def _bare(engine, rate):
    """Return milliseconds of the bare network: one after the other, and at a rate."""
    return list(engine.bare_inference_ms(60)), list(engine.bare_inference_ms(60, rate))


def _row(size, rate, runs):
    latency = milliseconds([value for run in runs for value in run['latencies']])
    published = sum(run['published'] for run in runs)
    received = sum(len(run['latencies']) for run in runs)
    skipped = sum(run['skipped'] for run in runs)
    bare, paced = (milliseconds([value / 1e3 for run in runs for value in run[name]])
                   for name in ('bare', 'paced'))
    return {
        'size': size, 'rate': rate, 'frames_published': published, 'masks_received': received,
        'skipped': skipped, 'lost': published - received - skipped, 'latency_ms': latency,
        'latency_p99_ms_of_runs': [milliseconds(run['latencies'])['p99'] for run in runs],
        'instruments_ms': milliseconds(
            [value for run in runs for value in run['instrument_latencies']]),
        'bare_inference_ms': bare, 'ratio_p50': latency['p50'] / bare['p50'],
        'bare_at_rate_ms': paced, 'ratio_at_rate': latency['p50'] / paced['p50'],
        'out_of_order': sum(run['out_of_order'] for run in runs)}


def one_run(size: int, rate: float, frames: int, model: str, runtime: str, threads: int,
            beside: Callable[[Processes], AbstractContextManager] | None = None,
            precision: str = 'auto', judge: str = 'auto') -> dict:
    """
    Publish frames to a segmentation node in ``NAMESPACE``, and take its masks.

    :param beside: what else is to run while the frames come; is entered before the first one.
    :returns: published, skipped, out_of_order; latencies and instrument_latencies in seconds.
    """
    from fedefm_ros.nodes.bring_up import ACTIVE
    from fedefm_ros.nodes.bring_up import LifecycleClient
    from fedefm_ros.nodes.monitor import StationMonitor
    from fedefm_ros.nodes.session import spinning
    from fedefm_ros.station import command
    from fedefm_ros.station import dds_environment
    from fedefm_ros.station import SEGMENTATION

    # For the receiver in this process and for the others, which inherit it.
    os.environ.update(dds_environment())
    with tempfile.TemporaryDirectory() as logs, Processes(Path(logs)) as processes, \
            spinning(lambda context: StationMonitor(NAMESPACE, images=False,
                                                    context=context)) as monitor:
        processes.start('segmentation', command(SEGMENTATION, namespace=NAMESPACE, parameters={
            'model': model, 'runtime': runtime, 'threads': threads, 'precision': precision,
            'judge': judge}))
        LifecycleClient(monitor, f'/{NAMESPACE}/segmentation', processes.check).bring_to(ACTIVE)
        with beside(processes) if beside else nullcontext():
            publisher = processes.start('publisher', [
                sys.executable, '-m', 'fedefm_ros.nodes.pattern_source', '--size', str(size),
                '--rate', str(rate), '--frames', str(frames),
                '--topic', f'/{NAMESPACE}/fluoroscopy/image_raw'])
            publisher.wait(frames / rate + 60.0)
            if publisher.returncode:
                raise FedefmError(f'the publisher failed:\n{processes.tail("publisher")}')
        published = json.loads(processes.tail('publisher', 1))['published']
        processes.forget('publisher')
        tally = monitor.tally
        before = tally.diagnostics_seen.copy()
        processes.wait_for(lambda: tally.told_again(before), 10.0, 'no diagnostics arrived')
        return {'published': published, 'latencies': list(tally.latencies),
                'instrument_latencies': list(tally.instrument_latencies),
                'out_of_order': tally.out_of_order,
                'skipped': int(tally.values('segmentation: frames')['skipped'])}
