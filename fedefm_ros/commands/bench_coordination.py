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

"""`bench coordination`: what a round of a federation costs beside its training."""

from collections.abc import Callable
import os
from pathlib import Path
import tempfile
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.federate import make_keys
from fedefm_ros.commands.processes import Processes

import psutil

import typer

#: Nothing is trained, and what is scored is one small image.
_IDLE = {'task': 'segmentation', 'images': 1, 'held_out': 1, 'batch': 1, 'image_size': 32,
         'local_steps': 0, 'stop_steps': 0, 'home_steps': 0, 'interval': 0.0, 'idle_after': 0.0,
         'peer_margin': 1.0, 'gate_margin': 1.0, 'deadline': 120.0, 'data': 'simulator:human',
         # Beside other work on the machine, modest processes would measure that.
         'niceness': 0}


def coordination(
    stations: Annotated[int, typer.Option(min=2, max=16, help='How many.')] = 4,
    rounds: Annotated[int, typer.Option(min=2, help='Rounds; the first is not counted.')] = 6,
    model: output.ModelOption = 'realtime',
    codec: Annotated[str, typer.Option(help='How weights are sent.')] = 'safetensors',
    momentum: Annotated[float, typer.Option(
        min=0, max=0.99, help='As of the federation node; above 0 it travels, too, and doubles '
        'what is sent.')] = 0.95,
    json_file: output.JsonOption = None,
):
    """
    Measure rounds of real stations that train nothing: trips, transfers, checks, mixing, gate.

    Every model travels, sealed and signed, as in any round; each is checked, written and scored.
    Once with the model, and once with a small network: what that takes is what the rounds cost
    whatever travels.
    """
    from fedefm_ros import station

    os.environ.update(station.dds_environment())
    names = [f'bench_{chr(ord("a") + k)}' for k in range(stations)]
    rows = []
    with output.progress('rounds', 2 * rounds) as advance:
        for label, weights in (('the model', model), ('a small one', '')):
            row = _measure(names, rounds, {'model': weights, 'codec': codec, 'momentum': momentum},
                           lambda number: advance(len(rows) * rounds + number))
            rows.append({'weights': label, **row})
    output.table(f'{stations} stations, {rounds} rounds without training', [
        'weights', 'seconds a round', 'MB sent a round', 'processor seconds a round', 'refused'],
        [[row[name] for name in ('weights', 'seconds_per_round', 'megabytes_per_round',
                                 'processor_seconds_per_round', 'refused')] for row in rows])
    output.write_json({'stations': stations, 'rounds': rounds, **rows[0], 'rows': rows},
                      json_file)


def _measure(names: list[str], rounds: int, parameters: dict,
             advance: Callable[[int], None]) -> dict:
    """Return what the rounds took, the first left out."""
    from fedefm_ros import station
    from fedefm_ros.nodes.bring_up import ACTIVE
    from fedefm_ros.nodes.bring_up import LifecycleClient
    from fedefm_ros.nodes.federation_monitor import FederationMonitor
    from fedefm_ros.nodes.session import spinning

    with tempfile.TemporaryDirectory() as folder, Processes(Path(folder) / 'logs') as processes, \
            spinning(lambda context: FederationMonitor(names, context=context)) as monitor:
        make_keys(Path(folder), names)
        for name in names:
            processes.start(name, station.command(station.FEDERATION, namespace=name, parameters={
                **_IDLE, **parameters, 'stations': ','.join(names), 'rounds': rounds,
                'keys': f'{folder}/keys/{name}', 'state': f'{folder}/state/{name}'}))
        for name in names:
            LifecycleClient(monitor, f'/{name}/federation', processes.check).bring_to(ACTIVE)
        ends: dict[int, tuple[float, float]] = {}

        def slowest() -> int:
            done = min((monitor.statuses[name].round for name in names
                        if name in monitor.statuses), default=0) \
                if len(monitor.statuses) == len(names) else 0
            if done not in ends:
                ends[done] = time.monotonic(), _processor_seconds()
            return done
        for number in range(1, rounds + 1):
            processes.wait_for(lambda number=number: slowest() >= number, 300.0,
                               f'round {number} did not end')
            advance(number)
        statuses = dict(monitor.statuses)
    for name in names:
        if statuses[name].refused:
            output.say(f'{name} refused: {statuses[name].last_refusal}')
    first = min(done for done in ends if done > 0)
    seconds, worked = ((last - then) / (rounds - first) if rounds > first else float('nan')
                       for last, then in zip(ends[rounds], ends[first]))
    return {'seconds_per_round': seconds, 'processor_seconds_per_round': worked,
            'megabytes_per_round': sum(one.bytes_sent for one in statuses.values()) / rounds / 1e6,
            'refused': sum(one.refused for one in statuses.values())}


def _processor_seconds() -> float:
    """Return what all children of this process, and theirs, have computed so far."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
