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

"""Whether the fields of a manifest make sense; nothing is allocated for what they announce."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fedefm_ros.federation.transfer.codec_name import parse_codec
from fedefm_ros.federation.trust.identity import is_name
from fedefm_ros.federation.trust.limits import Limits
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.trust.sealing import SEALED_BYTES

if TYPE_CHECKING:
    from fedefm_ros.federation.trust.manifest import Manifest

PURPOSES = ('overseas', 'return', 'aggregate', 'refused')
#: Of every number of which nothing else is known: those of a ROS time and an uint32 round.
_LARGEST = {'round': (1 << 32) - 1, 'hop': (1 << 32) - 1, 'samples': (1 << 63) - 1,
            'stamp_ns': (1 << 31) * 1_000_000_000, 'size': (1 << 64) - 1,
            'chunk_size': (1 << 32) - 1, 'protocol_version': (1 << 32) - 1}
_DIGEST = re.compile(r'[0-9a-f]{64}')


def check_fields(manifest: Manifest, limits: Limits) -> None:
    """Raise Refused where a field is of a wrong type or out of its range."""
    for name, largest in _LARGEST.items():
        value = getattr(manifest, name)
        if type(value) is not int or not 0 <= value <= largest:
            _malformed(f'{name} is {value!r}')
    for name in ('nonce', 'sealed_keys', 'signature'):
        if type(getattr(manifest, name)) is not bytes:
            _malformed(f'{name} is not made of bytes')
    _check_names(manifest, limits)
    if manifest.purpose not in PURPOSES:
        _malformed(f'purpose is {manifest.purpose!r}')
    codec = parse_codec(manifest.codec)
    for name in ('architecture_hash', 'sha256'):
        if not _is_digest(getattr(manifest, name)):
            _malformed(f'{name} is not a SHA-256 in 64 hex digits')
    if codec.topk is None and manifest.base_sha256 != '':
        _malformed(f'codec {manifest.codec} has no base, but base_sha256 is given')
    if codec.topk is not None and not _is_digest(manifest.base_sha256):
        _malformed(f'codec {manifest.codec} needs base_sha256, 64 hex digits')
    if len(manifest.nonce) != 16:
        _malformed(f'nonce has {len(manifest.nonce)} bytes, not 16')
    _check_sizes(manifest, limits)


def _check_names(manifest: Manifest, limits: Limits) -> None:
    recipients = manifest.recipients
    if type(recipients) is not tuple or len(recipients) > limits.max_recipients:
        _malformed(f'more than {limits.max_recipients} recipients, or none that can be read')
    for name in (manifest.owner, manifest.sender, *recipients):
        if not is_name(name):
            _malformed(f'{str(name)[:40]!r} is no name of a station')
    if len(set(recipients)) != len(recipients):
        _malformed('a recipient is named twice')
    if len(manifest.sealed_keys) not in (0, SEALED_BYTES * len(recipients)):
        _malformed(f'sealed_keys has {len(manifest.sealed_keys)} bytes, not {SEALED_BYTES} for '
                   f'each of {len(recipients)} recipients')
    if manifest.hop > limits.max_hop:
        _malformed(f'hop is {manifest.hop}; a trip has at most {limits.max_hop} stops')


def _check_sizes(manifest: Manifest, limits: Limits) -> None:
    if manifest.size > limits.max_bytes:
        raise Refused('too_large', f'{manifest.sender} announces {manifest.size} bytes; at most '
                      f'{limits.max_bytes} are taken')
    if not manifest.size:
        _malformed('size is 0')
    if not limits.min_chunk <= manifest.chunk_size <= limits.max_chunk:
        _malformed(f'chunk_size is {manifest.chunk_size}; expected {limits.min_chunk} to '
                   f'{limits.max_chunk}')


def _is_digest(value) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _malformed(what: str) -> None:
    raise Refused('malformed', f'a manifest does not make sense: {what}')
