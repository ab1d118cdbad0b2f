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

"""Weights become bytes and weights again; bytes that are none are refused at little cost."""

import io
import mmap
import pickle
import resource
import time
import tracemalloc
import zipfile

from couriers import start_python

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.transfer.codec import decode
from fedefm_ros.federation.transfer.codec import encode
from fedefm_ros.federation.transfer.codec import state_digest
from fedefm_ros.federation.transfer.codec_name import parse_codec
from fedefm_ros.federation.transfer.delta import ErrorFeedback
from fedefm_ros.federation.transfer.pace import TokenBucket
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.weights import state_of

from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies

import pytest

from safetensors.torch import load
from safetensors.torch import save

from tiny import difference
from tiny import TinyNet

import torch

import zstandard

WHOLE = ['safetensors', 'safetensors+fp16', 'safetensors+zstd', 'safetensors+fp16+zstd']
DELTA = ['safetensors+topk100', 'safetensors+topk250+fp16', 'safetensors+topk999+zstd',
         'safetensors+topk1+fp16+zstd']


@pytest.fixture
def state():
    torch.manual_seed(3)
    return {**state_of(TinyNet()), 'double': torch.randn(5, dtype=torch.float64),
            'half': torch.randn(3, 3).half(), 'brain': torch.randn(7).bfloat16(),
            'count': torch.tensor(41), 'mask': torch.tensor([True, False]),
            'bytes': torch.arange(5, dtype=torch.uint8), 'none': torch.zeros(0, 4)}


@pytest.fixture
def base(state):
    torch.manual_seed(4)
    return {key: value + (0.1 * torch.randn(value.shape)).to(value.dtype)
            if value.is_floating_point() else value.clone() for key, value in state.items()}


def reason_of(*arguments, **options):
    with pytest.raises(Refused) as refused:
        decode(*arguments, **options)
    return refused.value.reason


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(value, second[key]) and value.dtype == second[key].dtype
        for key, value in first.items())


@pytest.mark.parametrize('codec', ['safetensors', 'safetensors+zstd'])
def test_weights_come_back_bit_by_bit(tmp_path, state, codec):
    payload = encode(state, codec)
    (tmp_path / 'payload').write_bytes(payload)
    for source in (payload, bytes(payload), bytearray(payload), tmp_path / 'payload'):
        assert same(decode(source, codec, state), state)


def test_the_safetensors_library_reads_ours_and_the_other_way_round(state):
    assert same(load(bytes(encode(state, 'safetensors'))), state)
    assert same(decode(save(state, {'some': 'metadata'}), 'safetensors', state), state)


@pytest.mark.parametrize('codec', ['safetensors+fp16', 'safetensors+fp16+zstd'])
def test_fp16_halves_the_bytes_and_rounds(state, codec):
    large = {'a': torch.randn(5000)}
    assert len(encode(large, 'safetensors+fp16')) < 0.52 * len(encode(large, 'safetensors'))
    got = decode(encode(state, codec), codec, state)
    for key, value in state.items():
        assert got[key].dtype == value.dtype
        expected = value.half().to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(got[key], expected)


@pytest.mark.parametrize('value', [7e4, -7e4, float('inf'), float('nan')])
def test_what_fp16_cannot_hold_is_said_by_the_sender(value):
    with pytest.raises(FedefmError, match='without .fp16'):
        encode({'a': torch.tensor([value])}, 'safetensors+fp16')


