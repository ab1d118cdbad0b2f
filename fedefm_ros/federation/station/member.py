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

"""
One station of a federation: what it does next, whatever the others do.

There is no server and no common clock. A station starts a round when it is idle, its time has
come and a peer can be heard, or when a peer's model of a newer round comes by. Its model goes on
a trip (AWAY); what comes home teaches (HOME); neighbours exchange finished models (MIX); the
result is tried on the station's own held-out data and replaces the old one only if it is not
worse (GATE). Each wait ends at its deadline with whoever came; who did not is named. Visitors are
trained in any phase. Everything that a restart must know is in the journal before others can see
its effects, so a station that is killed at any moment goes on.
"""

from collections.abc import Callable
from pathlib import Path
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station import journal as phases
from fedefm_ros.federation.station.crew import Crew
from fedefm_ros.federation.station.desk import Desk
from fedefm_ros.federation.station.journal import Journal
from fedefm_ros.federation.station.options import MemberOptions
from fedefm_ros.federation.station.own_round import Accepted
from fedefm_ros.federation.station.own_round import OwnRound
from fedefm_ros.federation.station.transport import Transport
from fedefm_ros.federation.station.visits import Visits
from fedefm_ros.federation.transfer.outbox import Chunk
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.federation.trust.refusal import Refused

__all__ = ['Accepted', 'Member']


class Member:
    """
    Nothing here waits or computes for long: `tick` is called often, all calls from one thread.

    Attributes: idle (whether it works on the federation now), paused (by an operator).
    """

    def __init__(self, folder: Path, identity: Identity, peers: Peers, options: MemberOptions,
                 crew: Crew, transport: Transport, clock: Callable[[], float] = time.monotonic):
        """
        Take up a station's rounds where its folder says they stopped.

        :raises FedefmError: identity and options disagree, a peer's key is missing, or the folder
            is damaged.
        """
        if identity.name != options.name:
            raise FedefmError(f'the key is of station {identity.name}, the options of '
                              f'{options.name}; use the key of this station')
        missing = set(options.stations) - {options.name} - set(peers.names)
        if missing:
            raise FedefmError(f'no public key of {", ".join(sorted(missing))}; add them with '
                              './run keys trust FILE.pub, or take them off the list of stations')
        self._desk = Desk(folder, identity, peers, options, crew, transport, clock)
        self._visits = Visits(self._desk)
        self._round = OwnRound(self._desk, self._visits)
        self.idle = False
        self.paused = False
        self._last_tick = clock()
        crew.pause()
        self._visits.take_up()
        self._round.take_up()

    @property
    def journal(self) -> Journal:
        """Return the books; to read only."""
        return self._desk.journal

    @property
    def accepted(self) -> Accepted | None:
        """Return the newest model that passed the gate, or was gone back to, if there is one."""
        return self._round.accepted()

    def observe(self, on_change: Callable[[], None], on_accepted: Callable[[Accepted], None],
                wake: Callable[[], None] = lambda: None) -> None:
        """
        Be told when the status has changed, and of each model that is to be used from now on.

        :param wake: called by any thread when `tick` has something to do before its time.
        """
        self._desk.changed, self._round.on_accepted = on_change, on_accepted
        self._desk.crew.wake = wake

    def tick(self, idle: bool) -> None:
        """Do what can be done now. Not idle: training stands still and nothing is asked for."""
        now = self._desk.clock()
        working = idle and not self.paused
        if working != self.idle:
            self.set_idle(working)
        elif working:
            self.journal.spent += now - self._last_tick
        self._last_tick = now
        for outcome in self._desk.crew.poll():
            what, _, key = outcome.tag.partition(' ')
            part = self._round if key in ('', phases.AWAY, phases.MIX) else self._visits
            part.finished(what, key, outcome)
            self._desk.touch()
            self._desk.changed()
        if working:
            self._visits.pump()
            self._round.advance()
        self._desk.tick()

    def set_idle(self, idle: bool) -> None:
        """Stop or go on with everything that costs computing or bandwidth, at once."""
        self.idle = idle
        if idle:
            self._desk.crew.resume()
            self._desk.inbox.restart_clock()
        else:
            self._desk.crew.pause()
        self._desk.changed()

    def remember(self, frames: Callable[[], str]) -> None:
        """
        Try new models in shadow from now on.

        :param frames: returns a file with frames of the last procedure (frames.write_frames), ''
            without any.
        """
        self._desk.frames = frames

    def start_round(self) -> str:
        """Ask for a round as soon as the station is idle; return a word for people."""
        if self.journal.phase != phases.REST:
            return f'round {self.journal.round} is under way ({self.journal.phase})'
        self._round.wanted = True
        return f'round {self.journal.round} starts as soon as the station is idle'

    def rollback(self) -> str:
        """
        Go back to the model before the last accepted one, at once; return a word for people.

        :raises FedefmError: there is none, or its file is gone.
        """
        return self._round.rollback()

    def heard(self, manifest: Manifest) -> None:
        """Take an announcement."""
        self._visits.heard(manifest)
        if self.idle:
            self._visits.pump()

    def serve(self, sha256: str, index: int) -> Chunk:
        """Return a chunk of what this station offers; raises Refused."""
        if not self.idle:
            raise Refused('busy', 'a procedure runs, or the federation is paused')
        chunk = self._desk.outbox.chunk(sha256, index)
        self.journal.bytes_sent += len(chunk.data)
        return chunk

    def chunk(self, station: str, sha256: str, index: int, data: bytes, digest: str) -> None:
        """Take a chunk that was asked for."""
        if self._desk.inbox.chunk(station, sha256, index, data, digest) and self.idle:
            self._visits.pump()

    def no_chunk(self, station: str, sha256: str, index: int, why: str, busy: bool) -> None:
        """Take the word that a chunk cannot be had; busy: not now."""
        self._desk.inbox.no_chunk(station, sha256, index, why, busy)

    def refuse(self, refused: Refused, peer: str = '') -> None:
        """Count what the transport itself had to refuse."""
        self._desk.refuse(refused, None, peer)

    def close(self) -> None:
        """Keep what there is and end the training process."""
        self._desk.crew.wake = lambda: None
        self._desk.crew.close()
        self._desk.save()
