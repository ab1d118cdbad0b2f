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
Set up this checkout where something is missing, then run a command in it.

Called by ./run with any Python 3.10 to 3.13; standard library only. Two steps, each with a stamp
(a hash of what it was made from), so that a later use only compares hashes:

1. .venv: pinned packages and ROS 2 as wheels. Where a ROS 2 distribution is sourced, its packages
   are used instead (.venv-jazzy and so on, so that both can live side by side).
2. .run/install: colcon builds the interfaces and links the Python files, so edits are live.

A stamp is taken away first and written last: the next run repairs a set-up that was stopped.
"""

import os
from pathlib import Path
import platform
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys

from setup_tools import Counter
from setup_tools import digest
from setup_tools import follow
from setup_tools import locked
from setup_tools import read
from setup_tools import say
from setup_tools import SetupError
from setup_tools import succeeds
from setup_tools import walk

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / 'requirements'
# Linked by name when installed: a new or vanished file needs a build, an edited one does not.
LINKED = ('fedefm_ros', 'config', 'launch', 'models')
BUILT = ('CMakeLists.txt', 'package.xml', 'msg', 'srv', 'action')


def python_folder(prefix: Path) -> Path:
    """Return where Python packages are under a prefix (Debian's Pythons call it otherwise)."""
    for pattern in ('lib/python3*/site-packages', 'local/lib/python3*/dist-packages',
                    'lib/python3*/dist-packages'):
        for folder in prefix.glob(pattern):
            return folder
    raise SetupError(f'no folder for Python packages in {prefix}')


def find_ros() -> tuple[str, str]:
    """
    Return the sourced distribution's name (or nothing, for wheels) and the Python to use.

    A distribution counts when a Python outside virtual environments can import its rclpy.
    """
    python = os.path.realpath(sys.executable)
    name = os.environ.get('ROS_DISTRO', '')
    if name and os.environ.get('AMENT_PREFIX_PATH'):
        for candidate in dict.fromkeys((python, os.path.realpath('/usr/bin/python3'))):
            if succeeds(candidate, 'import rclpy'):
                return name, candidate
        say(f'note: ROS_DISTRO is {name}, but {python} cannot import rclpy; using ROS 2 wheels')
    return '', python


class Workspace:
    """This checkout's virtual environment and build, for wheels or for one distribution."""

    def __init__(self) -> None:
        self.distribution, self.python = find_ros()
        suffix = f'-{self.distribution}' if self.distribution else ''
        self.venv = ROOT / f'.venv{suffix}'
        self.state = ROOT / f'.run{suffix}'
        self.install = self.state / 'install'
        self.locks = [LOCKS / 'python.lock', LOCKS / 'torch.txt']
        if not self.distribution:
            self.locks.insert(1, LOCKS / 'ros.lock')

    # Stamps

    def base_stamp(self) -> str:
        """Return what .venv and build must be made for; they do not outlive a change of it."""
        return digest(self.python, str(ROOT), self.distribution)

    def venv_stamp(self) -> str:
        """Return the stamp of a complete virtual environment: base and packages."""
        return self.base_stamp() + '\n' + digest(*self.locks)

    def build_stamp(self) -> str:
        """Return the stamp of a complete build: environment and sources."""
        parts = []
        for path in walk(ROOT, BUILT):
            parts += [str(path.relative_to(ROOT)), path]
        parts += [str(path.relative_to(ROOT)) for path in walk(ROOT, LINKED)]
        return digest(self.venv_stamp()) + '\n' + digest(*parts)

    def venv_ready(self) -> bool:
        return read(self.venv / 'fedefm.stamp') == self.venv_stamp()

    def build_ready(self) -> bool:
        return read(self.state / 'build.stamp') == self.build_stamp()

    # Steps

    def set_up(self) -> None:
        """Do the steps that are missing, one process at a time."""
        if self.venv_ready() and self.build_ready():
            return
        with locked(self.state / 'lock'):
            if not self.venv_ready():
                self.check_machine()
                self.make_venv()
            if not self.build_ready():
                self.build()

    def check_machine(self) -> None:
        """Raise SetupError with one line for each thing that only the user can install."""
        missing = []
        if not self.distribution and (sys.platform, platform.machine()) != ('linux', 'x86_64'):
            missing.append('ROS 2 wheels exist for Linux on x86-64 only; on this machine install '
                           'a ROS 2 distribution and source its setup.bash first')
        for language, variable, names in (('C', 'CC', ('cc', 'gcc', 'clang')),
                                          ('C++', 'CXX', ('c++', 'g++', 'clang++'))):
            if not os.environ.get(variable) and not any(map(shutil.which, names)):
                missing.append(f'no {language} compiler found; install one '
                               '(apt install build-essential)')
        if not succeeds(self.python, 'import ensurepip, venv'):
            missing.append(f'{self.python} has no venv and ensurepip; install them '
                           '(apt install python3-venv)')
        if not succeeds(self.python, 'import os, sys, sysconfig as s; sys.exit(not '
                                     'os.path.exists(s.get_path("include") + "/Python.h"))'):
            missing.append(f'{self.python} has no Python.h; install it (apt install python3-dev)')
        if self.distribution and not shutil.which('colcon'):
            missing.append('no colcon found; install it (apt install ros-dev-tools)')
        if missing:
            raise SetupError('\nerror: '.join(missing))

    def make_venv(self) -> None:
        """
        Install the pinned packages: into what is there, or anew if it was never finished.

        A folder of that name that ./run did not make is somebody else's and stays as it is; so is
        what a link leads to, as another checkout's environment.
        """
        if self.venv.is_symlink():
            raise SetupError(f'{self.venv} is a link; each checkout makes its own environment: '
                             'remove the link')
        stamp, unfinished = self.venv / 'fedefm.stamp', self.state / 'venv.unfinished'
        if self.venv.exists() and not stamp.exists() and not unfinished.exists():
            raise SetupError(f'{self.venv} is there already, but ./run did not make it; '
                             'rename or remove it')
        usable = read(stamp).partition('\n')[0] == self.base_stamp()
        unfinished.touch()
        stamp.unlink(missing_ok=True)
        if not usable:
            say(f'[1/3] making a Python environment in {self.venv.name}')
            options = ['--system-site-packages'] if self.distribution else []
            follow([self.python, '-m', 'venv', '--clear', *options, str(self.venv)],
                   self.state / 'log' / 'venv.log', self.plain_environment(),
                   f'{self.python} could not make a virtual environment')
        say('[2/3] installing packages (2 GB or more, some minutes)')
        *hashed, torch = self.locks
        names = {name for lock in hashed
                 for name in re.findall(r'(?m)^([\w.-]+)==', lock.read_text())}
        self.pip(['--require-hashes', '--no-deps', *(f'--requirement={lock}' for lock in hashed)],
                 'packages', Counter(len(names)))
        self.pip([f'--requirement={torch}'], 'torch', Counter(1))
        if not self.distribution:
            self.mend_baked_paths()
        stamp.write_text(self.venv_stamp())
        unfinished.unlink()

    def pip(self, options: list[str], name: str, counter) -> None:
        """Let the virtual environment's pip install something."""
        follow([str(self.venv / 'bin' / 'python'), '-m', 'pip', 'install', '--no-input',
                '--disable-pip-version-check', '--progress-bar=off', *options],
               self.state / 'log' / f'pip-{name}.log', self.plain_environment(),
               'pip could not install the packages; is there a network, and space on the disk?',
               counter)

    def mend_baked_paths(self) -> None:
        """
        Replace paths of the machine that made the ROS wheels; CMake refuses what is not there.

        In share/*/cmake/*.cmake they name the folders of Python's and of numpy's headers.
        """
        headers = subprocess.run(
            [self.python, '-c', 'import sysconfig; print(sysconfig.get_path("include"))'],
            check=True, capture_output=True, text=True).stdout.strip()
        numpy_headers = str(python_folder(self.venv) / 'numpy' / '_core' / 'include')
        for path in self.venv.glob('share/*/cmake/*.cmake'):
            baked = path.read_text()
            mended = re.sub(r'/opt/python/cp\d+-cp\d+/lib/python3\.\d+/site-packages/numpy/'
                            r'_core/include', lambda match: numpy_headers, baked)
            mended = re.sub(r'/opt/python/cp\d+-cp\d+/include/python3\.\d+',
                            lambda match: headers, mended)
            if mended != baked:
                path.write_text(mended)

    def build(self) -> None:
        """Build with colcon and link the Python files; anew where the environment changed."""
        say('[3/3] building the ROS interfaces (some seconds)')
        stamp = self.state / 'build.stamp'
        known = read(stamp).partition('\n')[0]
        stamp.unlink(missing_ok=True)
        wanted = self.build_stamp()
        if known != wanted.partition('\n')[0]:
            for folder in (self.state / 'build', self.install):
                shutil.rmtree(folder, ignore_errors=True)
        colcon = [str(self.venv / 'bin' / 'python'), '-m', 'colcon']
        follow([*(['colcon'] if self.distribution else colcon),
                '--log-base', str(self.state / 'log'), 'build', '--paths', str(ROOT),
                '--build-base', str(self.state / 'build'), '--install-base', str(self.install),
                '--merge-install', '--symlink-install', '--event-handlers', 'console_direct+',
                '--cmake-args', f'-DPython3_EXECUTABLE={self.venv}/bin/python',
                '-DBUILD_TESTING=OFF', '-DCMAKE_BUILD_TYPE=Release',
                *([] if self.distribution else ['-GNinja'])],
               self.state / 'log' / 'build.log', self.environment(built=False), 'the build failed')
        for link in self.install.rglob('*'):
            if link.is_symlink() and not link.exists():
                link.unlink()  # its source was removed
        self.write_environment_script()
        stamp.write_text(wanted)

    # Environment

    def variables(self, built: bool) -> tuple[dict[str, str], dict[str, list[Path]]]:
        """Return what the environment sets, and what it puts in front of lists of folders."""
        prefixes = [self.install] if built else []
        values = {'VIRTUAL_ENV': str(self.venv)}
        front = {'PATH': [self.venv / 'bin'],
                 'LD_LIBRARY_PATH': [prefix / 'lib' for prefix in prefixes]}
        if built:
            values['PYTHONSAFEPATH'] = '1'  # the folder one stands in must not hide the package
        if self.distribution:
            front['AMENT_PREFIX_PATH'] = front['CMAKE_PREFIX_PATH'] = prefixes
            front['PYTHONPATH'] = [python_folder(prefix) for prefix in prefixes]
            return values, front
        # The wheels live in the virtual environment; a distribution's folders must not mix in.
        ament = ':'.join(map(str, [*prefixes, self.venv]))
        values |= {'AMENT_PREFIX_PATH': ament, 'CMAKE_PREFIX_PATH': ament,
                   'PYTHONPATH': ':'.join(str(python_folder(prefix)) for prefix in prefixes),
                   'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp',
                   # With the libraries found, the wheels need not start each process twice.
                   '_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1'}
        front['LD_LIBRARY_PATH'] += [self.venv / 'lib',
                                     *sorted(python_folder(self.venv).glob('ros_*.libs'))]
        return values, front

    def environment(self, built: bool = True) -> dict[str, str]:
        """Return the caller's environment with this workspace in it."""
        values, front = self.variables(built)
        environment = self.plain_environment() | values
        for name, folders in front.items():
            before = [part for part in os.environ.get(name, '').split(':') if part]
            ours = [str(folder) for folder in folders]
            environment[name] = ':'.join(ours + [part for part in before if part not in ours])
        return environment

    @staticmethod
    def plain_environment() -> dict[str, str]:
        """Return the caller's environment without what leads Python elsewhere."""
        return {name: value for name, value in os.environ.items()
                if name not in ('COLCON_PREFIX_PATH', 'PYTHONHOME', 'PYTHONPATH',
                                'PYTHONSAFEPATH')}

    def write_environment_script(self) -> None:
        """Write env.sh, for a shell that wants the environment of the commands."""
        values, front = self.variables(built=True)
        lines = ['# The environment of ./run, for your shell: . .run/env.sh']
        lines += [f'export {name}={shlex.quote(value)}' for name, value in values.items()]
        lines += [f'export {name}={shlex.quote(":".join(map(str, folders)))}'
                  f'"${{{name}:+:${name}}}"' for name, folders in front.items() if folders]
        (self.state / 'env.sh').write_text('\n'.join(lines) + '\n')


def print_commands() -> None:
    """List the commands without importing any, for a checkout that is not set up."""
    commands = runpy.run_path(str(ROOT / 'fedefm_ros' / 'commands' / '__init__.py'))
    print('usage: ./run COMMAND [arguments]\n')
    for name, summary in commands['summaries']().items():
        print(f'  {name:12} {summary}')
    print('\nThe first command sets up this checkout: packages in .venv, a ROS build in .run.')


def main() -> int:
    """Set up what is missing and become the command."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = sys.argv[1:]
    try:
        workspace = Workspace()
        ready = workspace.venv_ready() and workspace.build_ready()
        if not ready and (not arguments or arguments[0] in ('-h', '--help')):
            print_commands()
            return 0
        workspace.set_up()
    except SetupError as error:
        say(f'error: {error}')
        return 1
    except KeyboardInterrupt:
        say('\nstopped; the next ./run repairs this and goes on')
        return 130
    python = str(workspace.venv / 'bin' / 'python')
    os.execve(python, [python, '-m', 'fedefm_ros.cli', *arguments], workspace.environment())


if __name__ == '__main__':
    sys.exit(main())
