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
The manifest: what a station announces and signs before its neighbours fetch a model.

Its fields are those of fedefm_ros/msg/ModelManifest, in their order. The signature covers all
fields above it in one canonical encoding, in which no two manifests look alike.
"""

from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
import json
import os
import time

from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.limits import Limits
from fedefm_ros.federation.trust.manifest_check import check_fields
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.federation.trust.refusal import Refused

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

#: 2: sha256 is over the hashes of the chunks, no longer over the bytes.
PROTOCOL_VERSION = 2
NONCE_BYTES = 16
SIGNATURE_BYTES = 64
#: So that no signature made for something else can pass for one of a manifest.
_DOMAIN = b'fedefm_ros ModelManifest\0'
_LARGEST_JSON = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """An announcement; what came from outside is believed only after verify."""

    protocol_version: int
    round: int  # noqa: A003 (the message's name)
    owner: str
    sender: str
    recipients: tuple[str, ...]
    """Whom it is for; nobody named: for all, and then it is not encrypted."""
    hop: int
    """Stops of the trip made so far."""
    purpose: str
    """'overseas', 'return', 'aggregate', or 'refused': nothing is offered, the sender says that it
    does not take an overseas model, whose other fields are repeated."""
    architecture_hash: str
    base_sha256: str
    """state_digest of what a +topk codec is the difference to; '': none."""
    codec: str
    size: int
    """Bytes as sent."""
    chunk_size: int
    sha256: str
    """Hex, of the SHA-256 of all chunks as sent (transfer.chunk_table)."""
    sealed_keys: bytes
    """The payload's key, 80 bytes a recipient in their order; empty: not encrypted."""
    samples: int
    """Local samples behind the weights."""
    stamp_ns: int
    """By the sender's clock, for people: nothing is decided by it."""
    nonce: bytes
    signature: bytes = b''

    @classmethod
    def new(cls, *, round: int, owner: str, sender: str, recipients: tuple[str, ...],  # noqa: A002
            purpose: str, architecture_hash: str, codec: str, size: int, chunk_size: int,
            sha256: str, hop: int = 0, base_sha256: str = '', sealed_keys: bytes = b'',
            samples: int = 0, stamp_ns: int | None = None,
            limits: Limits = Limits()) -> 'Manifest':
        """
        Return an unsigned manifest with a fresh nonce; raises Refused where it could not pass.

        :param stamp_ns: None: now.
        """
        made = cls(PROTOCOL_VERSION, round, owner, sender, tuple(recipients), hop, purpose,
                   architecture_hash, base_sha256, codec, size, chunk_size, sha256,
                   bytes(sealed_keys), samples,
                   time.time_ns() if stamp_ns is None else stamp_ns, os.urandom(NONCE_BYTES))
        check_fields(made, limits)
        return made

    @property
    def chunks(self) -> int:
        """Return how many chunks the payload has."""
        return -(-self.size // self.chunk_size)

    def signed_by(self, identity: Identity) -> 'Manifest':
        """Return it with the sender's signature; raises Refused for somebody else's identity."""
        if identity.name != self.sender:
            raise Refused('bad_signature', f'a manifest of {self.sender} cannot be signed by '
                          f'{identity.name}')
        return replace(self, signature=identity.sign(self.signed_bytes()))

    def signed_bytes(self) -> bytes:
        """Return what is signed: every number in 8 bytes, everything else with its length."""
        signed = fields(self)[:-1]
        return _DOMAIN + b''.join(_encode(getattr(self, field.name)) for field in signed)

    def verify(self, peers: Peers, limits: Limits = Limits()) -> None:
        """Raise Refused unless the fields make sense and a peer on the list has signed them."""
        if type(self.protocol_version) is int and self.protocol_version != PROTOCOL_VERSION:
            raise Refused('wrong_version', f'{self.sender!r} speaks version '
                          f'{self.protocol_version} of the protocol, this station '
                          f'{PROTOCOL_VERSION}; use the same release on both')
        check_fields(self, limits)
        public = peers.get(self.sender)
        if len(self.signature) != SIGNATURE_BYTES:
            raise Refused('bad_signature', f'the manifest of {self.sender} is not signed')
        try:
            VerifyKey(public.key).verify(self.signed_bytes(), self.signature)
        except BadSignatureError as error:
            raise Refused('bad_signature', f'the signature of {self.sender} does not fit: changed '
                          'on the way, or sent by somebody else with that name') from error

    def refusal_by(self, station: str) -> 'Manifest':
        """Return what a recipient tells the sender of an overseas model that it does not take."""
        return replace(self, sender=station, recipients=(self.sender,), purpose='refused',
                       sealed_keys=b'', stamp_ns=time.time_ns(), nonce=os.urandom(NONCE_BYTES),
                       signature=b'')

    def is_refusal_of(self, offer: 'Manifest') -> bool:
        """Return whether it says that the one station an offer was for does not take it."""
        return (self.purpose == 'refused' and offer.purpose == 'overseas'
                and offer.recipients == (self.sender,)
                and (offer.sha256, offer.owner, offer.round, offer.hop)
                == (self.sha256, self.owner, self.round, self.hop))

    def check_architecture(self, architecture_hash: str) -> None:
        """Raise Refused unless it tells of weights of a network."""
        if self.architecture_hash != architecture_hash:
            raise Refused('wrong_architecture', f'{self.sender} has another task or network '
                          f'({self.architecture_hash[:8]}, here {architecture_hash[:8]}); all '
                          'stations must be set up alike')

    def to_json(self) -> str:
        """Return it as text, to be kept on disk."""
        return json.dumps({field.name: _plain(getattr(self, field.name))
                           for field in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> 'Manifest':
        """Return it from text; to be verified again. Raises Refused('malformed')."""
        if len(text) > _LARGEST_JSON:
            raise Refused('malformed', f'a manifest of {len(text)} characters; at most '
                          f'{_LARGEST_JSON} make sense')
        try:
            found = json.loads(text)
            values = {field.name: found[field.name] for field in fields(cls)}
            for name in ('sealed_keys', 'nonce', 'signature'):
                values[name] = bytes.fromhex(values[name])
            values['recipients'] = tuple(values['recipients'])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Refused('malformed', f'this is no manifest: {error!r}') from error
        return cls(**values)


def _encode(value) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(8, 'big')
    if isinstance(value, tuple):
        return len(value).to_bytes(8, 'big') + b''.join(_encode(entry) for entry in value)
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(8, 'big') + data


def _plain(value):
    return value.hex() if isinstance(value, bytes) else value
