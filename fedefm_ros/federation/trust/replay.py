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

"""Announcements are taken once: an old one sent again is refused, after a restart too."""

from bisect import insort
import json
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.files import write_atomically


class ReplayGuard:
    """
    What has been taken from each sender: nonces of its latest rounds.

    Nothing here looks at a clock: old is what a sender's own round counter says is old. What was
    announced but not taken, as a fetch that a power cut ended, may be announced again.
    """

    def __init__(self, path: Path, staleness: int = 8, remembered: int = 4096):
        """
        Read what is remembered; a file that does not exist is a new station's.

        :param staleness: rounds behind the newest taken one of a sender from which on its
            announcements are refused.
        :param remembered: nonces a sender. Were one to send more in so few rounds, the rounds of
            those that are forgotten are refused as a whole.
        :raises FedefmError: damaged file.
        """
        if staleness < 0 or remembered < 1:
            raise FedefmError(f'staleness {staleness}, remembered {remembered}; expected at least '
                              '0 and 1')
        self._path, self._staleness, self._remembered = path, staleness, remembered
        #: sender -> oldest round that is accepted, and (round, nonce) of what was taken, sorted
        self._taken: dict[str, tuple[int, list[tuple[int, str]]]] = {}
        self._unsaved = False
        if path.exists():
            self._read()

    def check(self, manifest: Manifest) -> None:
        """
        Raise Refused('replayed') or ('stale'), if it is; to be called after manifest.verify.

        Also where it has been seen, but not taken: then it is one to go on with.
        """
        oldest, taken = self._taken.get(manifest.sender, (0, []))
        if any(nonce == manifest.nonce.hex() for _, nonce in taken):
            raise Refused('replayed', f'the announcement of {manifest.sender} for round '
                          f'{manifest.round} was taken before')
        if manifest.round < oldest:
            raise Refused('stale', f'{manifest.sender} announces round {manifest.round}; its '
                          f'rounds before {oldest} are over')

    def taken(self, manifest: Manifest) -> None:
        """
        Mark an announcement as consumed, for good; raises what check does, and FedefmError.

        Where the file cannot be written, it is marked until the station stops.
        """
        self.mark(manifest)
        self.save()

    def mark(self, manifest: Manifest) -> None:
        """Do as `taken`, but leave the writing to a later `save`, for many at once."""
        self.check(manifest)
        oldest, taken = self._taken.get(manifest.sender, (0, []))
        insort(taken, (manifest.round, manifest.nonce.hex()))
        oldest = max(oldest, taken[-1][0] - self._staleness)
        excess = taken[:-self._remembered]
        if excess:
            oldest = max(oldest, excess[-1][0] + 1)
        self._taken[manifest.sender] = (
            oldest, [entry for entry in taken[len(excess):] if entry[0] >= oldest])
        self._unsaved = True

    def save(self) -> None:
        """Write what was marked; raises FedefmError where the file cannot be written."""
        if self._unsaved:
            self._write()
            self._unsaved = False

    def _read(self) -> None:
        try:
            found = json.loads(self._path.read_text(encoding='utf-8'))
            self._taken = {
                str(sender): (int(entry['oldest']), sorted(
                    (int(number), str(nonce)) for number, nonce in entry['taken']))
                for sender, entry in found.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FedefmError(f'{self._path} cannot be read ({error}). Removing it starts anew; '
                              'announcements of the latest rounds could then be replayed once'
                              ) from error

    def _write(self) -> None:
        text = json.dumps({sender: {'oldest': oldest, 'taken': taken}
                           for sender, (oldest, taken) in sorted(self._taken.items())})
        try:
            write_atomically(self._path, text.encode())
        except OSError as error:
            raise FedefmError(f'{self._path} cannot be written: {error.strerror or error}; until '
                              'it can, a restart forgets what was taken') from error
