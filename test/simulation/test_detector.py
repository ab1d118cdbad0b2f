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

"""The X-ray chain."""

from dataclasses import replace

from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.detector import Detector
from fedefm_ros.simulation.detector import random_chain
from fedefm_ros.simulation.detector import random_field
from fedefm_ros.simulation.ranges import Range

import numpy as np
import pytest

SHAPE = (128, 128)


def chain(**changes):
    made = random_chain(np.random.default_rng(0), 'simulation', SHAPE)
    plain = {'scatter': 0.0, 'blur_px': 0.3, 'photons': 1e7, 'grain_px': 0.0, 'lag': 0.0,
             'gamma': 1.0, 'black': 0.0, 'white': 1.0, 'sharpen': 0.0, 'border': 0.0}
    return replace(made, **{**plain, **changes})


def ramp():
    return np.tile(np.linspace(0, 2, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))


def test_more_attenuation_is_darker():
    image = Detector(chain(), np.random.default_rng(0)).expose(ramp())
    row = image[64].astype(int)
    assert row[0] > 240 and row[-1] < 15
    assert (np.diff(row[::8]) < 0).all()


def test_noise_falls_with_the_root_of_the_dose():
    flat = np.zeros(SHAPE, np.float32)
    flat[:, 64:] = 1.0  # two levels fix the display's range

    def noise(photons):
        image = Detector(chain(photons=photons), np.random.default_rng(1)).expose(flat)
        return image[:, 8:56].astype(float).std()
    assert noise(400) / noise(6400) == pytest.approx(4.0, rel=0.35)


def signal_of(attenuation, seed=0, **changes):
    """Return what the detector reads before it is displayed, relative to its mean."""
    detector = Detector(chain(**changes), np.random.default_rng(seed))
    detector.expose(attenuation)
    return detector._previous


@pytest.mark.parametrize('ratio', [0.5, 1.5])
def test_scatter_adds_a_share_of_the_light_around_and_so_lowers_contrast(ratio):
    spot = np.full(SHAPE, 0.1, np.float32)
    spot[62:66, 62:66] = 1.0  # hardly changes the light around
    signal = signal_of(spot, scatter=ratio)
    around, within = np.exp(-0.1), np.exp(-1.0)
    assert signal[63:65, 63:65].mean() / signal[64, 20] == pytest.approx(
        (within + ratio * around) / (around + ratio * around), rel=0.03)


def test_glare_reaches_into_the_dark_beside_bright_light():
    half = np.zeros((512, 512), np.float32)
    half[:, 256:] = 8.0
    field = np.ones((512, 512), np.float32)
    near, far = (signal_of(half, scatter=1.0, field=field)[256, at] for at in (272, 352))
    assert near > 2 * far > 0.05
    assert signal_of(half, field=field)[256, 272] < 0.01


def test_electronic_noise_is_there_without_photons_noise_and_does_not_grow_with_light():
    half = np.zeros(SHAPE, np.float32)
    half[:, 64:] = 8.0
    signal = signal_of(half, photons=1e12)
    bright, dark = signal[:, 4:56].std(), signal[:, 72:].std()
    assert bright == pytest.approx(dark, rel=0.1) and 0.002 < dark < 0.01


@pytest.mark.parametrize('grain', [0.5, 1.1])
def test_grain_joins_neighbours_and_leaves_the_noise_as_strong(grain):
    flat = np.ones(SHAPE, np.float32)

    def neighbours(noise):
        noise = noise - noise.mean()
        return (noise[:, 1:] * noise[:, :-1]).mean() / noise.var()
    fine, coarse = (signal_of(flat, photons=400, blur_px=0.2, grain_px=one) for one in (0, grain))
    assert coarse.std() == pytest.approx(fine.std(), rel=0.1)
    # White noise blurred by a Gaussian, on a grid of pixels.
    assert abs(neighbours(fine)) < 0.05
    assert neighbours(coarse) == pytest.approx(np.exp(-0.25 / grain**2), abs=0.15)


def test_the_unsharp_mask_overshoots_at_an_edge_as_strongly_as_it_is_set():
    step = np.zeros(SHAPE, np.float32)
    step[:, :32], step[:, 96:] = 0.5, 1.0  # the ends of the display
    step[:, 32:96] = np.where(np.arange(64) < 32, 0.7, 0.8)

    def overshoot(strength):
        row = exposed(step, sharpen=strength).mean(axis=0)
        return row[61:64].max() - row[50]
    assert overshoot(0.0) < 2
    assert overshoot(1.5) > 2 * overshoot(0.5) > 6


def test_a_larger_picture_has_larger_details_and_a_smaller_one_the_same():
    def drawn(size):
        return random_chain(np.random.default_rng(3), 'human', (size, size))
    usual, twice, small = drawn(512), drawn(1024), drawn(128)
    assert twice.blur_px == 2 * usual.blur_px and small.blur_px == usual.blur_px
    assert twice.grain_px == 2 * usual.grain_px and small.grain_px == usual.grain_px
    assert usual.field.min() < 1  # it has an edge
    assert np.abs(twice.field[1::2, 1::2] - usual.field).max() < 0.1

    def spot(size):
        scale = size / 512
        made = np.zeros((size, size), np.float32)
        made[:, :round(256 * scale)] = 3.0
        return signal_of(made, scatter=1.0, sharpen=0.0, blur_px=0.3 * scale,
                         field=np.ones((size, size), np.float32))
    away = np.abs(np.arange(512) - 255.5) > 3  # from the edge itself
    assert spot(1024)[1::2, 1::2][:, away] == pytest.approx(spot(512)[:, away], abs=0.03)


