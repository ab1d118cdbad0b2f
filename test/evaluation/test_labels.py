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

from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.cases import labelled_cases
from fedefm_ros.evaluation.labels import read_centerlines

import numpy as np
import pytest


def test_a_file_is_read(tmp_path):
    path = tmp_path / 'labels.json'
    path.write_text(json.dumps({'frames': {
        '0': {'catheter': [[0, 0], [5, 5]], 'guidewire': [[5, 5], [9, 9], [12, 9]]}}}))
    catheter, guidewire = read_centerlines(path)['0']
    assert (catheter.kind, guidewire.kind) == (1, 2)
    assert guidewire.tip == pytest.approx([12, 9])


@pytest.mark.parametrize('text', [
    '', '{}', '[]', '{"frames": {"0": {"needle": [[0, 0], [1, 1]]}}}',
    '{"frames": {"0": {"catheter": [[0, 0]]}}}',
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
