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

"""Catheters and guidewires: shapes, sizes, build, and what of them is drawn."""

from dataclasses import replace

from fedefm_ros import labels
from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.config import read
from fedefm_ros.simulation.curves import crossings
from fedefm_ros.simulation.curves import integrate
from fedefm_ros.simulation.devices import Band
from fedefm_ros.simulation.devices import CATHETER_SHAPES
from fedefm_ros.simulation.devices import Device
from fedefm_ros.simulation.devices import draw_attenuation
from fedefm_ros.simulation.devices import draw_label
from fedefm_ros.simulation.devices import GUIDEWIRE_SHAPES
from fedefm_ros.simulation.devices import random_catheter
from fedefm_ros.simulation.devices import random_guidewire
from fedefm_ros.simulation.devices import random_shape
from fedefm_ros.simulation.ranges import Mixture
from fedefm_ros.simulation.ranges import Range
from fedefm_ros.simulation.ranges import Weights
from fedefm_ros.simulation.scene import Scene

import numpy as np

import pytest

#: By how much a shape turns: where it is turned most, and at its tip; degrees, of the product.
CATHETERS = {'straight': (0, 0), 'vertebral': (40, 40), 'judkins_right': (80, 80),
             'judkins_left': (215, 215), 'amplatz': (140, 90), 'multipurpose': (65, 65),
             'simmons': (155, 115), 'cobra': (80, 80), 'pigtail': (420, 420)}
GUIDEWIRES = {'straight': 0, 'angled': 45, 'shaped': 60, 'j': 185, 'wide_j': 190}
#: Mean of the share of its turn with which a shape is drawn.
DRAWN = 0.875
LENGTH = 120


def turns(shape, seed):
    """Return the heading along a shape, from its shaft, in degrees; the shaft is straight."""
    curvature, shaped = random_shape(np.random.default_rng(seed), shape, 0.25, 8, 0.0)
    return np.rad2deg(np.cumsum(curvature[-shaped:]))


def constant(value):
    return Mixture([(1.0, Range(value, value))])


def role(**changes):
    return replace(find('human').devices.catheter.roles['guide'], **changes)


def settings(catheter=None, guidewire=None, **changes):
    devices = find('human').devices
    return replace(devices, catheter=replace(devices.catheter, **catheter or {}),
                   guidewire=replace(devices.guidewire, **guidewire or {}), **changes)


def straight(kind=labels.CATHETER, radius=4.0, **changes):
    """Return a device along row 20 that ends in column ``LENGTH``, its wall half its radius."""
    points = np.stack([np.arange(LENGTH + 1.0), np.full(LENGTH + 1, 20.0)], axis=1)
    plain = {'wall': 0.5, 'attenuation': 0.4, 'tip_length_px': 0.0, 'tip_factor': 1.0}
    return Device(kind, points, radius, **{**plain, **changes})


def along(device, row=20):
    """Return a device's attenuation in a row of pixels."""
    beam = np.zeros((40, LENGTH + 20), np.float32)
    draw_attenuation(device, beam)
    return beam[row]


@pytest.mark.parametrize('name', CATHETER_SHAPES)
def test_a_catheter_shape_turns_as_its_name_says(name):
    most, tip = CATHETERS[name]
    drawn = [turns(CATHETER_SHAPES[name], seed) for seed in range(40)]
    assert np.mean([abs(one[-1]) for one in drawn]) == pytest.approx(DRAWN * tip, rel=0.22)
    assert np.mean([np.abs(one).max() for one in drawn]) == pytest.approx(DRAWN * most, rel=0.22)
    sides = {np.sign(one[-1]) for one in drawn}
    assert sides == ({0.0} if name == 'straight' else {-1.0, 1.0})  # mirrored at random


@pytest.mark.parametrize('name', GUIDEWIRE_SHAPES)
def test_a_wire_tip_turns_as_its_name_says(name):
    drawn = [abs(turns(GUIDEWIRE_SHAPES[name], seed)[-1]) for seed in range(40)]
    assert np.mean(drawn) == pytest.approx(DRAWN * GUIDEWIRES[name], rel=0.2)


def test_a_pigtail_curls_back_on_itself_and_other_shapes_do_not():
    def curls(name):
        made = []
        for seed in range(20):
            curvature, _ = random_shape(np.random.default_rng(seed), CATHETER_SHAPES[name], 0.25,
                                        80, 0.0)
            made.append(bool(crossings(integrate(np.zeros(2), 0.0, curvature))))
        return np.mean(made)
    assert curls('pigtail') > 0.5
    assert not any(curls(name) for name in ('straight', 'vertebral', 'multipurpose', 'cobra'))


