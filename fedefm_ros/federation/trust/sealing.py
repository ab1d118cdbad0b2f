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
Encryption of payloads: a fresh key for each, sealed for every recipient.

Chunks are encrypted one by one (XChaCha20-Poly1305), so that any of them can be asked for again
and a transfer can be resumed. That they are all there, and the sender's, is not said by this but
by the signed manifest, whose SHA-256 is over the chunks as sent.
"""

from collections.abc import Sequence
import os

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.identity import PublicIdentity
from fedefm_ros.federation.trust.refusal import Refused

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt
from nacl.exceptions import CryptoError
from nacl.public import SealedBox
from nacl.signing import VerifyKey

KEY_BYTES = 32
#: What encryption adds to a chunk.
OVERHEAD = 16
#: A key sealed for one recipient.
SEALED_BYTES = KEY_BYTES + 48
_NONCE = b'fedefm_ros chunk'  # 16 of its 24 bytes; the others count the chunks


def new_key() -> bytes:
    """Return a random key. It is for one payload: the nonces are the chunks' numbers."""
    return os.urandom(KEY_BYTES)


def seal_key(key: bytes, recipients: Sequence[PublicIdentity]) -> bytes:
    """
    Return the key sealed for each recipient (X25519 of their Ed25519 keys), 80 bytes each.

    Sealed boxes are anonymous: who sent it is said by the manifest's signature, which covers it.
    """
    return b''.join(SealedBox(VerifyKey(recipient.key).to_curve25519_public_key()).encrypt(key)
                    for recipient in recipients)


def open_key(sealed: bytes, index: int, identity: Identity) -> bytes:
    """
    Return the key that was sealed for the recipient of an index; raises Refused('bad_seal').

    :param index: place of this station among the manifest's recipients.
    """
    if index < 0:
        raise FedefmError(f'recipient {index}; expected 0 or more')
    key = identity.unseal(sealed[index * SEALED_BYTES:(index + 1) * SEALED_BYTES])
    if len(key) != KEY_BYTES:
        raise Refused('bad_seal', f'a key of {len(key)} bytes; expected {KEY_BYTES}')
    return key


def encrypt_chunk(key: bytes, index: int, data: bytes) -> bytes:
    """Return an encrypted chunk, OVERHEAD bytes longer."""
    _check_key(key)
    return crypto_aead_xchacha20poly1305_ietf_encrypt(bytes(data), None, _nonce(index), key)


def decrypt_chunk(key: bytes, index: int, data: bytes) -> bytes:
    """Return a chunk's plain bytes; raises Refused('bad_seal') unless it is whole and in place."""
    _check_key(key)
    try:
        if len(data) < OVERHEAD:
            raise CryptoError('too short')
        return crypto_aead_xchacha20poly1305_ietf_decrypt(bytes(data), None, _nonce(index), key)
    except CryptoError as error:
        raise Refused('bad_seal', f'chunk {index} is not encrypted with this key, or was '
                      'changed') from error


def _check_key(key: bytes) -> None:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise FedefmError(f'a key of {len(key)} bytes; expected {KEY_BYTES}')


def _nonce(index: int) -> bytes:
    return _NONCE + index.to_bytes(8, 'little')
