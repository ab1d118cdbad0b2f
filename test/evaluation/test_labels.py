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

"""Centreline files."""

import json

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.cases import labelled_cases
from fedefm_ros.evaluation.labels import read_centerlines
from fedefm_ros.evaluation.labels import read_labels
from fedefm_ros.evaluation.metrics import match_lines
from fedefm_ros.evaluation.metrics import tip_errors
from fedefm_ros.imaging.frame import GroundTruth
from fedefm_ros.learning.datasets.writing import FolderWriter
from fedefm_ros.learning.datasets.writing import Sample
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np
import pytest


def test_a_file_is_read(tmp_path):
    path = tmp_path / 'labels.json'
    path.write_text(json.dumps({'frames': {
        '0': {'catheter': [[0, 0], [5, 5]], 'guidewire': [[5, 5], [9, 9], [12, 9]]}}}))
    catheter, guidewire = read_centerlines(path)['0']
    assert (catheter.kind, guidewire.kind) == (1, 2)
    assert guidewire.tip == pytest.approx([12, 9])


def test_what_is_written_is_read_with_all_instruments_and_visible_tips(tmp_path):
    lines = [Instrument(kind, np.array([[0.0, at], [length, at]]), tip_visible=visible)
             for kind, at, length, visible in ((1, 10.0, 63.0, False), (1, 20.0, 40.0, True),
                                               (1, 30.0, 20.0, False), (2, 40.0, 62.0, True))]
    writer = FolderWriter(tmp_path)
    blank = np.zeros((64, 64), np.uint8)
    for number, shown in enumerate((lines, [])):
        writer.add(Sample('human', 0, number, blank, GroundTruth(blank, tuple(shown))))
    writer.close()
    first, second = read_labels(tmp_path / 'centerlines.json').values()
    assert second.instruments_in((64, 64)) == ()
    found = sorted(first.instruments_in((64, 64)), key=lambda one: one.centerline[0, 1])
    assert [(one.kind, one.tip_visible) for one in found] \
        == [(one.kind, one.tip_visible) for one in lines]
    assert tip_errors(lines, found) == [0.0, 0.0]
    assert match_lines(lines, found).false_instruments() == 0


def test_where_a_file_does_not_say_a_tip_at_the_border_is_not_visible(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((50, 100), np.uint8))
    (tmp_path / 'labels.json').write_text(json.dumps({
        'frames': {'a.png': {'catheter': [[0, 20], [96, 20]], 'guidewire': [[0, 9], [95, 9]]}},
        'others': {'a.png': [{'kind': 'catheter', 'points': [[70, 0], [70, 48]]},
                             {'kind': 'catheter', 'points': [[70, 0], [70, 45]]}]}}))
    (case,) = labelled_cases(tmp_path, tmp_path / 'labels.json')
    assert [one.tip_visible for one in case.instruments] == [False, True, False, True]


@pytest.mark.parametrize('text', [
    '', '{}', '[]', '{"frames": {"0": {"needle": [[0, 0], [1, 1]]}}}',
    '{"frames": {"0": {"catheter": [[0, 0]]}}}', '{"frames": {}, "others": {"0": [[1, 2]]}}',
    '{"frames": {"0": {"catheter": [[0, NaN], [1, 1]]}}}'])
def test_what_is_none_is_refused_by_name(tmp_path, text):
    path = tmp_path / 'labels.json'
    path.write_text(text)
    with pytest.raises(FedefmError, match='labels.json'):
        read_centerlines(path)


def test_labelled_real_frames_are_read(shared_data):
    cases = list(labelled_cases(shared_data / 'xa_human_a.dcm',
                                shared_data / 'xa_human_a_labels.json'))
    assert len(cases) == 2
    assert cases[0].image.shape == (512, 512)
    assert np.isfinite(cases[0].spacing_mm).all()