def test_a_straight_catheter_with_a_stiff_shaft_is_a_line():
    catheter = random_catheter(np.random.default_rng(3), 256, 0.5, settings(
        {'roles': {'stiff': role(bend=0.0, shapes=Weights({'straight': 1}))}}))
    way = catheter.points - catheter.points[0]
    assert np.hypot(*way[-1]) == pytest.approx(len(way) - 1)


def test_in_a_picture_of_twice_the_pixels_a_device_is_the_same_twice_as_large():
    one, twice = (random_catheter(np.random.default_rng(5), size, spacing, settings(), scale)
                  for size, spacing, scale in ((512, 0.25, 1.0), (1024, 0.125, 2.0)))
    assert twice.radius_px == pytest.approx(2 * one.radius_px)
    assert twice.texture_period_px == pytest.approx(2 * one.texture_period_px)
    ends = [np.hypot(*(made.points[-1] - made.points[0])) for made in (one, twice)]
    assert ends[1] == pytest.approx(2 * ends[0], rel=0.05)
    wires = [random_guidewire(np.random.default_rng(5), size, spacing, settings(), scale=scale)
             for size, spacing, scale in ((512, 0.25, 1.0), (1024, 0.125, 2.0))]
    ends = [np.hypot(*(made.points[-1] - made.points[0])) for made in wires]
    assert ends[1] == pytest.approx(2 * ends[0], rel=0.05)


@pytest.mark.parametrize('french, spacing, diameter', [(6, 0.25, 8.0), (6, 0.5, 4.0),
                                                       (3, 0.2, 5.0)])
def test_a_french_is_a_third_of_a_millimetre_at_the_patient(french, spacing, diameter):
    catheter = random_catheter(np.random.default_rng(0), 128, spacing, settings(
        {'roles': {'one': role(french=Range(french, french))}}))
    assert 2 * catheter.radius_px == pytest.approx(diameter)


@pytest.mark.parametrize('inch, spacing, diameter', [(0.035, 0.25, 3.556), (0.035, 0.127, 7.0)])
def test_a_wire_is_as_many_inches_thick(inch, spacing, diameter):
    wire = random_guidewire(np.random.default_rng(0), 128, spacing, settings(
        guidewire={'thin': 0.0, 'thick_inch': (inch,)}))
    assert 2 * wire.radius_px == pytest.approx(diameter)


def test_a_catheter_of_two_walls_is_palest_in_its_middle_and_dark_when_filled():
    hollow, filled = straight(wall=0.3), straight(wall=0.3, filling=0.6)
    assert along(hollow)[60] < 0.7 * along(hollow, 23)[60]
    assert along(filled)[60] == pytest.approx(along(hollow)[60] + 0.6, rel=0.01)
    assert along(hollow, 26)[60] == 0.0


def test_a_braid_repeats_along_the_shaft():
    row = along(straight(texture=0.4, texture_period_px=16.0))[10:100]
    # Two helices of 16 px meet every 8 px.
    assert row[8:] == pytest.approx(row[:-8], abs=1e-4)
    assert np.abs(row[4:] - row[:-4]).max() > 0.3 * row.mean()
    assert np.ptp(along(straight())[10:100]) < 1e-6


def test_marker_bands_are_denser_where_they_lie():
    bands = Band(20.0, 6.0, 3.0), Band(50.0, 6.0, 2.0)
    ratio = along(straight(bands=bands))[:LENGTH] / along(straight())[:LENGTH]
    assert ratio[LENGTH - 22:LENGTH - 17] == pytest.approx(3.0, rel=1e-3)
    assert ratio[LENGTH - 52:LENGTH - 47] == pytest.approx(2.0, rel=1e-3)
    plain = np.r_[0:LENGTH - 56, LENGTH - 44:LENGTH - 26, LENGTH - 14:LENGTH]
    assert ratio[plain] == pytest.approx(1.0)


def test_a_soft_tip_is_fainter_and_a_dense_one_darker():
    shaft = along(straight())[LENGTH - 4]
    assert along(straight(tip_length_px=12.0, tip_factor=0.5))[LENGTH - 4] == pytest.approx(
        0.5 * shaft)
    assert along(straight(tip_length_px=12.0, tip_factor=2.0))[LENGTH - 40] == pytest.approx(shaft)


def test_a_role_says_how_many_bands_there_are(tmp_path):
    path = tmp_path / 'own.yaml'
    path.write_text("""kind: human
devices:
  catheter:
    roles:
      diagnostic: {bands: {chance: 1.0, count: [5, 5], from_tip_mm: [2, 2], gap_mm: [10, 10],
                           length_mm: [1, 1], factor: [3, 3]}}
""")
    catheter = random_catheter(np.random.default_rng(1), 256, 0.5, read(path).devices)
    assert catheter.bands == tuple(Band(4.0 + 20 * index, 2.0, 3.0) for index in range(5))
    assert not catheter.over_wire


