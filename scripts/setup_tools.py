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

"""Small tools of scripts/workspace.py; standard library only."""

from contextlib import contextmanager
import fcntl
import hashlib
from pathlib import Path
import subprocess
import sys


class SetupError(Exception):
    """Something is missing that only the user can add; the text says what, one line each."""


def say(text: str, end: str = '\n') -> None:
    """Print progress where it does not mix with a command's output."""
    print(text, end=end, file=sys.stderr, flush=True)


def digest(*parts: object) -> str:
    """Return a hash over texts and the contents of files."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else str(part).encode()
        total.update(len(data).to_bytes(8, 'big') + data)
    return total.hexdigest()


def succeeds(python: str, code: str) -> bool:
    """Return whether this interpreter runs a piece of Python and exits with 0."""
    return not subprocess.run([python, '-c', code], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode


def follow(command: list[str], log: Path, env: dict[str, str], failure: str,
           on_line=lambda line: None) -> None:
    """Run a command with its output in a log file; where it fails, show the log's end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'w') as file, subprocess.Popen(
            command, cwd=Path(__file__).parent, env=env, text=True, errors='replace',
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT) as process:
        try:
            for line in process.stdout:
                file.write(line)
                on_line(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        say('\n' + '\n'.join(log.read_text().splitlines()[-25:]))
        raise SetupError(f'{failure} (all of its output: {log})')


@contextmanager
def locked(path: Path):
    """Hold a lock file; where another process holds it, say so and wait."""
    path.parent.mkdir(exist_ok=True)
    with open(path, 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say('another ./run is setting up this checkout; waiting for it')
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read(path: Path) -> str:
    """Return a small file's text; empty where there is no file."""
    return path.read_text() if path.is_file() else ''


def walk(root: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the files under these names of a folder, without what editors and Python leave."""
    found = []
    for name in names:
        top = root / name
        found += [top] if top.is_file() else [
            path for path in sorted(top.rglob('*'))
            if path.is_file() and not path.name.startswith('.')
            and not path.name.endswith(('.pyc', '~'))]
    return found


class Counter:
    """Turns pip's output into one line of progress."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.seen = 0
        self.told = 0

    def __call__(self, line: str) -> None:
        if line.startswith(('Collecting ', 'Processing ')):
            self.seen = min(self.seen + 1, self.wanted)
            if sys.stderr.isatty():
                say(f'\r      {self.seen} of {self.wanted} packages found', end='')
            elif self.seen * 4 // self.wanted > self.told:
                self.told = self.seen * 4 // self.wanted
                say(f'      {self.seen} of {self.wanted} packages found')
        elif line.startswith('Installing collected packages') and sys.stderr.isatty():
            say('; unpacking')
