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

"""Stations that learn from each other: real nodes, real DDS, real training processes."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
import random
import re
import signal
import subprocess
import sys
import time

from fedefm_ros import station
from fedefm_ros.commands.processes import Processes
from fedefm_ros.federation.station.journal import Journal
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.nodes.bring_up import ACTIVE
from fedefm_ros.nodes.bring_up import LifecycleClient
from fedefm_ros.nodes.federation_monitor import FederationMonitor
from fedefm_ros.nodes.procedure import Procedure
from fedefm_ros.nodes.session import spinning

import psutil

import pytest

from safetensors.torch import load_file

PATIENCE = 240.0
SMALL = {'task': 'foundation', 'model': '', 'image_size': 32, 'images': 12, 'held_out': 6,
         'batch': 8, 'local_steps': 4, 'stop_steps': 2, 'home_steps': 2, 'threads': 1,
         'interval': 0.0, 'idle_after': 0.0, 'peer_margin': 1.0, 'gate_margin': 1.0,
         'deadline': 15.0, 'silence': 5.0, 'chunk_timeout': 1.0, 'chunk_size': 1 << 16}
KINDS = ('human', 'animal', 'phantom')
#: Of the soak test; less of it, to try the test itself.
SOAK_SECONDS = float(os.environ.get('FEDEFM_SOAK_SECONDS', 3600))


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
    """Make the images of all stations once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        patch.setenv('OMP_NUM_THREADS', '1')
        for name, value in station.dds_environment().items():
            patch.setenv(name, value)
        yield


def fedefm(*arguments, **options):
    return subprocess.run([sys.executable, '-m', 'fedefm_ros.cli', *map(str, arguments)],
                          capture_output=True, text=True, timeout=560, **options)


class Hospitals:
    """Stations of one federation as processes that can be killed and started again."""

    def __init__(self, folder, names, processes, monitor, **settings):
        self.folder, self.names = folder, names
        self.processes, self.monitor = processes, monitor
        self.settings = {**SMALL, 'stations': ','.join(names), **settings}
        self.starts = 0
        for name in names:
            Identity.create(folder / 'keys' / name, name)
        for name in names:
            for other in names:
                if other != name:
                    Peers.read(folder / 'keys' / name).add(
                        folder / 'keys' / other / f'{other}.pub')

    def start(self, name):
        """Start a station and bring it up."""
        self.starts += 1
        number = self.names.index(name)
        process = self.processes.start(f'{name}-{self.starts}', station.command(
            station.FEDERATION, namespace=name, parameters={
                **self.settings, 'seed': number, 'data': f'simulator:{KINDS[number]}',
                'keys': self.folder / 'keys' / name, 'state': self.folder / 'state' / name}))
        LifecycleClient(self.monitor, f'/{name}/federation', self.processes.check).bring_to(ACTIVE)
        return process

    def kill(self, name, process):
        """Kill a station as a power cut would; its training process ends with it."""
        workers = process_tree(process)
        process.kill()
        process.wait()
        self.processes.forget(f'{name}-{self.label(process)}')
        psutil.wait_procs(workers, 10)
        assert not [worker for worker in workers if worker.is_running()
                    and worker.status() != psutil.STATUS_ZOMBIE]

    def label(self, process):
        return next(label.rpartition('-')[2] for label, running in self.processes._running.items()
                    if running is process)

    def journal(self, name) -> Journal:
        return Journal.load(self.folder / 'state' / name / 'journal.json')

    def wait_for(self, condition, what):
        self.processes.wait_for(condition, PATIENCE, what)


