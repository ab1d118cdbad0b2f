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

"""Single keys of a terminal, without Enter."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
import select
import sys
import termios
import time
import tty

_NAMES = {b' ': 'space', b'\x1b[C': 'right', b'\x1bOC': 'right', b'q': 'quit', b'Q': 'quit'}


class Keys:
    """What was pressed; without a terminal never anything."""

    def __init__(self, handle: int | None):
        """Read from a file descriptor; None: no terminal."""
        self._handle = handle
        self._pressed = b''

    @property
    def present(self) -> bool:
        """Return whether there is a terminal."""
        return self._handle is not None

    def wait(self, seconds: float) -> str:
        """Return ``space``, ``right`` or ``quit`` as soon as it is pressed, '' after a time."""
        if self._handle is None:
            time.sleep(seconds)
            return ''
        if not self._pressed and select.select([self._handle], [], [], seconds)[0]:
            self._pressed = os.read(self._handle, 64)
            if not self._pressed:  # the terminal is gone
                self._handle = None
        for code, name in _NAMES.items():
            if self._pressed.startswith(code):
                self._pressed = self._pressed[len(code):]
                return name
        self._pressed = self._pressed[1:]
        return ''


@contextmanager
def keys() -> Iterator[Keys]:
    """Yield the keys of standard input; the terminal is put back afterwards. Ctrl-C stays."""
    try:
        handle = sys.stdin.fileno()
        before = termios.tcgetattr(handle)
    except (OSError, ValueError, termios.error, AttributeError):
        yield Keys(None)
        return
    try:
        tty.setcbreak(handle)
        yield Keys(handle)
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
