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

"""All Python is clean by flake8 as ament_flake8 and ament_pep257 configure it."""

import subprocess
import sys


def test_flake8_finds_nothing(checkout):
    done = subprocess.run(
        [sys.executable, '-m', 'flake8', '--jobs=2', 'fedefm_ros', 'launch', 'scripts', 'test',
         'setup.py'],
        cwd=checkout, capture_output=True, text=True)
    assert not done.returncode, '\n' + done.stdout + done.stderr
