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

"""`collect`: a scripted run is kept as a data set that reads back, catheter and all."""

import json
import subprocess
import sys

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.datasets import aioz
from fedefm_ros.simulation.robot.collection import record_run

import numpy as np

import pytest

pytest.importorskip('mujoco')


def test_a_run_drives_in_and_back_and_shows_both_instruments(tmp_path):
    frames = []
    done = record_run(tmp_path, 1, 'LSA', every=10, seconds=16.0, size=128,
                      watch=frames.append)
    assert done.reached and done.images == len(frames[::10]) and done.catheter_mm > 15.0
    assert 0.0 < done.force_max < 1.0
    kept = aioz.read(tmp_path)
    assert len(kept) == done.images > 20 and len(kept.groups) == 1
    masks = [mask for _, mask in kept]
    assert all({labels.CATHETER} <= set(np.unique(mask)) for mask in masks)
    assert any(labels.GUIDEWIRE in mask for mask in masks)
    shown = [sum(one.kind == labels.CATHETER and one.length_px for one in
                 frame.truth.instruments) for frame in frames]
    # The catheter went in, and came back to the introducer.
    assert max(shown) > shown[0] + 10.0 > shown[-1]


def test_the_catheter_may_stay_in_the_introducer(tmp_path):
    done = record_run(tmp_path, 1, 'LSA', seconds=6.0, size=64, catheter=False)
    assert done.catheter_mm < 1.0


def test_an_unknown_artery_is_refused(tmp_path):
    with pytest.raises(FedefmError, match='known: LSA, LCCA, RCCA'):
        record_run(tmp_path, 1, 'LVA')


def test_the_command_keeps_the_last_runs_for_the_test(tmp_path):
    run = subprocess.run(
        [sys.executable, '-m', 'fedefm_ros.cli', 'collect', '-o', tmp_path / 'set', '--runs', '2',
         '--test-runs', '1', '--seconds', '1', '--size', '64', '--json', tmp_path / 'told.json'],
        capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    told = json.loads((tmp_path / 'told.json').read_text())
    assert [each['target'] for each in told['runs']] == ['LSA', 'LCCA']
    assert told['images'] == sum(each['images'] for each in told['runs']) > 4
    parts = {path.parent.parent.name for path in (tmp_path / 'set').rglob('images/*')}
    assert parts == {'phantom_train', 'phantom_test'}
