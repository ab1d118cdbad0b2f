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

"""Announcements: what is signed, what is refused, and that nothing is spent on a lie."""

import ast
from dataclasses import fields
from dataclasses import replace
import json
from pathlib import Path
import re
import tracemalloc

from couriers import manifest_of
from couriers import peers_of
from couriers import station

from fedefm_ros.federation.transfer.fetch import Fetch
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.limits import Limits
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.refusal import REASONS
from fedefm_ros.federation.trust.refusal import Refused

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def alpha(tmp_path):
    return station(tmp_path, 'alpha')


@pytest.fixture
def peers(tmp_path, alpha):
    return peers_of(tmp_path / 'peers', alpha, station(tmp_path, 'beta'))


def refusal(function, *arguments):
    with pytest.raises(Refused) as refused:
        function(*arguments)
    return refused.value.reason


def test_what_a_peer_signed_is_believed_also_from_disk(alpha, peers):
    made = manifest_of(hop=2, samples=120, sealed_keys=bytes(80)).signed_by(alpha)
    made.verify(peers)
    again = Manifest.from_json(made.to_json())
    assert again == made
    again.verify(peers)


def test_the_message_has_the_same_fields_in_the_same_order():
    text = (ROOT / 'msg/ModelManifest.msg').read_text()
    names = re.findall(r'(?m)^[\w/]+(?:\[\d*\])? (\w+)(?!=)\b(?!=)', text)
    expected = [field.name.replace('stamp_ns', 'stamp') for field in fields(Manifest)]
    assert names == expected


OTHER = {
    'round': 4, 'owner': 'beta', 'recipients': ('gamma',), 'hop': 1, 'purpose': 'return',
    'architecture_hash': 'b' * 64, 'base_sha256': 'c' * 64, 'codec': 'safetensors+fp16',
    'size': 2, 'chunk_size': 1 << 20, 'sha256': 'd' * 64, 'sealed_keys': bytes(80), 'samples': 1,
    'stamp_ns': 5, 'nonce': bytes(16), 'signature': bytes(64)}


@pytest.mark.parametrize('name', OTHER)
def test_a_change_in_any_field_breaks_the_signature(alpha, peers, name):
    made = manifest_of().signed_by(alpha)
    changed = replace(made, **{name: OTHER[name]})
    expected = 'malformed' if name == 'base_sha256' else 'bad_signature'
    assert refusal(changed.verify, peers) == expected


def test_every_field_but_the_signature_is_signed():
    assert set(OTHER) | {'protocol_version', 'sender'} == {f.name for f in fields(Manifest)}


@settings(max_examples=60, deadline=None)
@given(first=strategies.lists(strategies.text('ab', max_size=3), max_size=4),
       second=strategies.lists(strategies.text('ab', max_size=3), max_size=4),
       owners=strategies.tuples(*[strategies.text('ab', max_size=3)] * 2))
def test_different_manifests_are_never_the_same_bytes(first, second, owners):
    made = manifest_of()
    one = replace(made, recipients=tuple(first), owner=owners[0])
    other = replace(made, recipients=tuple(second), owner=owners[1])
    assert (one.signed_bytes() == other.signed_bytes()) == (one == other)


def test_a_stranger_is_refused_also_under_a_known_name(tmp_path, peers):
    gamma = station(tmp_path, 'gamma')
    assert refusal(manifest_of('gamma').signed_by(gamma).verify, peers) == 'unknown_key'
    impostor = Identity.create(tmp_path / 'impostor', 'alpha')
    assert refusal(manifest_of().signed_by(impostor).verify, peers) == 'bad_signature'


def test_unsigned_or_signed_for_something_else_is_refused(alpha, peers):
    made = manifest_of()
    assert refusal(made.verify, peers) == 'bad_signature'
    bare = made.signed_bytes().partition(b'\0')[2]  # without what says it is a manifest
    forged = replace(made, signature=alpha.sign(bare))
    assert refusal(forged.verify, peers) == 'bad_signature'


def test_only_the_sender_can_sign(alpha):
    assert refusal(manifest_of('beta').signed_by, alpha) == 'bad_signature'


def signed(alpha, **changes):
    """Return what a hostile peer sends: signed whatever it says."""
    made = replace(manifest_of(), **changes)
    return replace(made, signature=alpha.sign(made.signed_bytes()))