def process_tree(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def hospitals(tmp_path, request):
    """Return a function that makes the stations of a federation."""
    last = re.sub('[^a-z0-9]', '', request.node.name.rpartition('_')[2])
    names = [f'{last[:8]}_{letter}' for letter in 'abc']
    with Processes(tmp_path / 'logs') as processes, \
            spinning(lambda context: FederationMonitor(names, context=context)) as monitor:
        yield lambda **settings: Hospitals(tmp_path, names, processes, monitor, **settings)


def federated(tmp_path, *arguments):
    """Return the command, what it told, and of each station: mean on what it lacks and after."""
    command = ('federate', '--stations', 3, '--rounds', 2, '--kinds', ','.join(KINDS),
               *arguments, '-o', tmp_path / 'out', '--json', tmp_path / 'federate.json')
    run = fedefm(*command)
    assert run.returncode == 0, run.stderr + run.stdout
    told = json.loads((tmp_path / 'federate.json').read_text())
    assert told['refused'] == 0 and told['bytes'] > 0
    return command, told, [
        [sum(row[when][kind] for kind in KINDS if kind != row['kind']) / (len(KINDS) - 1)
         for when in ('accuracy_before', 'accuracy_after')] for row in told['stations']]


@pytest.mark.timeout(600)  # minutes of training, more beside others
def test_stations_find_instruments_in_kinds_that_they_never_had(tmp_path):
    _, told, lacked = federated(tmp_path, '--task', 'segmentation', '--image-size', 64,
                                '--local-steps', 20, '--laps', 2)
    before, after = map(sum, zip(*lacked))
    assert all(late > early for early, late in lacked), told['stations']
    assert after / 3 > before / 3 + 0.05, told['stations']


@pytest.mark.timeout(600)  # minutes of training, more beside others
def test_stations_learn_kinds_that_they_never_had(tmp_path):
    arguments, told, lacked = federated(tmp_path, '--local-steps', 40, '--laps', 2)
    # Of nine classes, six of which a station never had; alone it never names one of those.
    assert all(early < 0.05 and late > early + 0.1 for early, late in lacked), told['stations']
    assert Path(told['pictures'][0]).stat().st_size > 5000
    # The same command goes on: all rounds are there, so nothing is left but the table.
    again = fedefm(*arguments)
    assert again.returncode == 0, again.stderr
    other = fedefm(*arguments, '--laps', 3)
    assert other.returncode == 1 and 'other settings' in other.stderr


@pytest.mark.parametrize('kills, rounds', [
    (3, 2), pytest.param(20, 6, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_stations_that_are_killed_again_and_again_keep_their_rounds(hospitals, kills, rounds):
    made = hospitals(rounds=rounds)
    rng = random.Random(5)
    running = {name: made.start(name) for name in made.names}
    for number in range(kills):
        # At any moment of a round: some status is always on its way.
        moment = time.monotonic() + rng.uniform(0.2, 4.0)
        made.wait_for(lambda moment=moment: time.monotonic() > moment, 'a moment')
        victim = made.names[number % 3]
        made.kill(victim, running[victim])
        running[victim] = made.start(victim)
    made.wait_for(lambda: all(
        made.journal(name).round >= rounds and made.journal(name).phase == 'rest'
        for name in made.names), f'{rounds} rounds were not made')
    check_folders(made)


def check_folders(made):
    """Every model on any disk is whole, named by its content, and finite; the disk is bounded."""
    for name in made.names:
        state = made.folder / 'state' / name
        checked = 0
        for path in (state / 'models').iterdir():
            if path.name.startswith('.'):  # being written, or left by a kill until a later sweep
                continue
            assert path.suffix == '.safetensors', path
            with contextlib.suppress(FileNotFoundError):  # swept just now: nobody needs it
                assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()[:32]
                checked += 1
        assert checked
        for path in (state / 'accepted').glob('*.safetensors'):
            assert all(value.isfinite().all() for value in load_file(path).values())
        disk = 0
        for path in state.rglob('*'):
            with contextlib.suppress(FileNotFoundError):
                disk += path.stat().st_size
        assert disk < 40e6


def test_the_doctor_finds_the_peers_and_what_is_missing(hospitals, tmp_path):
    made = hospitals()
    own, peer, absent = made.names
    for name in (own, peer):
        made.start(name)
    made.wait_for(lambda: made.journal(peer).offers and made.journal(own).architecture_hash,
                  'nothing was offered')

    def doctor(*arguments):
        file = tmp_path / 'doctor.json'
        done = fedefm('doctor', '--folder', made.folder / 'keys' / own, '--state',
                      made.folder / 'state' / own, '--json', file, *arguments)
        found = json.loads(file.read_text())['findings']
        return done.returncode, {(one['check'], one['station']): one for one in found}
    # A round may take as long as its deadline: the third station is waited for.
    code, found = doctor('--stations', f'{own},{peer}', '--canary', '--round-seconds', PATIENCE)
    assert code == 0, found
    assert found['own node', '']['outcome'] == found['reached', peer]['outcome'] == 'ok'
    assert found['piece', peer]['outcome'] in ('ok', 'warn')  # warn: between two offers
    assert peer in found['canary', '']['text']
    # A key that is not the one that the peer signs with is seen.
    other = Identity.create(tmp_path / 'other', peer)
    (made.folder / 'keys' / own / f'{peer}.pub').unlink()
    Peers.read(made.folder / 'keys' / own).add(tmp_path / 'other' / f'{other.name}.pub')
    code, found = doctor('--seconds', 4)
    assert code == 1 and 'bad_signature' in found['announcement', peer]['text']
    assert 'not found' in found['reached', absent]['text']


@pytest.mark.slow
@pytest.mark.timeout(2 * SOAK_SECONDS + 900)
def test_hours_of_procedures_and_idle_phases_leak_nothing(hospitals):
    made = hospitals(rounds=0, idle_after=1.0, interval=2.0)
    rng = random.Random(7)
    running = {name: made.start(name) for name in made.names}
    procedures = {name: Procedure(made.monitor, f'/{name}/fluoroscopy/image_raw')
                  for name in made.names}
    until = dict.fromkeys(made.names, 0.0)
    began = time.monotonic()
    rows = []
    while time.monotonic() - began < SOAK_SECONDS:
        moment = time.monotonic() + 0.2
        made.wait_for(lambda moment=moment: time.monotonic() > moment, 'a moment')
        for name, procedure in procedures.items():
            # A fifth of the time, procedures of some seconds.
            if time.monotonic() < until[name]:
                procedure.image()
            elif rng.random() < 0.2 * 0.2 / 5.0:
                until[name] = time.monotonic() + rng.uniform(2.0, 8.0)
        if len(rows) < (time.monotonic() - began) * 60 / SOAK_SECONDS:
            rows.append(usage(made, running))
    told = {'seconds': SOAK_SECONDS, 'rows': rows,
            'rounds': [made.journal(name).round for name in made.names],
            'refusals': [made.journal(name).refusals for name in made.names],
            'last_refusals': [made.journal(name).last_refusal for name in made.names]}
    Path(os.environ.get('FEDEFM_SOAK_JSON', made.folder / 'soak.json')).write_text(
        json.dumps(told, indent=1))
    assert min(told['rounds']) >= max(3, SOAK_SECONDS / 120), told
    for name in made.names:
        # After two rounds all is loaded that ever is.
        warm = next(row[name] for row in rows if row[name]['round'] >= 2)
        last = rows[-1][name]
        assert last['memory'] < 1.15 * warm['memory'] + 20e6, (warm, last)
        assert last['files'] <= warm['files'] + 12, (warm, last)
    check_folders(made)


def usage(made, running):
    """Return round, memory (bytes), open files and bytes on disk of each station."""
    found = {}
    for name, process in running.items():
        memory = files = 0
        for one in [psutil.Process(process.pid), *process_tree(process)]:
            try:
                memory += one.memory_info().rss
                files += one.num_fds()
            except psutil.NoSuchProcess:
                continue
        disk = 0
        for path in (made.folder / 'state' / name).rglob('*'):
            with contextlib.suppress(FileNotFoundError):  # models come and go
                disk += path.stat().st_size
        found[name] = {'round': made.journal(name).round, 'memory': memory, 'files': files,
                       'disk': disk}
    return found


def test_a_procedure_stops_the_training_and_its_end_lets_it_go_on(tmp_path):
    run = fedefm('bench', 'preemption', '--trials', 4, '--seconds', 0,
                 '--json', tmp_path / 'bench.json')
    assert run.returncode == 0, run.stderr + run.stdout
    told = json.loads((tmp_path / 'bench.json').read_text())
    assert told['trials'] == 4 and 0 < told['stop_ms']['p50'] <= told['stop_ms']['p99']


def test_weights_travel_whole(tmp_path):
    run = fedefm('bench', 'transfer', '--megabytes', 3, '--repeats', 1,
                 '--json', tmp_path / 'bench.json')
    assert run.returncode == 0, run.stderr + run.stdout
    row, = json.loads((tmp_path / 'bench.json').read_text())['rows']
    assert row['seconds'] > 0 and row['tcp_seconds'] > 0


def test_a_node_without_a_key_says_what_to_do(tmp_path):
    line = station.command(station.FEDERATION, namespace='keyless', parameters={
        'stations': 'keyless,other', 'keys': tmp_path / 'nowhere', 'state': tmp_path / 'state'})
    with open(tmp_path / 'log', 'wb') as log:
        process = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, env=os.environ)
    try:
        with spinning(lambda context: FederationMonitor([], context=context)) as monitor:
            client = LifecycleClient(monitor, '/keyless/federation')
            with pytest.raises(Exception, match='could not be configured'):
                client.bring_to(ACTIVE)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert './run keys new' in (tmp_path / 'log').read_text()
