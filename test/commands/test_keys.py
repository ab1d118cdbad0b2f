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

"""`fedefm keys` makes identities and exchanges them, as a person at a terminal does."""

import json

from fedefm_ros.cli import app
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.peers import Peers

import pytest

from typer.testing import CliRunner


def keys(*arguments, answer='', **environment):
    return CliRunner().invoke(app, ['keys', *map(str, arguments)], input=answer,
                              env={name: str(value) for name, value in environment.items()})


@pytest.fixture
def luke(tmp_path):
    return Identity.create(tmp_path / 'luke', 'st_luke')


@pytest.fixture
def mary(tmp_path):
    return Identity.create(tmp_path / 'mary', 'st_mary')


def test_a_station_gets_its_key_once(tmp_path):
    figures = tmp_path / 'figures.json'
    done = keys('new', 'st_mary', '--folder', tmp_path / 'keys', '--json', figures)
    assert done.exit_code == 0, done.stderr
    identity = Identity.load(tmp_path / 'keys')
    assert identity.name == 'st_mary' and identity.fingerprint in done.stdout
    assert json.loads(figures.read_text()) == {
        'name': 'st_mary', 'fingerprint': identity.fingerprint,
        'key': identity.public.key.hex(), 'file': str(tmp_path / 'keys/st_mary.pub')}
    again = keys('new', 'st_paul', '--folder', tmp_path / 'keys')
    assert again.exit_code == 1 and 'has an identity' in again.stderr
    assert Identity.load(tmp_path / 'keys').public == identity.public


def test_the_folder_comes_from_the_environment_and_show_mends_the_public_file(tmp_path, mary):
    (tmp_path / 'mary/st_mary.pub').unlink()
    done = keys('show', FEDEFM_KEYS=tmp_path / 'mary')
    assert done.exit_code == 0 and mary.fingerprint in done.stdout
    assert Peers.read(tmp_path / 'mary').get('st_mary') == mary.public


def test_the_default_folder_is_in_the_home(tmp_path):
    environment = {'HOME': tmp_path, 'FEDEFM_KEYS': ''}
    assert keys('new', 'st_mary', **environment).exit_code == 0
    assert Identity.load(tmp_path / '.fedefm/keys').name == 'st_mary'


def test_a_peer_is_trusted_after_its_fingerprint_was_confirmed(tmp_path, mary, luke):
    file, folder = tmp_path / 'luke/st_luke.pub', tmp_path / 'mary'
    for answer in ('', 'n\n'):
        done = keys('trust', file, '--folder', folder, answer=answer)
        assert done.exit_code == 1 and luke.fingerprint in done.stdout
        assert Peers.read(folder).names == ('st_mary',)
    assert keys('trust', file, '--folder', folder, answer='y\n').exit_code == 0
    assert Peers.read(folder).get('st_luke') == luke.public
    again = keys('trust', file, '--folder', folder)
    assert again.exit_code == 0 and 'already' in again.stderr


def test_peers_are_listed_without_the_station_itself_and_can_be_removed(tmp_path, mary, luke):
    folder, figures = tmp_path / 'mary', tmp_path / 'figures.json'
    assert keys('trust', tmp_path / 'luke/st_luke.pub', '--yes', '--folder',
                folder).exit_code == 0
    done = keys('list', '--folder', folder, '--json', figures)
    assert luke.fingerprint in done.stdout and mary.fingerprint not in done.stdout
    assert [peer['name'] for peer in json.loads(figures.read_text())['peers']] == ['st_luke']
    assert keys('remove', 'st_luke', '--folder', folder).exit_code == 0
    assert Peers.read(folder).names == ('st_mary',)
    for name, said in (('st_luke', 'not on the allow-list'), ('st_mary', 'this station itself')):
        done = keys('remove', name, '--folder', folder)
        assert done.exit_code == 1 and said in done.stderr
    assert 'nobody' in keys('list', '--folder', folder).stderr


def test_the_own_name_and_key_are_no_peers(tmp_path, mary):
    Identity.create(tmp_path / 'impostor', 'st_mary')
    for folder in ('mary', 'impostor'):
        done = keys('trust', tmp_path / folder / 'st_mary.pub', '--yes', '--folder',
                    tmp_path / 'mary')
        assert done.exit_code == 1 and 'this station itself' in done.stderr
    assert Peers.read(tmp_path / 'mary').get('st_mary') == mary.public


def test_bad_input_is_one_clear_line(tmp_path):
    (tmp_path / 'bad.pub').write_text('ssh-ed25519 AAAA')
    for arguments in (['trust', tmp_path / 'bad.pub', '--yes'], ['trust', tmp_path / 'missing'],
                      ['new', 'St. Mary'], ['show']):
        done = keys(*arguments, '--folder', tmp_path / 'keys')
        assert done.exit_code == 1
        assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    assert not (tmp_path / 'keys').exists()
