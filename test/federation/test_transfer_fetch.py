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

"""Fetching: any loss, damage, order, restart or lie ends in the right bytes or in a refusal."""

import hashlib
import os
import random
import signal

from couriers import answer
from couriers import CHUNK
from couriers import fetch_all
from couriers import manifest_of
from couriers import offer
from couriers import start_python

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.transfer.fetch import Fetch
from fedefm_ros.federation.transfer.fetch import sweep
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.trust.sealing import new_key

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

import pytest

PAYLOAD = random.Random(1).randbytes(9 * CHUNK + 77)


@pytest.fixture
def sent(tmp_path):
    return offer(tmp_path / 'out', PAYLOAD)


def refusal(function, *arguments):
    with pytest.raises(Refused) as refused:
        function(*arguments)
    return refused.value.reason


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_payload_arrives_and_leaves_one_file(tmp_path, sent):
    outbox, manifest = sent
    fetch = Fetch(manifest, tmp_path / 'in')
    assert fetch.progress == (0, len(PAYLOAD)) and not fetch.done
    assert fetch_all(fetch, outbox) == 10
    assert fetch.progress == (len(PAYLOAD), len(PAYLOAD)) and fetch.wanted() == []
    path = fetch.finish()
    assert path.read_bytes() == PAYLOAD and not fetch.counts
    assert names(tmp_path / 'in') == [path.name]
    assert path.stat().st_mode & 0o077 == 0


def test_an_encrypted_payload_arrives_plain(tmp_path):
    key = new_key()
    outbox, manifest = offer(tmp_path / 'out', PAYLOAD, key)
    fetch = Fetch(manifest, tmp_path / 'in')
    fetch_all(fetch, outbox)
    path = fetch.finish(key)
    assert path.read_bytes() == PAYLOAD and names(tmp_path / 'in') == [path.name]


@pytest.mark.parametrize('encrypted', [True, False])
def test_a_payload_can_be_had_again_until_it_is_given_up(tmp_path, encrypted):
    key = new_key() if encrypted else None
    outbox, manifest = offer(tmp_path / 'out', PAYLOAD, key)
    fetch = Fetch(manifest, tmp_path / 'in')
    fetch_all(fetch, outbox)
    fetch.close()
    for _ in range(2):  # the first who takes it dies
        path = Fetch(manifest, tmp_path / 'in', checked=True).finish(key, keep=True)
        assert path.read_bytes() == PAYLOAD and path.stat().st_mode & 0o077 == 0
    path.unlink()
    fetch.abandon()
    assert names(tmp_path / 'in') == []


def test_a_wrong_key_is_refused_and_leaves_nothing(tmp_path):
    outbox, manifest = offer(tmp_path / 'out', PAYLOAD, new_key())
    fetch = Fetch(manifest, tmp_path / 'in')
    fetch_all(fetch, outbox)
    assert refusal(fetch.finish, new_key()) == 'bad_seal' and names(tmp_path / 'in') == []


def test_an_encrypted_payload_is_not_finished_without_its_key(tmp_path, sent):
    fetch = Fetch(manifest_of(payload=PAYLOAD, sealed_keys=bytes(80)), tmp_path / 'in')
    fetch_all(fetch, sent[0])
    with pytest.raises(FedefmError, match='encrypted'):
        fetch.finish()


def test_no_more_than_the_window_is_asked_for(tmp_path, sent):
    outbox, manifest = sent
    fetch = Fetch(manifest, tmp_path / 'in', window=3)
    assert fetch.wanted() == [0, 1, 2] and fetch.wanted() == []
    assert fetch.take(1, *answer(outbox, manifest, 1)) and fetch.wanted() == [3]
    fetch.failed(0, 'timeout')
    assert fetch.wanted() == [0] and fetch.counts == {'failed': 1}


def test_damage_duplicates_and_what_nobody_asked_for_are_counted_and_dropped(tmp_path, sent):
    outbox, manifest = sent
    fetch = Fetch(manifest, tmp_path / 'in', window=2)
    data, digest = answer(outbox, manifest, 0)
    assert fetch.take(0, data, digest) is False  # not asked yet
    assert fetch.take(-1, data, digest) is False and fetch.take(99, data, digest) is False
    fetch.wanted()
    flipped = bytes([data[0] ^ 1]) + data[1:]
    assert fetch.take(0, flipped, digest) is False
    assert fetch.take(0, data[:-1], hashlib.sha256(data[:-1]).hexdigest()) is False
    assert fetch.take(0, data, digest) is True  # late, but good
    assert fetch.take(0, data, digest) is False
    assert fetch.counts == {'unasked': 3, 'corrupt': 2, 'duplicate': 1}
    fetch_all(fetch, outbox)
    assert fetch.finish().read_bytes() == PAYLOAD


def test_a_chunk_that_never_comes_ends_in_a_refusal(tmp_path, sent):
    fetch = Fetch(sent[1], tmp_path / 'in', max_tries=3)
    for _ in range(2):
        assert 0 in fetch.wanted()
        fetch.failed(0, 'no answer')
    assert 0 in fetch.wanted()
    assert refusal(fetch.failed, 0, 'no answer') == 'unreachable'


