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

"""`demo --closed-loop`: tries are made, counted and shown, in lock-step and with real nodes."""

import json

import cv2

from fedefm_ros.commands.closed_loop import closed_loop
from fedefm_ros.errors import FedefmError

import pytest

pytest.importorskip('mujoco')


def test_in_lock_step_the_segmentation_and_the_truth_lead_to_the_artery(tmp_path):
    told = closed_loop(1, targets=('LSA',), in_process=True, out=tmp_path,
                       json_file=tmp_path / 'figures.json')
    assert told['reached'] == {'LSA': 1} and told['eyes'] == 'segmentation'
    assert told['truth']['reached'] == {'LSA': 1}
    assert told['force_limit_exceeded'] == told['exceeded_silently'] == 0
    assert 0.0 < told['force_max'] <= 0.5
    assert [(row['eyes'], row['seed']) for row in told['rows']] == [
        ('segmentation', 0), ('truth', 0)]
    picture, = told['pictures']
    assert cv2.imread(picture).shape == (512, 512, 3)
    written = json.loads((tmp_path / 'figures.json').read_text())
    assert written['reached'] == told['reached'] and written['tries'] == 1
    assert written['lock_step'] is True


def test_with_real_nodes_the_truth_leads_to_the_artery(tmp_path, monkeypatch):
    # Slow enough for a machine on which other tests run beside.
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    told = closed_loop(1, targets=('LSA',), eyes=('truth',), rate=5.0, first_seed=1,
                       out=tmp_path, json_file=tmp_path / 'figures.json')
    row, = told['rows']
    assert row['seed'] == 1 and row['reached'], row
    assert told['reached'] == {'LSA': 1} and told['exceeded_silently'] == 0
    assert 0.0 < row['force_max']
    assert cv2.imread(told['pictures'][0]).std() > 5.0


def test_a_force_over_the_limit_that_stopped_nobody_is_counted_as_silent():
    from fedefm_ros.commands.closed_loop import _row
    told = _row('truth', 'LSA', 0, True, 9.0, 'LSA', 0.6, {'contact force': 1})
    silent = _row('truth', 'LSA', 0, True, 9.0, 'LSA', 0.6, {'tip lost': 1})
    assert told['force_limit_exceeded'] and not told['exceeded_silently']
    assert silent['force_limit_exceeded'] and silent['exceeded_silently']


@pytest.mark.parametrize('wrong', [
    {'tries': 0}, {'targets': ('LVA',)}, {'eyes': ('hope',)}, {'eyes': ()}])
def test_what_cannot_be_tried_is_refused(wrong):
    with pytest.raises(FedefmError, match='LSA, LCCA, RCCA'):
        closed_loop(**{'tries': 1, **wrong}, in_process=True)
