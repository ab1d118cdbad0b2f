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
Where the weights of a run's silos rest between their turns.

On disk only the weights at work are in memory, however many silos there are; in memory it is for
small runs and tests. Both change at once with `commit`, so a run that is stopped at any time goes
on from its last whole round.
"""

import json
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.weights import State
from fedefm_ros.files import write_atomically

from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save

_RECORD = 'run.json'


class StateStore:
    """
    States by key, and one JSON record about them.

    What is put in a round can be read at once by its key; `commit` makes it last. Old states stay
    readable with `before`, as neighbours mix what all had before any of them mixed.
    """

    def __init__(self, folder: Path | None = None):
        """
        Open a store; a folder with an earlier run is taken up as of its last commit.

        :param folder: None keeps everything in memory.
        """
        self._folder = folder
        self._committed: dict[str, str | State] = {}
        self._pending: dict[str, str | State] = {}
        self._round = 0
        self.record: dict = {}
        if folder is not None and (folder / _RECORD).is_file():
            try:
                found = json.loads((folder / _RECORD).read_text(encoding='utf-8'))
                self._committed = {str(key): str(name) for key, name in found['states'].items()}
                self._round, self.record = int(found['commits']), dict(found['record'])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise FedefmError(f'{folder / _RECORD} is damaged ({error!r}); remove the folder '
                                  'to start anew') from error

    def __contains__(self, key: str) -> bool:
        return key in self._pending or key in self._committed

    def get(self, key: str) -> State:
        """Return the newest state of a key."""
        return self._read(self._pending[key] if key in self._pending else self.committed(key))

    def before(self, key: str) -> State:
        """Return the state of a key as of the last commit."""
        return self._read(self.committed(key))

    def committed(self, key: str) -> str | State:
        """Return the entry of a key as of the last commit; FedefmError if there is none."""
        if key not in self._committed:
            raise FedefmError(f'no state {key!r} in this run; it has '
                              f'{", ".join(sorted(self._committed)) or "none"}')
        return self._committed[key]

    def put(self, key: str, state: State) -> None:
        """Take a state; it must not be changed afterwards."""
        if self._folder is None:
            self._pending[key] = state
            return
        name = f'{key.replace("/", "-")}.{self._round}.safetensors'
        write_atomically(self._folder / name, save(
            {k: v.contiguous() for k, v in state.items()}))
        self._pending[key] = name

    def commit(self, record: dict) -> None:
        """Make everything that was put last, with a record of plain JSON values."""
        self._committed.update(self._pending)
        self._pending, self.record = {}, record
        self._round += 1
        if self._folder is None:
            return
        text = json.dumps({'commits': self._round, 'states': self._committed, 'record': record})
        write_atomically(self._folder / _RECORD, text.encode())
        kept = set(self._committed.values())
        for path in self._folder.glob('*.safetensors'):
            if path.name not in kept:
                path.unlink()

    def _read(self, entry: str | State) -> State:
        if not isinstance(entry, str):
            return entry
        path = self._folder / Path(entry).name
        try:
            return load(path.read_bytes())
        except (OSError, SafetensorError) as error:
            raise FedefmError(f'{path} cannot be read ({error}); remove the folder to start '
                              'anew') from error