def test_a_chunk_that_is_always_damaged_ends_in_a_refusal(tmp_path, sent):
    outbox, manifest = sent
    fetch = Fetch(manifest, tmp_path / 'in', max_tries=2)
    data, digest = answer(outbox, manifest, 0)
    fetch.wanted()
    assert fetch.take(0, data[::-1], digest) is False
    fetch.wanted()
    assert refusal(fetch.take, 0, data[::-1], digest) == 'bad_chunk'


def test_chunks_of_something_else_are_found_out_at_the_end(tmp_path, sent):
    outbox, manifest = sent
    fetch = Fetch(manifest, tmp_path / 'in')
    while not fetch.done:
        for index in fetch.wanted():
            data, _ = answer(outbox, manifest, index)
            data = bytes(len(data)) if index == 7 else data
            assert fetch.take(index, data, hashlib.sha256(data).hexdigest())
    assert refusal(fetch.finish) == 'bad_hash' and names(tmp_path / 'in') == []


def test_it_cannot_be_finished_early(tmp_path, sent):
    with pytest.raises(FedefmError, match='10 chunks'):
        Fetch(sent[1], tmp_path / 'in').finish()


@settings(max_examples=60, deadline=None)
@given(seed=strategies.integers(0, 1 << 32), size=strategies.integers(1, 6 * CHUNK),
       sealed=strategies.booleans(), window=strategies.integers(1, 6))
def test_any_weather_ends_in_the_right_bytes(tmp_path_factory, seed, size, sealed, window):
    folder, weather = tmp_path_factory.mktemp('weather'), random.Random(seed)
    payload, key = weather.randbytes(size), new_key() if sealed else None
    outbox, manifest = offer(folder / 'out', payload, key)

    def begin():
        return Fetch(manifest, folder / 'in', window, max_tries=1000)

    fetch, air = begin(), []
    while not fetch.done:
        for index in fetch.wanted():
            air += [(index, *answer(outbox, manifest, index))] * weather.choice([0, 1, 1, 1, 2])
            if weather.random() < 0.1:
                fetch.failed(index, 'lost')
        weather.shuffle(air)
        if air:
            index, data, digest = air.pop()
            if weather.random() < 0.2:
                spoilt = bytearray(data)
                spoilt[weather.randrange(len(data))] ^= 1 << weather.randrange(8)
                assert fetch.take(index, spoilt, digest) is False
            else:
                fetch.take(index, data, digest)
        else:
            for index in range(manifest.chunks):
                fetch.failed(index, 'timeout')
        if weather.random() < 0.05:
            if weather.random() < 0.5:
                fetch.close()
                fetch, air = begin(), []
            else:  # the sender restarts
                outbox = type(outbox)(folder / 'out', 1 << 30)
    assert fetch.finish(key).read_bytes() == payload
    assert len(names(folder / 'in')) == 1


def test_it_goes_on_after_a_restart_without_asking_again(tmp_path, sent):
    outbox, manifest = sent
    first = Fetch(manifest, tmp_path / 'in', window=6)
    for index in first.wanted():
        if index != 2:
            first.take(index, *answer(outbox, manifest, index))
    first.close()
    second = Fetch(manifest, tmp_path / 'in')
    assert second.progress == (5 * CHUNK, len(PAYLOAD))
    assert fetch_all(second, outbox) == 5
    second.close()
    third = Fetch(manifest, tmp_path / 'in')  # and once it is all there
    assert third.done and third.finish().read_bytes() == PAYLOAD


@pytest.mark.parametrize('whole', [False, True])
def test_chunks_that_a_power_cut_spoilt_are_asked_for_again(tmp_path, sent, whole):
    outbox, manifest = sent
    first = Fetch(manifest, tmp_path / 'in', window=10 if whole else 6)
    for index in first.wanted():
        first.take(index, *answer(outbox, manifest, index))
    first.close()
    part = next((tmp_path / 'in').glob('*.part'))
    with part.open('r+b') as file:
        file.seek(3 * CHUNK + 5)
        file.write(bytes(100))
    second = Fetch(manifest, tmp_path / 'in')
    assert second.wanted()[0] == 3 and second.progress[0] == (
        len(PAYLOAD) - CHUNK if whole else 5 * CHUNK)
    fetch_all(second, outbox)
    assert second.finish().read_bytes() == PAYLOAD


def forge(folder, fetch, index):
    """Change a chunk and its digest on disk, as only a lie of an earlier sender could."""
    data = bytes(CHUNK)
    with next(folder.glob('*.part')).open('r+b') as file:
        os.pwrite(file.fileno(), data, index * CHUNK)
    with next(folder.glob('*.have')).open('r+b') as file:
        os.pwrite(file.fileno(), hashlib.sha256(data).digest(), index * 32)


