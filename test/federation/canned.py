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

"""One station that trains nothing, and what its peers say to it: whole rounds in an instant."""

from collections import deque
import itertools
import os

from fedefm_ros.federation.station.crew import Outcome
from fedefm_ros.federation.station.member import Member
from fedefm_ros.federation.station.options import MemberOptions
from fedefm_ros.federation.transfer.outbox import Outbox
from fedefm_ros.federation.transfer.outbox import write_sealed
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.federation.trust.sealing import new_key
from fedefm_ros.federation.trust.sealing import seal_key

ARCHITECTURE = 'ab' * 32
SCORES = {'score': 0.5}


class CannedCrew:
    """Answers every job at once with made-up results; what it seals are random bytes."""

    def __init__(self, folder):
        self._folder, self._waiting, self._paused = folder, deque(), False
        self._models = itertools.count()

    @property
    def tags(self):
        return tuple(tag for tag, _, _ in self._waiting)

    def submit(self, tag, do, urgent=False, **arguments):
        (self._waiting.appendleft if urgent else self._waiting.append)((tag, do, arguments))

    def pause(self):
        self._paused = True

    def resume(self):
        self._paused = False

    def close(self):
        self._waiting.clear()

    def poll(self):
        if self._paused or not self._waiting:
            return []
        tag, do, arguments = self._waiting.popleft()
        return [Outcome(tag, getattr(self, f'_{do}')(**arguments))]

    def _model(self):
        path = self._folder / 'models' / f'{os.urandom(16).hex()}.safetensors'
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return path.stem

    def _trained(self, **_):
        return {'model': self._model(), 'scores': SCORES, 'emd_weight': 1.0}

    _local = _home = _mix = _try_out = _trained

    def _start(self):
        return {'model': self._model(), 'samples': 5, 'architecture_hash': ARCHITECTURE}

    def _pack(self, seal, **_):
        path, key = self._folder / 'outgoing' / f'{seal["name"]}.bin', new_key()
        path.parent.mkdir(exist_ok=True)
        sealed = write_sealed(path, os.urandom(1000), seal['chunk_size'], key)
        return {'model': '', 'sealed': {'path': str(path), 'key': key.hex(),
                                        'table': sealed.table.hex(), **vars(sealed.offered)}}

    _host = _pack

    def _slowdowns(self, models, **_):
        return {'slowdowns': [1.0] * len(models)}

    def _accept(self, model, provenance):
        path = self._folder / 'accepted' / f'{provenance["name"]}.safetensors'
        path.parent.mkdir(exist_ok=True)
        path.write_text(model)
        return {'path': str(path), 'model_id': model[:16]}


class Ada:
    """Station ada, the Transport that it speaks to, and a pen for its peers."""

    def __init__(self, folder, names=('ada', 'bert', 'cleo')):
        self.folder, self.names = folder, names
        self.now = 0.0
        self.announced = []
        self.accepted = []
        #: Payload's SHA-256 -> where a peer keeps it.
        self._served = {}
        self._asked = deque()
        for name in names:
            Identity.create(folder / name, name)
        for name, other in itertools.permutations(names, 2):
            Peers.read(folder / name).add(folder / other / f'{other}.pub')

    def start(self, names=None, **options):
        """Start ada, or start it again."""
        self._asked.clear()
        self.crew = CannedCrew(self.folder / 'state')
        self.member = Member(
            self.folder / 'state', Identity.load(self.folder / 'ada'),
            Peers.read(self.folder / 'ada'),
            MemberOptions(names or self.names, 'ada', **{
                'deadline': 5.0, 'interval': 1.0, **options}),
            self.crew, self, clock=lambda: self.now)
        self.member.observe(lambda: None, self.accepted.append)
        return self.member

    def run(self, until=lambda: False, seconds=300, idle=True):
        """Let time pass until a condition holds; return whether it does."""
        for _ in range(10 * seconds):
            if until():
                return True
            self.now += 0.1
            self.member.tick(idle)
            while self._asked:
                sender, sha256, index = self._asked.popleft()
                chunk = self._served[sha256].chunk(sha256, index)
                self.member.chunk(sender, sha256, index, chunk.data, chunk.sha256)
        return until()

    def has_trained(self):
        """Return whether ada has a model of its own, and no round is under way."""
        return self.member.journal.phase == 'rest' and bool(self.member.journal.history)

    def said_by(self, sender, identity=None, payload=b'', **changes):
        """Return an announcement to ada; only with a payload is there anything behind it."""
        key, recipients = new_key(), changes.get('recipients', ('ada',))
        values = {'size': 1000, 'chunk_size': 1 << 16, 'sha256': os.urandom(32).hex()}
        if payload:
            outbox = Outbox(self.folder / 'served' / os.urandom(4).hex(), 1 << 20)
            values = vars(outbox.put(payload, 1 << 16, key))
            self._served[values['sha256']] = outbox
        made = Manifest.new(**{
            'round': 0, 'owner': sender, 'sender': sender, 'recipients': recipients,
            'purpose': 'aggregate', 'architecture_hash': ARCHITECTURE,
            'codec': 'safetensors+zstd', **values, 'sealed_keys': seal_key(
                key, [Identity.load(self.folder / name).public for name in recipients]),
            **changes})
        return made.signed_by(identity or Identity.load(self.folder / sender))

    def announce(self, manifest):
        self.announced.append(manifest)

    def ask(self, station, sha256, index):
        if sha256 in self._served:
            self._asked.append((station, sha256, index))

    def silence(self, station):
        return 0.0
