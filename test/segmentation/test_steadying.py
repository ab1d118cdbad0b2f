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

from itertools import islice

import cv2

from fedefm_ros.labels import CATHETER
from fedefm_ros.labels import GUIDEWIRE
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.steadying import is_same_scene, TipFilter
from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator

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


def test_skipped_frames_do_not_distort_the_speed():
    # Ten frames of 15 Hz, then every third one: three times the way in three times the time.
    numbers = np.array([*range(10), *range(12, 60, 3)])
    truth = np.stack([100 + 2.5 * numbers, 200 + 1.0 * numbers], axis=1)
    steady, deaf = TipFilter(), TipFilter()
    made = np.array([steady((wire(tip),), SHAPE, elapsed)[0].tip for tip, elapsed in
                     zip(truth, np.diff(numbers, prepend=-1) / 15)])
    assert np.abs(made[10:] - truth[10:]).max() < 0.5
    told_nothing = np.array([deaf((wire(tip),), SHAPE)[0].tip for tip in truth])
    assert np.abs(told_nothing[10] - truth[10]).max() > 2 * np.abs(made[10] - truth[10]).max()


@pytest.mark.parametrize('rate', [4.0, 7.5, 30.0])
def test_the_frame_rate_changes_nothing_where_the_motion_from_frame_to_frame_is_the_same(rate):
    tips = np.random.default_rng(1).normal((200, 200), 2.0, (40, 2))
    steady = TipFilter()
    made = [steady((wire(tip),), SHAPE, 1 / rate)[0].tip for tip in tips]
    assert np.array(made) == pytest.approx(followed(tips))


def test_frames_that_come_at_almost_the_same_moment_make_no_tip_leap():
    tips = np.random.default_rng(2).normal((200, 200), 1.0, (80, 2))
    steady = TipFilter()
    elapsed = np.where(np.arange(80) % 2, 0.0005, 0.1328)
    made = np.array([steady((wire(tip),), SHAPE, step)[0].tip for tip, step in
                     zip(tips, elapsed)])
    assert np.abs(made - 200).max() < 5.0


def mask_of(instruments, shape=SHAPE, shift=(0, 0)):
    mask = np.zeros(shape, np.uint8)
    for instrument in instruments:
        cv2.polylines(mask, [np.rint(instrument.centerline + shift).astype(np.int32)], False,
                      instrument.kind, 2)
    return mask


@pytest.mark.parametrize('scale', [0.5, 1, 2])
def test_instruments_that_moved_on_are_of_the_same_scene_others_are_not(scale):
    shape = tuple(int(side * scale) for side in SHAPE)
    known = tuple(Instrument(kind, scale * np.stack([np.linspace(*xs, 90), np.linspace(*ys, 90)],
                                                    axis=1))
                  for kind, xs, ys in ((CATHETER, (60, 240), (500, 200)),
                                       (GUIDEWIRE, (240, 300), (200, 80))))
    for shift in ((0, 0), (10, -8), (-12, 12)):
        assert is_same_scene(mask_of(known, shape, np.multiply(shift, scale)), known)
    assert is_same_scene(mask_of(known[:1], shape), known)  # the wire was not found
    mirrored = mask_of(known, shape)[:, ::-1]
    assert not is_same_scene(mirrored, known)
    assert not is_same_scene(mask_of(known, shape, (150 * scale, 0)), known)
    assert not is_same_scene(np.zeros(shape, np.uint8), known)
    assert not is_same_scene(mask_of(known, shape), ())


def test_ordinary_motion_is_of_one_scene_and_another_patient_is_not():
    other = 0
    for seed in (1, 2, 3, 4):
        simulator = FluoroscopySimulator('human', size=256, rate=7.5, seed=seed, scene_seconds=2.0)
        frames = [frame.truth for frame in islice(simulator, 30)]
        same = [is_same_scene(after.mask, before.instruments)
                for before, after in zip(frames, frames[1:])]
        # 15 frames of one patient, then 15 of the next.
        assert all(same[:14]) and all(same[15:]), seed
        other += not same[14]
    assert other >= 3  # one may lie as the one before did


@pytest.mark.parametrize('side', [100, 511, 512, 1000, 1024, 2048])
@pytest.mark.parametrize('thickness', [1, 2, 3, 4, 7])
@pytest.mark.parametrize('across', [True, False])
def test_a_thin_line_is_found_again_wherever_it_lies(side, thickness, across):
    along = np.linspace(0.0, side - 1.0, 90)
    for place in (*range(side // 2, side // 2 + 17), side - thickness):
        mask = np.zeros((side, side), np.uint8)
        mask[place:place + thickness] = GUIDEWIRE
        line = np.stack([along, np.full(90, place + (thickness - 1) / 2)], axis=1)
        if not across:
            mask, line = mask.T, line[:, ::-1]
        assert is_same_scene(mask, (Instrument(GUIDEWIRE, line),)), place


@pytest.mark.parametrize('shape', [(1, 1), (20, 700), (700, 20), (511, 1023)])
def test_not_a_single_pixel_is_lost(shape):
    rng = np.random.default_rng(0)
    for row, column in rng.integers(shape, size=(50, 2)):
        mask = np.zeros(shape, np.uint8)
        mask[row, column] = CATHETER
        dot = Instrument(CATHETER, np.array([[column, row], [column, row]], float))
        assert is_same_scene(mask, (dot,))
