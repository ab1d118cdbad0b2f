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
The door in front of everything the console serves, pages and websockets alike.

On loopback a request has to be addressed to this machine by a loopback name, which keeps pages
of other sites out (DNS rebinding). Elsewhere it has to bring the token. A websocket, or a request
that changes something, has to come from a page of the console itself (Origin).
"""

import asyncio
from collections.abc import Awaitable, Callable
import hashlib
import hmac
from html import escape
from http.cookies import CookieError, SimpleCookie
import ipaddress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fedefm_ros.errors import FedefmError

SHORTEST_TOKEN = 16
_WRONG_TOKEN_DELAY = 0.5
_LARGEST_FORM = 4096
_LOOPBACK_NAMES = {'localhost', '127.0.0.1', '::1'}

#: Nothing is fetched from elsewhere, and nobody puts the console into a frame of theirs. Vue
#: compiles its templates in the browser: unsafe-eval.
HEADERS = (
    (b'content-security-policy',
     b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
     b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
     b"connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
     b"frame-ancestors 'none'"),
    (b'x-frame-options', b'DENY'), (b'x-content-type-options', b'nosniff'),
    (b'referrer-policy', b'same-origin'))

_LOGIN = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>fedefm console</title>
<style>body{{background:#0b0e11;color:#c9d1d9;font:18px sans-serif;display:grid;height:90vh;
place-items:center}}input,button{{font:inherit;min-height:48px;padding:0 14px;border-radius:6px;
border:1px solid #6b7580;background:#161b21;color:inherit}}p{{color:#ffb454}}</style></head>
<body><form method="post" action="/login"><h1>Operator's console</h1><p role="alert">{}</p>
<label>Token <input name="token" type="password" autofocus autocomplete="current-password">
</label> <button>Enter</button></form></body></html>"""


