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

"""Who may open the console and command it, on a running station."""

from console_harness import browser_path, ConsoleProcess, live, Operator

import pytest

ENVIRONMENT = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
TOKEN = 'a-token-for-this-test-alone'

pytestmark = pytest.mark.skipif(browser_path() is None, reason='no Chromium is installed')


@pytest.fixture(scope='module')
def guarded(station, tmp_path_factory):
    """Return a second console that all machines can reach, with a token."""
    file = tmp_path_factory.mktemp('token') / 'token'
    file.touch(0o600)
    file.write_text(TOKEN)
    return ConsoleProcess(station, host='0.0.0.0', token_file=file, deadline=2.0).wait()


@pytest.mark.parametrize('path', [
    '/', '/station', '/federation', '/console/stream', '/console/live.js', '/favicon.ico',
    '/_nicegui_ws/socket.io/?EIO=4&transport=polling', '/_nicegui/x/libraries/vue', '/login',
    '/../../etc/passwd', '/console/..%2f..%2fgate.py', '/?token=', '/?token=wrong'])
def test_without_the_token_nothing_is_reached(guarded, path):
    origin = guarded.address
    assert guarded.status(path) == 401
    assert guarded.status(path, 'POST', Origin=origin) == 401
    assert not guarded.upgraded(path, Origin=origin)
    assert not guarded.upgraded(path, Origin=origin, Cookie=f'fedefm_console_{guarded.port}=x')


def test_with_the_token_all_works_and_another_page_still_gets_nothing(browser, station, guarded):
    operator = Operator(browser, guarded).open(f'/?token={TOKEN}')
    assert operator.page.url == guarded.address + '/'
    live(operator)
    operator.press('Pause or start the source')
    operator.wait(lambda: operator.verdict() == 'not-live', 'the pause')
    operator.press('Pause or start the source')
    live(operator)
    cookie, = operator.context.cookies()
    assert cookie['httpOnly'] and TOKEN not in cookie['value']
    sent = f'{cookie["name"]}={cookie["value"]}'
    assert guarded.upgraded('/console/stream', Origin=guarded.address, Cookie=sent)
    for origin in ({}, {'Origin': 'http://evil.example'}):
        assert not guarded.upgraded('/console/stream', Cookie=sent, **origin)
    operator.close()


def test_the_form_asks_for_the_token(browser, guarded):
    operator = Operator(browser, guarded)
    operator.page.goto(guarded.address)
    for token in ('this is not the token', TOKEN):
        operator.page.get_by_label('Token').fill(token)
        operator.page.get_by_role('button', name='Enter').click()
    operator.page.wait_for_function('() => window.did_handshake')
    operator.close()


def test_on_loopback_another_name_and_another_page_get_nothing(station):
    console = station.console
    assert console.status('/', Host='evil.example') == 403
    assert not console.upgraded('/console/stream', Origin='http://evil.example')
    assert not console.upgraded('/console/stream')
    assert console.upgraded('/console/stream', Origin=console.address)


@pytest.mark.parametrize('path', [
    '/console/../../../../etc/passwd', '/console/%2e%2e/%2e%2e/server.py', '/etc/passwd',
    '/console/console.css?text=x&kind=text/html', '/_nicegui/../../../../etc/passwd'])
def test_no_path_reads_a_file(station, path):
    import http.client
    connection = http.client.HTTPConnection('127.0.0.1', station.console.port, timeout=30)
    connection.request('GET', path)
    body = connection.getresponse().read()
    assert b'root:' not in body and b'import ' not in body.replace(b'@import ', b'') \
        or b'<!doctype html>' in body.lower()
    connection.close()


def test_it_does_not_start_open_to_the_network_without_a_token(station):
    console = ConsoleProcess(station, host='0.0.0.0')
    assert console.process.wait(90) == 1
    assert b'a token is needed' in console.log.read_bytes()


def test_a_port_that_is_taken_is_named(station):
    console = ConsoleProcess(station, port=station.console.port)
    assert console.process.wait(90) == 1
    assert b'choose another port' in console.log.read_bytes()
