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

"""Live and offline agree: the shipped model in a station, and by `evaluate` and `segment`."""

import json
import os
from pathlib import Path
import pty
import signal
import subprocess
import sys

import cv2

from fedefm_ros.cli import app
from fedefm_ros.commands.convert import convert
from fedefm_ros.imaging.bag import BagSource
from fedefm_ros.imaging.bag_topics import StampedTopic
from fedefm_ros.station import SEGMENTATION

from harness import PATIENCE, wait_until

import numpy as np

import pytest

from typer.testing import CliRunner

FRAMES, SIZE = 4, 256
# Not the tests' own: what `./run` has exported of the shipped model is used again.
ENVIRONMENT = {'XDG_CACHE_HOME': os.environ.get('XDG_CACHE_HOME', str(Path.home() / '.cache'))}
# Precision is taken by speed unless it is named, and two loads may find differently.
EXACT = ('--runtime', 'openvino', '--precision', 'f32')


def command(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, '-m', 'fedefm_ros.cli', *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def ended(process, seconds=PATIENCE):
    try:
        text = process.communicate(timeout=seconds)[0]
    finally:
        process.kill()
    assert process.returncode == 0, text


@pytest.fixture(scope='module')
def session(harness, tmp_path_factory):
    """Return the folder of a session: what was given to a station, and what it made live."""
    folder = tmp_path_factory.mktemp('session')
    convert('simulator:phantom', folder / 'given', frames=FRAMES, size=SIZE, seed=5, rate=10.0,
            start=1_700_000_000)
    harness.start_active(SEGMENTATION, model='realtime', runtime='openvino', precision='f32',
                         use_sim_time=True)
    harness.node.destroy_publisher(harness.node.frames)
    live, (terminal, keys) = folder / 'live', pty.openpty()
    replay = command('replay', folder / 'given', '--namespace', harness.namespace, '--lock-step',
                     '--pause', '--patience', PATIENCE, '--readers', 2, '--wait', PATIENCE,
                     '--json', folder / 'replay.json', stdin=keys)
    recorder = command('record', '-o', live, '--topics', f'/clock|/{harness.namespace}/'
                       '(fluoroscopy/image_raw|segmentation/(mask|instruments))')
    try:
        # Not a frame before the recorder hears the player, whose clock runs while it waits, and
        # the station: its masks are read by the observer, the player and the recorder.
        wait_until(lambda: sum(file.stat().st_size for file in live.glob('*.mcap')) > 8_000,
                   'the clock in the bag')
        wait_until(lambda: harness.node.count_subscribers('segmentation/mask') == 3
                   and harness.node.count_subscribers('segmentation/instruments') == 2,
                   'the recorder of masks and instruments')
        os.write(terminal, b' ')
        ended(replay)
        wait_until(lambda: len(harness.node.stamps('segmentation/instruments')) == FRAMES,
                   'all instruments')
        recorder.send_signal(signal.SIGINT)
        ended(recorder)
    finally:
        for process in (replay, recorder):
            process.kill()
            process.wait()
        os.close(terminal)
        os.close(keys)
    told = json.loads((folder / 'replay.json').read_text())
    assert (told['frames'], told['masks'], told['missed']) == (FRAMES, FRAMES, 0)
    return folder


def run(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output


def test_segment_makes_the_masks_that_the_station_published(session, harness):
    run('segment', session / 'live', '-o', session / 'segmented', *EXACT)
    count = 0
    with StampedTopic(session / 'live', f'/{harness.namespace}/segmentation/mask') as masks:
        for stamp, frame in BagSource(session / 'live').stamped():
            mask = cv2.imread(str(session / 'segmented' / 'masks' / f'{count:06d}.png'), -1)
            assert np.array_equal(masks.mask(stamp)[0], mask) and mask.any()
            count += 1
    assert count == FRAMES


def test_evaluate_gives_the_same_figures_for_both(session):
    run('evaluate', session / 'live', '--against', session / 'given', '--model', 'realtime',
        '--recorded', *EXACT, '--resamples', 20, '--json', session / 'figures.json')
    figures = json.loads((session / 'figures.json').read_text())
    offline, live = figures['models']
    assert figures['truth'] == 'ground truth in the bag given'
    assert figures['comparisons'][0]['identical_masks'] == FRAMES
    assert offline['frames_answered'] == live['frames_answered'] == FRAMES
    assert_alike(live, offline)
    assert offline['classes']['catheter']['dice'] > 0.3
    assert live['latency_ms']['p50'] > 0


def test_the_demo_recorded_live_scores_as_offline(tmp_path):
    # Nothing is named: runtime and precision are those that the bag's station says it had.
    ended(command('demo', 'simulator:phantom', '--headless', '--seconds', 4, '--size', 256,
                  '--rate', 10, '--record', tmp_path / 'bag', '-o', tmp_path / 'demo',
                  '--json', tmp_path / 'demo.json'), 2.5 * PATIENCE)
    run('evaluate', tmp_path / 'bag', '--recorded', '--model', 'realtime', '--common',
        '--resamples', 20, '--json', tmp_path / 'figures.json')
    demo = json.loads((tmp_path / 'demo.json').read_text())
    figures = json.loads((tmp_path / 'figures.json').read_text())
    offline, live = figures['models']
    comparison, = figures['comparisons']
    assert comparison['identical_masks'] == comparison['frames'] == live['frames_answered'] > 5
    assert_alike(live, offline)
    # The demo's own score is of these frames, but for some at the ends that one of both lacks.
    assert demo['frames_scored'] == pytest.approx(live['frames_answered'], abs=3)
    assert demo['dice']['catheter'] == pytest.approx(live['classes']['catheter']['dice'], abs=0.1)


def assert_alike(live, offline):
    for key in ('classes', 'as_published'):
        assert live[key] == offline[key]
    for key in ('union', 'tip_error_px', 'false_instruments_per_frame', 'temporal',
                'instruments_per_frame'):
        assert flat(live[key]) == pytest.approx(flat(offline[key]), abs=1e-4, nan_ok=True), key


def flat(tree, name=''):
    """Return the figures of a tree by their path; centrelines travel as float32."""
    if isinstance(tree, dict):
        return {key: value for each, below in tree.items()
                for key, value in flat(below, f'{name}.{each}').items()}
    return {name: float('nan') if tree is None else tree}
