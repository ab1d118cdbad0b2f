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

"""The training process as its owner sees it: one job at a time, stopped and let go at will."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
import json
import os
from pathlib import Path
import queue
import signal
import subprocess
import sys
import threading

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.plan import TaskPlan


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    tag: str
    result: dict | None
    error: str = ''
    #: Of a refusal, '' where the fault is not a peer's.
    reason: str = ''


class Crew:
    """
    Runs jobs of work.Work in a child process.

    `pause` stops the child with SIGSTOP: at once, in the middle of whatever it computes, and
    `resume` lets it go on. A child that dies is started anew and gets its job once more; a job
    that it dies of thrice is given up.
    """

    TRIES = 3

    def __init__(self, folder: Path, plan: TaskPlan, threads: int = 1, learning_rate: float = 0.1,
                 niceness: int = 15, send_clip: float = 0.0, send_noise: float = 0.0,
                 momentum: float = 0.0):
        """
        Start nothing yet.

        :param send_clip: of work.Work, as send_noise, learning_rate and momentum.
        :raises FedefmError: noise without a clip, or a clip with a momentum.
        """
        if send_clip and momentum:
            raise FedefmError(f'send_clip is {send_clip:g} and momentum {momentum:g}; a momentum '
                              'that travels tells gradients, which send_clip is to hide: set one '
                              'to 0')
        if send_noise and not send_clip:
            raise FedefmError(f'send_noise is {send_noise:g} and send_clip 0; noise is a multiple '
                              'of send_clip, so set that, too')
        folder.mkdir(parents=True, exist_ok=True)
        settings = {'task': json.loads(plan.to_json()), 'threads': threads,
                    'learning_rate': learning_rate, 'momentum': momentum, 'niceness': niceness,
                    'send_clip': send_clip, 'send_noise': send_noise}
        self._command = [sys.executable, '-m', 'fedefm_ros.federation.station.worker',
                         str(folder), json.dumps(settings)]
        self._log = folder / 'worker.log'
        self._waiting: deque[tuple[str, str, dict]] = deque()
        self._at_work: tuple[str, str, dict] | None = None
        self._tries = 0
        self._number = 0
        self._lines: queue.SimpleQueue = queue.SimpleQueue()
        self._process: subprocess.Popen | None = None
        self._paused = False
        #: Called by another thread when there is something to poll.
        self.wake: Callable[[], None] = lambda: None

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the jobs that wait or are at work."""
        return tuple(job[0] for job in ([self._at_work] if self._at_work else [])
                     + list(self._waiting))

    def submit(self, tag: str, do: str, urgent: bool = False, **arguments) -> None:
        """
        Queue a job.

        :param tag: comes back with its outcome.
        :param urgent: before all that wait: a visitor's owner waits for it.
        """
        job = (tag, do, arguments)
        self._waiting.appendleft(job) if urgent else self._waiting.append(job)
        self._next()

    def poll(self) -> list[Outcome]:
        """Return what has come of jobs since the last call; never waits."""
        outcomes = []
        while True:
            try:
                process, line = self._lines.get_nowait()
            except queue.Empty:
                return outcomes
            if process is not self._process:
                continue  # of a child that was given up
            outcome = self._ended() if line is None else self._answered(line)
            if outcome:
                outcomes.append(outcome)
                self._next()

    def pause(self) -> None:
        """Stop the child now."""
        self._paused = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the child go on."""
        self._paused = False
        self._signal(signal.SIGCONT)
        self._next()

    def close(self) -> None:
        """End the child; jobs that wait are forgotten."""
        process, self._process = self._process, None
        self._waiting.clear()
        self._at_work = None
        if process is not None:
            # Killed, not asked: all it writes appears whole or not at all.
            process.kill()
            process.wait()
            process.stdin.close()

    def _next(self) -> None:
        if self._at_work is None and self._waiting and not self._paused:
            self._at_work = self._waiting.popleft()
            self._tries = 0
            self._send()

    def _send(self) -> None:
        if self._process is None:
            self._start()
        self._tries += 1
        self._number += 1
        _, do, arguments = self._at_work
        line = json.dumps({'id': self._number, 'do': do, 'with': arguments})
        try:
            self._process.stdin.write(line + '\n')
            self._process.stdin.flush()
        except OSError:
            pass  # it died meanwhile; its end is on its way through the reader

    def _start(self) -> None:
        # The torch of a child must not spread over all cores by OpenMP's default, either.
        environment = {**os.environ, 'OMP_WAIT_POLICY': 'PASSIVE'}
        with open(self._log, 'ab') as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, env=environment, start_new_session=True)
        threading.Thread(target=self._read, args=(self._process,), daemon=True,
                         name='worker answers').start()

    def _answered(self, line: str) -> Outcome | None:
        answer = json.loads(line)
        if self._at_work is None or answer['id'] != self._number:
            return None
        tag, self._at_work = self._at_work[0], None
        return Outcome(tag, answer.get('result'), answer.get('error', ''),
                       answer.get('reason', ''))

    def _ended(self) -> Outcome | None:
        code = self._process.wait()
        self._process = None
        if self._at_work is None:
            return None
        if self._tries < self.TRIES:
            self._send()
            if self._paused:
                self._signal(signal.SIGSTOP)
            return None
        tag, self._at_work = self._at_work[0], None
        return Outcome(tag, None, f'the training process ended {self.TRIES} times over this '
                                  f'(exit code {code}); {self._log} says why')

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _read(self, process: subprocess.Popen) -> None:
        for line in process.stdout:
            self._lines.put((process, line))
            self.wake()
        self._lines.put((process, None))
        self.wake()
