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

"""`demo`: a whole robot station on this machine."""

from contextlib import contextmanager
from contextlib import nullcontext
import os
from pathlib import Path
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.pictures import write_sheet
from fedefm_ros.commands.processes import Processes
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.timing import milliseconds

import typer

#: Frames that end up in the picture.
_PICTURES = 8
_FIRST_MASK_PATIENCE = 60.0
#: Seconds in which the nodes that are there already make themselves known.
_DISCOVERY = 1.0
#: Share of the frames from which on what was skipped is worth a word.
_MANY_SKIPPED = 0.05


def demo(
    source: Annotated[str, typer.Argument(
        metavar='[INPUT]', help='DICOM file or folder, image, video, folder of images, bag, '
        'device, or simulator[:KIND].')] = 'simulator',
    seconds: Annotated[float, typer.Option(min=1.0, help='How long the procedure lasts.')] = 20.0,
    headless: Annotated[bool, typer.Option(
        '--headless', help='No live line in the terminal, and no console.')] = False,
    size: Annotated[int, typer.Option(
        min=64, max=4096, help='Side of simulated images in pixels.')] = 512,
    rate: Annotated[float, typer.Option(
        min=0.0, max=240.0, help="Images a second; 0: the input's own.")] = 0.0,
    model: output.ModelOption = 'realtime',
    runtime: output.RuntimeOption = 'auto',
    closed_loop: Annotated[bool, typer.Option(
        '--closed-loop', help='Let a simulated robot drive a wire to three arteries instead, by '
        'what the segmentation sees.')] = False,
    tries: Annotated[int, typer.Option(min=1, help='Of the closed loop, for each artery.')] = 10,
    lock_step: Annotated[bool, typer.Option(
        '--lock-step', help='The closed loop in one process, without ROS: whatever else the '
        'machine does, it is repeatable for one runtime and precision.')] = False,
    first_seed: Annotated[int, typer.Option(
        min=0, help="Of the closed loop's tries; the others count up from it.")] = 0,
    day: Annotated[bool, typer.Option(
        '--day', help='A procedure, an idle phase in which the station learns with a second one, '
        'and a procedure with what was learned; a few minutes.')] = False,
    port: Annotated[int, typer.Option(
        min=1, max=65535, help="Of the operator's console.")] = 8080,
    record: Annotated[Path | None, typer.Option(
        metavar='BAG', help='Record images, masks and instruments into a new bag.')] = None,
    out: Annotated[Path, typer.Option(
        '-o', '--out', help='Folder for pictures and logs.')] = Path('output/demo'),
    json_file: output.JsonOption = None,
):
    """
    Run a whole station: source, segmentation, and a receiver that keeps the score.

    The nodes are those of launch/station.launch.py, with the same parameter files, in processes
    of their own. Watch the topics below /station meanwhile with RViz, Foxglove or ros2 topic.
    Ctrl-C ends the procedure early; the summary is that of the frames so far.
    """
    from fedefm_ros import station
    from fedefm_ros.imaging.source import is_simulator
    from fedefm_ros.imaging.source import open_source
    from fedefm_ros.segmentation.engine import SegmentationEngine

    if closed_loop:
        from fedefm_ros.commands.closed_loop import closed_loop as drive
        os.environ.update(station.dds_environment())
        drive(tries, model=model, runtime=runtime, rate=rate or 15.0, in_process=lock_step,
              first_seed=first_seed, out=out, json_file=json_file)
        return
    os.environ.update(station.dds_environment())
    source = source if is_simulator(source) else _absolute(source)
    # Told here and now, not by a node's log in a minute.
    with _alone(), open_source(source) as opened:
        scale = _scale(opened.carm)
    if day:
        from fedefm_ros.commands.demo_day import demo_day
        demo_day(source, scale, seconds=seconds, size=size, rate=rate, model=model,
                 runtime=runtime, out=out, json_file=json_file)
        return
    started = time.monotonic()
    commands = {
        station.SEGMENTATION: {'model': model, 'runtime': runtime, **scale},
        station.FLUOROSCOPY: {'source': source, 'rate': rate, 'size': size, 'loop': True}}
    with Processes(out / 'logs') as processes:
        for process in station.PROCESSES:
            processes.start(process.name, station.command(
                process, namespace='station', parameters=commands[process]))
        if not headless:
            processes.start('console', station.command(
                station.CONSOLE, namespace='station', parameters={
                    'port': port, 'record_folder': (out / 'bags').absolute()}))
            output.say(f'console: http://localhost:{port}')
        summary, samples = _watch(processes, started, seconds, headless, record)
        exits = processes.stop()
    output.say('measuring the bare network')
    bare = SegmentationEngine.open(model, runtime=runtime).bare_inference_ms(100) / 1e3
    summary['bare_inference_ms'] = milliseconds(list(bare))
    summary['pictures'] = [str(path) for path in write_sheet(samples, out / 'demo.png')]
    summary['exit_codes'] = exits
    _print(source, summary)
    output.write_json(summary, json_file)
    if any(exits.values()):
        raise FedefmError(f'a node did not end cleanly: {exits}; logs are in {out / "logs"}')
    if summary['source_failure']:
        raise FedefmError(summary['source_failure'])
    if summary['interrupted']:
        raise typer.Exit(130)