def test_a_guidewire_is_a_dark_coil_at_the_end_of_a_fainter_shaft():
    ranges = settings(guidewire={'shaft': constant(0.25), 'coil': constant(0.0), 'thin': 0.0,
                                 'tip_mm': Range(15, 15), 'attenuation': Range(0.8, 0.8),
                                 'thick_factor': 1.0, 'thick_inch': (0.035,)}, contrast=1.0)
    wire = random_guidewire(np.random.default_rng(0), 256, 0.25, ranges)
    row = along(wire.moved(straight().points))
    tip = LENGTH - 60  # 15 mm
    assert row[tip + 5:LENGTH] == pytest.approx(0.8, rel=0.01)
    assert row[2:tip - 2] == pytest.approx(0.2, rel=0.01)
    coiled = replace(wire.moved(straight().points), texture=0.4, texture_period_px=16.0)
    assert along(coiled)[tip + 5:LENGTH].std() > 3 * along(coiled)[2:tip - 2].std()


@pytest.mark.parametrize('seen', [0.0, 1.0])
def test_a_wire_is_seen_in_a_lumen_or_not_and_is_labelled_beyond_it_only(seen):
    ranges = settings(guidewire={'seen_in_lumen': seen})
    catheter = straight()
    wire = random_guidewire(np.random.default_rng(2), 128, 0.25, ranges, catheter)
    beam, mask = np.zeros((40, 400), np.float32), np.zeros((40, 400), np.uint8)
    draw_attenuation(wire, beam)
    draw_label(wire, mask)
    assert bool(beam[20, :LENGTH - 4].any()) == bool(seen)
    assert not mask[:, :LENGTH - 1].any()
    assert mask[20, LENGTH + 3] == labels.GUIDEWIRE and beam[20, LENGTH + 3] > 0
    assert wire.points[wire.hidden_until] == pytest.approx(catheter.points[-1])


def test_a_label_is_as_wide_as_the_device_and_no_less_than_three_pixels():
    for radius, rows in ((4.0, range(16, 25)), (0.6, range(19, 22))):
        mask = np.zeros((40, LENGTH + 20), np.uint8)
        draw_label(straight(radius=radius), mask)
        assert list(np.nonzero(mask[:, 60])[0]) == list(rows)
        assert set(np.unique(mask)) == {0, labels.CATHETER}


@pytest.fixture
def imaging(tmp_path):
    path = tmp_path / 'own.yaml'
    path.write_text('kind: human\ndevices: {count: {1: 1}, lone_wire: 0, wire_in_catheter: 0,\n'
                    '          catheter: {roles: {imaging: {weight: 1}}}}\n')
    return read(path)


def test_an_imaging_catheter_is_thin_faint_straight_and_densest_at_its_transducer(imaging):
    made = [random_catheter(np.random.default_rng(seed), 256, 0.25, imaging.devices)
            for seed in range(20)]
    others = [random_catheter(np.random.default_rng(seed), 256, 0.25, find('human').devices)
              for seed in range(20)]
    assert np.mean([one.attenuation for one in made]) \
        < 0.8 * np.mean([one.attenuation for one in others])
    for one in made:
        assert one.kind == labels.CATHETER and not one.filling
        assert 2.6 <= one.radius_px * 2 * 0.25 * 3 <= 3.6
        markers, transducer = one.bands[:-1], one.bands[-1]
        assert 1 <= len(markers) <= 2
        row = along(replace(one, points=straight().points, texture=0.0, shaped=0))
        dense = row[LENGTH - round(transducer.from_tip_px)] / row[5]
        assert dense == pytest.approx(transducer.factor, rel=0.05)


def test_an_imaging_catheter_runs_over_a_thin_wire_that_shows_in_it(imaging):
    for seed in range(10):
        catheter, wire = Scene(imaging, np.random.default_rng(seed), 128, 0.5).devices
        assert catheter.over_wire and wire.kind == labels.GUIDEWIRE
        assert wire.start == 0 and wire.hidden_until == len(catheter.points) - 1
        assert wire.radius_px < catheter.radius_px


@pytest.mark.parametrize('kind', ['human', 'animal', 'phantom', 'simulation'])
def test_default_files_have_no_imaging_catheters_and_no_rows_of_bands(kind):
    roles = find(kind).devices.catheter.roles
    assert roles['imaging'].weight == 0
    assert all(one.bands is None for one in roles.values() if one.weight)
