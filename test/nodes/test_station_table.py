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

from fedefm_ros import station
from fedefm_ros.errors import FedefmError

import pytest

LARGE = 1024 * 1024


@pytest.fixture
def profile(checkout):
    return str(checkout / 'config' / 'fastdds.xml')


def test_a_station_uses_the_profile_that_carries_large_images(profile):
    assert station.dds_environment({}) == {'FASTDDS_DEFAULT_PROFILES_FILE': profile}
    assert station.dds_environment({'ROS_DISTRO': 'jazzy'}) == {
        'FASTRTPS_DEFAULT_PROFILES_FILE': profile}


@pytest.mark.parametrize('current', [
    {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}, {'FASTDDS_DEFAULT_PROFILES_FILE': 'mine.xml'},
    {'FASTRTPS_DEFAULT_PROFILES_FILE': 'mine.xml'}, {'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}])
def test_who_chose_a_transport_keeps_it(current):
    assert station.dds_environment(current) == {}


@pytest.mark.parametrize('current, word', [
    ({}, 'default transports'),
    ({'FASTDDS_BUILTIN_TRANSPORTS': 'SHM'}, 'SHM transports'),
    ({'FASTDDS_DEFAULT_PROFILES_FILE': '/no/such.xml'}, 'does not exist'),
    ({'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA?max_msg_size=2MB',
      'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}, 'no effect'),
])
def test_a_transport_that_loses_large_images_is_named(current, word):
    assert word in station.transport_problem(LARGE, current)


def test_a_transport_that_carries_the_images_is_not_complained_about(profile):
    large_data = {'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA?max_msg_size=2MB'}
    for current in ({'FASTDDS_DEFAULT_PROFILES_FILE': profile}, large_data,
                    {'RMW_IMPLEMENTATION': 'rmw_zenoh_cpp'}):
        assert station.transport_problem(LARGE, current) == ''
    assert station.transport_problem(512 * 512, {}) == ''


def test_a_command_has_node_namespace_files_and_values_in_order(monkeypatch, tmp_path):
    executable = tmp_path / 'lib' / 'fedefm_ros' / 'segmentation'
    executable.parent.mkdir(parents=True)
    executable.write_text('')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path}')
    line = station.command(station.SEGMENTATION, namespace='lab', parameters={
        'compressed': True, 'threads': 1, 'model': 'my "model" 1'},
        parameter_files=(tmp_path / 'mine.yaml',))
    assert str(executable) in line and '__node:=segmentation' in line and '__ns:=/lab' in line
    files = [line[i + 1] for i, word in enumerate(line) if word == '--params-file']
    assert [file.rpartition('/')[2] for file in files] == ['segmentation.yaml', 'mine.yaml']
    assert line[-6:] == ['-p', 'compressed:=true', '-p', 'threads:=1', '-p',
                         'model:="my \\"model\\" 1"']


def test_a_package_that_is_not_built_is_said_so(monkeypatch):
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/nowhere')
    with pytest.raises(FedefmError, match='build the package'):
        station.executable_path('segmentation')


def test_every_process_has_its_parameter_file():
    for process in station.PROCESSES:
        assert process.parameter_file.is_file()
