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

"""Attackers and a namesake against a real station, over real DDS: refused, counted, bounded."""

from dataclasses import replace
import hashlib
import io
import os

from fedefm_ros import station
from fedefm_ros.commands.processes import Processes
from fedefm_ros.federation.station.journal import Journal
from fedefm_ros.federation.transfer.chunk_table import payload_sha256
from fedefm_ros.federation.transfer.codec import encode
from fedefm_ros.federation.transfer.outbox import Chunk
from fedefm_ros.federation.trust.audit import AuditLog
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.msg import FederationStatus
from fedefm_ros.nodes.bring_up import ACTIVE
from fedefm_ros.nodes.bring_up import LifecycleClient
from fedefm_ros.nodes.federation_transport import RosTransport
from fedefm_ros.nodes.monitor import StationMonitor
from fedefm_ros.nodes.session import spinning

import psutil

import pytest

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile

from safetensors.torch import load_file

import torch

import zstandard

VICTIM, ROGUE = 'attacked', 'rogue'
CHUNK = 64 << 10
PATIENCE = 180.0
BOMB = 512 << 20


class Attacker:
    """A peer on the allow-list that announces and serves whatever it likes."""

    def __init__(self, folder, node):
        self.identity = Identity.load(folder / 'keys' / ROGUE)
        self.stranger = Identity.create(folder / 'keys' / 'stranger', 'stranger')
        self.transport = RosTransport(node, ROGUE, (VICTIM, ROGUE), 5.0)
        self.transport.serve(self)
        self.served = {}

    def serve(self, sha256, index):
        if sha256 not in self.served:
            raise Refused('unknown_payload', 'gone')
        return self.served[sha256](index)

    def heard(self, manifest):
        """Take no notice of anybody."""

    def refuse(self, refused, peer):
        """Take no notice of anybody."""

    def manifest(self, payload, architecture, codec='safetensors', **changes):
        """Return a manifest of an honest form, and serve the payload."""
        parts = [payload[start:start + CHUNK] for start in range(0, len(payload), CHUNK)]
        digests = [hashlib.sha256(part).digest() for part in parts]
        made = Manifest.new(
            round=0, owner=ROGUE, sender=ROGUE, recipients=(VICTIM,), purpose='aggregate',
            architecture_hash=architecture, codec=codec, size=len(payload), chunk_size=CHUNK,
            sha256=payload_sha256(b''.join(digests)))
        self.served[made.sha256] = lambda index: Chunk(
            memoryview(parts[index]), digests[index].hex())
        return replace(made, **changes)

    def announce(self, manifest, identity=None, signed=True):
        self.transport.announce(
            manifest.signed_by(identity or self.identity) if signed else manifest)


class Siege:
    """The victim as its own disk tells of it, and the attacker."""

    def __init__(self, folder, processes, attacker, process):
        self.folder, self.processes, self.attacker = folder, processes, attacker
        self.process = process
        self.state = folder / 'state'
        journal = self.journal
        self.architecture = journal.architecture_hash
        self.honest = load_file(self.state / 'models' / f'{journal.model}.safetensors')

    @property
    def journal(self):
        return Journal.load(self.state / 'journal.json')

    def refusals(self):
        """Return the reasons for which the rogue or the stranger was refused, as audited."""
        return [entry['reason'] for entry in AuditLog(self.state / 'audit.jsonl').entries()
                if entry['event'] == 'refused']

    def attack(self, manifest, **how):
        """Announce something; return why it is refused."""
        before = len(self.refusals())
        self.attacker.announce(manifest, **how)
        self.processes.wait_for(lambda: len(self.refusals()) > before, PATIENCE,
                                'nothing was refused')
        return self.refusals()[before]

    def offer(self, state=None, payload=None, **how):
        """Return a manifest of weights or of bytes."""
        payload = bytes(encode(state, 'safetensors')) if payload is None else payload
        return self.attacker.manifest(payload, self.architecture, **how)

    def peak_memory(self):
        """Return the most that node and training process have had so far, bytes."""
        family = [self.process.pid, *(child.pid for child in psutil.Process(
            self.process.pid).children(recursive=True))]
        return sum(_peak_of(pid) for pid in family)