@pytest.mark.parametrize('whole', [False, True])
def test_a_wrong_whole_after_a_restart_starts_over_once(tmp_path, sent, whole):
    outbox, manifest = sent
    first = Fetch(manifest, tmp_path / 'in', window=10 if whole else 4)
    for index in first.wanted():
        first.take(index, *answer(outbox, manifest, index))
    first.close()
    forge(tmp_path / 'in', first, 2)
    second = Fetch(manifest, tmp_path / 'in')
    assert fetch_all(second, outbox) == (10 if whole else 16)
    assert second.finish().read_bytes() == PAYLOAD


def test_a_wrong_whole_after_starting_over_is_refused(tmp_path, sent):
    outbox, manifest = sent
    liar = manifest_of(payload=PAYLOAD, sha256='e' * 64)

    def lie(fetch):
        for index in fetch.wanted():
            fetch.take(index, *answer(outbox, manifest, index))

    first = Fetch(liar, tmp_path / 'in')
    lie(first)
    first.close()
    second = Fetch(liar, tmp_path / 'in')
    while not second.done:
        lie(second)
    assert refusal(second.finish) == 'bad_hash' and names(tmp_path / 'in') == []


def test_killed_at_any_time_it_goes_on(tmp_path, sent):
    outbox, manifest = sent
    for stop in (1, 3, 5):
        child = start_python("""
from pathlib import Path
from couriers import answer
from fedefm_ros.federation.transfer.fetch import Fetch
from fedefm_ros.federation.transfer.outbox import Outbox
from fedefm_ros.federation.trust.manifest import Manifest
outbox = Outbox(Path(sys.argv[1]) / 'out', 1 << 30)
manifest = Manifest.from_json(sys.argv[2])
fetch = Fetch(manifest, Path(sys.argv[1]) / 'in', window=1)
while True:
    for index in fetch.wanted():
        fetch.take(index, *answer(outbox, manifest, index))
        print(index, flush=True)
    if fetch.done:
        print('done', flush=True)
""", tmp_path, manifest.to_json())
        for _ in range(stop):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
    fetch = Fetch(manifest, tmp_path / 'in')
    assert fetch.progress[0] >= 9 * CHUNK
    fetch_all(fetch, outbox)
    assert fetch.finish().read_bytes() == PAYLOAD


def test_two_fetches_of_one_payload_do_not_mix(tmp_path, sent):
    first = Fetch(sent[1], tmp_path / 'in')
    with pytest.raises(FedefmError, match='already'):
        Fetch(sent[1], tmp_path / 'in')
    first.close()
    Fetch(sent[1], tmp_path / 'in').abandon()
    assert names(tmp_path / 'in') == []


def test_a_full_disk_while_receiving_is_said_and_gone_on_with(tmp_path, sent):
    child = start_python("""
import resource
from pathlib import Path
from couriers import answer, fetch_all
from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.transfer.fetch import Fetch
from fedefm_ros.federation.transfer.outbox import Outbox
from fedefm_ros.federation.trust.manifest import Manifest
folder, manifest = Path(sys.argv[1]), Manifest.from_json(sys.argv[2])
outbox = Outbox(folder / 'out', 1 << 30)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1))
try:
    Fetch(manifest, folder / 'in')  # not even the sparse file fits
except FedefmError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
fetch = Fetch(manifest, folder / 'in')
resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 65536, -1))
try:
    fetch_all(fetch, outbox)
except FedefmError as error:
    print(error)
print(fetch.progress[0])
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
fetch_all(fetch, outbox)
print(fetch.finish().stat().st_size)
""", tmp_path, sent[1].to_json())
    lines = child.communicate(timeout=60)[0].splitlines()
    assert 'cannot be received' in lines[0] and 'cannot be written' in lines[1]
    assert lines[2:] == [str(3 * CHUNK), str(len(PAYLOAD))]


def test_more_than_the_disk_has_is_refused_before_it_is_asked_for(tmp_path, monkeypatch, sent):
    status = os.statvfs(tmp_path)
    small = os.statvfs_result([*status[:3], 1, 1, *status[5:10]])
    monkeypatch.setattr(os, 'fstatvfs', lambda handle: small)
    with pytest.raises(FedefmError, match='are free'):
        Fetch(sent[1], tmp_path / 'in')
    assert names(tmp_path / 'in') == []


def test_a_gigabyte_takes_no_space_before_it_comes(tmp_path):
    manifest = manifest_of(size=1 << 30)
    fetch = Fetch(manifest, tmp_path)
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir()) < 2 << 20
    fetch.abandon()


def test_tidying_leaves_what_is_kept_or_being_fetched(tmp_path, sent):
    outbox, manifest = sent
    folder = tmp_path / 'in'
    kept = Fetch(manifest_of(payload=b'kept'), folder)
    kept.close()
    busy = Fetch(manifest_of(payload=b'busy'), folder)
    over = Fetch(manifest, folder)
    over.wanted()
    over.take(0, *answer(outbox, manifest, 0))
    over.close()
    (folder / 'README').touch()
    assert sweep(folder, [kept.manifest.sha256]) >= CHUNK
    left = names(folder)
    assert len(left) == 5 and not any(name.startswith(manifest.sha256) for name in left)
    busy.close()
    sweep(folder)
    assert names(folder) == ['README']
    assert sweep(tmp_path / 'nowhere') == 0
