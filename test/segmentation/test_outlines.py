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

"""Outlines of instruments, and masks drawn by them."""

import cv2

from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.segmentation import outlines as outlining
from fedefm_ros.segmentation.outlines import in_two
from fedefm_ros.segmentation.outlines import outlined
from fedefm_ros.segmentation.strips import sections

import numpy as np

import pytest

SIZE = 192
PLACES = 64


def outline_of(line, values, walls):
    """Return the outline of a line of which each point has a value."""
    columns = sections(line)
    return outlining.outline_of(columns, columns.along(values, 0), walls)


def straight(y, first=20, last=170, value=CATHETER, walls=(-3.5, 3.5)):
    """Return the outline of a line to the right; down is right of it."""
    x = np.arange(first, last + 1, 2.0)
    line = np.stack([x, np.full(len(x), float(y))], 1)
    return outline_of(line, np.full(len(x), value, np.uint8), np.tile(walls, (PLACES, 1)))


def upright(x, walls):
    """Return the outline of a wire from top to bottom."""
    y = np.arange(20, 181, 2.0)
    return outline_of(np.stack([np.full(len(y), float(x)), y], 1),
                      np.full(len(y), GUIDEWIRE, np.uint8), np.tile(walls, (PLACES, 1)))


def band(top, bottom, first=20, last=170, value=CATHETER, mask=None):
    """Return a mask with these rows and columns, all of them inside, of one class."""
    mask = np.zeros((SIZE, SIZE), np.uint8) if mask is None else mask
    mask[top:bottom + 1, first:last + 1] = value
    return mask


@pytest.mark.parametrize('top, bottom', [(99, 101), (97, 103), (95, 105), (95, 101), (98, 100)])
def test_the_edge_of_a_mask_goes_to_the_walls(top, bottom):
    mask = band(top, bottom)
    before = mask.copy()
    found = outlined(mask, [straight(100.0)])
    assert np.array_equal(mask, before)
    assert np.array_equal(found[:, 22:169], band(97, 103)[:, 22:169])
    # Beyond its ends nothing is known.
    assert np.array_equal(found[:, :20], mask[:, :20])
    assert np.array_equal(found[:, 172:], mask[:, 172:])


def test_walls_lie_between_pixels():
    mask = band(97, 103)
    for walls, (top, bottom) in (((-2.4, 3.6), (98, 103)), ((-2.6, 2.6), (98, 102)),
                                 ((-3.0, 1.9), (97, 101)), ((-0.4, 3.2), (100, 103))):
        found = outlined(mask, [straight(100.0, walls=walls)])
        assert np.array_equal(found[:, 30:160], band(top, bottom)[:, 30:160])


def test_no_edge_moves_further_than_three_pixels():
    found = outlined(band(94, 106), [straight(100.0, walls=(-1.0, 1.0))])
    middle = found[:, 90]
    assert middle[94:97].max() == 0 and middle[97:104].min() == CATHETER
    assert middle[104:107].max() == 0
    found = outlined(band(100, 100), [straight(100.0, walls=(-6.0, 6.0))])
    assert np.flatnonzero(found[:, 90]).tolist() == list(range(97, 104))
    # So a gap of more than six in a mask stays, whatever line was drawn across it.
    mask = band(97, 103)
    mask[:, 80:90] = 0
    found = outlined(mask, [straight(100.0)])
    assert np.flatnonzero(found[100, 78:92] == 0).tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize('walls', [(np.nan, np.nan), (0.0, 0.0), (3.0, -3.0), (-9.0, 2.0),
                                   (-7.5, 7.5), (-0.5, 0.6), (1.2, 4.0),
                                   (-4.0, -1.2)])
def test_walls_that_cannot_be_leave_the_mask(walls):
    mask = band(97, 103)
    assert outlined(mask, [straight(100.0, walls=walls)]) is mask


def test_where_another_instrument_is_near_the_mask_stays():
    mask = band(97, 103)
    band(20, 180, 94, 96, GUIDEWIRE, mask)
    wire = upright(95, (-0.6, 0.6))
    found = outlined(mask, [straight(100.0, walls=(-1.6, 1.6)), wire])
    assert np.array_equal(found[95:106, 92:99], mask[95:106, 92:99])
    assert np.array_equal(np.flatnonzero(found[:, 60]), [99, 100, 101])
    assert np.array_equal(np.flatnonzero(found[40]), [95])
    assert set(np.unique(found)) == {0, CATHETER, GUIDEWIRE}


