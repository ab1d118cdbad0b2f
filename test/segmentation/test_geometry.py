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

"""Centrelines, tips and lengths of known curves."""

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.centerline import resample
from fedefm_ros.segmentation.geometry import analyse
from fedefm_ros.segmentation.geometry import extract_instruments
from fedefm_ros.segmentation.instrument import Instrument

from known_curves import arc
from known_curves import distances
from known_curves import draw
from known_curves import Known
from known_curves import line
from known_curves import ragged
from known_curves import wander

import numpy as np
import pytest

SIZE = 512


def mask_of(*known, size=SIZE):
    mask = np.zeros((size, size), np.uint8)
    for one in known:
        draw(mask, one)
    return mask


def random_known(seed, length=(80, 500), width=(2, 12), kind=labels.CATHETER, size=SIZE):
    """Return an instrument that enters at a random place of the image's edge."""
    rng = np.random.default_rng(seed)
    thickness = rng.uniform(*width)
    across = rng.uniform(60, size - 60)
    side = rng.integers(4)
    start = [(across, -0.5), (across, size - 0.5), (-0.5, across), (size - 0.5, across)][side]
    heading = [np.pi / 2, -np.pi / 2, 0.0, np.pi][side] + rng.normal(0, 0.4)
    curve = wander(rng, start, heading, rng.uniform(*length), radius=max(35, 4 * thickness),
                   size=size)
    return Known(curve, thickness, kind)


def assert_follows(instrument, known, *, mean=0.7, tip=2.0, length=0.03):
    assert instrument.kind == known.kind
    assert distances(instrument.centerline, known.curve).mean() <= mean
    assert distances(known.curve[::4], instrument.centerline).max() <= 3.0 + known.width / 2
    assert np.linalg.norm(instrument.tip - known.curve[-1]) <= tip
    assert instrument.length_px == pytest.approx(known.length, rel=length, abs=2.0)


def one(*arguments, **options):
    found = extract_instruments(*arguments, **options)
    assert len(found) == 1, [(item.kind, item.length_px) for item in found]
    return found[0]


@pytest.mark.parametrize('seed', range(30))
def test_centreline_follows_a_known_curve_from_entry_to_tip(seed):
    known = random_known(seed, kind=1 + seed % 2)
    found = one(mask_of(known))
    assert_follows(found, known)
    assert np.linalg.norm(found.centerline[0] - known.curve[0]) <= 3.0
    assert found.tip_visible
    steps = np.linalg.norm(np.diff(found.centerline, axis=0), axis=1)
    assert steps.min() > 1.5 and steps.max() < 2.5


@pytest.mark.parametrize('seed', range(12))
def test_a_quick_look_finds_the_same_lines(seed):
    mask = ragged(np.random.default_rng(seed), mask_of(
        random_known(seed), random_known(seed + 500, kind=labels.GUIDEWIRE, width=(2, 4))), 0.3)
    thorough, quick = (analyse(mask, quick=quick).instruments for quick in (False, True))
    assert len(thorough) == len(quick)
    for found, expected in zip(quick, thorough):
        assert found.kind == expected.kind
        away = distances(found.centerline, resample(expected.centerline, 0.25))
        assert np.percentile(away, 95) <= 1.0 and away.max() <= 3.0
        assert np.linalg.norm(found.tip - expected.tip) <= 3.0


@pytest.mark.parametrize('seed', range(100, 115))
def test_ragged_edges_move_the_centreline_by_less_than_a_pixel(seed):
    known = random_known(seed, width=(3, 12))
    mask = ragged(np.random.default_rng(seed), mask_of(known), 0.5)
    assert_follows(one(mask), known, tip=3.5)


@pytest.mark.parametrize('seed', range(200, 212))
def test_a_line_that_crosses_itself_goes_straight_on_and_its_loop_counts(seed):
    known = random_known(seed, length=(700, 1000), width=(2, 7))
    assert_follows(one(mask_of(known)), known)


@pytest.mark.parametrize('width', (2.5, 5.0, 8.0))
@pytest.mark.parametrize('radius', (16.0, 25.0))
def test_a_pigtail_that_crosses_its_shaft_is_measured_along_the_loop(width, radius):
    shaft = line((256.0, 511.5), (256.0, 200.0))
    curl = arc((256.0 - radius, 200.0), radius, 0.0, -1.6 * np.pi)
    tail_heading = -1.6 * np.pi - np.pi / 2
    tail = line(curl[-1], curl[-1] + 45.0 * np.array([np.cos(tail_heading),
                                                      np.sin(tail_heading)]))
    known = Known(np.concatenate([shaft, curl[1:], tail[1:]]), width)
    assert_follows(one(mask_of(known)), known)


