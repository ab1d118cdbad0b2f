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

"""The record button: the same as `./run record`, in a process of its own."""

from datetime import datetime
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

from fedefm_ros.console.outcome import Outcome

_STOP_SECONDS = 20.0


class Recording:
    """Starts and stops one recording at a time; its methods may wait: call them in a thread."""

    def __init__(self, folder: str, station: str):
        """
        Record nothing yet.

        :param folder: gets a bag per recording.
        :param station: the namespace to record.
        """
        self._folder = Path(folder).expanduser()
        self._station = station.strip('/')
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()
        self._started = 0.0
        self.bag: Path | None = None
        """Of the recording that runs, or of the latest."""

    @property
    def running(self) -> bool:
        """Return whether something is being recorded."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def seconds(self) -> float:
        """Return how long the recording runs."""
        return time.monotonic() - self._started if self.running else 0.0

    @property
    def megabytes(self) -> float:
        """Return how much is in the bag by now; what it keeps free for its end is not."""
        try:
            return sum(path.stat().st_size for path in self.bag.glob('*.mcap')) / 1e6 \
                if self.bag else 0.0
        except OSError:
            return 0.0

    def start(self) -> Outcome:
        """Begin a new bag."""
        with self._lock:
            if self.running:
                return Outcome(False, f'already recording into {self.bag.name}')
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self.bag = self._free_name()
                with open(self._log, 'wb') as log:
                    # A session of its own: the console ends it in its own time, after Ctrl-C too.
                    self._process = subprocess.Popen(
                        [sys.executable, '-m', 'fedefm_ros.cli', 'record', '-o', str(self.bag),
                         '--station', self._station, '--json', str(self._figures)],
                        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                        start_new_session=True)
            except OSError as error:
                return Outcome(False, f'cannot record into {self._folder}: {error}')
            self._started = time.monotonic()
            return Outcome(True, f'recording into {self.bag.name}')

    def stop(self) -> Outcome:
        """Complete the bag; also tells of a recording that ended by itself."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return Outcome(False, 'nothing is being recorded')
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                code = process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            return self._told(code)

    def ended(self) -> Outcome | None:
        """Return how a recording ended by itself, once; None while none did. Never waits."""
        if self._process is None or not self._lock.acquire(blocking=False):
            return None
        try:
            if self._process is None or self._process.poll() is None:
                return None
            process, self._process = self._process, None
            told = self._told(process.returncode)
            return Outcome(False, f'the recording has ended by itself: {told.text}')
        finally:
            self._lock.release()

    def close(self) -> None:
        """End a recording that runs, with a complete bag."""
        if self._process is not None:
            self.stop()

    @property
    def _log(self) -> Path:
        return self.bag.with_name(f'{self.bag.name}.log')

    @property
    def _figures(self) -> Path:
        return self.bag.with_name(f'{self.bag.name}.json')

    def _free_name(self) -> Path:
        start = f'{self._station.replace("/", "_") or "bag"}_{datetime.now():%Y_%m_%d-%H_%M_%S}'
        names = (start, *(f'{start}_{number}' for number in range(2, 100)))
        return next(path for path in (self._folder / name for name in names)
                    if not os.path.lexists(path))

    def _told(self, code: int) -> Outcome:
        """Return what a finished recording says of itself, on a drive that may be gone by now."""
        try:
            if code:
                lines = self._log.read_text(encoding='utf-8', errors='replace').splitlines()
                why = next((line for line in reversed(lines) if line.strip()),
                           f'exit code {code}')
                return Outcome(False, why.removeprefix('error: '))
            figures = json.loads(self._figures.read_text(encoding='utf-8'))
            return Outcome(True, f'{self.bag.name}: {figures["messages"]} messages in '
                                 f'{figures["seconds"]:.0f} s, {figures["dropped"]} dropped')
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Outcome(False, f'{self.bag.name}: exit code {code}, and what it says of itself '
                                  f'cannot be read ({error}); the bag may be lost')
