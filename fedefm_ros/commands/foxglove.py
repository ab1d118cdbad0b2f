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

"""`foxglove`: a station's topics for Foxglove, where there is no foxglove_bridge."""

import os
import threading
from typing import Annotated

from fedefm_ros.commands import output

import typer


def foxglove(
    namespace: Annotated[str, typer.Option(
        '--station', '--namespace', help="The station's namespace.")] = 'station',
    port: Annotated[int, typer.Option(
        min=0, max=65535, help='TCP port to serve on; 0: a free one.')] = 8765,
    host: Annotated[str, typer.Option(
        help='Address to serve on. There is no token: on anything but loopback, everybody in the '
        'network sees the images.')] = '127.0.0.1',
):
    """
    Serve a station's topics to Foxglove; Ctrl-C ends it, the station goes on.

    Open Foxglove, choose "Foxglove WebSocket" and the address, and import
    config/foxglove_layout.json. Nothing can be commanded through it.
    """
    from fedefm_ros import station
    from fedefm_ros.nodes.foxglove_server import FoxgloveServer
    from fedefm_ros.nodes.foxglove_server import import_foxglove
    from fedefm_ros.nodes.session import named
    from fedefm_ros.nodes.session import spinning

    import_foxglove()
    os.environ.update(station.dds_environment())
    with spinning(named('foxglove')) as node:
        server = FoxgloveServer(node, namespace, host, port)
        output.say(f'Foxglove: ws://{"localhost" if host == "127.0.0.1" else host}:{server.port}')
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
        finally:
            server.close()
