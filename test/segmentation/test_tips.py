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

"""Tips where the judge sees them."""

from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.segmentation.ends import LAYERS, VIEW
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.orientation import at_edge
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.tips import Seen, with_seen_tips

import numpy as np

import pytest


class Says:
    """A judge that sees at each line's first and last end what it is told to."""

    def __init__(self, *said):
        self.said = said
        self.asked = 0

    def tips(self, views):
        self.asked += len(views)
        assert views.shape[1:] == (LAYERS, *VIEW) and len(views) == len(self.said)
        return np.array(self.said, float)


def says(*of_last):
    """Return a judge that sees nothing at first ends."""
    return Says(*(one for said in of_last for one in ((0.1, 0, 0), said)))


def shown(instruments, judge, shape=(256, 256), size=256, spacing_mm=None):
    """Return instruments with what a judge says of an image; its outermost 3 px are its edge."""
    seen = Seen(prepare(np.full(shape, 90, np.uint8), size), np.zeros((size, size), np.uint8),
                judge)
    return with_seen_tips(instruments, seen, 2.0,
                          lambda point: at_edge(point, shape, 3.0, None), spacing_mm)


def line(*points, kind=GUIDEWIRE, **more):
    corners = np.array(points, float)
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    at = np.linspace(0, along[-1], int(along[-1] / 2) + 1)
    return Instrument(kind, np.stack([np.interp(at, along, axis) for axis in corners.T], 1),
                      **more)


@pytest.mark.parametrize('along, aside', [(7.3, 0), (0, 0), (-6.5, 0), (3, 2), (-12, -3)])
def test_a_line_ends_where_its_tip_is_seen(along, aside):
    before = line((30, 40), (130, 40), length_mm=50.0)
    after, = shown([before], says((0.9, along, aside)), spacing_mm=(0.2, 0.5))
    assert after.tip == pytest.approx([130 + along, 40 + aside])
    assert after.centerline[0] == pytest.approx([30, 40])
    steps = np.hypot(*np.diff(after.centerline, axis=0).T)
    assert steps == pytest.approx(steps[0], rel=0.1) and 1.8 < steps[0] < 2.2
    # It bends over a few pixels only, and never turns back.
    far = after.centerline[:, 0] < 130 - max(-along, 0) - 5
    assert after.centerline[far, 1] == pytest.approx(40)
    assert (np.diff(after.centerline[:, 0]) > 0).all()
    # Half a millimetre a pixel to the right, a fifth down.
    assert after.length_mm == pytest.approx(50.0 + 0.5 * along, abs=0.3)
    assert (after.kind, after.confidence, after.tip_visible) == (GUIDEWIRE, 1.0, True)


def test_what_it_does_not_see_stays():
    judge = says((0.4, 5, 5), (0.9, 5, 0))
    hidden = line((30, 90), (255, 90), tip_visible=False)
    doubt, sure = line((30, 40), (130, 40)), line((30, 60), (130, 60))
    found = shown([hidden, doubt, sure], judge)
    assert judge.asked == 4
    assert found[0] is hidden and found[1] is doubt
    assert found[2].tip == pytest.approx([135, 60])
    assert shown([hidden], judge) == (hidden,) and judge.asked == 4
    assert shown([], judge) == ()


@pytest.mark.parametrize('first, last, tip', [
    ((0.9, 3, 2), (0.2, 9, 9), (27, 38)),    # at the other end, which one sees to the left
    ((0.9, 3, 2), (0.4, 9, 9), (130, 40)),   # in doubt: it stays
    ((0.6, 3, 2), (0.2, 9, 9), (130, 40)),
    ((0.9, 3, 2), (0.9, 4, 1), (134, 41)),   # at both: a wire may come out of one
    ((0.1, 3, 2), (0.9, 4, 1), (134, 41))])
