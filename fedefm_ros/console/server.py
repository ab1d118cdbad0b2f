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

"""Serves the console's pages, its pictures and nothing else."""

import asyncio
from collections.abc import Callable
from importlib.resources import files
import socket

from fedefm_ros.console.desk import Desk
from fedefm_ros.console.gate import Gate
from fedefm_ros.console.hub import stream
from fedefm_ros.errors import FedefmError

_KINDS = {'console.css': 'text/css', 'page.js': 'text/javascript', 'live.js': 'text/javascript'}
"""Our own files; each has a fixed address and is read once, at the start."""


def serve(desk: Desk, host: str, port: int, *, token: str = '', certificate: str = '',
          key: str = '', started: Callable[[str], None] = lambda address: None,
          ending: Callable[[], None] = lambda: None) -> None:
    """
    Serve until SIGINT or SIGTERM.

    :param token: what browsers have to bring; empty: loopback names only.
    :param certificate: PEM file, with ``key``: serve https.
    :param started: told the address once browsers may come.
    :param ending: called when the end begins, so that no command waits any longer.
    :raises FedefmError: NiceGUI is not installed, or the port is taken.
    """
    try:
        from nicegui import core, ui
        import uvicorn
    except ImportError as error:
        raise FedefmError(f'the console needs NiceGUI ({error}): pip install nicegui') from error
    from fedefm_ros.console.pages import register

    if bool(certificate) != bool(key):
        raise FedefmError('tls_certificate and tls_key are given together or not at all')
    app = _application(desk)
    register(desk)
    # No gzip: on the spot it costs more than it saves. No Tailwind: a compiler in each browser.
    ui.run_with(app, title=f'{desk.station} console', dark=True, tailwind=False,
                gzip_middleware_factory=None, show_welcome_message=False, reconnect_timeout=10.0,
                favicon=_FAVICON)
    core.sio.eio.cors_allowed_origins = []  # the gate compares Origin and Host already
    listener = _listen(host, port)
    secure = {'ssl_certfile': certificate, 'ssl_keyfile': key} if certificate else {}
    # Pictures are JPEG: deflating them again would cost a core and gain nothing.
    config = uvicorn.Config(
        Gate(app, token, port, bool(secure)), log_level='warning', ws='wsproto', lifespan='on',
        ws_per_message_deflate=False, proxy_headers=False, server_header=False,
        timeout_graceful_shutdown=2, **secure)
    shown = 'localhost' if host in ('0.0.0.0', '::', '127.0.0.1') else host
    app.state.ending = ending
    app.state.started = lambda: started(f'http{"s" if secure else ""}://{shown}:{port}/')
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except OSError as error:  # a certificate that is no certificate
        raise FedefmError(f'the console cannot be served: {error}') from error
    finally:
        listener.close()


_FAVICON = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" '
            'height="32" rx="6" fill="#10151a"/><path d="M4 26 C12 26 8 10 17 10 S24 16 28 6" '
            'fill="none" stroke="#e69f00" stroke-width="3"/></svg>')


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=64)
    except OSError as error:
        raise FedefmError(f'cannot serve on {host} port {port}: {error.strerror or error}; '
                          'choose another port') from error


def _application(desk: Desk):
    """Return the application without its pages."""
    from contextlib import asynccontextmanager

    from fastapi import FastAPI, WebSocket
    from fastapi.responses import Response

    @asynccontextmanager
    async def lifespan(app):
        desk.hub.attach(asyncio.get_running_loop())
        looking = asyncio.create_task(desk.keep_looking())
        app.state.started()
        yield
        app.state.ending()
        looking.cancel()
        await asyncio.to_thread(desk.recording.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    for name, kind in _KINDS.items():
        text = files('fedefm_ros.console').joinpath('static', name).read_text(encoding='utf-8')

        def static(text=text, kind=kind):
            return Response(text, media_type=kind, headers={'Cache-Control': 'no-cache'})
        app.get(f'/console/{name}', include_in_schema=False, response_model=None)(
            _without_arguments(static))

    @app.websocket('/console/stream')
    async def pictures(socket: WebSocket):
        await socket.accept()
        await stream(socket, desk.hub, lambda: desk.snapshot, lambda: desk.setting('deadline'))

    return app


def _without_arguments(function: Callable) -> Callable:
    """Return a function whose defaults the browser cannot fill by a query."""
    def call():
        return function()
    return call
