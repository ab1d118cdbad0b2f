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

"""What a station offers: whole files only, bounded, and there again after a restart."""

import hashlib
import os
import signal

from couriers import CHUNK
from couriers import sha256_of
from couriers import start_python

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.transfer.outbox import Outbox
from fedefm_ros.federation.transfer.outbox import write_sealed
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.trust.sealing import decrypt_chunk
from fedefm_ros.federation.trust.sealing import new_key
from fedefm_ros.federation.trust.sealing import OVERHEAD

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

import pytest


def refusal(outbox, sha256, index=0):
    with pytest.raises(Refused) as refused:
        outbox.chunk(sha256, index)
    return refused.value.reason


def chunks_of(outbox, offered):
    count = -(-offered.size // offered.chunk_size)
    return [outbox.chunk(offered.sha256, index).data for index in range(count)]


@settings(max_examples=15, deadline=None)
@given(size=strategies.integers(1, 3 * CHUNK + 5), sealed=strategies.booleans())
def test_chunks_are_the_payload_as_sent(tmp_path_factory, size, sealed):
    outbox = Outbox(tmp_path_factory.mktemp('out'), 1 << 30)
    payload, key = os.urandom(size), new_key() if sealed else None
    offered = outbox.put(memoryview(payload), CHUNK, key)
    sent = chunks_of(outbox, offered)
    assert offered.size == sum(map(len, sent)) == outbox.size
    assert all(len(chunk) == CHUNK for chunk in sent[:-1])
    assert sha256_of(b''.join(sent)) == offered.sha256
    assert hashlib.sha256(sent[-1]).hexdigest() == outbox.chunk(
        offered.sha256, len(sent) - 1).sha256
    plain = [decrypt_chunk(key, k, chunk) for k, chunk in enumerate(sent)] if sealed else sent
    assert b''.join(plain) == payload
    if sealed:
        assert offered.size == size + len(sent) * OVERHEAD
        # A byte or two may be there by chance.
        assert size < 8 or payload[:32] not in b''.join(sent)


def test_only_what_is_offered_can_be_had(tmp_path):
    outbox = Outbox(tmp_path, 1 << 30)
    offered = outbox.put(bytes(CHUNK + 1), CHUNK)
    assert len(outbox.chunk(offered.sha256, 1).data) == 1
    for index in (2, -1, 1 << 40):
        assert refusal(outbox, offered.sha256, index) == 'unknown_payload'
    for sha256 in ('f' * 64, '', '../../etc/passwd', offered.sha256 + '/'):
        assert refusal(outbox, sha256) == 'unknown_payload'
    outbox.remove(offered.sha256)
    outbox.remove(offered.sha256)
    assert refusal(outbox, offered.sha256) == 'unknown_payload' and not list(tmp_path.iterdir())


def test_a_restarted_station_offers_the_same(tmp_path):
    first = Outbox(tmp_path, 1 << 30)
    offered = [first.put(os.urandom(CHUNK + k), CHUNK) for k in range(3)]
    sent = chunks_of(first, offered[1])
    (tmp_path / '.new-torn').write_bytes(b'half')
    (tmp_path / 'README').write_text('not ours')
    again = Outbox(tmp_path, 1 << 30)
    assert set(again.offered) == set(offered)
    assert chunks_of(again, offered[1]) == sent
    assert not (tmp_path / '.new-torn').exists() and (tmp_path / 'README').exists()


def test_what_a_power_cut_spoilt_is_no_longer_offered(tmp_path):
    first = Outbox(tmp_path, 1 << 30)
    kept, spoilt, cut = (first.put(os.urandom(2 * CHUNK), CHUNK) for _ in range(3))
    path = tmp_path / f'{spoilt.sha256}.{CHUNK}'
    path.write_bytes(bytes(2 * CHUNK))
    again = Outbox(tmp_path, 1 << 30)
    assert refusal(again, spoilt.sha256) == 'bad_hash'
    assert refusal(again, spoilt.sha256) == 'unknown_payload' and not path.exists()
    assert len(again.chunk(kept.sha256, 1).data) == CHUNK
    assert len(again.chunk(cut.sha256, 1).data) == CHUNK
    os.truncate(tmp_path / f'{cut.sha256}.{CHUNK}', 5)  # while it is offered
    assert refusal(again, cut.sha256, 1) == 'bad_hash'
    os.unlink(tmp_path / f'{kept.sha256}.{CHUNK}')
    assert refusal(again, kept.sha256) == 'unknown_payload'


def test_the_oldest_go_first(tmp_path):
    outbox = Outbox(tmp_path, 4 * CHUNK)
    made = [outbox.put(os.urandom(CHUNK), CHUNK) for _ in range(6)]
    assert outbox.offered == tuple(made[2:])
    files = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(files) == outbox.size == 4 * CHUNK


def test_a_restart_also_keeps_the_bound(tmp_path):
    first = Outbox(tmp_path, 1 << 30)
    offered = [first.put(os.urandom(CHUNK), CHUNK) for _ in range(4)]
    for number, entry in enumerate(offered):
        os.utime(tmp_path / f'{entry.sha256}.{CHUNK}', (number, number))
    assert Outbox(tmp_path, 2 * CHUNK).offered == tuple(offered[2:])


def test_the_same_payload_again_is_one_file(tmp_path):
    outbox = Outbox(tmp_path, 1 << 30)
    payload = os.urandom(3 * CHUNK)
    first = outbox.put(payload, CHUNK)
    assert outbox.put(payload, CHUNK) == first
    assert outbox.offered == (first,) and len(list(tmp_path.iterdir())) == 1
    # One chunk either way, so one hash: the file is named anew.
    first = outbox.put(payload[:1000], CHUNK)
    second = outbox.put(payload[:1000], 2 * CHUNK)
    assert second.sha256 == first.sha256 and outbox.offered[1:] == (second,)
    assert len(list(tmp_path.iterdir())) == 2 and len(outbox.chunk(second.sha256, 0).data) == 1000


def test_a_key_encrypts_one_payload_only(tmp_path):
    outbox, key = Outbox(tmp_path, 1 << 30), new_key()
    outbox.put(b'one', CHUNK, key)
    with pytest.raises(FedefmError, match='one payload only'):
        outbox.put(b'two', CHUNK, key)


@pytest.mark.parametrize('payload, chunk_size', [
    (b'', CHUNK), (b'x', 100), (b'x', 8 << 20), (bytes(2000), CHUNK)])
def test_what_cannot_be_offered_is_said(tmp_path, payload, chunk_size):
    with pytest.raises(FedefmError):
        Outbox(tmp_path, 1999).put(payload, chunk_size)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_half_file(tmp_path):
    child = start_python("""
import resource
from pathlib import Path
from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.transfer.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]), 1 << 30)
kept = outbox.put(bytes(1000), 65536)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, -1))
try:
    outbox.put(bytes(500_000), 65536)
except FedefmError as error:
    print(error)
print(outbox.offered == (kept,), len(outbox.chunk(kept.sha256, 0).data))
""", tmp_path)
    said, state = child.communicate(timeout=60)[0].splitlines()
    assert 'cannot be written' in said and state == 'True 1000'
    assert len(list(tmp_path.iterdir())) == 1


def test_killed_while_it_writes_it_offers_whole_payloads_only(tmp_path):
    for _ in range(4):
        child = start_python("""
import os
from pathlib import Path
from fedefm_ros.federation.transfer.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]), 40 << 20)
print('going', flush=True)
while True:
    outbox.put(os.urandom(3 << 20), 65536)
    print('put', flush=True)
""", tmp_path)
        for _ in range(3):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert list(tmp_path.iterdir())
    outbox = Outbox(tmp_path, 40 << 20)
    assert outbox.offered and outbox.size <= 40 << 20
    for offered in outbox.offered:
        assert sha256_of(b''.join(chunks_of(outbox, offered))) == offered.sha256
    assert len(list(tmp_path.iterdir())) == len(outbox.offered)


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(FedefmError, match='outbox'):
        Outbox(tmp_path / 'file', 1000)


def test_what_another_process_has_sealed_is_offered_like_the_rest(tmp_path):
    outbox, key, payload = Outbox(tmp_path / 'out', 1 << 30), new_key(), os.urandom(2 * CHUNK)
    sealed = write_sealed(tmp_path / 'sealed', payload, CHUNK, key)
    offered = outbox.adopt(sealed, tmp_path / 'sealed', key)
    assert offered == sealed.offered and not (tmp_path / 'sealed').exists()
    first = outbox.chunk(offered.sha256, 0)
    assert decrypt_chunk(key, 0, bytes(first.data)) == payload[:CHUNK - OVERHEAD]
    assert hashlib.sha256(first.data).hexdigest() == first.sha256
    # Whatever is refused is not left lying about.
    again = write_sealed(tmp_path / 'sealed', payload, CHUNK, key)
    with pytest.raises(FedefmError, match='one payload only'):
        outbox.adopt(again, tmp_path / 'sealed', key)
    assert not (tmp_path / 'sealed').exists()
    small = Outbox(tmp_path / 'small', 100)
    with pytest.raises(FedefmError, match='raise its limit'):
        small.adopt(write_sealed(tmp_path / 'sealed', payload, CHUNK), tmp_path / 'sealed')
    assert not (tmp_path / 'sealed').exists()
