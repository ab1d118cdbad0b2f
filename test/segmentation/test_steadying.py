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

"""Tips followed from frame to frame."""

from fedefm_ros.labels import CATHETER
from fedefm_ros.labels import GUIDEWIRE
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.steadying import TipFilter

import numpy as np
import pytest

SHAPE = (512, 512)


def wire(tip, kind=GUIDEWIRE, visible=True):
    """Return a straight line of 30 points from the left to a tip."""
    x, y = tip
    line = np.stack([np.linspace(x - 58, x, 30), np.full(30, float(y))], axis=1)
    return Instrument(kind, line, 0.9, visible)


def followed(tips, **options):
    steady = TipFilter()
    return np.array([steady((wire(tip, **options),), SHAPE)[0].tip for tip in tips])


def jitter(tips):
    return np.linalg.norm(np.diff(tips, 2, axis=0), axis=1).mean()


def test_a_trembling_tip_trembles_less_and_is_no_farther_from_the_truth():
    rng = np.random.default_rng(0)
    truth = np.stack([100 + 2.0 * np.arange(120), 200 + 20 * np.sin(np.arange(120) / 15)], axis=1)
    measured = truth + rng.normal(0, 1.0, truth.shape)
    steadied = followed(measured)
    assert jitter(steadied) < 0.8 * jitter(measured)
    errors = [np.linalg.norm(tips - truth, axis=1).mean() for tips in (measured, steadied)]
    assert errors[1] < errors[0]


def test_steady_motion_is_followed_without_lag():
    truth = np.stack([100 + 3.0 * np.arange(80), np.full(80, 200.0)], axis=1)
    assert followed(truth)[-1] == pytest.approx(truth[-1], abs=0.05)


def test_a_jump_is_believed_at_once():
    tips = [(100.0, 100.0)] * 5 + [(160.0, 140.0)] * 2
    assert followed(tips)[5] == pytest.approx((160, 140))


def test_nothing_is_added_taken_away_or_moved_far():
    steady = TipFilter()
    steady((wire((100, 100)), wire((100, 104), CATHETER)), SHAPE)
    for found in ((), (wire((102, 100)),), (wire((103, 100)), wire((300, 90)))):
        made = steady(found, SHAPE)
        assert [one.kind for one in made] == [one.kind for one in found]
        for one, other in zip(made, found):
            assert np.abs(one.centerline - other.centerline).max() < 8.0
            assert np.array_equal(one.centerline[:-5], other.centerline[:-5])
    assert steady((), SHAPE) == ()
    # After a frame in which nothing was seen, nothing is known.
    assert steady((wire((107, 100)),), SHAPE)[0].tip == pytest.approx((107, 100))


def test_kinds_are_not_mixed_up():
    steady = TipFilter()
    steady((wire((100, 100)), wire((103, 100), CATHETER)), SHAPE)
    made = steady((wire((103, 100), CATHETER), wire((100, 100))), SHAPE)
    assert made[0].tip == pytest.approx((103, 100)) and made[1].tip == pytest.approx((100, 100))


def test_a_tip_that_is_not_visible_stays_where_the_line_ends():
    tips = [(100.0, 100.0), (104.0, 103.0)]
    assert followed(tips, visible=False) == pytest.approx(np.array(tips))


def test_a_tip_stays_in_the_image():
    tips = [(x, 200.0) for x in (470, 478, 486, 494, 502, 510, 511, 511)]
    assert (followed(tips) <= 511.0).all()


def test_what_was_given_is_not_changed():
    steady = TipFilter()
    first, second = wire((100, 100)), wire((104, 100))
    before = second.centerline.copy()
    steady((first,), SHAPE)
    steady((second,), SHAPE)
    assert np.array_equal(second.centerline, before)