def is_loopback(host: str) -> bool:
    """Return whether a bind address can be reached from this machine only."""
    if host == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(host: str, file: str, variable: str | None) -> str:
    """
    Return the token that visitors need; empty: none, which only loopback may have.

    :param file: holds the token in its first line; empty: none.
    :param variable: value of FEDEFM_CONSOLE_TOKEN, which the file's wins over.
    :raises FedefmError: the file is unreadable or readable by others, the token is too short, or
        there is none and the bind address is not loopback.
    """
    token = variable or ''
    if file:
        path = Path(file).expanduser()
        try:
            if path.stat().st_mode & 0o077:
                raise FedefmError(f'{path} can be read by other users of this machine; '
                                  f'chmod 600 {path}')
            token = path.read_text(encoding='utf-8').partition('\n')[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise FedefmError(f'{path} with the token cannot be read: {error}') from error
    if token and len(token) < SHORTEST_TOKEN:
        raise FedefmError(f'the token has {len(token)} characters; take at least '
                          f'{SHORTEST_TOKEN}, for example of `openssl rand -hex 24`')
    if not token and not is_loopback(host):
        raise FedefmError(
            f'host {host} can be reached from other machines, so a token is needed: write one '
            'into a file (`umask 077; openssl rand -hex 24 > console.token`) and name it by '
            'parameter token_file, or set FEDEFM_CONSOLE_TOKEN')
    return token


class Gate:
    """ASGI application in front of another: lets through who may come in."""

    def __init__(self, app: Callable[..., Awaitable[None]], token: str = '', port: int = 0,
                 secure: bool = False):
        """
        Guard an application.

        :param token: what visitors have to bring; empty: loopback names only.
        :param port: goes into the cookie's name, since cookies are shared by all ports of a host.
        :param secure: the console is served over TLS.
        """
        self.app = app
        self._token = token.encode()
        self._name = f'fedefm_console_{port}'
        self._secure = secure
        # The cookie does not hold the token: who reads it cannot log in elsewhere with it.
        self._cookie = hmac.new(self._token, b'fedefm console cookie', hashlib.sha256).hexdigest()

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Answer a request or hand it on."""
        if scope['type'] not in ('http', 'websocket'):
            await self.app(scope, receive, send)
            return
        headers = {key.decode('latin-1').lower(): value.decode('latin-1')
                   for key, value in scope['headers']}
        problem = self._problem(scope, headers)
        if problem:
            await _refuse(scope, receive, send, 403, problem)
        elif not self._token:
            await self.app(scope, receive, _with_headers(send))
        elif scope['type'] == 'http' and scope['path'] == '/login' and scope['method'] == 'POST':
            await self._log_in(receive, send)
        elif self._has_cookie(headers):
            await self.app(scope, receive, _with_headers(send))
        elif scope['type'] == 'http' and scope['method'] == 'GET':
            await self._ask(scope, send)
        else:
            await _refuse(scope, receive, send, 401, 'the token is missing')

    def _problem(self, scope: dict, headers: dict[str, str]) -> str:
        """Return why a request is refused, whoever sends it; empty: it is not."""
        host = headers.get('host', '')
        if not self._token and urlsplit(f'//{host}').hostname not in _LOOPBACK_NAMES:
            return 'this console answers to localhost only'
        origin = headers.get('origin')
        changes = scope['type'] == 'websocket' or scope['method'] not in ('GET', 'HEAD')
        if (origin is not None or changes) and urlsplit(origin or '').netloc != host:
            return 'this request does not come from a page of the console'
        return ''

    def _has_cookie(self, headers: dict[str, str]) -> bool:
        try:
            cookie = SimpleCookie(headers.get('cookie', '')).get(self._name)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(
            cookie.value.encode(), self._cookie.encode())

    async def _fits(self, token: str) -> bool:
        if hmac.compare_digest(hashlib.sha256(token.encode()).digest(),
                               hashlib.sha256(self._token).digest()):
            return True
        await asyncio.sleep(_WRONG_TOKEN_DELAY)
        return False

    async def _ask(self, scope: dict, send: Callable) -> None:
        """Take the token of an address, or ask for it."""
        query = parse_qsl(scope['query_string'].decode('latin-1'))
        given = dict(query).get('token')
        if given is not None and await self._fits(given):
            rest = urlencode([pair for pair in query if pair[0] != 'token'])
            # One slash: //host/ would lead to another machine.
            path = '/' + scope['path'].lstrip('/')
            await self._enter(send, f'{path}?{rest}' if rest else path)
            return
        text = '' if given is None else 'That is not the token.'
        if scope['path'] != '/' and given is None and 'html' not in dict(
                scope['headers']).get(b'accept', b'').decode('latin-1'):
            await _answer(send, 401, b'the token is missing')
            return
        await _answer(send, 401, _LOGIN.format(escape(text)).encode(), b'text/html; charset=utf-8')

    async def _log_in(self, receive: Callable, send: Callable) -> None:
        body, more = b'', True
        while more and len(body) <= _LARGEST_FORM:
            message: dict[str, Any] = await receive()
            body += message.get('body', b'')
            more = message.get('more_body', False)
        given = dict(parse_qsl(body[:_LARGEST_FORM].decode('utf-8', 'replace'))).get('token', '')
        if await self._fits(given):
            await self._enter(send, '/')
        else:
            await _answer(send, 401, _LOGIN.format('That is not the token.').encode(),
                          b'text/html; charset=utf-8')

    async def _enter(self, send: Callable, where: str) -> None:
        """Hand out the cookie and lead to a page without the token in its address."""
        cookie = f'{self._name}={self._cookie}; Path=/; HttpOnly; SameSite=Strict' \
            f'{"; Secure" if self._secure else ""}'
        await _answer(send, 303, b'', extra=(
            (b'location', where.encode('latin-1', 'replace')), (b'set-cookie', cookie.encode())))


def _with_headers(send: Callable) -> Callable:
    async def sending(message):
        if message['type'] == 'http.response.start':
            message = {**message, 'headers': [*message.get('headers', ()), *HEADERS]}
        await send(message)
    return sending


async def _answer(send: Callable, status: int, body: bytes, kind: bytes = b'text/plain',
                  extra: tuple = ()) -> None:
    await send({'type': 'http.response.start', 'status': status, 'headers': [
        (b'content-type', kind), (b'content-length', str(len(body)).encode()),
        (b'cache-control', b'no-store'), *HEADERS, *extra]})
    await send({'type': 'http.response.body', 'body': body})


async def _refuse(scope: dict, receive: Callable, send: Callable, status: int, why: str) -> None:
    if scope['type'] == 'websocket':
        await receive()
        await send({'type': 'websocket.close', 'code': 4000 + status, 'reason': why})
    else:
        await _answer(send, status, why.encode())
