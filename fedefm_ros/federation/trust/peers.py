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
The allow-list: whose keys a station knows, as a folder of public key files.

It may be the folder of the station's own identity, whose .pub file is then on the list, too.
"""

from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.identity import check_name
from fedefm_ros.federation.trust.identity import PUBLIC_SUFFIX
from fedefm_ros.federation.trust.identity import PublicIdentity
from fedefm_ros.federation.trust.identity import read_key_file
from fedefm_ros.federation.trust.identity import write_public
from fedefm_ros.federation.trust.refusal import Refused

from nacl.bindings import crypto_core_ed25519_is_valid_point


class Peers:
    """Stations by name; there is exactly one key a name and one name a key."""

    def __init__(self, folder: Path):
        """Start with nobody; read is for a folder that has files."""
        self.folder = folder
        self._known: dict[str, tuple[PublicIdentity, Path]] = {}

    @classmethod
    def read(cls, folder: Path) -> 'Peers':
        """
        Read all *.pub of a folder; a folder that does not exist is an empty list.

        Raises FedefmError for a damaged file, and where two files claim one name or one key.
        """
        peers = cls(folder)
        for path in sorted(folder.glob(f'*{PUBLIC_SUFFIX}')):
            public = read_public(path)
            peers._check_free(public, path)
            peers._known[public.name] = (public, path)
        return peers

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names, sorted."""
        return tuple(sorted(self._known))

    def get(self, name: str) -> PublicIdentity:
        """Return a station's public identity; raises Refused('unknown_key')."""
        if name not in self._known:
            raise Refused('unknown_key', f'station {name!r} is not on the allow-list; add its '
                          'key if it is to be: ./run keys trust FILE.pub')
        return self._known[name][0]

    def add(self, pub_file: Path) -> PublicIdentity:
        """
        Copy a public key file into the list; doing it again changes nothing.

        Raises FedefmError where the name has another key already or the key another name.
        """
        public = read_public(pub_file)
        path = self.folder / f'{public.name}{PUBLIC_SUFFIX}'
        if self._known.get(public.name, (None,))[0] == public:
            return public
        self._check_free(public, pub_file)
        write_public(path, public)
        self._known[public.name] = (public, path)
        return public

    def remove(self, name: str) -> None:
        """Strike a station from the list; raises FedefmError."""
        check_name(name)
        if name not in self._known:
            raise FedefmError(f'{name} is not on the allow-list; on it: '
                              f'{", ".join(self.names) or "nobody"}')
        try:
            self._known[name][1].unlink(missing_ok=True)
        except OSError as error:
            raise FedefmError(f'{self._known[name][1]} cannot be removed: '
                              f'{error.strerror or error}') from error
        del self._known[name]

    def _check_free(self, public: PublicIdentity, path: Path) -> None:
        for other, file in self._known.values():
            if other.name == public.name:
                raise FedefmError(
                    f'{path} and {file} are both {public.name}: a station has one key. Ask it '
                    f'for its fingerprint ({public.fingerprint} or {other.fingerprint}), then '
                    'remove the other file')
            if other.key == public.key:
                raise FedefmError(f'{path} ({public.name}) and {file} ({other.name}) have the '
                                  'same key: every station needs its own')


def read_public(path: Path) -> PublicIdentity:
    """Read a public key file; raises FedefmError."""
    name, key = read_key_file(path, 'key')
    # Points of small order would let anybody sign.
    if not crypto_core_ed25519_is_valid_point(key):
        raise FedefmError(f'{path}: the key of {name} is no Ed25519 key; ask for the file again')
    return PublicIdentity(name, key)