@pytest.mark.parametrize('codec', DELTA)
def test_a_difference_brings_the_greatest_entries_and_all_integers(state, base, codec):
    got = decode(encode(state, codec, base), codec, state, base)
    flat = {key: value for key, value in state.items() if value.is_floating_point()}
    wanted = torch.cat([(value - base[key]).float().abs().flatten()
                        for key, value in sorted(flat.items())])
    moved = torch.cat([(got[key] != base[key]).flatten() for key in sorted(flat)])
    count = -(-len(wanted) * parse_codec(codec).topk // 1000)
    assert int(moved.sum()) == pytest.approx(count, abs=5)  # some differences round to nothing
    assert wanted[moved].min() >= wanted.topk(count).values[-1]
    exact = torch.cat([(got[key] - state[key]).float().abs().flatten() for key in sorted(flat)])
    assert exact[moved].max() < 1e-2
    for key, value in state.items():
        assert got[key].dtype == value.dtype and got[key].shape == value.shape
        if not value.is_floating_point():
            assert torch.equal(got[key], value)


def test_a_difference_is_small():
    base = {'a': torch.randn(100_000)}
    state = {'a': base['a'] + torch.randn(100_000)}
    assert len(encode(state, 'safetensors+topk50+fp16+zstd', base)) < 0.05 * 400_000


def test_error_feedback_loses_nothing_over_time():
    torch.manual_seed(0)
    feedback, sent, wanted = ErrorFeedback(), torch.zeros(400), torch.zeros(400)
    for _ in range(60):
        base = {'a': torch.randn(400)}
        update = torch.randn(400) + 1
        state = {'a': base['a'] + update}
        codec = 'safetensors+topk200+fp16'
        got = decode(encode(state, codec, base, feedback), codec, base, base)
        sent += got['a'] - base['a']
        wanted += update
    left = wanted - sent
    assert torch.allclose(left, feedback.left_out, atol=1e-3)
    assert left.norm() < 0.25 * wanted.norm()


def test_error_feedback_survives_a_restart_and_damage(tmp_path):
    base, feedback = {'a': torch.randn(50)}, ErrorFeedback()
    encode({'a': base['a'] + 1 + torch.rand(50)}, 'safetensors+topk100', base, feedback)
    feedback.save(tmp_path / 'left')
    assert torch.equal(ErrorFeedback.load(tmp_path / 'left').left_out, feedback.left_out)
    (tmp_path / 'left').write_bytes(b'garbage')
    assert ErrorFeedback.load(tmp_path / 'left').left_out is None
    assert ErrorFeedback.load(tmp_path / 'missing').left_out is None
    with pytest.raises(FedefmError, match='another network'):
        encode({'b': torch.zeros(9)}, 'safetensors+topk100', {'b': torch.zeros(9)}, feedback)


def test_a_difference_needs_the_base_on_both_sides(state, base):
    with pytest.raises(FedefmError, match='difference'):
        encode(state, DELTA[0])
    assert reason_of(encode(state, DELTA[0], base), DELTA[0], state) == 'no_base'
    with pytest.raises(FedefmError, match='another network'):
        encode(state, DELTA[0], {'a': torch.zeros(1)})


def test_the_digest_is_of_names_types_shapes_and_values(state):
    copy = {key: value.clone() for key, value in reversed(state.items())}
    assert state_digest(copy) == state_digest(state)
    for change in ({'count': torch.tensor(42)}, {'bytes': torch.arange(5)},
                   {'none': torch.zeros(4, 0)}, {'more': torch.zeros(0)},
                   {'double': -state['double']}):
        assert state_digest({**state, **change}) != state_digest(state)


tensors = strategies.tuples(
    strategies.sampled_from([torch.float32, torch.float64, torch.float16, torch.int64,
                             torch.bool]),
    strategies.lists(strategies.integers(0, 4), max_size=3), strategies.integers(0, 2 ** 31))


def filled(dtype, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * 3).to(dtype)


@settings(max_examples=60, deadline=None)
@given(spec=strategies.dictionaries(strategies.text(max_size=8), tensors, max_size=5),
       codec=strategies.sampled_from(WHOLE + DELTA))
def test_any_state_goes_through_any_codec(spec, codec):
    state = {name: filled(*entry) for name, entry in spec.items()}
    base = {name: filled(dtype, shape, seed + 1) for name, (dtype, shape, seed) in spec.items()}
    payload = encode(state, codec, base)
    got = decode(payload, codec, state, base)
    assert got.keys() == state.keys()
    again = decode(bytes(payload), codec, state, base)
    assert same(got, again)
    if codec in ('safetensors', 'safetensors+zstd'):
        assert same(got, state)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=strategies.data(), codec=strategies.sampled_from(WHOLE + DELTA))
def test_damaged_bytes_are_refused_or_have_the_expected_form(state, base, data, codec):
    payload = bytearray(encode(state, codec, base))
    for _ in range(data.draw(strategies.integers(1, 4))):
        place = data.draw(strategies.integers(0, len(payload) - 1))
        payload[place] = data.draw(strategies.integers(0, 255))
    cut = data.draw(strategies.integers(0, len(payload)))
    for damaged in (payload, payload[:cut], payload + payload[cut:]):
        try:
            got = decode(damaged, codec, state, base)
        except Refused as refused:
            assert refused.reason in ('malformed', 'wrong_shape', 'too_large')
        else:
            assert {k: (v.shape, v.dtype) for k, v in got.items()} == {
                k: (v.shape, v.dtype) for k, v in state.items()}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(payload=strategies.binary(max_size=300), codec=strategies.sampled_from(WHOLE + DELTA))
