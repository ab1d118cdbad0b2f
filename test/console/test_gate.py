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

"""The door: who comes in, and that nothing behind it can be reached by who does not."""

import os

from fedefm_ros.console.gate import Gate, HEADERS, is_loopback, read_token
from fedefm_ros.errors import FedefmError

import pytest

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

TOKEN = 'a-token-of-enough-characters'


class Behind:
    """What the gate guards; counts who came in."""

    def __init__(self):
        self.visits = 0
        self.app = Starlette(routes=[
            Route('/{path:path}', self.page, methods=['GET', 'POST']),
            WebSocketRoute('/socket', self.socket)])

    async def page(self, request):
        self.visits += 1
        return PlainTextResponse('inside')

    async def socket(self, socket):
        self.visits += 1
        await socket.accept()
        await socket.send_text('inside')
        await socket.close()


@pytest.fixture
def behind():
    return Behind()


def client(behind, token='', host='localhost:8080', **options):
    return TestClient(Gate(behind.app, token, 8080), base_url=f'http://{host}',
                      follow_redirects=False, **options)


def websocket(visitor, path, **headers):
    """Open a websocket; the test client would else call the host ``testserver``."""
    return visitor.websocket_connect(
        f'ws://{visitor.base_url.netloc.decode()}{path}', headers=headers)


@pytest.mark.parametrize('host', ['localhost:8080', '127.0.0.1:8080', '[::1]:8080', 'localhost'])
def test_without_a_token_loopback_names_come_in(behind, host):
    answer = client(behind, host=host).get('/')
    assert answer.status_code == 200 and answer.text == 'inside'
    assert {name.decode() for name, _ in HEADERS} <= set(answer.headers)


@pytest.mark.parametrize('host', ['evil.example:8080', '192.168.1.7:8080', 'localhost.evil.com'])
def test_a_name_of_elsewhere_that_leads_to_loopback_does_not(behind, host):
    assert client(behind, host=host).get('/').status_code == 403
    assert behind.visits == 0


@pytest.mark.parametrize('origin', [None, 'http://evil.example', 'null', 'http://localhost:9999',
                                    'http://localhost:8080.evil.example'])
def test_a_websocket_from_another_page_is_closed(behind, origin):
    headers = {'origin': origin} if origin else {}
    with pytest.raises(WebSocketDisconnect), websocket(client(behind), '/socket', **headers):
        pass
    assert behind.visits == 0


def test_a_websocket_from_the_consoles_page_is_opened(behind):
    with websocket(client(behind), '/socket', origin='http://localhost:8080') as socket:
        assert socket.receive_text() == 'inside'


@pytest.mark.parametrize('origin', [None, 'http://evil.example'])
def test_a_request_that_changes_something_needs_the_consoles_page(behind, origin):
    headers = {'origin': origin} if origin else {}
    assert client(behind).post('/do', headers=headers).status_code == 403
    assert behind.visits == 0


@pytest.mark.parametrize('path', ['/', '/station', '/console/stream', '/_nicegui_ws/socket.io/',
                                  '/_nicegui/3/static/x.js', '/login', '//etc/passwd'])
def test_with_a_token_nothing_is_reached_without_it(behind, path):
    visitor = client(behind, TOKEN, host='station.hospital:8080')
    assert visitor.get(path).status_code == 401
    assert visitor.post(path, headers={'origin': 'http://station.hospital:8080'}
                        ).status_code == 401
    with pytest.raises(WebSocketDisconnect) as closed, websocket(
            visitor, '/' + path.lstrip('/'), origin='http://station.hospital:8080'):
        pass
    assert closed.value.reason == 'the token is missing'
    assert behind.visits == 0


def test_the_token_is_given_once_and_leaves_the_address(behind):
    visitor = client(behind, TOKEN, host='station.hospital:8080')
    answer = visitor.get(f'/station?token={TOKEN}&x=1')
    assert answer.status_code == 303 and answer.headers['location'] == '/station?x=1'
    cookie = answer.headers['set-cookie']
    assert TOKEN not in cookie and 'HttpOnly' in cookie and 'SameSite=Strict' in cookie
    assert visitor.get('/station').text == 'inside'
    with websocket(visitor, '/socket', origin='http://station.hospital:8080') as socket:
        assert socket.receive_text() == 'inside'
    with pytest.raises(WebSocketDisconnect), websocket(
            visitor, '/socket', origin='http://evil.example'):
        pass


def test_the_token_never_leads_to_another_machine(behind):
    answer = client(behind, TOKEN).get(f'http://localhost:8080//evil.example/?token={TOKEN}')
    assert answer.headers['location'] == '/evil.example/'


def test_the_form_takes_the_token_and_nothing_else(behind, monkeypatch):
    monkeypatch.setattr('fedefm_ros.console.gate._WRONG_TOKEN_DELAY', 0.0)
    visitor, headers = client(behind, TOKEN), {'origin': 'http://localhost:8080'}
    assert visitor.post('/login', data={'token': 'wrong'}, headers=headers).status_code == 401
    assert visitor.post('/login', content=b'x' * 100_000, headers=headers).status_code == 401
    assert 'fedefm_console_8080' not in visitor.cookies
    assert visitor.post('/login', data={'token': TOKEN}, headers=headers).status_code == 303
    assert visitor.get('/').text == 'inside'


@pytest.mark.parametrize('cookie', ['', TOKEN, '0' * 64, 'fedefm', '\u00e9'])
def test_a_cookie_cannot_be_guessed_or_made_of_the_token(behind, cookie):
    visitor = client(behind, TOKEN)
    headers = {'cookie': f'fedefm_console_8080={cookie}'.encode('latin-1')}
    assert visitor.get('/', headers=headers).status_code == 401
    assert behind.visits == 0


def test_two_consoles_on_one_host_do_not_take_each_others_cookies(behind):
    visitor = client(behind, TOKEN)
    visitor.get(f'/?token={TOKEN}')
    other = Gate(behind.app, TOKEN + 'other', 8081)
    answer = TestClient(other, base_url='http://localhost:8081', cookies=visitor.cookies).get('/')
    assert answer.status_code == 401


@pytest.mark.parametrize('host, local', [
    ('127.0.0.1', True), ('localhost', True), ('::1', True), ('127.8.8.8', True),
    ('0.0.0.0', False), ('::', False), ('192.168.0.2', False), ('station', False), ('', False)])
def test_what_is_loopback(host, local):
    assert is_loopback(host) == local


def test_loopback_needs_no_token_and_anything_else_does():
    assert read_token('127.0.0.1', '', None) == ''
    with pytest.raises(FedefmError, match='a token is needed'):
        read_token('0.0.0.0', '', None)
    with pytest.raises(FedefmError, match='at least 16'):
        read_token('0.0.0.0', '', 'short')
    assert read_token('0.0.0.0', '', TOKEN) == TOKEN


def test_a_token_file_is_its_owners_alone(tmp_path):
    file = tmp_path / 'token'
    file.write_text(f'{TOKEN}\n# console of room 3\n')
    os.chmod(file, 0o644)
    with pytest.raises(FedefmError, match='chmod 600'):
        read_token('0.0.0.0', str(file), None)
    os.chmod(file, 0o600)
    assert read_token('0.0.0.0', str(file), 'another-token-of-this-length') == TOKEN
    with pytest.raises(FedefmError, match='cannot be read'):
        read_token('127.0.0.1', str(tmp_path / 'none'), None)