def test_lag_carries_the_previous_frame_over():
    def after(lag, previous):
        detector = Detector(chain(lag=lag), np.random.default_rng(0))
        detector.expose(previous)
        return detector.expose(ramp())
    darker = ramp()
    darker[40:60] = np.minimum(darker[40:60] + 0.5, 2.0)
    band = np.s_[45:55, 16:80]
    assert after(0.5, darker)[band].mean() < after(0.5, ramp())[band].mean() - 5
    assert after(0.0, darker)[band].mean() > after(0.5, darker)[band].mean()


def exposed(attenuation, seed=0, **changes):
    return Detector(chain(**changes), np.random.default_rng(seed)).expose(attenuation)


@pytest.mark.parametrize('thicker', [0.5, 3.0])
def test_automatic_exposure_keeps_level_and_noise_whatever_the_thickness(thicker):
    # In the same sequence: the display's levels are those of the first frame.
    detector = Detector(chain(photons=500), np.random.default_rng(0))
    thin, thick = detector.expose(ramp()), detector.expose(ramp() + np.float32(thicker))
    assert thick.mean() == pytest.approx(thin.mean(), abs=1.0)
    middle = np.s_[:, 60:68]
    assert np.median(thick[middle]) == pytest.approx(np.median(thin[middle]), abs=4)
    assert thick[middle].std() == pytest.approx(thin[middle].std(), rel=0.1)


def test_blur_widens_an_edge():
    def width(blur):
        step = np.zeros(SHAPE, np.float32)
        step[:, 64:] = 0.5
        row = exposed(step, blur_px=blur)[40:90].mean(axis=0)
        high, low = row[:20].mean(), row[-20:].mean()
        share = (row - low) / (high - low)
        return np.interp(-0.1, -share, np.arange(128)) - np.interp(-0.9, -share, np.arange(128))
    # From 10 to 90 % a blurred edge is 2.56 standard deviations wide.
    assert width(5.0) - width(2.0) == pytest.approx(2.56 * 3.0, rel=0.2)
    assert width(0.3) < 2.0


def test_outside_the_collimator_there_is_the_border_and_no_noise():
    field = np.zeros(SHAPE, np.float32)
    field[20:100, 30:110] = 1.0
    image = exposed(ramp(), field=field, photons=50, border=0.1)
    assert set(np.unique(image[field == 0])) == {round(0.1 * 255)}
    inside = image[30:90, 40:100]
    assert inside.mean() > 60 and inside.std() > 10


def collimator(**changes):
    return replace(find('human').xray.collimator, **changes)


def test_blades_reach_in_from_the_sides_and_a_round_field_leaves_the_corners_dark():
    depth = 0.1
    bladed = random_field(np.random.default_rng(0), collimator(
        whole=0.0, blades=1.0, blade=1.0, blade_depth=Range(depth, depth),
        blade_edge_px=Range(1, 1)), SHAPE)
    assert bladed[64, 64] == 1.0
    assert not any(side.any() for side in (bladed[:6], bladed[-6:], bladed[:, :6], bladed[:, -6:]))
    assert np.sqrt(bladed.mean()) == pytest.approx(1 - 2 * depth, abs=0.04)
    disc = random_field(np.random.default_rng(0), collimator(
        whole=0.0, blades=0.0, radius=Range(0.5, 0.5)), SHAPE)
    assert disc[64, 64] == 1.0 and not disc[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert disc.mean() == pytest.approx(np.pi / 4, abs=0.06)
    assert random_field(np.random.default_rng(0), collimator(whole=1.0), SHAPE).min() == 1.0


@pytest.mark.parametrize('dose', [4.0, 25.0])
def test_quantum_noise_in_the_signal_is_the_root_of_the_dose(dose):
    def noise(photons):
        detector = Detector(chain(photons=photons), np.random.default_rng(1))
        detector.expose(np.ones(SHAPE, np.float32))
        return float(detector._previous.std())
    assert noise(100) / noise(100 * dose) == pytest.approx(np.sqrt(dose), rel=0.05)
    assert noise(100) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize('gamma', [0.5, 1.0, 2.2])
@pytest.mark.parametrize('black, white', [(0.0, 1.0), (0.3, 0.6)])
def test_the_display_curve_is_monotone_from_white_to_black(gamma, black, white):
    def shown(exponent):
        return exposed(ramp(), gamma=exponent, black=black, white=white).mean(axis=0)
    row = shown(gamma)
    assert (np.diff(row[::2]) < 0.1).all()
    assert row[0] == pytest.approx(255 * white, abs=3)
    assert row[-1] == pytest.approx(255 * black, abs=3)
    # A greater exponent is darker in between.
    assert row[64] < shown(gamma - 0.4)[64] - 5
