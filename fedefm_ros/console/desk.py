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

"""What the pages show and command, in one place, and kept up to date while they are served."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
import threading
import time

from fedefm_ros.console.alarms import ALARM
from fedefm_ros.console.alarms import AlarmBoard
from fedefm_ros.console.alarms import Condition
from fedefm_ros.console.alarms import conditions
from fedefm_ros.console.hub import FrameHub
from fedefm_ros.console.network import Network
from fedefm_ros.console.network import NetworkView
from fedefm_ros.console.outcome import Controls
from fedefm_ros.console.outcome import Outcome
from fedefm_ros.console.recording import Recording
from fedefm_ros.console.shelf import ModelHistory
from fedefm_ros.console.shelf import Shelf
from fedefm_ros.console.view import Snapshot
from fedefm_ros.console.view import StationView
from fedefm_ros.errors import FedefmError

PERIOD = 0.1
"""Seconds between two looks at the station."""


@dataclass
class Desk:
    """One station's console: its views, its alarms and its commands."""

    station: str
    view: StationView
    network_view: NetworkView
    controls: Controls
    recording: Recording
    models: Shelf
    sources: Shelf
    setting: Callable[[str], float]
    """Newest value of a parameter."""
    picture_failure: Callable[[], str] = lambda: ''
    """Why the newest frame could not be drawn; empty: it could."""
    hub: FrameHub = field(default_factory=FrameHub)
    board: AlarmBoard = field(default_factory=AlarmBoard)
    model_history: ModelHistory = field(default_factory=ModelHistory)
    busy: str = ''
    """The command under way, for all browsers; empty: none."""
    told: tuple[float, Outcome] | None = None
    """Unix time and outcome of the latest command."""
    _command: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self):
        """Look once."""
        self.snapshot: Snapshot = self.view.snapshot()
        self.network: Network = self.network_view.snapshot()

    def look(self) -> None:
        """Take in how things stand."""
        self.snapshot = self.view.snapshot(self.setting('trace_seconds'))
        self.network = self.network_view.snapshot()
        self.board.update(conditions(
            self.snapshot, self.setting('deadline'), self.network, self.busy,
            self.picture_failure()), self.snapshot.now)
        self.model_history.saw(self.snapshot.value('segmentation: model', 'model'),
                               self.snapshot.value('segmentation: model', 'model_id'))

    async def keep_looking(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                self.look()
                ended = self.recording.ended()
                if ended is not None:
                    self.told = time.time(), ended
            except Exception as error:  # alarms that nobody looks after must not look well
                self.snapshot = replace(self.snapshot, flowing=True, mask_age=None)
                self.board.update([Condition(
                    'console', ALARM, 'The console has a defect',
                    f'{type(error).__name__}: {error}. Do not rely on this page.')],
                    time.monotonic())
            await asyncio.sleep(PERIOD)

    async def command(self, what: str, do: Callable[..., Outcome], *arguments) -> Outcome:
        """
        Carry out a command in a thread, one at a time for all browsers.

        :param what: for people, while it is under way.
        """
        if not self._command.acquire(blocking=False):
            return Outcome(False, f'not done: {self.busy} is still under way')
        self.busy = what
        try:
            outcome = await asyncio.to_thread(do, *arguments)
        except FedefmError as error:
            outcome = Outcome(False, str(error))
        finally:
            self.busy = ''
            self._command.release()
        self.told = time.time(), outcome
        return outcome

    @property
    def paused(self) -> bool:
        """Return whether the source says that it is held."""
        source = self.snapshot.diagnoses.get('fluoroscopy: source')
        return source is not None and source.message == 'paused'

    def load(self, name: str) -> Outcome:
        """Load a model of the list."""
        return self.controls.load_model(self.models.value(name))

    def roll_back(self) -> Outcome:
        """Load the model that ran before the one that runs."""
        previous = self.model_history.previous
        if previous is None:
            return Outcome(False, 'no other model ran since this console started')
        outcome = self.controls.load_model(previous.path)
        if outcome.done and outcome.model_id != previous.model_id:
            return Outcome(False, f'{previous.path} is not what it was: {outcome.model_id} runs '
                                  f'now, not {previous.model_id}', outcome.model_id)
        return outcome

    def choose_source(self, name: str, rate: float, loop: bool) -> Outcome:
        """Change the source to one of the list."""
        return self.controls.set_source(self.sources.value(name), rate, loop)

    def record(self) -> Outcome:
        """Start recording, or stop."""
        return self.recording.stop() if self.recording.running else self.recording.start()
