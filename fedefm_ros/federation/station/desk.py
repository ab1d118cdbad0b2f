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

"""A station's books and its voice: journal, audit, refusals, and what it offers to others."""

from collections.abc import Callable
from functools import lru_cache
import hashlib
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.crew import Crew
from fedefm_ros.federation.station.inbox import Inbox
from fedefm_ros.federation.station.journal import Journal
from fedefm_ros.federation.station.options import MemberOptions
from fedefm_ros.federation.station.transport import Transport
from fedefm_ros.federation.transfer.fetch import sweep
from fedefm_ros.federation.transfer.outbox import Offered
from fedefm_ros.federation.transfer.outbox import Outbox
from fedefm_ros.federation.transfer.outbox import Sealed
from fedefm_ros.federation.trust.audit import AuditLog
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.trust.replay import ReplayGuard
from fedefm_ros.federation.trust.sealing import seal_key
from fedefm_ros.files import remove_unfinished

OUTBOX_BYTES = 4 << 30
AUDIT_BYTES = 4 << 20


#: The same few texts are read many times a second.
_manifest = lru_cache(1024)(Manifest.from_json)


class Desk:
    """What the parts of a member share; see member.Member for the whole."""

    #: Accepted models that stay on the disk.
    KEPT_MODELS = 20
    #: Seconds in which what only this station knows may wait to be written.
    WRITE_SECONDS = 1.0

    def __init__(self, folder: Path, identity: Identity, peers: Peers, options: MemberOptions,
                 crew: Crew, transport: Transport, clock: Callable[[], float]):
        self.folder = folder
        self.identity, self.peers, self.options = identity, peers, options
        self.crew, self.transport, self.clock = crew, transport, clock
        self.journal = Journal.load(folder / 'journal.json')
        self.guard = ReplayGuard(folder / 'replay.json')
        self.outbox = Outbox(folder / 'outbox', OUTBOX_BYTES)
        self.inbox = Inbox(folder / 'inbox', transport, options.chunk_timeout, options.bandwidth,
                           clock)
        self.changed: Callable[[], None] = lambda: None
        #: Returns a file with frames of the last procedure, '' without any.
        self.frames: Callable[[], str] = lambda: ''
        for path in (folder / 'outgoing').glob('*'):
            path.unlink()  # what a power cut left: it is coded anew
        self._audit = AuditLog(folder / 'audit.jsonl', AUDIT_BYTES)
        self._received_before = self.journal.bytes_received
        self._changed_since: float | None = None
        self._most_offers = 4 * len(options.stations) * options.laps
        #: Of what is offered: SHA-256 -> key. Kept in memory only: after a restart, what a station
        #: refuses is waited for until the deadline.
        self._keys: dict[str, bytes | None] = {}
        #: Payloads in the outbox that no manifest tells of yet.
        self._unannounced: set[str] = set()

    def touch(self) -> None:
        """
        Note that the journal has changed; `tick` writes it within WRITE_SECONDS, `save` at once.

        Each writing waits for the disk twice. What others cannot have seen yet may get lost with
        the power: it is fetched, trained or decided once more.
        """
        if self._changed_since is None:
            self._changed_since = self.clock()

    def tick(self) -> None:
        """Write what has waited for long enough."""
        if self._changed_since is not None and \
                self.clock() - self._changed_since >= self.WRITE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the journal; a full disk is told, and everything goes on in memory."""
        self._changed_since = None
        self.journal.bytes_received = self._received_before + self.inbox.received
        try:
            # First: taken twice is worse than trained twice.
            self.guard.save()
        except FedefmError as error:
            self.note('not marked', reason=str(error))
        try:
            self.journal.save(self.folder / 'journal.json')
        except OSError as error:
            self.journal.last_refusal = f'the journal cannot be written: {error.strerror}'

    def is_whole(self, model: str) -> bool:
        """Return whether a model at rest is what its name says: others' are not pushed."""
        path = self.folder / 'models' / f'{model}.safetensors'
        try:
            digest = hashlib.sha256()
            with path.open('rb') as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError:
            return False
        return bool(model) and digest.hexdigest().startswith(model)

    def note(self, event: str, peer: str = '', reason: str = '', text: str = '') -> None:
        """Write into the audit log."""
        self._audit.write(event, peer or self.options.name, reason, text=text)

    def refuse(self, refused: Refused, manifest: Manifest | None = None, peer: str = '') -> None:
        """Count a refusal and say why."""
        peer = peer or (manifest.sender if manifest else '')
        counts = self.journal.refusals
        counts[refused.reason] = counts.get(refused.reason, 0) + 1
        self.journal.last_refusal = f'{peer}: {refused}' if peer else str(refused)
        self.note('refused', peer, refused.reason, str(refused))
        self.changed()

    def is_silent(self, station: str) -> bool:
        """Return whether a station has not been heard for too long."""
        return self.transport.silence(station) > self.options.silence

    def next_stop(self, owner: str, number: int, hop: int) -> tuple[int, str]:
        """Return the next stop of a trip that can be heard, '' where there is none."""
        route = self.options.route(owner, number)
        for k in range(hop, len(route)):
            if route[k] != self.options.name and not self.is_silent(route[k]):
                return k, route[k]
        return len(route), ''

    def offer(self, tag: str, model: str) -> None:
        """Have a model of the own sealed: the job `pack TAG`, whose result is for `packed`."""
        self.crew.submit(f'pack {tag}', 'pack', urgent=True, model=model, seal=self.seal(tag))

    def seal(self, name: str) -> dict:
        """Return how a model is sealed, for a job."""
        options = self.options
        return {'name': name, 'codec': options.codec, 'chunk_size': options.chunk_size,
                'encrypt': options.encrypt}

    def packed(self, sealed: dict) -> tuple[Offered, bytes | None]:
        """Put what a job has sealed into the outbox; raises FedefmError where it has no room."""
        key = bytes.fromhex(sealed['key']) or None
        offered = self.outbox.adopt(
            Sealed(Offered(sealed['sha256'], sealed['size'], sealed['chunk_size']),
                   bytes.fromhex(sealed['table'])), Path(sealed['path']), key)
        self._unannounced.add(offered.sha256)
        return offered, key

    def discard(self, packed: tuple[Offered, bytes | None]) -> None:
        """Forget a packed model that nobody wants any more."""
        self._unannounced.discard(packed[0].sha256)
        self.outbox.remove(packed[0].sha256)

    def offers(self) -> list[Manifest]:
        """Return what is offered now, the oldest first."""
        return [_manifest(text) for text in self.journal.offers]

    def withdraw(self, offers: list[Manifest]) -> None:
        """Offer something no longer."""
        if not offers:
            return
        for said in offers:
            self.journal.offers.remove(said.to_json())
        # What is not encrypted may be offered twice.
        still = {said.sha256 for said in self.offers()}
        for sha256 in {said.sha256 for said in offers} - still:
            self._keys.pop(sha256, None)
            self.outbox.remove(sha256)
        self.touch()

    def tell_refusal(self, manifest: Manifest) -> None:
        """Tell the sender of a visitor that it is not taken, so that it goes on without a stop."""
        if manifest.purpose == 'overseas':
            self.transport.announce(
                manifest.refusal_by(self.options.name).signed_by(self.identity))

    def take_back(self, refusal: Manifest) -> tuple[Manifest, tuple[Offered, bytes | None]] | None:
        """Return what was offered and refused, to be announced elsewhere; None: it is gone."""
        for said in self.offers():
            if refusal.is_refusal_of(said) and said.sha256 in self._keys:
                self.journal.offers.remove(said.to_json())
                self._unannounced.add(said.sha256)
                return said, (Offered(said.sha256, said.size, said.chunk_size),
                              self._keys[said.sha256])
        return None

    def announce(self, packed: tuple[Offered, bytes | None], purpose: str, owner: str,
                 number: int, hop: int, recipients: tuple[str, ...],
                 architecture_hash: str) -> None:
        """Tell the recipients of a model that lies in the outbox."""
        offered, key = packed
        sealed = seal_key(key, [self.peers.get(name) for name in recipients]) if key else b''
        journal = self.journal
        manifest = Manifest.new(
            round=number, owner=owner, sender=self.options.name, recipients=recipients, hop=hop,
            purpose=purpose, architecture_hash=architecture_hash, base_sha256='',
            codec=self.options.codec, size=offered.size, chunk_size=offered.chunk_size,
            sha256=offered.sha256, sealed_keys=sealed, samples=journal.samples,
        ).signed_by(self.identity)
        # Of the own finished models only the newest is of use; visitors' wait to be fetched.
        kept = [text for text in journal.offers
                if purpose != 'aggregate' or _manifest(text).purpose != 'aggregate']
        journal.offers = [*kept, manifest.to_json()][-self._most_offers:]
        self._keys[offered.sha256] = key
        # Before others can see it: after a restart it must be known.
        self._unannounced.discard(offered.sha256)
        self.save()
        self.note('offered', ','.join(recipients), f'{purpose} {number}', offered.sha256)
        self.transport.announce(manifest)

    def sweep(self) -> None:
        """Remove what no one needs, so that the disk does not fill with rounds."""
        needed = self.journal.models()
        for path in (self.folder / 'models').glob('*.safetensors'):
            if path.stem not in needed:
                path.unlink(missing_ok=True)
        for folder in (self.folder, self.folder / 'models', self.folder / 'accepted'):
            remove_unfinished(folder)
        offered = self._unannounced | {said.sha256 for said in self.offers()}
        sweep(self.folder / 'inbox', {Manifest.from_json(visit['manifest']).sha256
                                      for visit in self.journal.visits.values()})
        self._keys = {sha256: key for sha256, key in self._keys.items() if sha256 in offered}
        for entry in self.outbox.offered:
            if entry.sha256 not in offered:
                self.outbox.remove(entry.sha256)
        accepted = sorted((self.folder / 'accepted').glob('round*.safetensors'))
        for path in accepted[:-self.KEPT_MODELS]:
            if path.name not in (self.journal.used_file, self.journal.previous_file):
                path.unlink(missing_ok=True)
