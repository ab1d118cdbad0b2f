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

"""`test` itself, on small test files."""

import os
import subprocess
import sys

import pytest

CROWDED = """
import os
def test_that_needs_the_machine_alone():
    assert 'PYTEST_XDIST_WORKER' not in os.environ
def test_that_passes():
    pass
"""
WRONG = """
def test_that_is_wrong():
    assert False
"""


def run_tests(folder, *arguments, **files):
    """Run `test` on files; return its exit code and what it printed."""
    for name, text in files.items():
        (folder / f'test_{name}.py').write_text(text)
    (folder / 'pytest.ini').write_text('[pytest]\n')
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('PYTEST_')}
    # Of the plugins that are installed the one that is needed: each interpreter loads them.
    environment |= {'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1', 'PYTEST_PLUGINS': 'xdist.plugin'}
    done = subprocess.run(
        [sys.executable, '-m', 'fedefm_ros.cli', 'test', folder, *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, timeout=120)
    return done.returncode, ' '.join(done.stdout.split())


def test_what_fails_beside_others_is_repeated_alone_and_named(tmp_path):
    code, text = run_tests(tmp_path, crowded=CROWDED)
    assert code == 0, text
    assert '1 failed beside other tests; once more, alone: ' in text
    assert 'test_that_needs_the_machine_alone' in text
    assert text.rstrip(' =').rpartition('1 passed')[1], text


def test_what_fails_again_has_failed(tmp_path):
    code, text = run_tests(tmp_path, crowded=CROWDED, wrong=WRONG)
    assert code == 1
    assert '2 failed beside other tests' in text
    assert '1 failed, 1 passed' in text


@pytest.mark.parametrize('arguments, files, expected', [
    (['-n2'], {'crowded': CROWDED}, 1), ([], {'passing': 'def test_it(): pass'}, 0),
    ([], {'empty': ''}, 5)])
def test_the_exit_code_is_that_of_pytest(tmp_path, arguments, files, expected):
    code, text = run_tests(tmp_path, *arguments, **files)
    assert code == expected, text
    assert 'once more' not in text