def test_garbage_is_refused(state, base, payload, codec):
    assert reason_of(payload, codec, state, base) in ('malformed', 'wrong_shape', 'too_large')


class Trap:
    """Unpickling this would leave a trace."""

    def __reduce__(self):
        return exec, ('import builtins; builtins.trapped = True',)


@pytest.mark.parametrize('codec', WHOLE)
def test_pickles_and_archives_are_refused_and_never_run(state, codec):
    torch_file, archive = io.BytesIO(), io.BytesIO()
    torch.save({'head.weight': Trap()}, torch_file)
    with zipfile.ZipFile(archive, 'w') as file:
        file.writestr('data.pkl', pickle.dumps(Trap()))
    for payload in (pickle.dumps(Trap()), torch_file.getvalue(), archive.getvalue(), b''):
        for sent in (payload, zstandard.compress(payload)):
            assert reason_of(sent, codec, state) == 'malformed'
    assert not hasattr(__import__('builtins'), 'trapped')


@pytest.mark.parametrize('codec', ['', 'pickle', 'safetensors+', 'safetensors+gzip',
                                   'safetensors+zstd+fp16', 'safetensors+topk0',
                                   'safetensors+topk1000', 'safetensors+topk05', ' safetensors',
                                   'safetensors+fp16+fp16', None, 3])
def test_unknown_codecs_are_refused(state, codec):
    assert reason_of(b'', codec, state) == 'bad_codec'


def framed(header, data):
    return len(header).to_bytes(8, 'little') + header + data