@pytest.mark.parametrize('changes, reason', [
    ({'protocol_version': 1}, 'wrong_version'), ({'protocol_version': 0}, 'wrong_version'),
    ({'owner': '../../etc'}, 'malformed'), ({'recipients': ('beta', 'beta')}, 'malformed'),
    ({'recipients': tuple(f's{k}' for k in range(257))}, 'malformed'),
    ({'purpose': 'delete'}, 'malformed'), ({'architecture_hash': 'A' * 64}, 'malformed'),
    ({'sha256': '../' + 'a' * 61}, 'malformed'), ({'sha256': 'a' * 64 + '\n'}, 'malformed'),
    ({'codec': 'pickle'}, 'bad_codec'), ({'codec': 'safetensors+zstd+fp16'}, 'bad_codec'),
    ({'codec': 'safetensors+topk0'}, 'bad_codec'), ({'codec': 'safetensors\n'}, 'bad_codec'),
    ({'codec': 'safetensors+topk50'}, 'malformed'), ({'base_sha256': 'a' * 64}, 'malformed'),
    ({'size': 0}, 'malformed'), ({'size': 10_000_000_000}, 'too_large'),
    ({'chunk_size': 1}, 'malformed'), ({'chunk_size': 1 << 31}, 'malformed'),
    ({'sealed_keys': bytes(79)}, 'malformed'), ({'nonce': bytes(15)}, 'malformed'),
    ({'hop': 257}, 'malformed'), ({'round': 1 << 32}, 'malformed')])
def test_signed_nonsense_is_refused_with_its_reason(alpha, peers, changes, reason):
    assert refusal(signed(alpha, **changes).verify, peers) == reason


@pytest.mark.parametrize('changes', [
    {'round': -1}, {'round': True}, {'round': 1.5}, {'size': '1'}, {'owner': None},
    {'nonce': 'x' * 16}, {'recipients': ['beta']}, {'recipients': 3}, {'codec': b'safetensors'},
    {'sealed_keys': None}, {'sha256': 7}, {'protocol_version': 'x'}])
def test_fields_of_a_wrong_type_are_refused(peers, changes):
    reason = refusal(replace(manifest_of(), signature=bytes(64), **changes).verify, peers)
    assert reason in ('malformed', 'bad_codec')


def test_ten_gigabytes_are_refused_without_a_byte_of_memory_or_disk(tmp_path, alpha, peers):
    made = signed(alpha, size=10_000_000_000)
    tracemalloc.start()
    assert refusal(made.verify, peers) == 'too_large'
    assert refusal(Fetch, made, tmp_path / 'in') == 'too_large'
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert not (tmp_path / 'in').exists()


def test_limits_are_those_of_the_station(alpha, peers):
    made = manifest_of(payload=bytes(2000)).signed_by(alpha)
    made.verify(peers, Limits(max_bytes=2000))
    assert refusal(made.verify, peers, Limits(max_bytes=1999)) == 'too_large'


def test_weights_of_another_network_are_refused():
    made = manifest_of()
    made.check_architecture('a' * 64)
    assert refusal(made.check_architecture, 'b' * 64) == 'wrong_architecture'


@pytest.mark.parametrize('text', ['', '[]', 'null', '{}', '{"round": 1}', '[' * 100_000,
                                  'x' * (2 << 20)])
def test_text_that_is_no_manifest_is_refused(text):
    assert refusal(Manifest.from_json, text) == 'malformed'


@settings(max_examples=100, deadline=None)
@given(name=strategies.sampled_from([field.name for field in fields(Manifest)]),
       value=strategies.recursive(
           strategies.none() | strategies.booleans() | strategies.integers()
           | strategies.floats() | strategies.text(max_size=70),
           lambda inner: strategies.lists(inner, max_size=3), max_leaves=5))
def test_no_json_does_more_than_be_refused(name, value):
    found = json.loads(manifest_of().to_json()) | {name: value}

    class Nobody:

        def get(self, sender):
            raise Refused('unknown_key', sender)

    with pytest.raises(Refused):
        Manifest.from_json(json.dumps(found)).verify(Nobody())


def test_every_reason_that_the_code_gives_is_explained():
    given_reasons = set()
    root = ROOT / 'fedefm_ros/federation'
    for path in [*root.glob('trust/*.py'), *root.glob('transfer/*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'Refused' \
                    and isinstance(node.args[0], ast.Constant):
                given_reasons.add(node.args[0].value)
    assert {'unknown_key', 'too_large', 'bad_hash'} <= given_reasons <= set(REASONS)