def _scale(carm) -> dict[str, float]:
    """Return what the segmentation needs to tell millimetres; camera_info lacks the isocentre."""
    if carm.focal_px and carm.isocenter_mm:
        return {'source_isocenter_mm': carm.isocenter_mm}
    if carm.patient_spacing_mm:
        return {'pixel_spacing_mm': sum(carm.patient_spacing_mm) / 2}
    return {}


@contextmanager
def _alone():
    """Raise FedefmError at the end of the block if a station of our name was there already."""
    from fedefm_ros.nodes.bring_up import check_absent
    from fedefm_ros.nodes.session import named
    from fedefm_ros.nodes.session import spinning
    with spinning(named('newcomer')) as node:
        start = time.monotonic()
        yield
        time.sleep(max(0.0, start + _DISCOVERY - time.monotonic()))
        check_absent(node, _names())


def _names() -> list[str]:
    """Return the full names of the station's nodes."""
    from fedefm_ros import station
    return [f'/station/{process.name}' for process in station.PROCESSES]


def _absolute(source: str) -> str:
    path = Path(source)
    return str(path.resolve()) if path.exists() else source


def _watch(processes, started, seconds, headless, record):
    """Bring the station up, watch a procedure, bring it down; return the summary."""
    from fedefm_ros import station
    from fedefm_ros.nodes.bring_up import ACTIVE
    from fedefm_ros.nodes.bring_up import check_absent
    from fedefm_ros.nodes.bring_up import LifecycleClient
    from fedefm_ros.nodes.monitor import StationMonitor
    from fedefm_ros.nodes.recorder import recording
    from fedefm_ros.nodes.session import spinning

    samples = []
    with spinning(lambda context: StationMonitor('station', context=context)) as monitor, \
            recording(record, monitor, '/station'):
        clients = [LifecycleClient(monitor, f'/station/{process.name}', processes.check)
                   for process in station.PROCESSES]
        for process, client in zip(station.PROCESSES, clients):
            try:
                client.bring_to(ACTIVE)
            except FedefmError as error:
                processes.check()
                raise FedefmError(f'{process.name} did not start; its log ends with:\n'
                                  f'{processes.tail(process.name, 3)}') from error
        processes.wait_for(lambda: monitor.tally.latencies or _source_failure(monitor.tally),
                           _FIRST_MASK_PATIENCE, 'no mask arrived')
        # Once more: on a busy machine the others may have been discovered late.
        check_absent(monitor, _names(), own=1)
        if not monitor.tally.latencies:
            raise FedefmError(f'no mask arrived; the source says: '
                              f'{_source_failure(monitor.tally)}')
        first_mask = time.monotonic() - started
        output.say(f'first mask after {first_mask:.1f} s')
        interrupted = False
        try:
            _follow(processes, monitor, seconds, headless, samples)
        except KeyboardInterrupt:
            interrupted = True
            output.say('stopped; summing up the frames so far')
        counts = _final_counts(monitor.tally, clients[-1], processes)
    tally = monitor.tally
    return {
        'frames_published': counts['published'], 'masks_received': len(tally.latencies),
        'skipped': counts['skipped'], 'refused': counts['refused'],
        'lost': counts['published'] - counts['skipped'] - counts['refused']
        - len(tally.latencies),
        'latency_ms': milliseconds(tally.latencies),
        'instruments_ms': milliseconds(tally.instrument_latencies),
        'first_mask_s': first_mask, 'interrupted': interrupted,
        'source_failure': _source_failure(tally),
        **accuracy(monitor.scores)}, samples


