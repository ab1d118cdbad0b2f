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

"""The demo and the benchmarks as a user runs them: real processes, real DDS, real files."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import cv2
from fedefm_ros.commands.demo import slowness
from harness import wait_until
import psutil
import pytest
from rosbags.highlevel import AnyReader

DOMAIN = {'ROS_DOMAIN_ID': '97'}


@pytest.fixture
def model(models):
    return models['lines']


def fedefm(*arguments, **options):
    return subprocess.run([sys.executable, '-m', 'fedefm_ros.cli', *map(str, arguments)],
                          capture_output=True, text=True, timeout=180, **options)


@pytest.mark.parametrize('skipped, inference, words', [
    (171, 92.9, '171 of 304 frames were skipped: an inference takes 93 ms on this machine. '
     '--rate 6 '),
    (20, 1200.0, 'takes 1200 ms on this machine. --rate 1 '), (15, 20.0, ''), (0, 92.9, '')])
def test_a_machine_that_is_too_slow_is_told_what_suits_it(skipped, inference, words):
    said = slowness({'frames_published': 304, 'skipped': skipped,
                     'bare_inference_ms': {'p50': inference}})
    assert (words in said) if words else said == ''


def test_the_demo_accounts_for_every_frame_and_leaves_pictures_and_a_bag(tmp_path, model):
    run = fedefm('demo', 'simulator:phantom', '--seconds', 3, '--headless', '--model', model,
                 '--size', 256, '-o', tmp_path / 'out', '--json', tmp_path / 'demo.json',
                 '--record', tmp_path / 'bag')
    assert run.returncode == 0, run.stderr + run.stdout
    told = json.loads((tmp_path / 'demo.json').read_text())
    assert told['masks_received'] > 10
    assert told['frames_published'] == (
        told['masks_received'] + told['lost'] + told['skipped'] + told['refused'])
    assert told['refused'] == 0
    assert 0 < told['latency_ms']['p50'] <= told['latency_ms']['p99']
    assert set(told['dice']) == {'catheter', 'guidewire'}
    picture, = told['pictures']
    assert cv2.imread(picture).std() > 5
    with AnyReader([tmp_path / 'bag']) as bag:
        counts = {c.topic: c.msgcount for c in bag.connections}
    assert counts['/station/segmentation/mask'] >= told['masks_received']
    assert counts['/station/fluoroscopy/image_raw'] > 10


def test_the_demo_takes_real_dicom(tmp_path, model, shared_data):
    run = fedefm('demo', shared_data / 'xa_human_a.dcm', '--seconds', 2, '--headless',
                 '--model', model, '-o', tmp_path / 'out', '--json', tmp_path / 'demo.json')
    assert run.returncode == 0, run.stderr + run.stdout
    told = json.loads((tmp_path / 'demo.json').read_text())
    assert told['masks_received'] > 5 and 'dice' not in told


def test_the_demo_names_an_input_that_cannot_be_read(tmp_path):
    (tmp_path / 'broken.dcm').write_bytes(b'\0' * 128 + b'DICM' + b'garbage')
    run = fedefm('demo', tmp_path / 'broken.dcm', '--seconds', 1, cwd=tmp_path)
    assert run.returncode == 1
    assert 'broken.dcm' in run.stderr and 'Traceback' not in run.stderr


@pytest.fixture
def demo_process(tmp_path, model):
    """Yield a running demo whose procedure would last an hour; it has ended afterwards."""
    said = tmp_path / 'said'
    with open(said, 'wb') as stderr:
        process = subprocess.Popen(
            [sys.executable, '-m', 'fedefm_ros.cli', 'demo', '--seconds', '3600', '--headless',
             '--size', '128', '--model', str(model), '-o', str(tmp_path / 'out'),
             '--json', str(tmp_path / 'demo.json')],
            stderr=stderr, stdout=subprocess.DEVNULL, env=os.environ | DOMAIN)
    process.said = said.read_text
    try:
        wait_until(lambda: process.poll() is not None or 'first mask' in process.said(), 'a mask')
        assert process.poll() is None, process.said()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(120)


# SIGHUP: what a terminal does when it is closed.
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGHUP])
def test_stopped_it_sums_up_the_frames_so_far_and_leaves_no_process(
        demo_process, tmp_path, number):
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip('whoever started these tests has this signal ignored (nohup, &)')
    children = psutil.Process(demo_process.pid).children(recursive=True)
    assert len(children) >= 2
    demo_process.send_signal(number)
    assert demo_process.wait(120) == 130, demo_process.said()
    assert 'stopped; summing up' in demo_process.said()
    assert 'Traceback' not in demo_process.said()
    told = json.loads((tmp_path / 'demo.json').read_text())
    assert told['interrupted'] and told['masks_received'] > 0
    assert told['frames_published'] == (
        told['masks_received'] + told['lost'] + told['skipped'] + told['refused'])
    assert told['exit_codes'] == {'segmentation': 0, 'fluoroscopy': 0}
    assert not [child for child in children if child.is_running()]


def test_a_second_station_of_the_same_name_does_not_start_and_the_first_goes_on(
        demo_process, tmp_path, model):
    # DDS now and then tells a newcomer of nobody for as long as it lives: about one in six here.
    for _ in range(4):
        run = fedefm('demo', '--headless', '--seconds', '1', '--model', model,
                     '-o', tmp_path / 'second', env=os.environ | DOMAIN)
        if run.returncode:
            break
    assert run.returncode == 1
    assert re.search('a node /station/(segmentation|fluoroscopy) in ROS domain 97 already',
                     run.stderr), run.stderr
    assert run.stderr.count('\n') == 1
    assert demo_process.poll() is None, demo_process.said()


def test_a_sequence_that_ends_too_early_is_told_and_its_frames_are_shown(
        tmp_path, model, sequence):
    frames = tmp_path / 'frames'
    shutil.copytree(sequence, frames)
    damaged = frames / '020.png'
    damaged.write_bytes(damaged.read_bytes()[:200])
    run = fedefm('demo', frames, '--seconds', 3, '--rate', 15, '--headless', '--model', model,
                 '-o', tmp_path / 'out', '--json', tmp_path / 'demo.json')
    assert run.returncode == 1
    assert '020.png: damaged PNG image' in run.stderr and 'Traceback' not in run.stderr
    assert json.loads((tmp_path / 'demo.json').read_text())['masks_received'] > 5


def test_the_demo_says_what_cannot_be_written(tmp_path, model):
    (tmp_path / 'file').touch()
    run = fedefm('demo', '--headless', '--model', model, '-o', tmp_path / 'file' / 'out')
    assert run.returncode == 1
    assert run.stderr.count('\n') == 1 and 'cannot be made: Not a directory' in run.stderr


def test_bench_latency_accounts_for_every_frame(tmp_path, model):
    run = fedefm('bench', 'latency', '--sizes', 256, '--rate', 30, '--seconds', 1.5,
                 '--repeats', 1, '--model', model, '--json', tmp_path / 'bench.json')
    assert run.returncode == 0, run.stderr + run.stdout
    row, = json.loads((tmp_path / 'bench.json').read_text())['rows']
    assert row['frames_published'] == 45
    assert row['masks_received'] + row['skipped'] + row['lost'] == 45
    assert row['out_of_order'] == 0 and row['ratio_p50'] > 0


def test_bench_transport_counts_what_arrives(tmp_path):
    run = fedefm('bench', 'transport', '--sizes', 256, '--rates', 15, '--seconds', 2,
                 '--no-plain', '--json', tmp_path / 'bench.json')
    assert run.returncode == 0, run.stderr + run.stdout
    rows = json.loads((tmp_path / 'bench.json').read_text())['rows']
    assert [row['qos'] for row in rows] == ['best effort', 'reliable']
    assert all(row['received'] == row['published'] == 30 for row in rows)


@pytest.mark.slow
def test_bench_console_shows_the_pictures_in_a_browser(tmp_path):
    run = fedefm('bench', 'console', '--rate', 5, '--seconds', 3, '--repeats', 1,
                 '--json', tmp_path / 'bench.json')
    assert run.returncode == 0, run.stderr + run.stdout
    figures = json.loads((tmp_path / 'bench.json').read_text())
    assert figures['with']['frames_published'] == figures['without']['frames_published'] == 15
    assert 0 < figures['pictures_shown'][0] <= 15 and figures['ratio_p99'] > 0
