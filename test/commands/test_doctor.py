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

"""The doctor without peers: keys, disk, journal and ROS variables."""

import json
import subprocess
import sys

from fedefm_ros.federation.station import checkup
from fedefm_ros.federation.station.journal import Journal
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.peers import Peers

import pytest


@pytest.fixture
def ada(tmp_path):
    """Make ada's key, with bert on the allow-list; return the folder."""
    Identity.create(tmp_path / 'ada', 'ada')
    Identity.create(tmp_path / 'bert', 'bert')
    Peers.read(tmp_path / 'ada').add(tmp_path / 'bert' / 'bert.pub')
    return tmp_path / 'ada'


def doctor(tmp_path, *arguments):
    """Run it without looking for peers; return exit code and findings by (check, station)."""
    file = tmp_path / 'doctor.json'
    done = subprocess.run(
        [sys.executable, '-m', 'fedefm_ros.cli', 'doctor', '--seconds', '0', '--state',
         tmp_path / 'state', '--json', file, *arguments], capture_output=True, text=True)
    found = json.loads(file.read_text())['findings']
    return done.returncode, {(one['check'], one['station']): one for one in found}


def outcomes(findings):
    return {(one.check, one.station): one.outcome for one in findings}


def test_a_station_that_is_set_up_is_fit(tmp_path, ada):
    code, found = doctor(tmp_path, '--folder', ada, '--stations', 'ada,bert')
    assert code == 0
    assert found['own key', '']['text'].startswith('ada ')
    assert found['key', 'bert']['outcome'] == 'ok' and found['journal', '']['outcome'] == 'ok'
    assert list((tmp_path / 'state').iterdir()) == []


def test_what_is_missing_fails_and_says_what_to_do(tmp_path, ada):
    code, found = doctor(tmp_path, '--folder', ada, '--stations', 'ada,bert,cleo')
    assert code == 1
    assert found['key', 'cleo']['outcome'] == 'fail'
    assert './run keys trust cleo.pub' in found['key', 'cleo']['text']
    code, found = doctor(tmp_path, '--folder', tmp_path / 'nowhere')
    assert code == 1 and './run keys new' in found['own key', '']['text']


def test_a_key_that_others_can_read_and_a_foreign_name_fail(ada):
    (ada / 'identity.key').chmod(0o644)
    findings, identity, _ = checkup.check_keys(ada, ('ada', 'bert'))
    assert identity is None and outcomes(findings)['own key', ''] == 'fail'
    (ada / 'identity.key').chmod(0o600)
    findings, _, _ = checkup.check_keys(ada, ('bert', 'cleo'))
    assert outcomes(findings)['stations', ''] == 'fail'
    findings, _, _ = checkup.check_keys(ada, ('ada', 'cleo'))
    assert outcomes(findings)['key', 'bert'] == 'warn'


def test_a_station_alone_on_its_list_fails(tmp_path):
    Identity.create(tmp_path, 'ada')
    assert outcomes(checkup.check_keys(tmp_path, ())[0])['allow-list', ''] == 'fail'


@pytest.mark.parametrize('free, outcome', [
    (100 << 30, 'ok'), (5 << 30, 'warn'), (1 << 30, 'fail')])
def test_disk_space_is_compared_with_what_rounds_need(tmp_path, monkeypatch, free, outcome):
    usage = checkup.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkup.shutil, 'disk_usage', lambda path: usage._replace(free=free))
    findings, journal = checkup.check_state(tmp_path / 'state')
    assert outcomes(findings)['state', ''] == outcome and journal.round == 0


def test_a_damaged_journal_fails_and_refusals_are_told(tmp_path):
    Journal(refusals={'norm': 3}, last_refusal='bert: too far').save(tmp_path / 'journal.json')
    findings, _ = checkup.check_state(tmp_path)
    told, = (one for one in findings if one.check == 'refusals')
    assert told.outcome == 'warn' and '3 x norm' in told.text and 'bert: too far' in told.text
    (tmp_path / 'journal.json').write_text('{')
    findings, journal = checkup.check_state(tmp_path)
    assert journal is None and outcomes(findings)['journal', ''] == 'fail'
    (tmp_path / 'file').touch()
    findings, _ = checkup.check_state(tmp_path / 'file' / 'state')
    assert outcomes(findings)['state', ''] == 'fail'


def test_ros_variables_that_hide_other_machines_are_told(tmp_path):
    profile = tmp_path / 'profile.xml'
    profile.touch()
    good = {'FASTDDS_DEFAULT_PROFILES_FILE': str(profile)}
    assert set(outcomes(checkup.check_environment(good)).values()) == {'ok'}
    local = {**good, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    assert outcomes(checkup.check_environment(local))['discovery', ''] == 'warn'
    assert outcomes(checkup.check_environment({**local, 'ROS_DISCOVERY_SERVER': 'host:11811'})
                    )['discovery', ''] == 'ok'
    assert outcomes(checkup.check_environment({}))['transport', ''] == 'warn'
