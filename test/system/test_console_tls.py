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

"""The console over TLS, with a certificate that the test signs itself."""

import shutil
import ssl
import subprocess
from urllib.request import urlopen

from console_harness import browser_path, ConsoleProcess, live, Operator

import pytest

ENVIRONMENT = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
TOKEN = 'a-token-for-this-test-alone'

pytestmark = [
    pytest.mark.skipif(browser_path() is None, reason='no Chromium is installed'),
    pytest.mark.skipif(shutil.which('openssl') is None, reason='no openssl is installed')]


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """Return a certificate for 127.0.0.1 and its key, PEM files."""
    folder = tmp_path_factory.mktemp('tls')
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1',
         '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost',
         '-keyout', 'key.pem', '-out', 'certificate.pem'],
        cwd=folder, check=True, capture_output=True)
    return folder / 'certificate.pem', folder / 'key.pem'


@pytest.fixture(scope='module')
def secure(station, pair, tmp_path_factory):
    """Return a console of all addresses, with a token, over TLS."""
    certificate, key = pair
    file = tmp_path_factory.mktemp('token') / 'token'
    file.touch(0o600)
    file.write_text(TOKEN)
    return ConsoleProcess(station, host='0.0.0.0', token_file=file, deadline=2.0,
                          tls_certificate=certificate, tls_key=key).wait()


def test_its_certificate_is_the_one_that_was_given(secure, pair):
    served = ssl.get_server_certificate(('127.0.0.1', secure.port))
    assert served.split() == pair[0].read_text().split()


def test_who_knows_the_certificate_gets_the_page_that_asks_for_the_token(secure, pair):
    trusting = ssl.create_default_context(cafile=str(pair[0]))
    with pytest.raises(OSError) as refused:
        urlopen(secure.address, context=trusting, timeout=30)
    assert refused.value.code == 401  # as without TLS; the certificate itself is accepted
    with pytest.raises(OSError, match='CERTIFICATE_VERIFY_FAILED'):
        urlopen(secure.address, context=ssl.create_default_context(), timeout=30)


def test_plain_http_gets_nothing(secure):
    with pytest.raises(OSError):
        urlopen(f'http://127.0.0.1:{secure.port}/?token={TOKEN}', timeout=30)


def test_pictures_and_commands_go_over_it_and_the_cookie_never_leaves_it(
        browser, station, secure):
    operator = Operator(browser, secure).open(f'/?token={TOKEN}')
    assert operator.page.evaluate('location.protocol') == 'https:'
    live(operator)
    sockets = {url.split(':')[0] for url in operator.sockets}
    assert sockets == {'wss'}
    cookie, = operator.context.cookies()
    assert cookie['secure'] and cookie['httpOnly'] and cookie['sameSite'] == 'Strict'
    operator.press('Pause or start the source')
    operator.wait(lambda: operator.verdict() == 'not-live', 'the pause')
    operator.press('Pause or start the source')
    live(operator)
    assert operator.errors == []
    operator.close()


@pytest.mark.parametrize('given, told', [
    ({'tls_certificate': 0}, 'given together'), ({'tls_key': 1}, 'given together'),
    ({'tls_certificate': 1, 'tls_key': 0}, 'cannot be served')])
def test_half_a_pair_or_the_wrong_files_are_told_at_the_start(station, pair, given, told):
    console = ConsoleProcess(station, **{name: pair[index] for name, index in given.items()})
    assert console.process.wait(90) == 1
    assert told in console.log.read_text()
