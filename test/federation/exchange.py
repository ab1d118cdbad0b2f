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

"""Stations in one process: a transport with faults, and a crew that works at once."""

from collections import deque
import itertools
import math
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.crew import Outcome
from fedefm_ros.federation.station.member import Member
from fedefm_ros.federation.station.options import MemberOptions
from fedefm_ros.federation.station.plan import TaskPlan
from fedefm_ros.federation.station.task import make_task
from fedefm_ros.federation.station.work import Work
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.federation.trust.refusal import Refused

NAMES = ('ada', 'bert', 'cleo')
KINDS = ('human', 'animal', 'phantom')
#: No kind is shared, so what comes home may score nothing on the own one.
TRUSTING = {'peer_margin': 1.0, 'gate_margin': 1.0}
#: Seconds that a tick of all stations takes, by their clock.
TICK = 0.1


class InlineCrew:
    """The jobs of a real Work, done when asked for what came of them."""

    def __init__(self, work: Work):
        self._work = work
        self._waiting = deque()
        self.paused = False
        self.done = []

    @property
    def tags(self):
        return tuple(tag for tag, _, _ in self._waiting)

    def submit(self, tag, do, urgent=False, **arguments):
        (self._waiting.appendleft if urgent else self._waiting.append)((tag, do, arguments))

    def poll(self):
        if self.paused or not self._waiting:
            return []
        tag, do, arguments = self._waiting.popleft()
        self.done.append(tag)
        try:
            return [Outcome(tag, getattr(self._work, do)(**arguments))]
        except FedefmError as error:
            return [Outcome(tag, None, str(error), getattr(error, 'reason', ''))]

    def pause(self):
        self.paused = True

    def resume(self):
        self.paused = False

    def close(self):
        self._waiting.clear()


class Exchange:
    """Stations, what is under way between them, and one clock for all."""

    def __init__(self, folder: Path, names, plans=None, momentum=0.0, **options):
        """
        Make the stations' keys; `start` starts them.

        :param plans: station -> TaskPlan.
        :param momentum: of all stations' steps.
        """
        self._momentum = momentum
        self.names = list(names)
        self.now = 1000.0
        self.members: dict[str, Member] = {}
        self.crews: dict[str, InlineCrew] = {}
        self.announced: list = []
        #: A function from (asker, station, index, data) to the list of what arrives instead.
        self.tamper = lambda asker, station, index, data: [data]
        self.sent: list[bytes] = []
        #: Stations that are switched off or cannot be reached.
        self.down: set[str] = set()
        #: Stations on which a procedure runs.
        self.busy: set[str] = set()
        self._folder = folder
        self._plans = plans or {}
        self._options = options
        self._asked = deque()
        self._tasks = {}
        for name in self.names:
            Identity.create(self.keys(name), name)
        for name, other in itertools.permutations(self.names, 2):
            Peers.read(self.keys(name)).add(self.keys(other) / f'{other}.pub')

    def keys(self, name) -> Path:
        return self._folder / 'keys' / name

    def state(self, name) -> Path:
        return self._folder / 'state' / name

    def start(self, name, **options) -> Member:
        """Start a station, or start it again after `kill`."""
        self.down.discard(name)
        if name not in self._tasks:
            self._tasks[name] = make_task(self._plans[name])
        # A worker that was killed left its task behind; a new one opens it anew.
        self.crews[name] = InlineCrew(Work(self._tasks[name], self.state(name),
                                           momentum=self._momentum))
        made = MemberOptions(tuple(self.names), name, **{
            'interval': 0.0, 'deadline': 60.0, 'chunk_size': 1 << 16, 'local_steps': 4,
            'stop_steps': 2, 'home_steps': 2, **self._options, **options})
        keys = self.keys(name)
        self.members[name] = Member(
            self.state(name), Identity.load(keys), Peers.read(keys), made, self.crews[name],
            Line(self, name), clock=lambda: self.now)
        for manifest in self.announced:  # latched
            if manifest.sender != name:
                self.members[name].heard(manifest)
        return self.members[name]

    def kill(self, name) -> None:
        """Let a station vanish as a power cut does: nothing is written any more."""
        self.down.add(name)
        del self.members[name]
        self._asked = deque(entry for entry in self._asked if name not in entry[:2])

    def run(self, until, ticks: int = 3000) -> None:
        """Let time pass until a condition holds; fails when it does not."""
        for _ in range(ticks):
            if until():
                return
            self.tick()
        state = {name: (member.journal.round, member.journal.phase, member.journal.last_refusal)
                 for name, member in self.members.items()}
        raise AssertionError(f'not reached: {state}')

    def tick(self) -> None:
        self.now += TICK
        for name in list(self.members):
            if name in self.members:
                self.members[name].tick(idle=name not in self.busy)
        for _ in range(len(self._asked)):
            self._answer(*self._asked.popleft())

    def rounds(self, number):
        """Return a condition: all stations have made so many rounds."""
        return lambda: all(member.journal.round >= number and member.journal.phase == 'rest'
                           for member in self.members.values())

    def ask(self, asker, station, sha256, index) -> None:
        self._asked.append((asker, station, sha256, index))

    def _answer(self, asker, station, sha256, index) -> None:
        if station not in self.members or asker not in self.members:
            return
        try:
            served = self.members[station].serve(sha256, index)
        except Refused as refused:
            self.members[asker].no_chunk(station, sha256, index, str(refused),
                                         refused.reason == 'busy')
            return
        self.sent.append(bytes(served.data))
        for arrives in self.tamper(asker, station, index, self.sent[-1]):
            self.members[asker].chunk(station, sha256, index, arrives, served.sha256)


class Line:
    """One station's Transport."""

    def __init__(self, exchange: Exchange, name: str):
        self._exchange, self._name = exchange, name

    def announce(self, manifest) -> None:
        self._exchange.announced.append(manifest)
        for name, member in list(self._exchange.members.items()):
            if name != self._name:
                member.heard(manifest)

    def ask(self, station, sha256, index) -> None:
        self._exchange.ask(self._name, station, sha256, index)

    def silence(self, station) -> float:
        return math.inf if station in self._exchange.down or \
            station not in self._exchange.members else 0.0


def plans(names, kinds, **settings) -> dict[str, TaskPlan]:
    """Return foundation plans, one kind a station, small enough for a test."""
    return {name: TaskPlan(**{'task': 'foundation', 'data': f'simulator:{kind}', 'images': 12,
                              'held_out': 6, 'size': 32, 'batch': 8, 'model': '', 'seed': k,
                              **settings})
            for k, (name, kind) in enumerate(zip(names, kinds))}


def start_all(exchange, **options):
    """Start the three stations of an exchange."""
    for name in NAMES:
        exchange.start(name, **options)
