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
What a station starts, once, for launch files, ``./run demo``, benchmarks and tests.

Processes, node names, parameter files, the order of bringing up, and the environment that lets
DDS carry large images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import os
from pathlib import Path
import sys

from fedefm_ros.errors import FedefmError
from fedefm_ros.paths import config_dir, PACKAGE


@dataclass(frozen=True)
class StationProcess:
    """One process with one lifecycle node in it."""

    executable: str
    """In lib/fedefm_ros of the install, as ``ros2 run fedefm_ros`` finds it."""
    name: str
    """Of the node; also of its parameter file in config/."""

    @property
    def parameter_file(self) -> Path:
        """Return the file with the node's defaults."""
        return config_dir() / f'{self.name}.yaml'


SEGMENTATION = StationProcess('segmentation', 'segmentation')
FLUOROSCOPY = StationProcess('fluoroscopy_source', 'fluoroscopy')
FEDERATION = StationProcess('federation', 'federation')
CONSOLE = StationProcess('console', 'console')
ROBOT = StationProcess('endovascular_robot_sim', 'robot')
NAVIGATION = StationProcess('navigation_example', 'navigation')

PROCESSES = (SEGMENTATION, FLUOROSCOPY)
"""In the order in which they are brought up: who listens comes first."""

LARGE_MESSAGE = 500_000
"""Bytes; Fast DDS' default shared memory (512 KiB) loses most messages above."""

_PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
_TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'


def dds_environment(current: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    Return the variables that every process of a station needs beside the current ones.

    ``config/fastdds.xml`` gives Fast DDS shared memory for large images; also under
    ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, where FASTDDS_BUILTIN_TRANSPORTS would silently do
    nothing, and visible to processes on the default transports, as LARGE_DATA would not be.
    Whoever has chosen transports or another RMW keeps them: the result is empty then.
    """
    current = os.environ if current is None else current
    if _rmw(current) != 'rmw_fastrtps_cpp' or any(
            current.get(name) for name in (*_PROFILE_VARIABLES, _TRANSPORTS)):
        return {}
    # Fast DDS 2 (Jazzy) knows the second name only, Fast DDS 3 deprecates it.
    variable = _PROFILE_VARIABLES[current.get('ROS_DISTRO') == 'jazzy']
    return {variable: str(config_dir() / 'fastdds.xml')}


def transport_problem(size: int, current: Mapping[str, str] | None = None) -> str:
    """
    Return why messages of a size will get lost in this environment; empty where they will not.

    :param size: bytes of the largest message.
    """
    current = os.environ if current is None else current
    if size < LARGE_MESSAGE or not _rmw(current).startswith('rmw_fastrtps'):
        return ''
    for name in _PROFILE_VARIABLES:
        file = current.get(name)
        if file and Path(file).is_file():
            return ''
        if file:
            return (f'{name} names {file}, which does not exist, so Fast DDS runs on its default '
                    f'transports and loses messages of {size} bytes; mend the path')
    chosen = current.get(_TRANSPORTS, '')
    advice = (f'set FASTDDS_DEFAULT_PROFILES_FILE to {config_dir() / "fastdds.xml"} in every '
              'process of the station')
    if chosen in ('', 'DEFAULT', 'SHM', 'UDPv4'):
        return (f'Fast DDS runs on its {"default" if not chosen else chosen} transports, which '
                f'lose best-effort messages of {size} bytes; {advice}')
    if current.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '').upper() == 'LOCALHOST':
        return (f'{_TRANSPORTS} has no effect under ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, and '
                f'the default transports lose messages of {size} bytes; {advice}')
    return ''


def command(process: StationProcess, *, namespace: str = '',
            parameters: Mapping[str, object] | None = None,
            parameter_files: tuple[Path, ...] = (), log_level: str = 'info') -> list[str]:
    """
    Return the command line that starts a process.

    :param namespace: the station's name.
    :param parameters: values that win over the files; True becomes ``true``.
    :param parameter_files: after the default one, the later wins.
    :raises FedefmError: the package is not built.
    """
    line = [sys.executable, str(executable_path(process.executable)), '--ros-args',
            '-r', f'__node:={process.name}', '--log-level', log_level]
    if namespace:
        line += ['-r', f'__ns:=/{namespace.strip("/")}']
    for file in (process.parameter_file, *parameter_files):
        line += ['--params-file', str(file)]
    for name, value in (parameters or {}).items():
        line += ['-p', f'{name}:={_parameter_text(value)}']
    return line


def executable_path(name: str) -> Path:
    """Return an executable of the built package; raises FedefmError where there is none."""
    prefixes = [Path(p) for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    for prefix in prefixes:
        path = prefix / 'lib' / PACKAGE / name
        if path.is_file():
            return path
    raise FedefmError(f'no executable {name} in {PACKAGE} of AMENT_PREFIX_PATH '
                      f'({os.pathsep.join(map(str, prefixes)) or "not set"}): build the package '
                      'and source its install/setup.bash, or use ./run')


def _rmw(environment: Mapping[str, str]) -> str:
    return environment.get('RMW_IMPLEMENTATION') or 'rmw_fastrtps_cpp'


def _parameter_text(value: object) -> str:
    """Return a value as YAML that stays what it is: text that looks like a number stays text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    quoted = str(value).replace('\\', '\\\\').replace('"', '\\"')
    return f'"{quoted}"'
