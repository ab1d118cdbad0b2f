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

"""`federate`: several robot stations on this machine that learn from each other."""

import json
import os
from pathlib import Path
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.processes import Processes
from fedefm_ros.errors import FedefmError
from fedefm_ros.simulation.anatomy import KINDS

from rich.live import Live
from rich.table import Table

import typer

#: What a round is made of, by task: enough to see what federation does in a few minutes. Laps are
#: fewer where a trip past many stations would have too many stops.
_STEPS = {
    'foundation': {'image_size': 64, 'images': 100, 'held_out': 40, 'batch': 16,
                   # Few steps at a stop, often: no two stations share a class, and what is not
                   # seen is soon forgotten.
                   'local_steps': 100, 'stop_steps': 1, 'home_steps': 1, 'laps': 40,
                   'learning_rate': 0.02, 'momentum': 0.95},
    'segmentation': {'image_size': 128, 'images': 120, 'held_out': 30, 'batch': 6,
                     'local_steps': 60, 'stop_steps': 2, 'home_steps': 2, 'laps': 10,
                     'learning_rate': 0.02, 'momentum': 0.95},
}


def federate(
    stations: Annotated[int, typer.Option(min=2, max=16, help='How many stations.')] = 3,
    rounds: Annotated[int, typer.Option(min=1, help='Rounds that each makes.')] = 2,
    kinds: Annotated[str, typer.Option(
        help='Kinds of data by comma, one a station, in turn.')] = ','.join(KINDS),
    task: Annotated[str, typer.Option(help='foundation or segmentation.')] = 'foundation',
    model: Annotated[str, typer.Option(
        help='Segmentation: model that all start from; empty: random weights.')] = 'realtime',
    topology: Annotated[str, typer.Option(help='ring or complete.')] = 'ring',
    bandwidth: Annotated[int, typer.Option(help='Bytes a second; 0: no limit.')] = 0,
    deadline: Annotated[float, typer.Option(help='Seconds that a round waits.')] = 300.0,
    local_steps: Annotated[int | None, typer.Option(help='Steps before the first round.')] = None,
    stop_steps: Annotated[int | None, typer.Option(help='Steps on a visitor.')] = None,
    home_steps: Annotated[int | None, typer.Option(help='Steps of a distillation.')] = None,
    laps: Annotated[int | None, typer.Option(
        min=1, max=100,
        help='Times that a trip goes around; times the stations, 257 at most.')] = None,
    image_size: Annotated[int | None, typer.Option(help='Side of the images in pixels.')] = None,
    seed: Annotated[int, typer.Option(min=0, help='Of the data.')] = 0,
    out: Annotated[Path, typer.Option(
        '-o', '--out', help="Folder for the stations' keys, rounds, models and logs; the same "
        'command goes on where it was stopped.')] = Path('output/federate'),
    json_file: output.JsonOption = None,
):
    """
    Let stations learn from each other: real nodes in their own processes, one kind of data each.

    Ends with what each station can do with every kind of data, before and after.
    """
    from fedefm_ros import station
    from fedefm_ros.federation.station.plan import kinds_of
    from fedefm_ros.federation.station.plan import TaskPlan

    if task not in _STEPS:
        raise FedefmError(f'task {task!r}; expected {" or ".join(_STEPS)}')
    names = [f'station_{chr(ord("a") + k)}' for k in range(stations)]
    all_kinds = kinds_of(kinds)
    own = {name: all_kinds[k % len(all_kinds)] for k, name in enumerate(names)}
    given = {'local_steps': local_steps, 'stop_steps': stop_steps, 'home_steps': home_steps,
             'laps': laps, 'image_size': image_size}
    steps = _steps(task, names, topology, given)
    common = {**steps, 'stations': ','.join(names), 'task': task, 'model': model, 'seed': seed,
              'topology': topology, 'bandwidth': bandwidth, 'deadline': deadline,
              # No two stations share a kind: what comes home has forgotten the own one, until the
              # distillation; the gate after it decides.
              'peer_margin': 1.0, 'rounds': rounds, 'interval': 0.0, 'idle_after': 0.0,
              'threads': 1}
    plans = {name: TaskPlan(task, f'simulator:{own[name]}', images=steps['images'],
                            held_out=steps['held_out'], size=steps['image_size'],
                            batch=steps['batch'], model=model, seed=seed + k)
             for k, name in enumerate(names)}
    _same_run(out, {**common, 'rounds': 0, 'kinds': own})
    make_keys(out, names)
    if task == 'foundation':
        _make_images(plans[names[0]])
    os.environ.update(station.dds_environment())
    began = time.monotonic()
    with Processes(out / 'logs') as processes:
        for k, name in enumerate(names):
            processes.start(name, station.command(station.FEDERATION, namespace=name, parameters={
                **common, 'seed': seed + k, 'data': f'simulator:{own[name]}',
                'keys': (out / 'keys' / name).resolve(),
                'state': (out / 'state' / name).resolve()}))
        _watch(processes, names, own, rounds)
        seconds = time.monotonic() - began
        processes.stop()
    summary = _summary(out, plans, own, all_kinds, seed)
    summary |= {'rounds': rounds, 'seconds': seconds, 'task': task}
    _print(summary, all_kinds, task)
    summary['pictures'] = [str(_plot(summary, all_kinds, out / 'federate.png', task))]
    output.results.print(f'picture: {summary["pictures"][0]}', highlight=False)
    output.write_json(summary, json_file)


