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

"""Files appear whole or not at all, and what a kill left goes."""

import os
import signal
import subprocess
import sys
import time

from fedefm_ros.files import remove_unfinished, write_atomically

import pytest


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_atomically(tmp_path / 'model', b'old')

    def full(*_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        write_atomically(tmp_path / 'model', b'new')
    assert [path.name for path in tmp_path.iterdir()] == ['model']
    assert (tmp_path / 'model').read_bytes() == b'old'


KILLED = """
import os, pathlib, signal, sys
from fedefm_ros.files import write_atomically
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(pathlib.Path(sys.argv[1]), b'half')
"""


def test_what_a_kill_left_goes_and_what_may_still_be_written_stays(tmp_path):
    for _ in range(2):
        killed = subprocess.run([sys.executable, '-c', KILLED, tmp_path / 'model.safetensors'])
        assert killed.returncode == -signal.SIGKILL
    left = sorted(tmp_path.iterdir())
    assert len(left) == 2 and all(path.name.startswith('.model') for path in left)
    hour_ago = time.time() - 3600
    others = [tmp_path / name for name in ('.hidden', 'model.safetensors', '.lock.json')]
    for path in others:
        path.write_bytes(b'of somebody else')
    for path in (left[0], *others):
        os.utime(path, (hour_ago, hour_ago))
    remove_unfinished(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([left[1], *others])
    remove_unfinished(tmp_path / 'absent')
