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

"""The console's commands on real nodes, without a browser."""

import threading

from fedefm_ros.nodes.console_calls import StationControls
from fedefm_ros.station import FLUOROSCOPY, SEGMENTATION

from harness import wait_until

import pytest

from rcl_interfaces.srv import GetParameters

SCALE = {'pixel_spacing_mm': 0.3, 'source_isocenter_mm': 765.0}


@pytest.fixture(scope='module')
def station(harness, sequence):
    # Not configured: it answers for its parameters all the same, and needs no model.
    harness.start(SEGMENTATION)
    harness.start_active(FLUOROSCOPY, source=str(sequence), rate=5.0, loop=True)
    harness.controls = StationControls(harness.node, threading.Event())
    return harness


@pytest.fixture
def scaled(station):
    wait_until(lambda: station.set_parameters('segmentation', **SCALE) == ['', ''], 'the scale')
    return station


def scale(station):
    request = GetParameters.Request(names=list(SCALE))
    values = station.call(GetParameters, 'segmentation/get_parameters', request).values
    return {name: value.double_value for name, value in zip(SCALE, values)}


def source(station):
    request = GetParameters.Request(names=['source'])
    return station.call(GetParameters, 'fluoroscopy/get_parameters',
                        request).values[0].string_value


def test_another_source_makes_the_old_scale_unknown_and_says_so(scaled):
    outcome = scaled.controls.set_source('simulator:phantom', 5.0, True)
    assert outcome.done and source(scaled) == 'simulator:phantom'
    assert 'mm are unknown from now on' in outcome.text
    assert scale(scaled) == dict.fromkeys(SCALE, 0.0)
    # Where nothing was known there is nothing to tell.
    outcome = scaled.controls.set_source('simulator:human', 5.0, True)
    assert 'mm' not in outcome.text


def test_the_same_source_at_another_rate_keeps_its_scale(scaled):
    outcome = scaled.controls.set_source(source(scaled), 4.0, True)
    assert outcome.done and 'mm' not in outcome.text and scale(scaled) == SCALE


def test_a_source_that_cannot_be_opened_leaves_the_old_one_with_its_scale(scaled, tmp_path):
    (tmp_path / 'broken.dcm').write_bytes(b'no DICOM')
    before = source(scaled)
    outcome = scaled.controls.set_source(str(tmp_path / 'broken.dcm'), 5.0, True)
    assert not outcome.done and 'the source is the one it was' in outcome.text
    assert source(scaled) == before and scale(scaled) == SCALE
