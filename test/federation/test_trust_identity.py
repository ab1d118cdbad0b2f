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

"""A station's key and its allow-list, as files."""

import copy
import pickle
import stat

from couriers import peers_of
from couriers import start_python
from couriers import station

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.identity import PublicIdentity
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.federation.trust.refusal import REASONS
from fedefm_ros.federation.trust.refusal import Refused

from hypothesis import example
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

import pytest


def public_file(path, name, key):
    path.write_text(f'name: {name}\nkey: {key.hex()}\n')
    return path


def test_an_identity_signs_after_a_restart_as_before(tmp_path):
    made = Identity.create(tmp_path / 'keys', 'st_mary')
    loaded = Identity.load(tmp_path / 'keys')
    assert loaded.name == 'st_mary' and loaded.public == made.public
    VerifyKey(made.public.key).verify(b'data', loaded.sign(b'data'))
    with pytest.raises(BadSignatureError):
        VerifyKey(made.public.key).verify(b'date', loaded.sign(b'data'))
    assert len(loaded.fingerprint) == 19 and loaded.fingerprint == made.public.fingerprint


def test_the_secret_is_private_and_in_no_other_file(tmp_path):
    identity = Identity.create(tmp_path / 'keys', 'alpha')
    secret = tmp_path / 'keys/identity.key'
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / 'keys').iterdir()) == [
        'alpha.pub', 'identity.key']
    seed = secret.read_text().partition('seed: ')[2].strip()
    assert len(seed) == 64 and seed not in (tmp_path / 'keys/alpha.pub').read_text()
    assert seed not in repr(identity) + str(vars(identity.public))


@pytest.mark.parametrize('mode', [0o640, 0o604, 0o660, 0o777])
def test_a_secret_that_others_can_read_is_refused(tmp_path, mode):
    Identity.create(tmp_path, 'alpha')
    (tmp_path / 'identity.key').chmod(mode)
    with pytest.raises(FedefmError, match='chmod 600'):
        Identity.load(tmp_path)


def test_an_identity_is_never_overwritten(tmp_path):
    first = Identity.create(tmp_path, 'alpha')
    with pytest.raises(FedefmError, match='has an identity'):
        Identity.create(tmp_path, 'beta')
    assert Identity.load(tmp_path).public == first.public
    assert not (tmp_path / 'beta.pub').exists()


@pytest.mark.parametrize('name', ['', 'St', '1st', 'a-b', 'a b', 'a/b', '../a', 'a' * 33, 'ä',
                                  'a\n'])
def test_names_that_are_no_ros_namespaces_are_refused(tmp_path, name):
    with pytest.raises(FedefmError, match='name of a station'):
        Identity.create(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_no_identity_yet_says_how_to_make_one(tmp_path):
    with pytest.raises(FedefmError, match='./run keys new'):
        Identity.load(tmp_path)


def test_a_full_disk_leaves_no_half_identity(tmp_path):
    child = start_python("""
import resource
from pathlib import Path
from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.identity import Identity
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    Identity.create(Path(sys.argv[1]), 'alpha')
except FedefmError as error:
    print(error)
""", tmp_path)
    assert 'cannot be written' in child.communicate(timeout=60)[0]
    assert not list(tmp_path.iterdir())


def test_peers_are_known_after_a_restart_and_strangers_never(tmp_path):
    alpha, beta = station(tmp_path, 'alpha'), station(tmp_path, 'beta')
    peers_of(tmp_path / 'peers', alpha, beta)
    peers = Peers.read(tmp_path / 'peers')
    assert peers.names == ('alpha', 'beta')
    assert peers.get('alpha') == alpha.public == PublicIdentity('alpha', alpha.public.key)
    with pytest.raises(Refused) as refused:
        peers.get('gamma')
    assert refused.value.reason == 'unknown_key'


def test_a_removed_peer_is_a_stranger(tmp_path):
    peers = peers_of(tmp_path / 'peers', station(tmp_path, 'alpha'))
    peers.remove('alpha')
    for known in (peers, Peers.read(tmp_path / 'peers')):
        assert known.names == ()
        with pytest.raises(Refused):
            known.get('alpha')
    with pytest.raises(FedefmError, match='not on the allow-list'):
        peers.remove('alpha')


def test_adding_a_peer_again_changes_nothing(tmp_path):
    alpha = station(tmp_path, 'alpha')
    peers = peers_of(tmp_path / 'peers', alpha)
    assert peers.add(tmp_path / 'alpha/alpha.pub') == alpha.public
    assert Peers.read(tmp_path / 'peers').names == ('alpha',)


def test_another_key_for_a_known_name_is_refused_until_the_old_one_is_removed(tmp_path):
    peers = peers_of(tmp_path / 'peers', station(tmp_path, 'alpha'))
    other = Identity.create(tmp_path / 'other', 'alpha')
    with pytest.raises(FedefmError, match='fingerprint'):
        peers.add(tmp_path / 'other/alpha.pub')
    assert peers.get('alpha').key != other.public.key
    peers.remove('alpha')
    assert peers.add(tmp_path / 'other/alpha.pub') == other.public


def test_two_files_with_one_name_or_one_key_are_refused(tmp_path):
    alpha, beta = station(tmp_path, 'alpha'), station(tmp_path, 'beta')
    folder = tmp_path / 'peers'
    folder.mkdir()
    public_file(folder / '1.pub', 'alpha', alpha.public.key)
    public_file(folder / '2.pub', 'alpha', beta.public.key)
    with pytest.raises(FedefmError, match='both alpha'):
        Peers.read(folder)
    public_file(folder / '2.pub', 'beta', alpha.public.key)
    with pytest.raises(FedefmError, match='same key'):
        Peers.read(folder)


@pytest.mark.parametrize('text', [
    '', 'name: alpha\n', 'key: ' + '0' * 64, '- alpha', 'name: alpha\nkey: ' + 'z' * 64,
    'name: ../alpha\nkey: ' + '1' * 64, 'name: [alpha]\nkey: 1', '\0', '{' * 3000, 'x' * 5000,
    'name: alpha\nkey: !!python/object/apply:os.system ["true"]',
    'name: alpha\nkey: ' + '0' * 64,  # a point of small order: anybody could sign for it
    'name: alpha\nkey: 01' + '0' * 62])
def test_damaged_and_hostile_key_files_are_named(tmp_path, text):
    (tmp_path / 'bad.pub').write_text(text)
    with pytest.raises(FedefmError, match='bad.pub'):
        Peers.read(tmp_path)


@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.binary(max_size=300))
@example(data=b'name: a\nkey: &a [*a]')
def test_no_bytes_in_a_key_file_do_more_than_be_refused(tmp_path, data):
    (tmp_path / 'fuzz.pub').write_bytes(data)
    with pytest.raises(FedefmError, match='fuzz.pub'):
        Peers.read(tmp_path)


def test_a_refusal_keeps_its_reason_on_the_way_out_of_a_worker():
    refused = Refused('stale', 'too old')
    for again in (pickle.loads(pickle.dumps(refused)), copy.copy(refused)):
        assert (again.reason, str(again)) == ('stale', 'too old')
    assert 'stale' in REASONS
