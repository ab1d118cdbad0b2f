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

"""How steady: hand-made sequences."""

from fedefm_ros.evaluation.temporal import Steadiness
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np
import pytest


def wire(tip_x, **options):
    return Instrument(2, np.array([(0.0, 10.0), (tip_x, 10.0)]), **options)


def strip(*columns):
    mask = np.zeros((20, 40), np.uint8)
    mask[10, list(columns)] = 2
    return mask


def run(masks, instruments):
    steadiness = Steadiness()
    return [steadiness.add(*each) for each in zip(masks, instruments)]


def test_steady_motion_has_no_jitter_and_a_jump_has():
    tips = [10.0, 12.0, 14.0, 16.0, 23.0, 20.0]
    rows = run([strip(1)] * 6, [(wire(x),) for x in tips])
    jitter = [row['tip_jitter_guidewire_px'] for row in rows]
    assert np.isnan(jitter[:2]).all()
    assert jitter[2:] == pytest.approx([0.0, 0.0, 5.0, 10.0])
    assert all(np.isnan(row['tip_jitter_catheter_px']) for row in rows)


def test_a_tip_that_cannot_be_seen_breaks_the_chain():
    instruments = [(wire(1),), (wire(2, tip_visible=False),), (wire(3),), (wire(4),), (wire(5),)]
    jitter = [row['tip_jitter_guidewire_px'] for row in run([strip(1)] * 5, instruments)]
    assert np.isnan(jitter[:4]).all() and jitter[4] == 0.0


def test_flicker_counts_pixels_of_one_frame_only():
    still, hole = strip(*range(10)), strip(*range(9))
    rows = run([still, hole, still, still], [()] * 4)
    assert [row['flicker_px'] for row in rows[2:]] == [1.0, 0.0]
    assert rows[2]['flicker_of_px'] == pytest.approx(29 / 3)
    assert rows[1]['temporal_iou'] == pytest.approx(0.9)


def test_a_count_that_changes_is_told():
    rows = run([strip(1)] * 3, [(wire(1),), (wire(1), wire(5)), (wire(1), wire(5))])
    assert np.isnan(rows[0]['count_change'])
    assert [row['count_change'] for row in rows[1:]] == [1.0, 0.0]


def test_nothing_is_compared_across_a_reset_or_a_change_of_size():
    steadiness = Steadiness()
    for _ in range(3):
        steadiness.add(strip(1, 2), (wire(1),))
    steadiness.reset()
    assert all(np.isnan(value) for value in steadiness.add(strip(1), (wire(1),)).values())
    other = np.ones((5, 5), np.uint8)
    assert all(np.isnan(value) for value in steadiness.add(other, ()).values())


def test_empty_frames_have_no_overlap_to_speak_of():
    rows = run([strip()] * 3, [()] * 3)
    assert np.isnan(rows[2]['temporal_iou']) and rows[2]['flicker_of_px'] == 0.0
