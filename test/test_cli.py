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

"""The command line: what it lists, what it imports, how it fails."""

import os
from pathlib import Path
import subprocess
import sys

from fedefm_ros.cli import app
from fedefm_ros.commands import launch
from fedefm_ros.commands import summaries

import pytest

from typer.testing import CliRunner


def fedefm(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-m', 'fedefm_ros.cli', *arguments],
                          capture_output=True, text=True, **options)


def test_help_lists_each_command_with_a_sentence():
    done = fedefm('--help', env=os.environ | {'COLUMNS': '200'})
    assert done.returncode == 0
    for name, summary in summaries().items():
        assert summary.endswith('.'), name
        assert f'{name} ' in done.stdout and summary in done.stdout


def test_help_imports_no_command_and_nothing_heavy():
    code = ('import sys; sys.argv = ["fedefm", "--help"]\n'
            'from fedefm_ros import cli\n'
            'try: cli.main()\n'
            'except SystemExit: print("\\n".join(sys.modules), file=sys.stderr)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    loaded = set(done.stderr.split())
    assert 'fedefm_ros.commands' in loaded
    assert not {'numpy', 'torch', 'cv2', 'rclpy', 'fedefm_ros.commands.test'} & loaded


@pytest.mark.parametrize('name', summaries())
def test_every_command_explains_itself(name):
    done = CliRunner().invoke(app, [name, '--help'], prog_name='fedefm')
    assert done.exit_code == 0, done.output
    assert f'fedefm {name}' in done.output


def test_a_wrong_command_is_named_and_a_near_one_proposed():
    done = fedefm('lunch')
    assert done.returncode == 2
    assert 'lunch' in done.stderr and 'launch' in done.stderr


def test_bad_input_is_one_line_and_exit_code_1():
    done = fedefm('launch', 'nowhere')
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1
    assert done.stderr.startswith('error: nowhere: no such launch file')


def test_an_interrupt_ends_a_command_quietly_with_130():
    code = ('import sys; sys.argv = ["fedefm", "launch", "x"]\n'
            'from fedefm_ros import cli\n'
            'from fedefm_ros.commands import launch\n'
            'def interrupted(file): raise KeyboardInterrupt\n'
            'launch.launch_file = interrupted\n'
            'cli.main()')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, '', '')


@pytest.mark.parametrize('missing, command, words', [
    ('rclpy', ('record', '-o', 'bag'), 'needs ROS 2 (there is no rclpy here): use ./run'),
    ('cv2', ('segment', 'x.png', '-o', 'out'), "pip install 'fedefm_ros[all]'")])
def test_what_is_not_installed_is_named_with_how_to_get_it(tmp_path, missing, command, words):
    code = (f'import sys; sys.argv = ["fedefm", *{command!r}]; sys.modules[{missing!r}] = None\n'
            'from fedefm_ros import cli\n'
            'cli.main()')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1 and words in done.stderr


def test_launch_without_a_distribution_says_what_to_do(tmp_path):
    file = tmp_path / 'station.launch.py'
    file.touch()
    done = fedefm('launch', str(file), env=os.environ | {'PATH': str(tmp_path)})
    assert done.returncode == 1
    assert 'no ros2 launch' in done.stderr and './run demo' in done.stderr


def test_launch_hands_file_and_arguments_to_ros2_launch(tmp_path):
    ros2 = tmp_path / 'ros2'
    ros2.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    ros2.chmod(0o755)
    file = tmp_path / 'a file.launch.py'
    file.touch()
    done = fedefm('launch', file.name, 'rate:=15.0', '--show-args', cwd=tmp_path,
                  env=os.environ | {'PATH': f'{tmp_path}:/usr/bin:/bin'})
    assert done.stdout.splitlines() == ['launch', str(file), 'rate:=15.0', '--show-args']


def test_launch_finds_a_shipped_file_by_its_name(tmp_path, monkeypatch):
    shipped = tmp_path / 'station.launch.py'
    shipped.touch()
    monkeypatch.setattr(launch.paths, 'launch_dir', lambda: Path(tmp_path))
    assert launch.launch_file('station') == launch.launch_file('station.launch.py') == shipped
