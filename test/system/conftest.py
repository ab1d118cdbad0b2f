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

"""Models, pictures and processes that the system tests share."""

import os

import cv2

from fedefm_ros.segmentation.runtimes import graph_of

import numpy as np

import pytest


@pytest.fixture(scope='session')
def models(tmp_path_factory):
    """
    Return small models by name: lines, swapped (labels exchanged).

    Their graphs are in the cache that the node processes use, so these need no torch.
    """
    from linenet import save_line_model
    folder = tmp_path_factory.mktemp('models')
    before = os.environ.get('XDG_CACHE_HOME')
    # Processes that run tests side by side share it: an export takes seconds.
    beside = 'PYTEST_XDIST_WORKER' in os.environ
    cache = (tmp_path_factory.getbasetemp().parent if beside else folder) / 'cache'
    os.environ['XDG_CACHE_HOME'] = str(cache)
    made = {name: save_line_model(folder / f'{name}.safetensors', **options)
            for name, options in (('lines', {'size': 128}),
                                  ('swapped', {'size': 128, 'swapped': True}))}
    for path in made.values():
        graph_of(path)
    yield made
    if before is None:
        del os.environ['XDG_CACHE_HOME']
    else:
        os.environ['XDG_CACHE_HOME'] = before


@pytest.fixture(scope='session')
def picture():
    """Return (128, 128) uint8: a wide and a narrow dark line on grey."""
    image = np.full((128, 128), 200, np.uint8)
    cv2.line(image, (0, 40), (90, 40), 60, 7, cv2.LINE_AA)
    cv2.line(image, (0, 100), (100, 90), 60, 2, cv2.LINE_AA)
    return image


@pytest.fixture(scope='session')
def sequence(tmp_path_factory, picture):
    """Return a folder of 30 numbered frames."""
    folder = tmp_path_factory.mktemp('sequence')
    for index in range(30):
        cv2.imwrite(str(folder / f'{index:03}.png'), np.roll(picture, index, axis=0))
    return folder


@pytest.fixture(scope='module')
def harness(models, request, tmp_path_factory):
    """
    Return processes and an observer in a namespace of their own, ended with the module.

    A module's ENVIRONMENT is theirs.
    """
    from harness import Harness
    name = request.module.__name__.rpartition('.')[2]
    with pytest.MonkeyPatch.context() as patch:
        for key, value in getattr(request.module, 'ENVIRONMENT', {}).items():
            patch.setenv(key, value)
        made = Harness(name, tmp_path_factory.mktemp(name))
        yield made
        made.close()


@pytest.fixture(scope='module')
def browser():
    """Return a headless browser."""
    from console_harness import browser_path
    path = browser_path()
    if path is None:
        pytest.skip('no Chromium is installed')
    sync_api = pytest.importorskip('playwright.sync_api')
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=path, args=['--no-sandbox'])
        yield made
        made.close()


@pytest.fixture(scope='module')
def station(harness, models, sequence, tmp_path_factory):
    """Return the harness with a station that streams, and its console."""
    from console_harness import ConsoleProcess
    from fedefm_ros.station import FLUOROSCOPY, SEGMENTATION
    sources = tmp_path_factory.mktemp('sources')
    (sources / 'frames').symlink_to(sequence)
    (sources / 'broken.dcm').write_bytes(b'\0' * 128 + b'DICM' + b'garbage')
    harness.bags = tmp_path_factory.mktemp('bags')
    harness.segmentation = harness.start(
        SEGMENTATION, model=models['lines'], runtime='openvino', precision='f32', deadline=2.0)
    harness.source = harness.start(FLUOROSCOPY, source=sequence, loop=True, rate=8)
    harness.console = ConsoleProcess(
        harness, deadline=2.0, models_folder=models['lines'].parent, sources_folder=sources,
        record_folder=harness.bags)
    harness.bring_up('segmentation')
    harness.bring_up('fluoroscopy')
    harness.console.wait()
    return harness


@pytest.fixture
def operator(browser, station):
    """Return a browser page of the console of a station that streams."""
    from console_harness import masks_flow, Operator
    masks_flow(station)
    made = Operator(browser, station.console)
    yield made
    assert made.errors == []
    made.close()