@pytest.mark.parametrize('angle', (25, 40, 60, 90))
@pytest.mark.parametrize('widths', ((3.0, 3.0), (8.0, 2.5), (10.0, 8.0)))
def test_two_that_cross_keep_their_own_ways(angle, widths):
    lean = np.deg2rad(angle)
    along = np.array([np.cos(lean), np.sin(lean)])
    first = Known(line((-0.5, 256.0), (400.0, 256.0)), widths[0])
    second = Known(line(np.array([230.0, 256.3]) - 150 * along,
                        np.array([230.0, 256.3]) + 160 * along), widths[1], labels.GUIDEWIRE)
    found = {item.kind: item for item in extract_instruments(mask_of(second, first))}
    assert_follows(found[labels.CATHETER], first)
    wire = found[labels.GUIDEWIRE]
    assert distances(wire.centerline, second.curve).mean() < 0.7
    assert wire.length_px == pytest.approx(second.length, rel=0.03)


def test_a_crossing_of_the_same_kind_goes_straight_on():
    first = Known(line((-0.5, 100.0), (400.0, 300.0)), 5.0)
    second = Known(line((-0.5, 300.0), (400.0, 100.0)), 5.0)
    found = sorted(extract_instruments(mask_of(first, second)), key=lambda item: item.tip[1])
    assert len(found) == 2
    assert_follows(found[0], second)
    assert_follows(found[1], first)


@pytest.mark.parametrize('gap', (3, 6, 9, 12))
@pytest.mark.parametrize('width', (2.5, 7.0))
def test_short_gaps_are_bridged(gap, width):
    known = Known(arc((100.0, 480.0), 250.0, -1.4, -0.2)[::-1], width)
    mask = mask_of(known)
    for middle in (0.3, 0.6):
        where = int(middle * len(known.curve))
        gone = known.curve[where:where + 2 * gap]
        rows, columns = np.nonzero(mask)
        near = distances(np.stack([columns, rows], axis=1).astype(float), known.curve) <= width
        pixels = np.stack([columns, rows], axis=1).astype(float)
        nearest = np.argmin(((pixels[:, None] - known.curve[None, ::4]) ** 2).sum(-1), axis=1) * 4
        cut = near & (nearest >= where) & (nearest < where + len(gone))
        mask[rows[cut], columns[cut]] = 0
    found = one(mask)
    assert distances(found.centerline, known.curve).mean() < 0.7
    assert found.length_px == pytest.approx(known.length, rel=0.03)


def test_a_wide_gap_is_not_bridged():
    mask = mask_of(Known(line((50, 256), (200, 256)), 4), Known(line((240, 256), (400, 256)), 4))
    assert len(extract_instruments(mask)) == 2


def test_parallel_neighbours_are_not_joined():
    mask = mask_of(*(Known(line((-0.5, y), (300, y)), 4) for y in (250, 262)))
    found = extract_instruments(mask)
    assert len(found) == 2
    assert all(item.length_px == pytest.approx(300, abs=3) for item in found)


@pytest.mark.parametrize('seed', range(300, 312))
def test_a_guidewire_begins_where_it_leaves_the_catheter(seed):
    whole = random_known(seed, length=(300, 500), width=(5, 12))
    cut = int(0.65 * len(whole.curve))
    catheter = Known(whole.curve[:cut], whole.width)
    wire = Known(whole.curve[cut:], 2.5, labels.GUIDEWIRE)
    found = extract_instruments(mask_of(wire, catheter))
    assert [item.kind for item in found] == [labels.GUIDEWIRE, labels.CATHETER]
    assert_follows(found[0], wire, length=0.05)
    assert_follows(found[1], catheter)
    assert np.linalg.norm(found[0].centerline[0] - catheter.curve[-1]) <= 3.0


