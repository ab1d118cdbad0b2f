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

"""`console`: the operator's page of a station that runs."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer


def console(
    namespace: Annotated[str, typer.Option(
        '--station', '--namespace', help="The station's namespace.")] = 'station',
    port: Annotated[int, typer.Option(min=1, max=65535, help='TCP port to serve on.')] = 8080,
    host: Annotated[str, typer.Option(
        help='Address to serve on; anything but loopback needs a token.')] = '127.0.0.1',
    token_file: Annotated[Path | None, typer.Option(
        help='File (chmod 600) whose first line every browser has to bring; or set '
        'FEDEFM_CONSOLE_TOKEN.')] = None,
    models: Annotated[Path | None, typer.Option(
        help='Folder of model files to choose from, beside the shipped ones.')] = None,
    sources: Annotated[Path | None, typer.Option(
        help='Folder of files and folders to choose from as source.')] = None,
    recordings: Annotated[Path, typer.Option(
        help='Gets a bag per recording.')] = Path('recordings'),
    browse: Annotated[bool, typer.Option(
        '--open', help="Open the page in this machine's browser.")] = False,
):
    """
    Serve the operator's console of a station: live picture, alarms, commands, federation.

    The node is that of `ros2 run fedefm_ros console`, with the same parameter file. Ctrl-C ends
    it; the station goes on.
    """
    from fedefm_ros import station
    from fedefm_ros.paths import config_dir

    os.environ.update(station.dds_environment())
    from fedefm_ros.nodes.console import run

    values = {
        'host': host, 'port': port, 'token_file': _text(token_file),
        'models_folder': _text(models), 'sources_folder': _text(sources),
        'record_folder': _text(recordings)}
    arguments = ['--ros-args', '-r', '__node:=console',
                 '--params-file', str(config_dir() / 'console.yaml')]
    if namespace.strip('/'):
        arguments += ['-r', f'__ns:=/{namespace.strip("/")}']
    for name, value in values.items():
        # JSON is YAML, and keeps text that looks like a number text.
        arguments += ['-p', f'{name}:={json.dumps(value)}']
    raise typer.Exit(run(arguments, browse))


def _text(path: Path | None) -> str:
    return str(path.expanduser().absolute()) if path else ''