def test_what_lies_between_the_walls_is_what_the_line_is_there():
    """Also in the middle of what is wide, where no edge is near."""
    mask = band(93, 107)
    band(98, 102, 60, 90, GUIDEWIRE, mask)
    band(95, 99, 120, 130, GUIDEWIRE, mask)
    found = outlined(mask, [straight(100.0, walls=(-6.8, 6.8))])
    assert np.array_equal(found[:, 22:169], band(94, 106)[:, 22:169])
    # Where a wire crosses it, that one's pixels are left alone.
    band(20, 180, 94, 96, GUIDEWIRE, mask)
    wire = upright(95, (-1.4, 1.4))
    found = outlined(mask, [straight(100.0, walls=(-6.8, 6.8)), wire])
    assert np.array_equal(found[93:108, 92:99], mask[93:108, 92:99])
    assert (found[94:107, 60:90] == CATHETER).all()


def test_an_outline_of_two_instruments_has_the_class_of_each():
    x = np.arange(20, 171, 2.0)
    values = np.where(x < 95, CATHETER, GUIDEWIRE).astype(np.uint8)
    one = outline_of(np.stack([x, np.full(len(x), 100.0)], 1), values,
                     np.tile((-1.5, 1.5), (PLACES, 1)))
    assert set(one.values[(one.points[:, 0] > 21) & (one.points[:, 0] < 93)]) == {CATHETER}
    assert set(one.values[(one.points[:, 0] > 97) & (one.points[:, 0] < 169)]) == {GUIDEWIRE}
    assert np.isnan(one.walls[one.values == 0]).all()
    found = outlined(band(100, 100), [one])
    assert found[99, 60] == CATHETER and found[99, 140] == GUIDEWIRE


def test_what_is_no_instrument_is_not_drawn():
    mask = band(97, 103)
    x = np.arange(20, 171, 2.0)
    line = np.stack([x, np.full(len(x), 100.0)], 1)
    walls = np.tile((-1.5, 1.5), (PLACES, 1))
    assert outlined(mask, [outline_of(line, np.zeros(len(x), np.uint8), walls)]) is mask
    assert outlined(mask, []) is mask
    half = np.where(x < 95, 0, CATHETER).astype(np.uint8)
    found = outlined(mask, [outline_of(line, half, walls)])
    assert np.array_equal(found[:, :92], mask[:, :92]) and found[:, 150].sum() == 3