@pytest.mark.parametrize('seed', range(400, 410))
def test_a_wire_that_shows_inside_the_lumen_is_an_instrument_of_its_own(seed):
    whole = random_known(seed, length=(300, 450), width=(7, 12))
    catheter = Known(whole.curve[:int(0.7 * len(whole.curve))], whole.width)
    wire = Known(whole.curve, 2.5, labels.GUIDEWIRE)
    found = extract_instruments(mask_of(catheter, wire))
    assert [item.kind for item in found] == [labels.GUIDEWIRE, labels.CATHETER]
    assert_follows(found[0], wire, length=0.05)
    assert_follows(found[1], catheter)


def test_a_hollow_catheter_is_one_line():
    known = random_known(3, length=(300, 301), width=(11, 11.1))
    mask = mask_of(known)
    draw(mask, Known(known.curve[30:-30], 4.0, labels.BACKGROUND))
    assert_follows(one(mask), known)


@pytest.mark.parametrize('seed', range(500, 510))
def test_flipped_labels_do_not_break_an_instrument(seed):
    kind = 1 + seed % 2
    known = random_known(seed, length=(200, 400), kind=kind)
    mask = mask_of(known)
    rng = np.random.default_rng(seed)
    for where in rng.choice(np.arange(60, len(known.curve) - 60), 5):
        x, y = np.rint(known.curve[where]).astype(int)
        patch = mask[max(0, y - 4):y + 4, max(0, x - 4):x + 4]
        patch[patch > 0] = 3 - kind
    assert_follows(one(mask), known)


def test_several_instruments_are_told_apart():
    many = [Known(line((60.0 + 90 * k, -0.5), (80.0 + 90 * k, 150.0 + 40 * k)), 3.0 + k,
                  1 + k % 2) for k in range(5)]
    found = extract_instruments(mask_of(*many))
    assert len(found) == 5
    for known in many:
        nearest = min(found, key=lambda item: np.linalg.norm(item.tip - known.curve[-1]))
        assert_follows(nearest, known)


def test_the_visible_guidewire_leads_then_the_more_certain():
    wire = Known(line((-0.5, 100), (200, 120)), 3, labels.GUIDEWIRE)
    passing = Known(line((-0.5, 180), (511.5, 220)), 3, labels.GUIDEWIRE)
    catheter = Known(line((-0.5, 300), (300, 320)), 6)
    sure = Known(line((-0.5, 400), (300, 420)), 6)
    mask = mask_of(wire, passing, catheter, sure)
    probability = np.full(mask.shape, 150, np.uint8)
    probability[380:] = 250
    found = extract_instruments(mask, probability)
    assert [item.kind for item in found] == [2, 1, 1, 2]
    assert found[1].tip[1] > 400
    assert [item.tip_visible for item in found] == [True, True, True, False]


@pytest.mark.parametrize('operation', ('flip x', 'flip y', 'turn', 'move'))
@pytest.mark.parametrize('seed', (600, 601, 602))
def test_the_result_turns_with_the_image(operation, seed):
    known = random_known(seed, length=(200, 500))
    mask = mask_of(known)
    last = SIZE - 1.0
    change = {
        'flip x': (mask[:, ::-1], lambda p: p * (-1, 1) + (last, 0)),
        'flip y': (mask[::-1], lambda p: p * (1, -1) + (0, last)),
        'turn': (np.rot90(mask), lambda p: np.stack([p[:, 1], last - p[:, 0]], axis=1)),
        'move': (np.pad(mask, ((7, 0), (0, 13))), lambda p: p + (0, 7)),
    }[operation]
    straight = one(mask)
    changed = one(np.ascontiguousarray(change[0]))
    expected = change[1](straight.centerline)
    if operation == 'move':
        # What was the edge is none any more, so entry and tip may change places.
        ends = np.linalg.norm(changed.centerline[[0, -1]] - expected[0], axis=1)
        assert ends.min() < 3.0
    else:
        assert np.linalg.norm(changed.tip - expected[-1]) < 1.0
    assert distances(changed.centerline, expected).max() < 1.5
    assert changed.length_px == pytest.approx(straight.length_px, abs=3.0)


@pytest.mark.parametrize('seed', (700, 701, 702))
def test_a_mask_twice_as_large_gives_a_centreline_twice_as_large(seed):
    known = random_known(seed, width=(2, 6))
    small = one(mask_of(known))
    large_known = Known(2.0 * known.curve + 0.5, 2.0 * known.width)
    large = one(mask_of(large_known, size=2 * SIZE))
    assert_follows(large, large_known, tip=4.0, mean=1.0)
    assert large.length_px == pytest.approx(2 * small.length_px, rel=0.02)


