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

"""Weights cross a slow, long and lossy line between two networks of their own; needs root."""

import json
import os
from pathlib import Path
import shutil
import subprocess

from fedefm_ros import station
from fedefm_ros.paths import config_dir

import pytest

ROOT = Path(__file__).resolve().parents[2]


def allowed():
    """Return whether networks and interfaces can be made here."""
    if os.geteuid() or not shutil.which('ip') or not os.access('/dev/net/tun', os.W_OK):
        return False
    name = f'fedefm_try_{os.getpid()}'
    made = subprocess.run(['ip', 'netns', 'add', name], capture_output=True)
    subprocess.run(['ip', 'netns', 'del', name], capture_output=True)
    return made.returncode == 0


@pytest.mark.skipif(not allowed(), reason='needs root, ip and /dev/net/tun')
def test_weights_cross_a_line_that_is_slow_and_loses_frames():
    environment = {name: value for name, value in os.environ.items()
                   if name not in station.dds_environment({})}
    environment |= {'FASTDDS_DEFAULT_PROFILES_FILE': str(config_dir() / 'fastdds_large_data.xml')}
    run = subprocess.run(
        ['bash', str(ROOT / 'scripts' / 'two_networks.sh'), '500000', '65536', '20', '30', '1'],
        env=environment, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr
    told, line = run.stdout.splitlines()[-2:]
    assert json.loads(told)['seconds'] > 0.2  # 500 kB at 20 Mbit/s
    assert 500_000 < int(line.rpartition(' ')[2]) < 1_500_000
