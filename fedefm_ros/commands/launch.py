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

"""`launch`: hand a launch file to the real `ros2 launch`."""

import os
from pathlib import Path
import shutil
from typing import Annotated

from fedefm_ros import paths
from fedefm_ros.errors import FedefmError

import typer

# The command that starts the same nodes with the same parameters where there is no ros2 launch.
INSTEAD = {'station': 'demo', 'federation': 'federate', 'replay': 'replay'}

app = typer.Typer(add_completion=False)


@app.command(context_settings={'ignore_unknown_options': True})
def launch(
    file: Annotated[str, typer.Argument(
        help='A launch file, or the name of one of ours: station for station.launch.py.')],
    arguments: Annotated[list[str] | None, typer.Argument(
        help='Given to ros2 launch as they are, for instance rate:=15.0 or --show-args.')] = None,
) -> None:
    """
    Start a launch file with ros2 launch.

    Needs a ROS 2 distribution that is sourced: ros2 launch is not among the ROS 2 wheels.
    """
    path = launch_file(file)
    ros2 = shutil.which('ros2')
    if ros2 is None:
        name = path.name.partition('.')[0]
        instead = f'; ./run {INSTEAD[name]} starts the same nodes without it' \
            if name in INSTEAD else ''
        raise FedefmError(f'no ros2 launch on this machine: install a ROS 2 distribution (Jazzy '
                          f'or later) and source its setup.bash{instead}')
    os.execv(ros2, [ros2, 'launch', str(path), *(arguments or [])])


def launch_file(file: str) -> Path:
    """Return the path of a launch file or of one of the package's; FedefmError if none is so."""
    shipped = paths.launch_dir()
    for path in (Path(file), shipped / file, shipped / f'{file}.launch.py'):
        if path.is_file():
            return path.resolve()
    known = ', '.join(sorted(path.name for path in shipped.glob('*.launch.*'))) or 'none'
    raise FedefmError(f'{file}: no such launch file, here or among the shipped ones ({known})')