def _peak_of(pid):
    with open(f'/proc/{pid}/status', encoding='utf-8') as file:
        line, = (line for line in file if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024


@pytest.fixture(scope='module')
def siege(tmp_path_factory):
    """Start a station that has trained alone and waits for its only peer."""
    folder = tmp_path_factory.mktemp('siege')
    for name in (VICTIM, ROGUE):
        Identity.create(folder / 'keys' / name, name)
    for name, other in ((VICTIM, ROGUE), (ROGUE, VICTIM)):
        Peers.read(folder / 'keys' / name).add(folder / 'keys' / other / f'{other}.pub')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
        patch.setenv('OMP_NUM_THREADS', '1')
        for name, value in station.dds_environment().items():
            patch.setenv(name, value)
        with Processes(folder / 'logs') as processes, spinning(
                lambda context: Node('federation', namespace=ROGUE, context=context)) as node:
            process = processes.start(VICTIM, station.command(
                station.FEDERATION, namespace=VICTIM, parameters={
                    'stations': f'{VICTIM},{ROGUE}', 'keys': folder / 'keys' / VICTIM,
                    'state': folder / 'state', 'task': 'segmentation', 'model': '',
                    'data': 'simulator:human', 'image_size': 64, 'images': 2, 'held_out': 1,
                    'batch': 1, 'local_steps': 1, 'idle_after': 0.0, 'peer_margin': 1.0,
                    'gate_margin': 1.0, 'deadline': 15.0, 'chunk_timeout': 0.5, 'niceness': 0}))
            LifecycleClient(node, f'/{VICTIM}/federation', processes.check).bring_to(ACTIVE)
            journal = folder / 'state' / 'journal.json'
            processes.wait_for(lambda: journal.is_file() and Journal.load(journal).used,
                               PATIENCE, 'the station did not train')
            yield Siege(folder, processes, Attacker(folder, node), process)
            processes.check()


def test_who_is_not_known_and_who_lies_about_it_is_refused(siege):
    offer = siege.offer(siege.honest)
    stranger = siege.attacker.stranger
    assert siege.attack(replace(offer, sender='stranger', owner='stranger'),
                        identity=stranger) == 'unknown_key'
    forged = replace(replace(offer, sender='stranger').signed_by(stranger), sender=ROGUE)
    assert siege.attack(forged, signed=False) == 'bad_signature'


@pytest.mark.parametrize('reason, changes', [
    ('too_large', {'size': 10 << 30}), ('wrong_architecture', {'architecture_hash': 'ab' * 32}),
    ('wrong_version', {'protocol_version': 1}), ('unknown_owner', {'owner': 'nobody'}),
    ('bad_codec', {'codec': 'pickle'})])
def test_what_is_announced_wrongly_is_refused_before_a_byte_is_asked_for(siege, reason, changes):
    offer = siege.offer(siege.honest)
    asked = []
    serve = siege.attacker.served[offer.sha256]
    siege.attacker.served[offer.sha256] = lambda index: asked.append(index) or serve(index)
    assert siege.attack(replace(offer, **changes)) == reason
    assert not asked


def spoilt(state, change):
    return {key: change(value.clone()) if value.is_floating_point() else value
            for key, value in state.items()}


@pytest.mark.parametrize('reason, change', [
    ('not_finite', lambda value: value * float('nan')), ('norm', lambda value: value * 1e6),
    ('norm', lambda value: value * 0)])
def test_weights_that_are_not_sane_are_refused(siege, reason, change):
    assert siege.attack(siege.offer(spoilt(siege.honest, change))) == reason


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_refused_and_never_opened(siege):
    file = io.BytesIO()
    torch.save(Trap(siege.folder / 'sprung'), file)
    assert siege.attack(siege.offer(payload=file.getvalue())) == 'malformed'
    assert not (siege.folder / 'sprung').exists()


def test_a_zip_bomb_is_refused_and_takes_no_memory(siege):
    file = io.BytesIO()
    with zstandard.ZstdCompressor(level=1).stream_writer(file, closefd=False) as writer:
        for _ in range(BOMB >> 20):
            writer.write(bytes(1 << 20))
    before = siege.peak_memory()
    assert siege.attack(siege.offer(payload=file.getvalue(), codec='safetensors+zstd')
                        ) == 'too_large'
    assert siege.peak_memory() - before < BOMB / 4


def test_chunks_that_are_damaged_or_of_something_else_or_never_come_are_given_up(siege):
    attacker = siege.attacker
    for reason, spoil in (
            ('bad_chunk', lambda chunk: Chunk(bytes(len(chunk.data)), chunk.sha256)),
            ('bad_hash', lambda chunk: Chunk(
                bytes(len(chunk.data)), hashlib.sha256(bytes(len(chunk.data))).hexdigest())),
            ('unreachable', None)):
        # Another byte each: else it is one payload.
        offer = siege.offer({**siege.honest, next(iter(siege.honest)): next(iter(
            siege.honest.values())) + len(reason) * 1e-4})
        serve = attacker.served[offer.sha256]
        if spoil is None:
            del attacker.served[offer.sha256]
        else:
            attacker.served[offer.sha256] = \
                lambda index, serve=serve, spoil=spoil: spoil(serve(index))
        assert siege.attack(offer) == reason


def test_an_honest_model_is_still_taken_though_its_clock_is_an_hour_off_but_only_once(siege):
    offer = siege.offer(spoilt(siege.honest, lambda value: value * 1.001))
    offer = replace(offer, stamp_ns=offer.stamp_ns + 3600 * 1_000_000_000)
    siege.attacker.announce(offer)
    siege.processes.wait_for(lambda: ROGUE in siege.journal.neighbours, PATIENCE,
                             'an honest model was not taken')
    assert siege.attack(offer) == 'replayed'
    # All that went before has left nothing behind, and the model in use is the first one.
    assert list((siege.state / 'inbox').iterdir()) == []
    journal = siege.journal
    assert journal.used == journal.history[0]['model'] and len(journal.history) == 1


def test_two_stations_of_one_name_stand_still_and_say_so(siege):
    with spinning(lambda context: StationMonitor(
            VICTIM, images=False, context=context)) as monitor:
        def says(text):
            return text in monitor.tally.values('federation: federation').get('message', '')
        siege.processes.wait_for(
            lambda: monitor.tally.values('federation: federation'), PATIENCE,
            'no diagnostics came')
        twin = monitor.create_publisher(
            FederationStatus, f'/{VICTIM}/federation/status',
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        siege.processes.wait_for(lambda: says('calls itself'), PATIENCE, 'nobody minded')
        siege.processes.wait_for(
            lambda: monitor.tally.values('federation: federation')['idle'] == 'False', PATIENCE,
            'it went on')
        monitor.destroy_publisher(twin)
        siege.processes.wait_for(lambda: not says('calls itself'), PATIENCE, 'it never went on')