def test_an_end_at_the_edge_is_the_entry_wherever_it_is():
    for start, stop in (((-0.5, 200), (200, 210)), ((511.5, 200), (300, 210)),
                        ((200, -0.5), (210, 200)), ((200, 511.5), (210, 300))):
        known = Known(line(start, stop), 5)
        found = one(mask_of(known))
        assert found.tip_visible
        assert_follows(found, known)


def test_one_that_leaves_the_image_shows_no_tip_and_enters_at_the_bottom():
    found = one(mask_of(Known(line((100, -0.5), (300, 511.5)), 5)))
    assert not found.tip_visible
    assert found.centerline[0, 1] > 500


def test_the_last_frame_decides_which_end_of_a_passing_instrument_is_the_entry():
    curve = line((100, 2), (300, 509))
    found = one(mask_of(Known(line((100, -0.5), (300, 511.5)), 5)),
                previous=(Instrument(labels.CATHETER, curve),))
    assert found.centerline[0, 1] < 10


def test_the_last_frame_decides_for_a_line_that_touches_nothing():
    known = Known(line((200, 200), (300, 260)), 4)
    for curve in (known.curve, known.curve[::-1]):
        found = one(mask_of(known), previous=(Instrument(labels.CATHETER, curve[::4] + 2.0),))
        assert np.linalg.norm(found.tip - curve[-1]) < 2.0


def test_a_loose_line_enters_at_the_end_nearer_to_the_edge():
    found = one(mask_of(Known(line((60, 256), (256, 240)), 4)))
    assert found.tip[0] > 250


def test_a_loose_guidewire_points_away_from_the_catheter_it_came_out_of():
    catheter = Known(line((110, -0.5), (130, 150)), 9)
    wire = Known(line((390, 336), (262, 162))[::-1], 2.5, labels.GUIDEWIRE)
    found = extract_instruments(mask_of(catheter, wire))
    assert found[0].kind == labels.GUIDEWIRE
    assert_follows(found[0], wire)


def test_a_piece_goes_on_from_the_tip_it_lies_ahead_of():
    near = Known(line((-0.5, 100), (150, 160)), 4)
    far = Known(line((180, 172), (300, 220)), 4)
    found = sorted(extract_instruments(mask_of(near, far)), key=lambda item: item.tip[0])
    assert_follows(found[0], near)
    assert_follows(found[1], far)


def test_the_edge_of_the_collimated_field_is_an_entry():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    field = np.hypot(columns - 256, rows - 256) < 200
    passing = mask_of(Known(line((256, 40), (256, 470)), 5)) * field
    assert one(passing).tip_visible
    assert not one(passing, field_of_view=field).tip_visible
    # Nearer to the image's edge than the entry, but inside the field.
    inside = mask_of(Known(line((256, 470), (100, 256)), 5)) * field
    found = one(inside, field_of_view=field)
    assert found.tip_visible
    assert np.linalg.norm(found.tip - (100, 256)) < 2.0


def test_a_ring_has_no_tip():
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(mask, (250, 250), 60, 1, 5)
    found = one(mask)
    assert not found.tip_visible
    assert found.length_px == pytest.approx(2 * np.pi * 60, rel=0.05)


def test_length_in_millimetres_takes_rows_and_columns_apart():
    mask = mask_of(Known(line((-0.5, 100), (300, 100)), 4))
    found = one(mask, spacing_mm=(0.5, 0.2))
    assert found.length_mm == pytest.approx(found.length_px * 0.2, rel=1e-3)
    found = one(np.ascontiguousarray(mask.T), spacing_mm=(0.5, 0.2))
    assert found.length_mm == pytest.approx(found.length_px * 0.5, rel=1e-3)
    assert np.isnan(one(mask).length_mm)


