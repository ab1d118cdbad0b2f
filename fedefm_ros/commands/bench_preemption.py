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

"""`bench preemption`: how soon a procedure's first frame stops the federation's training."""

import os
from pathlib import Path
import random
import sys
import tempfile
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.processes import Processes
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.timing import milliseconds

import psutil

import typer

#: Seconds without an image after which the training goes on, in this benchmark.
_IDLE_AFTER = 0.3


def preemption(
    trials: Annotated[int, typer.Option(min=1, help='Procedures that begin.')] = 60,
    seconds: Annotated[float, typer.Option(
        help='Length of each latency measurement; 0: leave it out.')] = 20.0,
    rate: Annotated[float, typer.Option(help='Images a second in it.')] = 30.0,
    model: output.ModelOption = 'realtime',
    json_file: output.JsonOption = None,
):
    """
    Measure image published -> training process stopped, and what it costs the masks.

    A federation node trains on simulated images; at a random moment an image comes. Then the
    latency of masks is measured twice: while the training starts and stops beside the station,
    every second, and without any federation.
    """
    from fedefm_ros.station import dds_environment
    os.environ.update(dds_environment())
    with tempfile.TemporaryDirectory() as folder:
        stops = _stops(Path(folder), trials)
    summary = {'trials': trials, 'stop_ms': milliseconds(stops)}
    rows = [['training stopped, p50, ms', summary['stop_ms']['p50']],
            ['training stopped, p99, ms', summary['stop_ms']['p99']],
            ['training stopped, longest, ms', summary['stop_ms']['max']]]
    if seconds:
        with tempfile.TemporaryDirectory() as folder:
            alone, beside = _latencies(Path(folder), seconds, rate, model)
        summary |= {'latency_ms_alone': milliseconds(alone),
                    'latency_ms_beside': milliseconds(beside)}
        summary['latency_ratio_p99'] = \
            summary['latency_ms_beside']['p99'] / summary['latency_ms_alone']['p99']
        rows += [['mask p99 without federation, ms', summary['latency_ms_alone']['p99']],
                 ['mask p99 while training starts and stops, ms',
                  summary['latency_ms_beside']['p99']],
                 ['ratio', summary['latency_ratio_p99']]]
    output.table(f'{trials} procedures that begin while a station trains', ['measure', 'value'],
                 rows)
    output.write_json(summary, json_file)


def _federation(processes: Processes, folder: Path, namespace: str) -> None:
    """Start a federation node that trains for ever, as the first of two stations."""
    from fedefm_ros import station
    from fedefm_ros.federation.trust.identity import Identity
    from fedefm_ros.federation.trust.peers import Peers
    Identity.create(folder / 'keys', namespace)
    Identity.create(folder / 'other', 'other')
    Peers.read(folder / 'keys').add(folder / 'other' / 'other.pub')
    processes.start('federation', station.command(
        station.FEDERATION, namespace=namespace, parameters={
            'stations': f'{namespace},other', 'keys': folder / 'keys', 'state': folder / 'state',
            'task': 'segmentation', 'images': 8, 'held_out': 2, 'batch': 4,
            'local_steps': 10**7, 'idle_after': _IDLE_AFTER, 'threads': 2}))


def _worker(processes: Processes) -> psutil.Process:
    """Return the training process, once it computes."""
    found = []

    def trains() -> bool:
        found[:] = [child for parent in psutil.Process().children()
                    for child in parent.children()
                    if 'fedefm_ros.federation.station.worker' in child.cmdline()]
        return bool(found) and found[0].cpu_times().user > 4.0
    processes.wait_for(trains, 300.0, 'the training did not start')
    return found[0]


def _stops(folder: Path, trials: int) -> list[float]:
    """Return the seconds from an image's publication to the stop, of each trial."""
    from fedefm_ros.nodes.bring_up import ACTIVE
    from fedefm_ros.nodes.bring_up import LifecycleClient
    from fedefm_ros.nodes.procedure import Procedure
    from fedefm_ros.nodes.session import named
    from fedefm_ros.nodes.session import spinning

    rng, stops = random.Random(1), []
    with Processes(folder / 'logs') as processes, spinning(named('bench')) as node:
        procedure = Procedure(node, '/bench/fluoroscopy/image_raw')
        _federation(processes, folder, 'bench')
        LifecycleClient(node, '/bench/federation', processes.check).bring_to(ACTIVE)
        worker = _worker(processes)
        with output.progress('stopping', trials) as advance:
            for trial in range(trials):
                processes.wait_for(lambda: worker.status() != psutil.STATUS_STOPPED, 30.0,
                                   'the training did not go on')
                # At any moment of a step, which takes about a second.
                time.sleep(rng.uniform(0.1, 1.1))
                began = time.monotonic()
                procedure.image()
                while worker.status() != psutil.STATUS_STOPPED:
                    if time.monotonic() - began > 10.0:
                        raise FedefmError('an image did not stop the training within 10 s')
                stops.append(time.monotonic() - began)
                advance(trial + 1)
    return stops


def _latencies(folder: Path, seconds: float, rate: float,
               model: str) -> tuple[list[float], list[float]]:
    """Return seconds from image to mask, of frames in bursts: alone, and beside a federation."""
    from fedefm_ros import station
    from fedefm_ros.nodes.bring_up import ACTIVE
    from fedefm_ros.nodes.bring_up import LifecycleClient
    from fedefm_ros.nodes.monitor import StationMonitor
    from fedefm_ros.nodes.session import spinning

    results = []
    with Processes(folder / 'logs') as processes, spinning(
            lambda context: StationMonitor('bench', images=False, context=context)) as monitor:
        processes.start('segmentation', station.command(
            station.SEGMENTATION, namespace='bench', parameters={'model': model}))
        LifecycleClient(monitor, '/bench/segmentation', processes.check).bring_to(ACTIVE)
        for beside in (False, True):
            if beside:
                _federation(processes, folder, 'bench')
                LifecycleClient(monitor, '/bench/federation', processes.check).bring_to(ACTIVE)
                _worker(processes)
            taken = len(monitor.tally.latencies)
            end = time.monotonic() + seconds
            number = 0
            while time.monotonic() < end:
                # Bursts of a second, and as long without: the training goes on in between.
                number += 1
                publisher = processes.start(f'publisher{number}', [
                    sys.executable, '-m', 'fedefm_ros.nodes.pattern_source', '--size', '512',
                    '--rate', str(rate), '--frames', str(int(rate)),
                    '--topic', '/bench/fluoroscopy/image_raw'])
                publisher.wait(60.0)
                processes.forget(f'publisher{number}')
            results.append(list(monitor.tally.latencies[taken:]))
    return results[0], results[1]