def _steps(task: str, names: list[str], topology: str, given: dict) -> dict:
    """Return what a round is made of; raises FedefmError where trips cannot be made."""
    from fedefm_ros.federation.station.options import MemberOptions
    from fedefm_ros.federation.station.options import most_laps
    usual = _STEPS[task]
    steps = {**usual, 'laps': min(usual['laps'], most_laps(len(names))),
             **{key: value for key, value in given.items() if value is not None}}
    # As the nodes will, but here and now.
    MemberOptions(tuple(names), names[0], topology=topology, laps=steps['laps'])
    return steps


def _same_run(out: Path, settings: dict) -> None:
    """Refuse to go on with a folder of another run."""
    path = out / 'settings.json'
    text = json.dumps(settings, indent=1, sort_keys=True)
    if path.is_file() and path.read_text(encoding='utf-8') != text:
        raise FedefmError(f'{out} holds a run with other settings; choose another folder with -o, '
                          'or remove it')
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


def make_keys(out: Path, names: list[str]) -> None:
    """Give every station a key, in OUT/keys/NAME, and all others' public ones."""
    from fedefm_ros.federation.trust.identity import Identity
    from fedefm_ros.federation.trust.peers import Peers
    for name in names:
        folder = out / 'keys' / name
        if not folder.is_dir():
            Identity.create(folder, name)
    for name in names:
        peers = Peers.read(out / 'keys' / name)
        for other in names:
            if other != name and other not in peers.names:
                peers.add(out / 'keys' / other / f'{other}.pub')


def _make_images(plan) -> None:
    """Make the images once, before several stations would at the same time."""
    from fedefm_ros.experiments.foundation_task import foundation_data
    from fedefm_ros.experiments.foundation_task import FoundationRecipe
    with output.progress('images', None) as advance:
        foundation_data(FoundationRecipe(plan.images, plan.held_out, plan.size),
                        progress=lambda done, total: advance(done))


def _watch(processes, names, own, rounds):
    """Bring the nodes up and show a live table until all have made their rounds."""
    from fedefm_ros.nodes.bring_up import ACTIVE
    from fedefm_ros.nodes.bring_up import LifecycleClient
    from fedefm_ros.nodes.federation_monitor import FederationMonitor
    from fedefm_ros.nodes.session import spinning

    with spinning(lambda context: FederationMonitor(names, context=context)) as monitor:
        for name in names:
            LifecycleClient(monitor, f'/{name}/federation', processes.check).bring_to(ACTIVE)
        told = {}
        with Live(console=output.remarks, refresh_per_second=2) as live:
            while True:
                processes.check()
                statuses = dict(monitor.statuses)
                live.update(_live(statuses, names, own, monitor.phase))
                if not output.remarks.is_terminal:
                    _tell(statuses, told)
                if len(statuses) == len(names) and all(
                        status.round >= rounds and monitor.phase(status) == 'idle'
                        for status in statuses.values()):
                    return
                time.sleep(0.25)


def _live(statuses, names, own, phase):
    table = Table('station', 'data', 'round', 'phase', 'score', 'sent, MB', 'received, MB',
                  'refused', 'last refusal')
    for name in names:
        status = statuses.get(name)
        if status is None:
            table.add_row(name, own[name], '', 'starts')
            continue
        table.add_row(name, own[name], str(status.round), phase(status),
                      output.figure(status.score_after), f'{status.bytes_sent / 1e6:.1f}',
                      f'{status.bytes_received / 1e6:.1f}', str(status.refused),
                      status.last_refusal[:60])
    return table


