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

"""A day of a station as a user has it: two procedures and what is learned between them."""

import json
import subprocess
import sys

import cv2

from fedefm_ros.cli import app

import pytest

from typer.testing import CliRunner


@pytest.fixture(scope='module')
def day(tmp_path_factory):
    """Return the folder and the figures of a day with short procedures."""
    folder = tmp_path_factory.mktemp('day')
    run = fedefm('demo', 'simulator:animal', '--day', '--seconds', 3, '--size', 128, '--rate', 10,
                 '-o', folder / 'out', '--json', folder / 'day.json')
    assert run.returncode == 0, run.stderr + run.stdout
    return folder / 'out', json.loads((folder / 'day.json').read_text())


def fedefm(*arguments):
    return subprocess.run([sys.executable, '-m', 'fedefm_ros.cli', *map(str, arguments)],
                          capture_output=True, text=True, timeout=560)


def test_both_procedures_account_for_every_frame(day):
    _, told = day
    assert len(told['procedures']) == 2
    for one in told['procedures']:
        assert one['masks_received'] > 1 and one['refused'] == 0  # a busy machine skips most
        assert one['frames_published'] == one['masks_received'] + one['lost'] + one['skipped']
        assert 0 < one['latency_ms']['p50'] <= one['latency_ms']['p99']
        assert set(one['dice']) == {'catheter', 'guidewire'}


def test_the_second_procedure_runs_on_what_the_night_left(day):
    out, told = day
    first, second = told['procedures']
    night = told['federation']
    assert night['present'] == ['station_b'] and not night['absent']
    assert night['bytes_sent'] > 1e6 and night['bytes_received'] > 1e6
    assert told['kinds']['station_a'] == 'animal' != told['kinds']['station_b']
    assert second['model_id'] == night['model_id'] != first['model_id']
    # It was tried on the first procedure's frames first.
    assert night['shadow']['frames'] >= 2 and 0 <= night['shadow']['agreement'] <= 1
    # Whatever the gate said, the file is one of those that it let by.
    name = 'round00000' if told['promoted'] else 'alone'
    assert (out / 'state' / 'station_a' / 'accepted' / f'{name}.safetensors').is_file()
    assert told['promoted'] or night['why_not']


def test_the_pictures_are_there_and_an_earlier_day_is_not_overwritten(day):
    out, told = day
    assert [cv2.imread(path).std() > 5 for path in told['pictures']] == [True] * 3
    again = CliRunner().invoke(app, ['demo', '--day', '--seconds', '3', '-o', str(out)])
    assert again.exit_code == 1 and 'earlier day' in again.stderr