@pytest.mark.parametrize('factor', (1, 2, 4))
def test_confidence_is_the_mean_probability_along_the_line(factor):
    mask = mask_of(Known(line((-0.5, 101), (300, 101)), 6))
    probability = np.full((SIZE // factor, SIZE // factor), 204, np.uint8)
    assert one(mask, probability).confidence == pytest.approx(0.8, abs=0.01)
    assert one(mask).confidence == 1.0


@pytest.mark.parametrize('factor', [1, 2])
def test_a_networks_mask_goes_on_a_little_beyond_a_tip(factor):
    mask = np.zeros((SIZE * factor, SIZE * factor), np.uint8)
    mask[100 * factor:104 * factor, :300 * factor] = labels.CATHETER
    mask[300 * factor:304 * factor] = labels.GUIDEWIRE  # leaves the image: shows no tip
    by_kind = {found.kind: found for found in analyse(mask).instruments}
    for found in analyse(mask, overshoot=0.5).instruments:
        expected = by_kind[found.kind]
        back = 0.5 * factor * found.tip_visible
        assert found.tip[0] == pytest.approx(expected.tip[0] - back, abs=0.05)
        assert found.centerline[0] == pytest.approx(expected.centerline[0], abs=0.05)
        assert found.tip_visible == (found.kind == labels.CATHETER)


def test_probability_refines_the_middle():
    known = Known(line((-0.5, 200.0), (300, 230.0)), 6)
    mask = mask_of(known)
    mask[1:] |= mask[:-1]
    soft = cv2.GaussianBlur(mask_of(known) * np.uint8(255), (0, 0), 1.5)
    plain = distances(one(mask).centerline, known.curve).mean()
    refined = distances(one(mask, soft).centerline, known.curve).mean()
    assert refined < plain


def test_nothing_in_an_empty_mask():
    assert analyse(np.zeros((SIZE, SIZE), np.uint8)) == analyse(np.zeros((7, 900), np.uint8))
    assert extract_instruments(np.zeros((SIZE, SIZE), np.uint8)) == ()
    assert analyse(np.zeros((SIZE, SIZE), np.uint8)).refused == ''


def garbage():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32), (0, 0), 3)
    yield 'full', np.ones((SIZE, SIZE), np.uint8)
    yield 'half', (columns < 256).astype(np.uint8)
    yield 'block', (columns < 120).astype(np.uint8)
    yield 'disc', (np.hypot(columns - 256, rows - 256) < 100).astype(np.uint8)
    yield 'checkerboard', ((rows + columns) % 2).astype(np.uint8)
    yield 'grid', ((columns % 16 < 2) | (rows % 16 < 2)).astype(np.uint8)
    yield 'stripes', (columns % 8 < 2).astype(np.uint8)
    yield 'blobs', (smooth > 0.1).astype(np.uint8)
    for share in (0.001, 0.01, 0.1, 0.5):
        yield f'noise {share}', ((rng.random((SIZE, SIZE)) < share)
                                 * rng.integers(1, 3, (SIZE, SIZE))).astype(np.uint8)
    for size in ((1, 1), (1, 40), (40, 1), (2, 2), (3, 5)):
        yield f'tiny {size}', np.ones(size, np.uint8)
    pixel = np.zeros((SIZE, SIZE), np.uint8)
    pixel[0, 0] = pixel[511, 511] = pixel[200, 300] = 2
    yield 'single pixels', pixel
    frame = np.zeros((SIZE, SIZE), np.uint8)
    frame[[0, -1]] = frame[:, [0, -1]] = 1
    yield 'frame', frame


@pytest.mark.parametrize('mask', [pytest.param(mask, id=name) for name, mask in garbage()])
def test_garbage_gives_finite_answers_or_a_reason(mask):
    result = analyse(mask, np.full(mask.shape, 128, np.uint8), spacing_mm=(0.3, 0.3))
    for item in result.instruments:
        assert item.centerline.shape[0] >= 2 and np.isfinite(item.centerline).all()
        assert np.isfinite([item.confidence, item.length_px, item.length_mm, item.heading]).all()
        assert (item.centerline > -1.0).all()
        assert (item.centerline < np.array(mask.shape[::-1])).all()
    assert len(result.instruments) < 10


@pytest.mark.parametrize('name', ('full', 'half', 'checkerboard', 'grid', 'noise 0.1',
                                  'noise 0.5'))
def test_a_failed_segmentation_is_refused_with_a_reason(name):
    result = analyse(dict(garbage())[name])
    assert result.instruments == ()
    assert 'instruments' in result.refused or 'noise' in result.refused


def test_a_blob_does_not_hide_the_instrument_beside_it():
    known = Known(line((-0.5, 100), (300, 130)), 5)
    mask = mask_of(known)
    cv2.circle(mask, (400, 400), 50, 1, cv2.FILLED)
    assert_follows(one(mask), known)