@pytest.mark.parametrize('kind', [CATHETER, GUIDEWIRE])
def test_a_tip_may_be_seen_at_the_other_end(first, last, tip, kind):
    before = line((30, 40), (130, 40), kind=kind)
    after, = shown([before], Says(first, last))
    assert after.tip == pytest.approx(tip)
    entry = (130, 40) if tip[0] < 100 else (30, 40)
    assert after.centerline[0] == pytest.approx(entry)


@pytest.mark.parametrize('visible', [True, False])
@pytest.mark.parametrize('distance, turned', [(20, False), (30, True)])
def test_where_a_wire_comes_out_of_a_catheter_that_ones_tip_is_seen(distance, turned, visible):
    wire = line((60, 40), (130, 40))
    catheter = line((60, 200), (60, 40 + distance), kind=CATHETER, tip_visible=visible)
    judge = Says(*[(0.9, 0, 0), (0.1, 0, 0), (0.1, 0, 0), (0.9, 0, 0)][:4 if visible else 2])
    found, _ = shown([wire, catheter], judge)
    assert found.tip == pytest.approx((60, 40) if turned else (130, 40))


def test_what_is_seen_of_each_instrument_is_its_own():
    wire, catheter = line((30, 40), (130, 40)), line((30, 80), (130, 80), kind=CATHETER)
    judge = Says((0.1, 0, 0), (0.9, 1, 0), (0.9, 2, 0), (0.1, 0, 0), (0.5, 0, 0), (0.9, 4, 0))
    found = shown([wire, catheter, line((30, 120), (90, 120))], judge)
    assert [one.tip[0] for one in found] == pytest.approx([131, 28, 94])


@pytest.mark.parametrize('along, aside', [(33, 0), (-3, 40), (0, 9), (2, -9), (1e9, 0)])
def test_a_tip_that_cannot_be_is_not_believed(along, aside):
    before = line((30, 40), (130, 40))
    assert shown([before], says((0.9, along, aside))) == (before,)


def test_no_tip_is_at_the_edge_of_the_image():
    for before, beyond in ((line((30, 40), (240, 40)), 13), (line((30, 90), (30, 12)), 11)):
        assert shown([before], says((0.9, beyond, 0))) == (before,)
        after, = shown([before], says((0.9, 7, 0)))
        assert np.hypot(*(after.tip - before.tip)) == pytest.approx(7)
    enters = line((0, 40), (130, 40), kind=CATHETER)
    assert shown([enters], Says((0.9, 0, 0), (0.1, 0, 0))) == (enters,)


def test_two_instruments_of_a_kind_do_not_get_the_same_tip():
    near, far = line((30, 40), (130, 40)), line((30, 41), (120, 41))
    found = shown([far, near], says((0.9, 12, 0), (0.9, 3, 0)))
    assert found[0] is far and found[1].tip == pytest.approx([133, 40])
    catheter = line((30, 41), (120, 41), kind=CATHETER)
    found = shown([catheter, near], says((0.9, 12, 0), (0.9, 3, 0)))
    assert found[0].tip == pytest.approx([132, 41]) and found[1].tip == pytest.approx([133, 40])


def test_half_of_a_line_stays_or_all_of_it():
    for short, along in ((line((30, 40), (42, 40)), -3), (line((30, 40), (80, 40)), -22),
                         (Instrument(GUIDEWIRE, np.array([[50.0, 60.0], [50.0, 60.0]])), -1)):
        assert shown([short], says((0.9, along, 0))) == (short,)
    for short, along in ((line((30, 40), (42, 40)), -1), (line((30, 40), (80, 40)), -20)):
        after, = shown([short], says((0.9, along, 0)))
        assert after.tip == pytest.approx(short.tip + (along, 0))


def test_pixels_are_those_of_the_image():
    """Of 1024 x 768, seen in a square of 256: a pixel there is four here."""
    before = line((200, 300), (600, 300))
    after, = shown([before], says((0.9, 5, 2)), (768, 1024))
    assert after.tip == pytest.approx([620, 308])
    assert after.centerline[0] == pytest.approx([200, 300])
