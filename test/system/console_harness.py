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

"""A console process beside a station's, and pages of it in a real browser."""

import http.client
import os
import shutil
import socket
import subprocess
import sys

from fedefm_ros import station
from fedefm_ros.console.hub import HEARTBEAT
from fedefm_ros.paths import config_dir

from harness import PATIENCE, wait_until

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
PATIENCE_MS = 1e3 * PATIENCE
MASK = 'segmentation/mask'


def browser_path():
    """Return an installed browser of the Chromium family; None: there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def free_port():
    """Return a TCP port that nobody listens on."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return listener.getsockname()[1]


class ConsoleProcess:
    """The console of a station, started as `ros2 run fedefm_ros console` does."""

    def __init__(self, harness, environment=None, **parameters):
        """Start it on a free port; ``wait`` for it to serve."""
        self.port = free_port()
        self._secure = bool(parameters.get('tls_certificate'))
        self.log = harness.folder / f'console-{self.port}.log'
        line = [sys.executable, '-m', 'fedefm_ros.nodes.console', '--ros-args',
                '-r', f'__ns:=/{harness.namespace}',
                '--params-file', str(config_dir() / 'console.yaml')]
        for name, value in {'port': self.port, 'niceness': 0, **parameters}.items():
            line += ['-p', f'{name}:={station._parameter_text(value)}']
        kept = {name: value for name, value in os.environ.items()
                if name not in ('PYTEST_CURRENT_TEST', 'FEDEFM_CONSOLE_TOKEN')}
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT,
                                            env={**kept, **(environment or {})})
        harness._processes.append(self.process)

    @property
    def address(self):
        """Return where its pages are."""
        return f'http{"s" if self._secure else ""}://127.0.0.1:{self.port}'

    def wait(self):
        """Wait until it serves; return itself."""
        wait_until(lambda: b'console of' in self.log.read_bytes()
                   or self.process.poll() is not None, 'the console')
        assert self.process.poll() is None, self.log.read_text()
        return self

    def status(self, path='/', method='GET', **headers):
        """Return the HTTP status that a request gets."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers={
                name.replace('_', '-'): value for name, value in headers.items()})
            return connection.getresponse().status
        finally:
            connection.close()

    def upgraded(self, path, **headers):
        """Return whether the console opens a websocket for a request with these headers."""
        return self.status(path, Connection='Upgrade', Upgrade='websocket',
                           Sec_WebSocket_Version='13',
                           Sec_WebSocket_Key='dGhlIHNhbXBsZSBub25jZQ==', **headers) == 101


class Operator:
    """One browser page, in a session of its own."""

    def __init__(self, browser, console, width=1440, height=900):
        """Open nothing yet."""
        self.console = console
        # A certificate of the test's own is nobody's: the browser is told to take it.
        self.context = browser.new_context(
            viewport={'width': width, 'height': height},
            ignore_https_errors=console.address.startswith('https'))
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.requests, self.errors, self.sockets = [], [], []
        self.page.on('request', lambda request: self.requests.append(request.url))
        self.page.on('websocket', lambda socket: self.sockets.append(socket.url))
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))

    def open(self, path='/'):  # noqa: A003
        """Open a page and wait until its buttons work; return itself."""
        self.page.goto(self.console.address + path)
        self.page.wait_for_function('() => window.did_handshake')
        return self

    def button(self, name):
        """Return a button by its accessible name."""
        return self.page.get_by_role('button', name=name, exact=True)

    def press(self, name, agree=False):
        """Press a button once it is enabled; ``agree`` to the question that may come."""
        self.wait(lambda: self.button(name).is_enabled(), f'{name} enabled')
        self.button(name).click()
        if agree:
            self.button('Yes, do it').click()

    def choose(self, label, option):
        """Choose from a list."""
        self.page.get_by_role('combobox', name=label).click()
        self.page.get_by_role('option', name=option, exact=True).click()

    def told(self):
        """Return what the page says of the latest command."""
        return self.page.locator('.latest').first.text_content()

    def alarms(self):
        """Return the titles on the board, with their level."""
        return self.page.locator('.alarms .entry b').all_text_contents()

    def verdict(self):
        """Return what stands over the picture."""
        return self.page.locator('#picture-box').get_attribute('data-verdict')

    def shown(self):
        """Return how many pictures have been shown."""
        return int(self.page.locator('#picture').get_attribute('data-shown') or 0)

    def wait(self, condition, what):
        """Wait for a condition while the browser works."""
        def asked():
            self.page.wait_for_timeout(1e3 * HEARTBEAT)
            return condition()
        return wait_until(asked, what)

    def close(self):
        """Close the session."""
        self.context.close()


def masks_flow(station):
    """Wait for new masks."""
    station.node.take(MASK)
    wait_until(lambda: len(station.node.got(MASK)) > 2, 'masks')


def live(operator):
    """Wait until the page shows masks as they come."""
    operator.wait(lambda: operator.verdict() == 'live', 'the live picture')
    before = operator.shown()
    operator.wait(lambda: operator.shown() > before + 2, 'pictures')
