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

"""Payload keys for recipients only, chunks that cannot be changed, moved or read."""

from couriers import station

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.trust.sealing import decrypt_chunk
from fedefm_ros.federation.trust.sealing import encrypt_chunk
from fedefm_ros.federation.trust.sealing import new_key
from fedefm_ros.federation.trust.sealing import open_key
from fedefm_ros.federation.trust.sealing import OVERHEAD
from fedefm_ros.federation.trust.sealing import seal_key
from fedefm_ros.federation.trust.sealing import SEALED_BYTES

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

import pytest


def refused(function, *arguments):
    with pytest.raises(Refused) as refusal:
        function(*arguments)
    return refusal.value.reason


def test_every_recipient_opens_the_key_and_nobody_else(tmp_path):
    beta, gamma, delta = (station(tmp_path, name) for name in ('beta', 'gamma', 'delta'))
    key = new_key()
    sealed = seal_key(key, [beta.public, gamma.public])
    assert len(sealed) == 2 * SEALED_BYTES == 160
    assert open_key(sealed, 0, beta) == open_key(sealed, 1, gamma) == key
    assert refused(open_key, sealed, 0, delta) == 'bad_seal'
    assert refused(open_key, sealed, 1, beta) == 'bad_seal'
    assert refused(open_key, sealed, 2, beta) == 'bad_seal'
    assert key not in sealed


@pytest.mark.parametrize('place', [0, 40, 79])
def test_a_changed_seal_is_refused(tmp_path, place):
    beta = station(tmp_path, 'beta')
    sealed = bytearray(seal_key(new_key(), [beta.public]))
    sealed[place] ^= 1
    assert refused(open_key, bytes(sealed), 0, beta) == 'bad_seal'


def test_keys_differ():
    assert len({new_key() for _ in range(50)}) == 50


@settings(max_examples=50, deadline=None)
@given(data=strategies.binary(max_size=400), index=strategies.integers(0, 1 << 40),
       flip=strategies.integers(0))
def test_a_chunk_comes_back_whole_or_not_at_all(data, index, flip):
    key = bytes(range(32))
    sent = encrypt_chunk(key, index, data)
    assert len(sent) == len(data) + OVERHEAD
    assert decrypt_chunk(key, index, memoryview(sent)) == data
    assert refused(decrypt_chunk, key, index + 1, sent) == 'bad_seal'
    assert refused(decrypt_chunk, new_key(), index, sent) == 'bad_seal'
    assert refused(decrypt_chunk, key, index, sent[:-1]) == 'bad_seal'
    changed = bytearray(sent)
    changed[flip % len(sent)] ^= 1 << flip % 8
    assert refused(decrypt_chunk, key, index, bytes(changed)) == 'bad_seal'


def test_equal_chunks_look_different():
    key = new_key()
    assert encrypt_chunk(key, 0, bytes(99)) != encrypt_chunk(key, 1, bytes(99))
    assert bytes(99)[:8] not in encrypt_chunk(key, 0, bytes(99))


@pytest.mark.parametrize('length', [0, 15])
def test_what_is_too_short_is_refused(length):
    assert refused(decrypt_chunk, new_key(), 0, bytes(length)) == 'bad_seal'


def test_a_wrong_key_is_a_callers_mistake():
    with pytest.raises(FedefmError, match='31 bytes'):
        encrypt_chunk(bytes(31), 0, b'')
