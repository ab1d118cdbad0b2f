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

"""A station's identity: a name and an Ed25519 key that signs for it."""

import base64
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import re
import tempfile

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.files import write_atomically

from nacl.exceptions import CryptoError
from nacl.public import SealedBox
from nacl.signing import SigningKey

import yaml

SECRET = 'identity.key'
PUBLIC_SUFFIX = '.pub'
_NAME = re.compile(r'[a-z][a-z0-9_]{0,31}')
_KEY = re.compile(r'[0-9a-f]{64}')
_LARGEST = 4096


@dataclass(frozen=True)
class PublicIdentity:
    """What others know of a station."""

    name: str
    key: bytes
    """Ed25519 public key, 32 bytes."""

    @property
    def fingerprint(self) -> str:
        """Return 80 bits of the key's SHA-256, to be read out: ABCD-EFGH-IJKL-MNOP."""
        text = base64.b32encode(hashlib.sha256(self.key).digest()[:10]).decode()
        return '-'.join(text[k:k + 4] for k in range(0, len(text), 4))


class Identity:
    """A station's own name and secret key."""

    def __init__(self, name: str, seed: bytes):
        """Take a checked name and a seed of 32 bytes; files are for create and load."""
        self._key = SigningKey(seed)
        self.public = PublicIdentity(name, bytes(self._key.verify_key))

    @classmethod
    def create(cls, folder: Path, name: str) -> 'Identity':
        """
        Make a new identity and write it: identity.key (secret) and NAME.pub (to hand out).

        An identity that is there is never overwritten, as peers would no longer know the station.
        Raises FedefmError.
        """
        check_name(name)
        seed = bytes(SigningKey.generate())
        text = ('# Secret key of a fedefm_ros station: keep it here. Peers get '
                f'{name}{PUBLIC_SUFFIX}.\nname: {name}\nseed: {seed.hex()}\n')
        path = folder / SECRET
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_new(path, text.encode())
        except FileExistsError as error:
            raise FedefmError(f'{path} is there already: this station has an identity. Use '
                              'another folder, or move it away if it is to be replaced') from error
        except OSError as error:
            raise FedefmError(f'{path} cannot be written: {error.strerror or error}') from error
        identity = cls(name, seed)
        identity.write_public(folder)
        return identity

    @classmethod
    def load(cls, folder: Path) -> 'Identity':
        """Read the identity of a folder; FedefmError where it is missing, damaged or readable."""
        path = folder / SECRET
        try:
            mode = path.stat().st_mode
        except FileNotFoundError as error:
            raise FedefmError(f'{path} is missing: this station has no identity yet. Make one: '
                              './run keys new NAME') from error
        except OSError as error:
            raise FedefmError(f'{path} cannot be read: {error.strerror or error}') from error
        if mode & 0o077:
            raise FedefmError(f'{path} can be read or written by others (mode {mode & 0o777:o}); '
                              f'if nobody has copied it: chmod 600 {path}')
        name, seed = read_key_file(path, 'seed')
        return cls(name, seed)

    @property
    def name(self) -> str:
        """Return the station's name."""
        return self.public.name

    @property
    def fingerprint(self) -> str:
        """Return the public key's fingerprint."""
        return self.public.fingerprint

    def sign(self, data: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self._key.sign(data).signature

    def unseal(self, sealed: bytes) -> bytes:
        """Return what was sealed for this station; raises Refused('bad_seal')."""
        try:
            return SealedBox(self._key.to_curve25519_private_key()).decrypt(sealed)
        except (CryptoError, ValueError, TypeError) as error:
            raise Refused('bad_seal', f'not sealed for {self.name}, or damaged') from error

    def write_public(self, folder: Path) -> Path:
        """Write NAME.pub, from which peers learn the key; returns its path."""
        path = folder / f'{self.name}{PUBLIC_SUFFIX}'
        write_public(path, self.public)
        return path


def check_name(name: str) -> None:
    """Raise FedefmError unless a name can be a station's: it is its ROS namespace, too."""
    if not is_name(name):
        raise FedefmError(f'{name!r} cannot be the name of a station: expected a small letter, '
                          'then at most 31 small letters, digits and underscores')


def is_name(name) -> bool:
    """Return whether something is a name of a station."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def read_key_file(path: Path, entry: str) -> tuple[str, bytes]:
    """
    Return name and 32 bytes from a key file; raises FedefmError.

    :param entry: what the bytes are called there: 'seed' or 'key'.
    """
    try:
        with path.open('rb') as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise FedefmError(f'{path} cannot be read: {error.strerror or error}') from error
    try:
        # The base loader makes nothing but text, lists and dictionaries.
        found = yaml.load(data.decode(), yaml.BaseLoader) if len(data) <= _LARGEST else None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        found = None
    if (not isinstance(found, dict) or not is_name(found.get('name'))
            or not isinstance(found.get(entry), str) or not _KEY.fullmatch(found[entry])):
        raise FedefmError(f'{path} is no key file: expected a name (small letters, digits, '
                          f'underscores) and {entry}, 64 hex digits')
    return found['name'], bytes.fromhex(found[entry])


def write_public(path: Path, public: PublicIdentity) -> None:
    """Write a public key file; raises FedefmError."""
    text = (f'# Public key of a fedefm_ros station. Fingerprint: {public.fingerprint}\n'
            f'name: {public.name}\nkey: {public.key.hex()}\n')
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise FedefmError(f'{path} cannot be written: {error.strerror or error}') from error


def _write_new(path: Path, data: bytes) -> None:
    """Write a private file whole or not at all; FileExistsError where there is one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')  # mode 0600
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, this never replaces
    finally:
        os.unlink(temporary)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