def _tell(statuses, told):
    """Say a line for each finished round, where no table can be redrawn."""
    for name, status in statuses.items():
        if told.get(name) != status.round:
            told[name] = status.round
            output.say(f'{name}: round {status.round}, score '
                       f'{output.figure(status.score_after)}')


def _summary(out, plans, own, kinds, seed):
    """Try each station's model on each kind, before and after, on images that none has seen."""
    from fedefm_ros.federation.station.journal import Journal
    from fedefm_ros.federation.station.own_round import FIRST_MODEL
    from fedefm_ros.federation.station.task import test_sets
    from fedefm_ros.federation.weights import without_momentum
    from safetensors.torch import load_file

    task, sets = test_sets(next(iter(plans.values())), kinds, seed)
    start = {kind: task.measure(task.network.eval(), *sets[kind])['score'] for kind in kinds}
    rows, refused, total = [], 0, 0
    with output.progress('trying the models', len(plans)) as advance:
        for number, name in enumerate(plans):
            folder = out / 'state' / name
            journal = Journal.load(folder / 'journal.json')
            row = {'name': name, 'kind': own[name], 'rounds': journal.round}
            for when, path in (
                    ('before', folder / 'accepted' / f'{FIRST_MODEL}.safetensors'),
                    # The foundation model is the federation's; for masks, what the gate let by.
                    ('after', folder / 'models' / f'{_newest(journal, task)}.safetensors'),
                    ('federation', folder / 'models' / f'{journal.model}.safetensors')):
                task.network.load_state_dict(without_momentum(load_file(path)))
                row[f'accuracy_{when}'] = {
                    kind: task.measure(task.network.eval(), *sets[kind])['score']
                    for kind in kinds}
            advance(number + 1)
            row |= {'refusals': journal.refusals, 'history': journal.history,
                    'bytes_sent': journal.bytes_sent, 'bytes_received': journal.bytes_received}
            rows.append(row)
            refused += sum(journal.refusals.values())
            total += journal.bytes_sent
    return {'start': start, 'stations': rows, 'refused': refused, 'bytes': total}


def _newest(journal, task):
    return journal.model if task.plan.task == 'foundation' else journal.used


def _print(summary, kinds, task):
    measure = 'accuracy' if task == 'foundation' else 'mean Dice'
    start = summary['start']
    rows = [['all', '', 'start', *(start[kind] for kind in kinds), '']]
    for row in summary['stations']:
        for when in ('before', 'after', 'federation'):
            scores = row[f'accuracy_{when}']
            if when == 'federation' and scores == row['accuracy_after']:
                continue  # what the stations pass on is what this one uses
            unseen = [scores[kind] for kind in kinds if kind != row['kind']]
            rows.append([row['name'], row['kind'], when, *(scores[kind] for kind in kinds),
                         sum(unseen) / max(len(unseen), 1)])
    output.table(f'{measure} on images that no station has', [
        'station', 'its data', '', *kinds, 'mean of the kinds it lacks'], rows)
    output.results.print(f'{summary["bytes"] / 1e6:.1f} MB sent, {summary["refused"]} refusals, '
                         f'{summary["seconds"]:.0f} s', highlight=False)


def _plot(summary, kinds, path, task):
    """Draw each station's scores by kind, before and after, its own kinds apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    import numpy as np
    stations = summary['stations']
    figure = Figure(figsize=(3.2 * len(stations), 3.4), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(stations), sharey=True, squeeze=False)[0]
    places = np.arange(len(kinds))
    for axis, row in zip(axes, stations):
        for shift, when, colour in ((-0.2, 'before', '#b0b0b0'), (0.2, 'after', '#1f77b4')):
            axis.bar(places + shift, [row[f'accuracy_{when}'][kind] for kind in kinds], 0.4,
                     label=when, color=colour)
        axis.set_xticks(places, [f'{kind}*' if kind == row['kind'] else kind for kind in kinds],
                        rotation=30)
        axis.set_title(f'{row["name"]}: {row["kind"]}', fontsize=9)
        axis.set_ylim(0, 1)
    axes[0].set_ylabel('accuracy' if task == 'foundation' else 'mean Dice')
    axes[0].legend(fontsize=8)
    figure.supxlabel('kind of data (* = the one that the station has)', fontsize=8)
    figure.savefig(path, dpi=110)
    return path