@pytest.mark.parametrize('length', [12, 60, 400])
def test_long_lines_are_as_dense_as_short_ones(length):
    """A strip of 256 columns shows 2 pixels a column of a line of 400."""
    angle = np.linspace(0.0, length / 70.0, max(3, length // 2))
    line = 70.0 * np.stack([np.sin(angle), 1.0 - np.cos(angle)], 1) + (100.0, 90.0)
    one = outline_of(line, np.ones(len(line), np.uint8), np.tile((-3.0, 3.0), (PLACES, 1)))
    steps = np.hypot(*np.diff(one.points, axis=0).T)
    assert 0 < steps.min() and steps.max() < 1.0
    assert np.hypot(*one.normals.T) == pytest.approx(1.0, abs=1e-2)
    middle = np.array([100.0, 160.0])
    there = one.values > 0
    assert np.hypot(*(one.points[there] - middle).T) == pytest.approx(70.0, abs=0.1)
    # It goes on straight beyond the ends, where no walls are.
    first, last = (np.hypot(*(one.points[place] - line[place])) for place in (0, -1))
    assert 8.0 <= first < 11.0 and 8.0 <= last < 11.0 and np.isnan(one.walls[~there]).all()
    assert len(one.walls) == len(one.points) == len(one.values)


def test_lines_out_of_the_image_do_no_harm():
    """Geometry's lines end half a pixel beyond the image at most; others would not matter."""
    mask = band(0, 6, 0, SIZE - 1)
    found = outlined(mask, [straight(3.0, -4, SIZE + 3, walls=(-2.6, 2.6))])
    # The border of the image is no edge of the instrument.
    assert np.flatnonzero(found[:, 90]).tolist() == [0, 1, 2, 3, 4, 5]
    for far in (straight(-40.0), straight(100.0, SIZE + 5, 60_000)):
        assert np.array_equal(outlined(mask, [far]), mask)
    near = straight(3.0, -4, SIZE + 3, walls=(-2.6, 2.6))
    assert np.array_equal(outlined(mask, [near, straight(100.0, SIZE + 5, 60_000)]), found)


@pytest.mark.parametrize('first', [19.6, 19.8, 20.0, 20.4, 20.5])
@pytest.mark.parametrize('turned', [False, True])
def test_beyond_the_ends_of_lines_a_mask_stays(first, turned):
    mask = band(95, 105, 10, 181)
    x = np.arange(first, 170.0, 2.0)
    line = np.stack([x, np.full(len(x), 100.0)], 1)[::-1 if turned else 1]
    found = outlined(mask, [outline_of(line, np.ones(len(x), np.uint8),
                                       np.tile((-3.4, 3.4), (PLACES, 1)))])
    changed = np.flatnonzero((found != mask).any(0))
    assert first - 1 <= changed.min() <= first + 2 and x[-1] - 2 <= changed.max() <= x[-1] + 1
    grown = outlined(band(99, 101, 10, 181), [outline_of(
        line, np.ones(len(x), np.uint8), np.tile((-3.4, 3.4), (PLACES, 1)))])
    assert not grown[98, :int(first) - 1].any() and not grown[98, int(x[-1]) + 2:].any()


@pytest.mark.parametrize('half', range(8, 14))
@pytest.mark.parametrize('another', [False, True])
def test_what_is_wider_than_what_is_looked_at_loses_no_sliver(half, another):
    mask = band(100 - half, 100 + half)
    outlines = [straight(100.0, walls=(-6.4, 6.4))]
    if another:
        band(30, 32, mask=mask)
        outlines.append(straight(31.0, walls=(-1.4, 1.4)))
    found = outlined(mask, outlines)
    column = np.flatnonzero(found[60:140, 90])
    assert np.ptp(column) + 1 == len(column) >= 13
    assert len(column) == (13 if half < 9 else 2 * half + 1)


def test_two_instruments_side_by_side_keep_their_own_pixels():
    """Whatever is nearer to the wire's line than to the catheter's."""
    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(60):
        wide, thin = rng.uniform(2.0, 6.5), rng.uniform(1.0, 1.6)
        apart = rng.uniform(wide + thin + 0.5, 13.0)
        y = 90.0 + rng.random()
        rows = np.arange(SIZE)[:, None]
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[:, 20:171] = np.where(np.abs(rows - y) <= wide, CATHETER, np.where(
            np.abs(rows - y - apart) <= thin, GUIDEWIRE, 0))
        found = outlined(mask, [straight(y, walls=(-wide, wide)), straight(
            y + apart, value=GUIDEWIRE, walls=(-thin, thin))])
        assert np.array_equal(found, mask)
        checked += 1
    assert checked == 60


def test_foreground_without_a_line_stays():
    mask = band(97, 103)
    band(107, 109, 80, 90, mask=mask)
    found = outlined(mask, [straight(100.0, walls=(-2.4, 2.4))])
    assert np.array_equal(found[106:], mask[106:]) and not found[103, 30:160].any()


def test_lines_without_walls_keep_what_is_near():
    mask = band(97, 103)
    x = np.arange(20, 181, 2.0)
    other = np.stack([np.full(len(x), 95.0), x], 1)
    found = outlined(mask, [straight(100.0, walls=(-1.6, 1.6))], [other])
    assert np.array_equal(found[:, 88:103], mask[:, 88:103])
    assert np.flatnonzero(found[:, 60]).tolist() == [99, 100, 101]


@pytest.mark.parametrize('angle', np.linspace(0.1, 1.5, 8))
@pytest.mark.parametrize('width', [1.3, 2.0, 7.0])
def test_what_is_drawn_hangs_together(angle, width):
    across = np.array([np.cos(angle), np.sin(angle)])
    line = 96.0 + np.linspace(-80, 80, 90)[:, None] * across
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.polylines(mask, [np.rint(line).astype(np.int32)], False, CATHETER, 3)
    found = outlined(mask, [outline_of(line, np.ones(len(line), np.uint8),
                                       np.tile((-width / 2, width / 2), (PLACES, 1)))])
    assert cv2.connectedComponents(found, connectivity=8)[0] == 2
    assert (found > 0).sum() == pytest.approx(160 * max(width, 1.5), rel=0.12)


def test_walls_that_mean_nothing_break_no_instrument():
    """Each instrument stays one piece that is as long, whatever the judge says of it."""
    rng = np.random.default_rng(1)
    line = np.stack([np.linspace(20, 170, 76), 100 + 30 * np.sin(np.linspace(0, 4, 76))], 1)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.polylines(mask, [np.rint(line).astype(np.int32)], False, GUIDEWIRE, 3)
    changed = 0
    for scale in (0.5, 2.0, 5.0, 20.0) * 5:
        walls = rng.normal(0, scale, (PLACES, 2))
        found = outlined(mask, [outline_of(line, np.full(76, GUIDEWIRE, np.uint8), walls)])
        count, blobs, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
        whole = stats[1:, cv2.CC_STAT_AREA].argmax() + 1
        # What is said jumps from place to place: a pixel may be left beside it, a speck.
        assert count <= 6 and np.delete(stats, (0, whole), 0)[:, cv2.CC_STAT_AREA].sum() < 8
        columns = np.flatnonzero((blobs == whole).any(0))
        assert columns[0] <= 21 and columns[-1] >= 169
        changed += not np.array_equal(found, mask)
    assert changed > 10


@pytest.mark.parametrize('length', [0.3, 0.7, 1.2, 3.0])
def test_the_shortest_lines_do_no_harm(length):
    line = np.array([[100.0, 100.0], [100.0 + length, 100.0]])
    one = outline_of(line, np.ones(2, np.uint8), np.tile((-3.0, 3.0), (PLACES, 1)))
    outlined(band(97, 103), [one, straight(100.0)])
    assert np.array_equal(outlined(band(97, 103), [one])[:, :95], band(97, 103)[:, :95])


def test_no_edge_moves_further_whatever_the_class():
    mask = band(93, 107, value=GUIDEWIRE)
    found = outlined(mask, [straight(100.0, walls=(-1.4, 1.4))])
    column = found[:, 90]
    assert np.flatnonzero(column == CATHETER).tolist() == [99, 100, 101]
    assert np.flatnonzero(column == GUIDEWIRE).tolist() == [96, 97, 98, 102, 103, 104]
    # A patch in what is wide.
    mask = band(88, 112)
    band(105, 106, 60, 90, GUIDEWIRE, mask)
    found = outlined(mask, [straight(100.0, walls=(-3.4, 3.4))])
    assert np.array_equal(found[:, 26:165], mask[:, 26:165])


@pytest.mark.parametrize('half', [11, 13, 16])
def test_a_wire_takes_nothing_from_a_wide_instrument_of_which_no_walls_are_known(half):
    mask = band(80 - half, 80 + half)
    y = 80 + half + 2
    band(y - 1, y + 1, value=GUIDEWIRE, mask=mask)
    wide = straight(80.0, walls=(np.nan, np.nan))
    found = outlined(mask, [wide, straight(y, value=GUIDEWIRE, walls=(-1.4, 1.4))])
    assert np.array_equal(found == CATHETER, mask == CATHETER)


@pytest.mark.parametrize('apart', [7, 8, 10])
def test_a_line_of_two_instruments_that_turns_back_takes_nothing_from_itself(apart):
    """A wire that comes out of a catheter and lies along it."""
    mask = band(95, 105)
    band(105 + apart - 1, 105 + apart + 1, value=GUIDEWIRE, mask=mask)
    there, bend = np.arange(20, 165, 2.0), np.linspace(-np.pi / 2, np.pi / 2, 12)[1:-1]
    middle, radius = 100 + (5 + apart) / 2, (5 + apart) / 2
    line = np.concatenate([
        np.stack([there, np.full(len(there), 100.0)], 1),
        np.stack([164 + radius * np.cos(bend), middle + radius * np.sin(bend)], 1),
        np.stack([there[::-1], np.full(len(there), 105.0 + apart)], 1)])
    values = np.where(np.arange(len(line)) < len(there), CATHETER, GUIDEWIRE).astype(np.uint8)
    walls = np.tile((-1.4, 1.4), (PLACES, 1))
    walls[:30] = -5.2, 5.2
    two = in_two(outline_of(line, values, walls))
    assert len(two) == 2 and [set(one.values[one.values > 0]) for one in two] == [
        {CATHETER}, {GUIDEWIRE}]
    found = outlined(mask, two)
    assert np.array_equal(found[:, 30:140] == CATHETER, mask[:, 30:140] == CATHETER)
    assert len(in_two(two[0])) == 1 and in_two(two[1])[0] is two[1]


@pytest.mark.parametrize('wrong', [(-12.0, 12.0), (3.0, -3.0), (-20.0, -14.0)])
def test_beside_a_place_that_cannot_be_no_walls_are_known(wrong):
    walls = np.tile((-3.5, 3.5), (PLACES, 1))
    walls[30] = wrong
    x = np.arange(20, 171, 2.0)
    one = outline_of(np.stack([x, np.full(len(x), 100.0)], 1), np.ones(len(x), np.uint8), walls)
    known = np.isfinite(one.walls).all(1)
    assert one.walls[known] == pytest.approx(np.tile((-3.5, 3.5), (known.sum(), 1)))
    assert 4 <= (~known & (one.values > 0)).sum() <= 24
