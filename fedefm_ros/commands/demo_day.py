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

"""`demo --day`: a procedure, an idle phase that learns with another station, a procedure."""

from collections import Counter
from dataclasses import dataclass
from dataclasses import field
import hashlib
from pathlib import Path
import time

from fedefm_ros.commands import output
from fedefm_ros.commands.day_picture import draw_day
from fedefm_ros.commands.federate import make_keys
from fedefm_ros.commands.pictures import write_sheet
from fedefm_ros.commands.processes import Processes
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.timing import milliseconds
from fedefm_ros.simulation.anatomy import KINDS

#: The station that has the procedures, and the one that it learns with.
OWN, PEER = 'station_a', 'station_b'
STATIONS = (OWN, PEER)
#: Enough to see what a night is made of in a few minutes: few images, few and small steps. The
#: gate is as strict as everywhere else, so it may keep the model of the morning, and says why.
LEARNING = {'task': 'segmentation', 'images': 16, 'held_out': 8, 'batch': 2, 'image_size': 384,
            'local_steps': 8, 'stop_steps': 6, 'home_steps': 6, 'learning_rate': 0.005,
            'idle_after': 3.0, 'shadow_frames': 6, 'interval': 0.0, 'deadline': 300.0,
            'threads': 1}
_PICTURES = 4
_PATIENCE = 60.0
_NIGHT_PATIENCE = 900.0


@dataclass
class Watch:
    """What was seen of a day; times in seconds since its start."""

    began: float = field(default_factory=time.monotonic)
    #: Station -> (time, phase) at each change.
    phases: dict[str, list[tuple[float, str]]] = field(
        default_factory=lambda: {name: [] for name in STATIONS})
    #: (begin, end) of each procedure.
    procedures: list[tuple[float, float]] = field(default_factory=list)
    #: (time, latency in milliseconds) of each mask.
    masks: list[tuple[float, float]] = field(default_factory=list)

    @property
    def now(self) -> float:
        """Return the time."""
        return time.monotonic() - self.began

    def see(self, statuses, phase_of) -> None:
        """Note the phases that have changed."""
        for name, status in list(statuses.items()):
            seen, phase = self.phases[name], phase_of(status)
            if not seen or seen[-1][1] != phase:
                seen.append((self.now, phase))


def demo_day(source: str, scale: dict[str, float], *, seconds: float, size: int, rate: float,
             model: str, runtime: str, out: Path, json_file: Path | None) -> dict:
    """
    Run a day of a station; print a table, write pictures and JSON.

    :param source: as of the demo; what the station learns from is simulated all the same.
    :param scale: parameters that let the segmentation tell millimetres.
    :param seconds: length of a procedure.
    :returns: the figures as in the JSON: procedures[] (those of the demo, and model_id),
        federation, promoted, pictures.
    :raises FedefmError: the folder has a day in it, or a node has died.
    """
    if (out / 'state').exists():
        raise FedefmError(f'{out} holds an earlier day; choose another folder with -o, or remove '
                          'it')
    kinds = _kinds(source)
    make_keys(out, list(STATIONS))
    watch = Watch()
    with Processes(out / 'logs') as processes:
        _start(processes, kinds, source, scale, size, rate, model, runtime, out)
        procedures, night, samples = _live_through(processes, watch, seconds, out)
        exits = processes.stop()
    summary = {'procedures': procedures, 'federation': night, 'promoted': night['promoted'],
               'kinds': dict(zip(STATIONS, kinds)), 'seconds': watch.now, 'exit_codes': exits}
    pictures = [path for name, seen in zip(('first', 'second'), samples)
                for path in write_sheet(seen, out / f'{name}_procedure.png')]
    pictures.append(draw_day(watch, out / 'day.png'))
    summary['pictures'] = [str(path) for path in pictures]
    _print(summary)
    output.write_json(summary, json_file)
    if any(exits.values()):
        raise FedefmError(f'a node did not end cleanly: {exits}; logs are in {out / "logs"}')
    return summary


def _kinds(source: str) -> tuple[str, str]:
    """Return the kinds of data that the stations have: that of the procedures, and another."""
    told = source.partition(':')[2].partition(',')[0]
    own = told if source.startswith('simulator') and told in KINDS else KINDS[0]
    return own, KINDS[(KINDS.index(own) + 1) % len(KINDS)]


