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

"""The simulator's speed by kind; how large the figures are is for the machine to say."""

import json

import cv2

from fedefm_ros.cli import app

import pytest

from typer.testing import CliRunner


def bench(*arguments):
    return CliRunner().invoke(app, ['bench', *map(str, arguments)])


def test_each_kind_is_timed_as_single_frames_and_as_a_sequence(tmp_path):
    threads = cv2.getNumThreads()
    done = bench('simulator', '--frames', 2, '--repeats', 2, '--size', 64, '--json',
                 tmp_path / 'told.json')
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / 'told.json').read_text())
    assert (told['frames'], told['repeats'], told['size']) == (2, 2, 64)
    assert [(row['kind'], row['mode']) for row in told['rows']] == [
        (kind, mode) for kind in ('human', 'animal', 'phantom', 'simulation')
        for mode in ('single', 'sequence')]
    for row in told['rows']:
        assert row['fps'] >= row['fps_slowest'] > 0
        assert row['cpu_fps'] >= row['cpu_fps_slowest'] > 0
        assert row['cpu_ms'] == pytest.approx(1e3 / row['cpu_fps'])
        assert row['kind'] in done.output
    assert cv2.getNumThreads() == threads


def test_one_kind_is_timed_alone_and_help_lists_it(tmp_path):
    done = bench('simulator', '--kind', 'phantom', '--frames', 1, '--repeats', 1, '--size', 64,
                 '--json', tmp_path / 'told.json')
    assert done.exit_code == 0, done.output
    assert {row['kind'] for row in json.loads((tmp_path / 'told.json').read_text())['rows']} \
        == {'phantom'}
    assert 'simulator' in bench('--help').output
