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

"""
`./run` where nothing is set up, where something is missing, and where it is stopped.

All but the last group work on a bare copy of the checkout, in a folder with a space in its name.
Nothing is installed: what is tested here comes before that.
"""

import fcntl
import importlib.util
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys

from fedefm_ros.commands import summaries

import pytest

NEEDED = ('run', 'scripts', 'requirements', 'CMakeLists.txt', 'package.xml', 'msg', 'srv',
          'fedefm_ros', 'config', 'launch', 'models')


@pytest.fixture
def copy(checkout, tmp_path):
    """Return a bare copy of the checkout."""
    root = tmp_path / 'a b'
    root.mkdir()
    for name in NEEDED:
        source = checkout / name
        if source.is_dir():
            shutil.copytree(source, root / name,
                            ignore=shutil.ignore_patterns('__pycache__', '*.safetensors'))
        else:
            shutil.copy2(source, root / name)
    return root


@pytest.fixture
def bare_environment(tmp_path):
    """Return an environment in which only the basic tools and this Python are found."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for tool in ('bash', 'dirname', 'readlink'):
        (folder / tool).symlink_to(shutil.which(tool))
    (folder / 'python3').symlink_to(os.path.realpath(sys.executable))
    return {'PATH': str(folder), 'HOME': str(tmp_path)}


def run(root, *arguments, environment=None, **options):
    return subprocess.run([str(root / 'run'), *arguments], env=environment, capture_output=True,
                          text=True, **options)


def workspace_of(root, monkeypatch):
    """Return scripts/workspace.py of a copy as a module."""
    monkeypatch.syspath_prepend(str(root / 'scripts'))
    monkeypatch.delitem(sys.modules, 'setup_tools', raising=False)
    spec = importlib.util.spec_from_file_location('workspace', root / 'scripts/workspace.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_help_lists_the_commands_before_anything_is_set_up(copy, bare_environment):
    done = run(copy, '--help', environment=bare_environment, cwd='/')
    assert done.returncode == 0, done.stderr
    for name, summary in summaries().items():
        assert name in done.stdout and summary in done.stdout
    assert not (copy / '.venv').exists()


def test_works_through_a_symbolic_link(copy, bare_environment, tmp_path):
    link = tmp_path / 'link'
    link.symlink_to(copy / 'run')
    done = subprocess.run([str(link)], env=bare_environment, capture_output=True, text=True)
    assert done.returncode == 0 and 'usage: ./run' in done.stdout


def test_a_missing_compiler_is_one_line(copy, bare_environment):
    done = run(copy, '--version', environment=bare_environment)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        'error: no C compiler found; install one (apt install build-essential)',
        'error: no C++ compiler found; install one (apt install build-essential)']


def test_a_missing_python_is_one_line(copy, bare_environment):
    os.unlink(Path(bare_environment['PATH']) / 'python3')
    done = run(copy, '--help', environment=bare_environment)
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1 and 'no Python 3.10 to 3.13 found' in done.stderr


def test_a_python_that_is_too_old_is_not_taken(copy, bare_environment):
    python = Path(bare_environment['PATH']) / 'python3'
    python.unlink()
    python.write_text('#!/usr/bin/env bash\nexit 1\n')
    python.chmod(0o755)
    assert 'no Python 3.10 to 3.13 found' in run(copy, environment=bare_environment).stderr


def test_a_python_without_venv_or_headers_is_told(copy, tmp_path, monkeypatch):
    python = tmp_path / 'python3'
    python.write_text('#!/bin/sh\nexit 1\n')
    python.chmod(0o755)
    module = workspace_of(copy, monkeypatch)
    workspace = module.Workspace()
    workspace.python = str(python)
    with pytest.raises(module.SetupError) as error:
        workspace.check_machine()
    assert 'apt install python3-venv' in str(error.value)
    assert 'apt install python3-dev' in str(error.value)


def test_a_second_run_waits_for_the_first_and_says_so(copy, bare_environment):
    (copy / '.run').mkdir()
    with open(copy / '.run' / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen([str(copy / 'run'), '--version'], env=bare_environment,
                                  stderr=subprocess.PIPE, text=True)
        assert 'waiting' in second.stderr.readline()
        assert second.poll() is None
    assert second.wait(60) == 1
    assert 'no C compiler' in second.stderr.read()


def interruptible():
    """Heed Ctrl-C: a shell's job in the background ignores it, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_stopped_set_up_says_so_and_leaves_nothing_that_looks_finished(copy, monkeypatch):
    first = subprocess.Popen([str(copy / 'run'), '--version'], stderr=subprocess.PIPE, text=True,
                             start_new_session=True, preexec_fn=interruptible)
    assert first.stderr.readline().startswith('[1/3]')
    os.killpg(first.pid, signal.SIGINT)  # what a terminal does at Ctrl-C
    assert first.wait(60) == 130
    assert 'the next ./run repairs this' in first.stderr.read()
    workspace = workspace_of(copy, monkeypatch).Workspace()
    assert not workspace.venv_ready() and not workspace.build_ready()