def _follow(processes, monitor, seconds, headless, samples):
    """Let the procedure last; keep evenly spread samples, and show how it goes."""
    shown = nullcontext() if headless else output.progress('procedure', int(seconds))
    end = time.monotonic() + seconds
    with shown as advance:
        while (left := end - time.monotonic()) > 0:
            processes.check()
            time.sleep(min(left, 0.25))
            if len(samples) < _PICTURES * (1 - left / seconds) and monitor.latest:
                samples.append(monitor.latest)
            if advance:
                advance(int(seconds - left), _live(monitor.tally))


def _source_failure(tally) -> str:
    """Return why the source could not read a frame; empty where it read all."""
    return tally.values('fluoroscopy: source').get('last_failure', '')


def _final_counts(tally, source, processes):
    """Stop the source; return what the nodes counted once both have told it again."""
    source.deactivate()
    before = tally.diagnostics_seen.copy()
    processes.wait_for(lambda: tally.told_again(before), 10.0, 'no diagnostics arrived')
    frames = tally.values('segmentation: frames')
    return {'published': int(tally.values('fluoroscopy: source')['published']),
            'skipped': int(frames['skipped']), 'refused': int(frames['refused'])}


def accuracy(scores) -> dict:
    """Return what was measured against the truth; empty where there is none."""
    if not scores.frames:
        return {}
    found = scores.summary()
    return {'dice': {name: values['dice'] for name, values in found['classes'].items()},
            'tip_error_px': found['tip_error_px'],
            'false_instruments_per_frame': found['false_instruments_per_frame'],
            'frames_scored': scores.frames}


def _live(tally):
    recent = milliseconds(tally.latencies[-60:])
    return f'{len(tally.latencies)} masks, latency p50 {recent["p50"]:.1f} ms, ' \
           f'p99 {recent["p99"]:.1f} ms'


def slowness(summary: dict) -> str:
    """Return what to do where many frames were skipped; '' where few were."""
    published, skipped = summary['frames_published'], summary['skipped']
    inference = summary['bare_inference_ms']['p50']
    if skipped <= _MANY_SKIPPED * published:
        return ''
    # The source and the geometry take their share of the cores, too.
    suits = max(1, int(0.6 * 1e3 / inference))
    return (f'{skipped} of {published} frames were skipped: an inference takes {inference:.0f} ms '
            f'on this machine. --rate {suits} suits it; a station computes faster with the '
            "segmentation's precision int8 (docs/parameters.md)")


def _print(source, summary):
    rows = [[name.replace('_', ' '), summary[name]] for name in (
        'frames_published', 'masks_received', 'lost', 'skipped', 'refused')]
    latency = summary['latency_ms']
    rows += [['image published -> mask received, p50, ms', latency['p50']],
             ['the same, p99, ms', latency['p99']],
             ['bare inference, p50, ms', summary['bare_inference_ms']['p50']],
             ['start -> first mask, s', summary['first_mask_s']]]
    if 'dice' in summary:
        rows += [[f'{name} Dice', value] for name, value in summary['dice'].items()]
        rows += [['tip error, median, px', summary['tip_error_px']['median']]]
    output.table(f'station on {source}', ['measure', 'value'], rows)
    if slowness(summary):
        output.say(slowness(summary))
    for path in summary['pictures']:
        output.results.print(f'picture: {path}', highlight=False)