def _start(processes, kinds, source, scale, size, rate, model, runtime, out) -> None:
    from fedefm_ros import station
    commands = {
        station.SEGMENTATION: {'model': model, 'runtime': runtime, **scale},
        station.FLUOROSCOPY: {'source': source, 'rate': rate, 'size': size, 'loop': True}}
    for process in station.PROCESSES:
        processes.start(process.name, station.command(
            process, namespace=OWN, parameters=commands[process]))
    for number, (name, kind) in enumerate(zip(STATIONS, kinds)):
        processes.start(f'federation_{name}', station.command(
            station.FEDERATION, namespace=name, parameters={
                **LEARNING, 'image_size': min(LEARNING['image_size'], size // 32 * 32),
                'model': model, 'stations': ','.join(STATIONS), 'seed': number,
                'data': f'simulator:{kind}', 'keys': (out / 'keys' / name).resolve(),
                'state': (out / 'state' / name).resolve()}))


def _live_through(processes, watch, seconds, out):
    """Have the procedures and the night between; return their figures and some frames."""
    from fedefm_ros import station
    from fedefm_ros.nodes.bring_up import ACTIVE
    from fedefm_ros.nodes.bring_up import LifecycleClient
    from fedefm_ros.nodes.federation_monitor import FederationMonitor
    from fedefm_ros.nodes.session import spinning

    with spinning(lambda context: FederationMonitor(list(STATIONS), context=context)) as monitor:
        def client(name: str) -> LifecycleClient:
            return LifecycleClient(monitor, name, processes.check)
        client(f'/{OWN}/{station.SEGMENTATION.name}').bring_to(ACTIVE)
        source = client(f'/{OWN}/{station.FLUOROSCOPY.name}')
        counts = {'published': 0, 'skipped': 0, 'refused': 0}

        def federate() -> None:
            """Let both stations join, once images flow: the first one is busy from then on."""
            for name in STATIONS:
                client(f'/{name}/federation').bring_to(ACTIVE)
        first, seen_first = _procedure(
            processes, monitor, watch, source, seconds, counts, 'first procedure', federate)
        night = _night(processes, monitor, watch, out)
        second, seen_second = _procedure(
            processes, monitor, watch, source, seconds, counts, 'second procedure')
    return [first, second], night, [seen_first, seen_second]


def _procedure(processes, federation, watch, source, seconds, counts, label,
               meanwhile=lambda: None):
    """
    Have images for some time; return what a controller would have seen, and some frames.

    :param counts: of the nodes before it; changed to those after it.
    """
    from fedefm_ros.nodes.bring_up import ACTIVE
    from fedefm_ros.nodes.monitor import StationMonitor
    from fedefm_ros.nodes.session import spinning
    samples = []
    with spinning(lambda context: StationMonitor(OWN, context=context)) as monitor:
        tally = monitor.tally
        # Before the first image: what is matched later would miss some.
        processes.wait_for(lambda: tally.told_again(Counter()),
                           _PATIENCE, 'no diagnostics arrived')
        began = watch.now
        source.bring_to(ACTIVE)
        processes.wait_for(lambda: tally.latencies, _PATIENCE, 'no mask arrived')
        meanwhile()
        end = time.monotonic() + seconds
        with output.progress(label, int(seconds)) as advance:
            while (left := end - time.monotonic()) > 0:
                processes.check()
                watch.see(federation.statuses, federation.phase)
                time.sleep(min(left, 0.25))
                if len(samples) < _PICTURES * (1 - left / seconds) and monitor.latest:
                    samples.append(monitor.latest)
                advance(int(seconds - left), f'{len(tally.latencies)} masks')
        if not source.deactivate():
            raise FedefmError('the source did not stop')
        before = tally.diagnostics_seen.copy()
        processes.wait_for(lambda: tally.told_again(before), 10.0, 'no diagnostics arrived')
        watch.procedures.append((began, watch.now))
        watch.masks += [(stamp - time.time() + watch.now + late, 1e3 * late)
                        for stamp, late in zip((one / 1e9 for one in tally.stamps),
                                               tally.latencies)]
    return _figures(monitor, counts), samples


def _figures(monitor, counts: dict[str, int]) -> dict:
    from fedefm_ros.commands.demo import accuracy
    tally = monitor.tally
    frames = tally.values('segmentation: frames')
    now = {'published': int(tally.values('fluoroscopy: source')['published']),
           'skipped': int(frames['skipped']), 'refused': int(frames['refused'])}
    made = {name: value - counts[name] for name, value in now.items()}
    counts.update(now)
    return {
        'frames_published': made['published'], 'masks_received': len(tally.latencies),
        'skipped': made['skipped'], 'refused': made['refused'],
        'lost': made['published'] - made['skipped'] - made['refused'] - len(tally.latencies),
        'latency_ms': milliseconds(tally.latencies),
        'model_id': tally.values('segmentation: model').get('model_id', ''),
        **accuracy(monitor.scores)}


def _night(processes, monitor, watch, out) -> dict:
    """Wait for a whole round and for what comes of it; return what it was made of."""
    state = out / 'state' / OWN
    began = watch.now
    with output.progress('night: a round with the other station', None) as advance:
        def over() -> bool:
            watch.see(monitor.statuses, monitor.phase)
            status = monitor.statuses.get(OWN)
            if status is not None:
                advance(int(watch.now - began), f'{OWN}: {monitor.phase(status)}')
            return status is not None and status.round >= 1
        processes.wait_for(over, _NIGHT_PATIENCE, 'no round was made')
    night = _round_of(state)
    night['seconds'] = watch.now - began
    # Also where the round's was not let by: what the station made alone was.
    _wait_for_model(processes, monitor, watch, night['model_id'])
    return night


def _wait_for_model(processes, federation, watch, model_id: str) -> None:
    """Wait until the segmentation says that it runs a model."""
    from fedefm_ros.nodes.monitor import StationMonitor
    from fedefm_ros.nodes.session import spinning
    with spinning(lambda context: StationMonitor(OWN, images=False, context=context)) as monitor:
        def taken() -> bool:
            watch.see(federation.statuses, federation.phase)
            return monitor.tally.values('segmentation: model').get('model_id') == model_id
        processes.wait_for(taken, 2 * _PATIENCE,
                           f'the segmentation did not take model {model_id}')


def _round_of(state: Path) -> dict:
    """Return the first round of a station as its books tell it."""
    from fedefm_ros.federation.station.journal import Journal
    from fedefm_ros.federation.trust.audit import AuditLog
    journal = Journal.load(state / 'journal.json')
    alone, first = journal.history[:2]
    kept = [entry['text'] for entry in AuditLog(state / 'audit.jsonl').entries()
            if entry['event'] == 'kept']
    file = state / 'accepted' / ('round00000.safetensors' if first['accepted']
                                 else 'alone.safetensors')
    return {'promoted': first['accepted'], 'why_not': '' if first['accepted'] else kept[-1],
            'model_id': hashlib.sha256(file.read_bytes()).hexdigest()[:16],
            'present': first['present'], 'absent': first['absent'],
            'emd_weights': first['emd_weights'], 'shadow': first['shadow'],
            'scores_before': alone['scores'],
            'scores_after': first['scores'], 'scores_of_round': first['carried_scores'],
            'bytes_sent': journal.bytes_sent, 'bytes_received': journal.bytes_received,
            'refusals': journal.refusals}


def _print(summary) -> None:
    procedures, night = summary['procedures'], summary['federation']
    rows = [[name.replace('_', ' '), *(one[name] for one in procedures)] for name in (
        'model_id', 'frames_published', 'masks_received', 'lost', 'skipped', 'refused')]
    rows += [[f'image published -> mask received, {one}, ms',
              *(each['latency_ms'][one] for each in procedures)] for one in ('p50', 'p99')]
    if all('dice' in one for one in procedures):
        rows += [[f'{name} Dice', *(one['dice'][name] for one in procedures)]
                 for name in procedures[0]['dice']]
        rows += [['tip error, median, px',
                  *(one['tip_error_px']['median'] for one in procedures)]]
    output.table(f'{OWN}: two procedures', ['measure', 'first', 'second'], rows)
    output.table(f'the night between, {night["seconds"]:.0f} s', ['measure', 'value'], [
        ['learned with', ', '.join(night['present']) or 'nobody'],
        ['EMD weight of what came home', next(iter(night['emd_weights'].values()),
                                              float('nan'))],
        ['mean Dice on held-out images, before', night['scores_before']['score']],
        ['the same, of what the round made', night['scores_of_round']['score']],
        ['in shadow on the first procedure: agreement',
         night['shadow'].get('agreement', float('nan'))],
        ['new model in use', 'yes' if night['promoted'] else f'no: {night["why_not"]}'],
        ['MB sent, received', f'{night["bytes_sent"] / 1e6:.1f}, '
                              f'{night["bytes_received"] / 1e6:.1f}'],
        ['refused', ', '.join(night['refusals']) or 'nothing']])
    for path in summary['pictures']:
        output.results.print(f'picture: {path}', highlight=False)
