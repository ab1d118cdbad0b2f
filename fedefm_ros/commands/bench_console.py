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

"""`bench console`: what an open console costs the segmentation."""

from collections.abc import Iterator
from contextlib import contextmanager
import shutil
import socket
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.bench_latency import NAMESPACE
from fedefm_ros.commands.bench_latency import one_run
from fedefm_ros.commands.processes import Processes
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.timing import milliseconds

import typer

_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
_PATIENCE = 180.0


def console(
    size: Annotated[int, typer.Option(help='Image side in pixels.')] = 512,
    rate: Annotated[float, typer.Option(help='Images a second.')] = 15.0,
    seconds: Annotated[float, typer.Option(help='Length of each repeat.')] = 30.0,
    repeats: Annotated[int, typer.Option(min=1, help='With and without.')] = 3,
    model: output.ModelOption = 'realtime',
    runtime: output.RuntimeOption = 'auto',
    threads: Annotated[int, typer.Option(min=1, help='Cores of one inference.')] = 2,
    json_file: output.JsonOption = None,
):
    """
    Measure published -> mask received without and with a browser on the console.

    The console runs beside the segmentation node with the settings of config/console.yaml, and a
    headless Chromium shows its first page, live. Both take turns, and turns about who is first,
    so that a slow spell of the machine hits them alike. The browser runs on the same cores, where
    an operator's tablet would bring its own: what is measured is the worse case.
    """
    runs, shown = {'without': [], 'with': []}, []
    with output.progress('measuring', 2 * repeats) as advance:
        for repeat in range(repeats):
            for number, name in enumerate(list(runs)[::-1] if repeat % 2 else runs):
                runs[name].append(one_run(
                    size, rate, int(seconds * rate), model, runtime, threads,
                    (lambda processes: _open_console(processes, shown))
                    if name == 'with' else None))
                advance(2 * repeat + number + 1, name)
    rows = {name: _row(found) for name, found in runs.items()}
    ratio = rows['with']['latency_ms']['p99'] / rows['without']['latency_ms']['p99']
    pairs = [beside / alone for beside, alone in zip(
        *(rows[name]['latency_p99_ms_of_runs'] for name in ('with', 'without')))]
    output.table(
        f'published -> mask received, {size} px, {rate:g} Hz, {repeats} x {seconds:g} s',
        ['console', 'published', 'received', 'skipped', 'p50 ms', 'p99 ms', 'p99 of runs'],
        [[name, row['frames_published'], row['masks_received'], row['skipped'],
          row['latency_ms']['p50'], row['latency_ms']['p99'],
          ', '.join(f'{value:.0f}' for value in row['latency_p99_ms_of_runs'])]
         for name, row in rows.items()])
    output.say(f'p99 with over without: {ratio:.2f} (of each repeat: '
               f'{", ".join(f"{pair:.2f}" for pair in pairs)}); pictures shown in the browser: '
               f'{", ".join(map(str, shown))}')
    output.write_json({**rows, 'ratio_p99': ratio, 'ratio_p99_of_repeats': pairs,
                       'pictures_shown': shown, 'size': size, 'rate': rate}, json_file)


def _row(runs: list[dict]) -> dict:
    return {
        'frames_published': sum(run['published'] for run in runs),
        'masks_received': sum(len(run['latencies']) for run in runs),
        'skipped': sum(run['skipped'] for run in runs),
        'latency_ms': milliseconds([value for run in runs for value in run['latencies']]),
        'latency_p99_ms_of_runs': [milliseconds(run['latencies'])['p99'] for run in runs]}


@contextmanager
def _open_console(processes: Processes, shown: list[int]) -> Iterator[None]:
    """Have a browser show the console; append the number of pictures that it showed."""
    from fedefm_ros.station import command
    from fedefm_ros.station import CONSOLE
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise FedefmError('no playwright: pip install playwright') from error
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise FedefmError(f'no browser: one of {", ".join(_BROWSERS)} is needed')
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    processes.start('console', command(CONSOLE, namespace=NAMESPACE, parameters={'port': port}))

    def serves():
        with socket.socket() as line:
            return not line.connect_ex(('127.0.0.1', port))
    processes.wait_for(serves, _PATIENCE, 'the console did not serve')
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=['--no-sandbox'])
        page = opened.new_page(viewport={'width': 1440, 'height': 900})
        page.set_default_timeout(1e3 * _PATIENCE)
        page.goto(f'http://127.0.0.1:{port}')
        page.wait_for_function('() => window.did_handshake')
        yield
        shown.append(int(page.locator('#picture').get_attribute('data-shown') or 0))
        opened.close()
    if not shown[-1]:
        raise FedefmError('the browser showed no picture, so there is nothing to compare; '
                          f'the console says: {processes.tail("console")}')