def test_somebody_elses_virtual_environment_is_left_alone(copy):
    (copy / '.venv').mkdir()
    (copy / '.venv' / 'precious').touch()
    done = run(copy, '--version')
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1 and '.venv is there already' in done.stderr
    assert (copy / '.venv' / 'precious').exists()


def test_an_environment_behind_a_link_is_left_alone(copy, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    # One that ./run has finished, as another checkout's is.
    (other / 'fedefm.stamp').write_text('of another checkout')
    (copy / '.venv').symlink_to(other)
    done = run(copy, '--version')
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1 and 'is a link' in done.stderr
    assert (other / 'fedefm.stamp').exists()


def test_only_what_changed_is_made_again(copy, monkeypatch):
    workspace = workspace_of(copy, monkeypatch).Workspace()
    venv, build = workspace.venv_stamp(), workspace.build_stamp()
    (copy / 'fedefm_ros' / 'labels.py').write_text('# edited\n')
    assert (workspace.venv_stamp(), workspace.build_stamp()) == (venv, build)
    (copy / 'fedefm_ros' / 'another.py').write_text('# new\n')
    assert workspace.venv_stamp() == venv
    added = workspace.build_stamp()
    assert added != build
    (copy / 'msg' / 'Instrument.msg').write_text('uint8 kind\n')
    assert workspace.build_stamp() not in (added, build)
    assert workspace.venv_stamp() == venv
    (copy / 'requirements' / 'python.lock').write_text('numpy==2\n')
    assert workspace.venv_stamp() != venv


def test_a_checkout_that_was_moved_is_set_up_anew(copy, tmp_path, monkeypatch):
    before = workspace_of(copy, monkeypatch).Workspace().base_stamp()
    moved = copy.rename(tmp_path / 'moved')
    assert workspace_of(moved, monkeypatch).Workspace().base_stamp() != before


def test_a_sourced_distribution_gets_its_own_environment(copy, tmp_path, monkeypatch):
    (tmp_path / 'rclpy').mkdir()
    (tmp_path / 'rclpy' / '__init__.py').touch()
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/opt/ros/jazzy')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    workspace = workspace_of(copy, monkeypatch).Workspace()
    assert workspace.venv == copy / '.venv-jazzy'
    assert copy / 'requirements' / 'ros.lock' not in workspace.locks
    assert workspace.environment(built=False)['AMENT_PREFIX_PATH'] == '/opt/ros/jazzy'


def test_a_distribution_whose_rclpy_does_not_import_is_left_alone(copy, monkeypatch, capsys):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/opt/ros/jazzy')
    monkeypatch.delenv('PYTHONPATH')
    workspace = workspace_of(copy, monkeypatch).Workspace()
    assert workspace.venv == copy / '.venv'
    assert 'cannot import rclpy' in capsys.readouterr().err


@pytest.fixture
def ready(checkout, monkeypatch):
    """Return the checkout's workspace; skip where ./run did not set it up."""
    workspace = workspace_of(checkout, monkeypatch).Workspace()
    if not (workspace.venv_ready() and workspace.build_ready()):
        pytest.skip('this checkout was not set up by ./run')
    return workspace


def test_commands_run_where_the_user_stands(ready, checkout, tmp_path):
    done = run(checkout, 'launch', 'x.launch.py', cwd=tmp_path)
    assert done.returncode == 1 and 'x.launch.py: no such launch file' in done.stderr
    (tmp_path / 'x.launch.py').touch()
    done = run(checkout, 'launch', 'x.launch.py', cwd=tmp_path)
    assert 'no such launch file' not in done.stderr


def test_env_sh_gives_a_shell_interfaces_and_package(ready, checkout):
    code = 'import fedefm_ros.msg, fedefm_ros.labels; print(fedefm_ros.msg.Instrument().kind)'
    done = subprocess.run(['bash', '-c', f'. "$0" && python -c "{code}"',
                           str(ready.state / 'env.sh')],
                          env={'PATH': '/usr/bin:/bin'}, cwd=checkout, capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout) == (0, '0\n'), done.stderr


def test_executables_are_installed_where_ros2_run_looks(ready, checkout):
    installed = {path.name for path in (ready.install / 'lib' / 'fedefm_ros').iterdir()}
    scripts = {path.name for path in (checkout / 'scripts').iterdir()
               if path.is_file() and not path.suffix}
    assert installed == scripts