@pytest.mark.parametrize('header, reason', [
    (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', None),
    (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', 'malformed'),
    (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', 'malformed'),
    (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}', 'malformed'),
    (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8.0]}}', 'malformed'),
    (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[false,8]}}', 'malformed'),
    (b'{"a":{"dtype":"F32","shape":[2]}}', 'malformed'),
    (b'{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}', 'wrong_shape'),
    (b'{"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}', 'wrong_shape'),
    (b'{"a":[]}', 'wrong_shape'), (b'{}', 'wrong_shape'), (b'[]', 'malformed'),
    (b'{"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 'wrong_shape'),
    (b'{"a":1,"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 'malformed'),
    (b'[' * 3000, 'malformed'), (b'{"a":' * 900, 'malformed'), (b'\xff\xfe', 'malformed')])
def test_every_lie_in_a_header_is_refused(header, reason):
    reference = {'a': torch.zeros(2)}
    payload = framed(header, bytes(8))
    if reason is None:
        assert same(decode(payload, 'safetensors', reference), reference)
    else:
        assert reason_of(payload, 'safetensors', reference) == reason


def test_tensors_may_not_overlap():
    reference = {'a': torch.zeros(2), 'b': torch.zeros(2)}
    entry = b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    payload = framed(b'{"a":%b,"b":%b}' % (entry, entry), bytes(16))
    assert reason_of(payload, 'safetensors', reference) == 'malformed'


def bomb(size, told):
    """Return zstd bytes of many zeros; told: the frame says how many."""
    made = zstandard.ZstdCompressor(write_content_size=told).compressobj(size=size if told else -1)
    zeros = bytes(1 << 20)
    return b''.join([*(made.compress(zeros) for _ in range(size >> 20)), made.flush()])


@pytest.mark.parametrize('told', [True, False])
def test_a_zip_bomb_is_refused_early_and_with_little_memory(state, told):
    payload = bomb(1 << 30, told)
    assert len(payload) < 200_000
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    tracemalloc.start()
    assert reason_of(payload, 'safetensors+zstd', state) == 'too_large'
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # in KiB
    assert time.process_time() - began < 1


def test_a_difference_that_points_outside_is_refused(state, base):
    codec = 'safetensors+topk100'
    honest = load(bytes(encode(state, codec, base)))
    for step in (0, -5, 2 ** 31 - 1):
        index = honest['topk/index'].clone()
        index[3] = step
        assert reason_of(save({**honest, 'topk/index': index}), codec, state, base) == 'malformed'
    few = {**honest, 'topk/index': honest['topk/index'][:3], 'topk/value': torch.zeros(3)}
    assert reason_of(save(few), codec, state, base) == 'wrong_shape'


def test_sizes_beyond_the_limit_are_refused(state):
    payload = encode(state, 'safetensors')
    assert reason_of(payload, 'safetensors', state, max_bytes=100) == 'too_large'
    assert reason_of(bytes(200_000), 'safetensors', {'a': torch.zeros(3)},
                     max_bytes=1000) == 'too_large'


def test_weights_in_a_file_stay_when_it_is_removed_and_never_change_it(tmp_path, state):
    path = tmp_path / 'payload'
    path.write_bytes(encode(state, 'safetensors'))
    before = path.read_bytes()
    got = decode(path, 'safetensors', state)
    got['head.weight'].add_(1)
    assert path.read_bytes() == before
    path.unlink()
    got['head.weight'].sub_(1)
    assert difference({'head.weight': got['head.weight']},
                      {'head.weight': state['head.weight']}) < 1e-6
    payload = bytearray(encode(state, 'safetensors'))
    got = decode(payload, 'safetensors', state)
    payload[-200:] = bytes(200)
    assert same(got, state)  # a caller's buffer is not kept


def test_files_that_cannot_be_mapped_are_refused(tmp_path, state):
    (tmp_path / 'empty').touch()
    assert reason_of(tmp_path / 'empty', 'safetensors', state) == 'malformed'
    with pytest.raises(FedefmError, match='missing'):
        decode(tmp_path / 'missing', 'safetensors', state)
    (tmp_path / 'payload').write_bytes(encode(state, 'safetensors'))
    with (tmp_path / 'payload').open('rb') as file, \
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert same(decode(mapped, 'safetensors', state), state)


@pytest.mark.parametrize('codec', ['safetensors', 'safetensors+fp16'])
def test_memory_is_at_most_twice_the_model(tmp_path, codec):
    child = start_python("""
import hashlib, resource
from pathlib import Path
import torch
from couriers import fetch_all, offer
from fedefm_ros.federation.transfer.codec import decode, encode
from fedefm_ros.federation.transfer.fetch import Fetch
folder, codec, size = Path(sys.argv[1]), sys.argv[2], 60 << 20
reference = {'a': torch.zeros(0)}
decode(encode(reference, codec), codec, reference)  # what the code itself needs
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
state = {f'w{k}': torch.randn(size // 40) for k in range(10)}
payload = encode(state, codec)
outbox, manifest = offer(folder / 'out', payload)
sender = peak() - before
del payload, state
fetch = Fetch(manifest, folder / 'in')
fetch_all(fetch, outbox)
path = fetch.finish()
reference = {f'w{k}': torch.empty(size // 40) for k in range(10)}
got = decode(path, codec, reference)
print(sender / size, (peak() - before) / size, float(sum(v.sum() for v in got.values())) != 0)
""", tmp_path, codec)
    sender, whole, sound = child.communicate(timeout=120)[0].split()
    assert float(sender) < 2.15 and float(whole) < 2.15 and sound == 'True'


def test_the_bucket_lets_a_burst_through_and_then_the_rate():
    now = [0.0]
    bucket = TokenBucket(1000.0, 500, clock=lambda: now[0])
    assert bucket.delay(500) == 0
    assert bucket.delay(250) == pytest.approx(0.25)
    assert bucket.delay(250) == pytest.approx(0.5)
    now[0] = 0.5
    assert bucket.delay(100) == pytest.approx(0.1)
    now[0] = 100.0  # a long pause gives no more than the burst
    assert bucket.delay(500) == 0 and bucket.delay(1000) == pytest.approx(1.0)
    now[0] = 50.0  # and a clock that goes back takes nothing away
    assert bucket.delay(0) == pytest.approx(1.0)


@settings(max_examples=50, deadline=None)
@given(steps=strategies.lists(strategies.tuples(strategies.floats(0, 2),
                                                strategies.integers(0, 3000)), max_size=30))
def test_nothing_goes_faster_than_the_cap(steps):
    now, sent = [0.0], 0
    bucket = TokenBucket(1000.0, 500, clock=lambda: now[0])
    for pause, count in steps:
        now[0] += pause
        now[0] += bucket.delay(count)
        sent += count
        assert sent <= 500 + 1000 * now[0] + 1e-6


def test_a_rate_of_zero_is_no_cap():
    assert TokenBucket(0, 0).delay(1 << 40) == 0
    with pytest.raises(FedefmError):
        TokenBucket(-1, 0)
