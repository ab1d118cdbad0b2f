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

"""All docstrings are as ament_pep257 wants them."""

import subprocess
import sys

# The list of ament_pep257; the rules named here contradict others or ask for docstrings on all.
IGNORED = 'D100,D101,D102,D103,D104,D105,D106,D107,D203,D212,D404'


def test_pep257_finds_nothing(checkout):
    done = subprocess.run(
        [sys.executable, '-m', 'pydocstyle', f'--ignore={IGNORED}', '--match=.*\\.py',
         'fedefm_ros', 'launch', 'scripts', 'test', 'setup.py'],
        cwd=checkout, capture_output=True, text=True)
    assert not done.returncode, '\n' + done.stdout + done.stderr
