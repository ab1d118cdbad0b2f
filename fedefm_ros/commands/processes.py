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

"""Several processes that live and end together, each with its own log."""

from collections.abc import Callable
from collections.abc import Mapping
import os
from pathlib import Path
import signal
import subprocess
import threading
import time

from fedefm_ros.errors import FedefmError


class Processes:
    """
    Child processes that end when the block ends, however it ends.

    Each is asked by SIGINT first, as Ctrl-C would, then by SIGTERM, and killed in the end.
    """

    def __init__(self, logs: Path):
        """
        Start with none.

        :param logs: folder for ``NAME.log``.
        :raises FedefmError: it cannot be made.
        """
        self._logs = logs
        try:
            logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FedefmError(f'{logs} cannot be made: {error.strerror or error}') from error
        self._running: dict[str, subprocess.Popen] = {}
        self._before = {}

    def __enter__(self) -> 'Processes':
        """Return itself."""
        if threading.current_thread() is threading.main_thread():
            # As Ctrl-C: whoever ends this process, or closes its terminal, must not leave its
            # children behind. What is ignored (nohup) stays so.
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, signal.default_int_handler)
        return self

    def __exit__(self, *_) -> None:
        """End all processes."""
        self.stop()
        for number, before in self._before.items():
            signal.signal(number, before)

    def start(self, name: str, command: list[str],
              environment: Mapping[str, str] | None = None) -> subprocess.Popen:
        """
        Start a process.

        :param environment: variables beside those of this process.
        """
        with open(self._logs / f'{name}.log', 'wb') as log:
            # A session of its own: Ctrl-C reaches this process alone, which ends them in order.
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})}, start_new_session=True)
        return self._running[name]

    def forget(self, name: str) -> None:
        """Forget a process that has ended as it should, so that ``check`` does not mind."""
        del self._running[name]

    def check(self) -> None:
        """Raise FedefmError with the end of its log if a process has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise FedefmError(f'{name} ended with exit code {process.returncode}; its log '
                                  f'({self._logs / name}.log) ends with:\n{self.tail(name)}')

    def wait_for(self, condition: Callable[[], object], patience: float, failure: str) -> None:
        """Wait until a condition holds; FedefmError after ``patience`` seconds or a death."""
        deadline = time.monotonic() + patience
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise FedefmError(f'{failure} within {patience:g} s; the logs say more')
            time.sleep(0.02)

    def tail(self, name: str, lines: int = 12) -> str:
        """Return the last lines of a process's log."""
        text = (self._logs / f'{name}.log').read_text(encoding='utf-8', errors='replace')
        return '\n'.join(text.splitlines()[-lines:])

    def stop(self, patience: float = 10.0) -> dict[str, int]:
        """
        End all processes; return their exit codes.

        :param patience: seconds after each signal; a node ends itself after 8 at the latest.
        """
        for send in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            alive = [p for p in self._running.values() if p.poll() is None]
            for process in alive:
                try:
                    os.killpg(process.pid, send)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + patience
            for process in alive:
                try:
                    process.wait(max(0.05, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
        return {name: process.poll() for name, process in self._running.items()}
