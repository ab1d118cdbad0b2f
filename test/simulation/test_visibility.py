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

"""A device is made as plain as the settings say, and no plainer."""

from dataclasses import replace

from fedefm_ros import labels
from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.detector import Detector
from fedefm_ros.simulation.detector import random_chain
from fedefm_ros.simulation.devices import Device
from fedefm_ros.simulation.devices import draw_attenuation
from fedefm_ros.simulation.visibility import Background
from fedefm_ros.simulation.visibility import bright_enough
from fedefm_ros.simulation.visibility import seen_parts

import numpy as np

import pytest

SIZE = 192
VISIBLE = replace(find('human').devices.visible, deviations=2.2, catheter=0.0, guidewire=0.0,
                  denser=1000.0)
FLAT = Background(np.ones((SIZE, SIZE), np.float32))


def chain(photons=400.0, scatter=0.0, blur=0.3):
    made = random_chain(np.random.default_rng(0), 'simulation', (SIZE, SIZE))
    return replace(made, photons=photons, scatter=scatter, blur_px=blur, grain_px=0.0, lag=0.0,
                   gamma=1.0, black=0.0, white=1.0, sharpen=0.0)


def device(attenuation, kind=labels.GUIDEWIRE, radius=2.0, **changes):
    """Return a straight solid device along row 96."""
    points = np.stack([np.arange(SIZE, dtype=float), np.full(SIZE, 96.0)], axis=1)
    return Device(kind, points, radius, 1.0, attenuation, 0.0, 1.0, **changes)


def plainness(made, acquisition):
    """Return the picture's contrast along the device's axis over its noise beside it."""
    beam = np.ones((SIZE, SIZE), np.float32)
    beam[:32] = np.linspace(0.0, 2.0, SIZE)  # fixes the display's range
    draw_attenuation(made, beam)
    image = Detector(acquisition, np.random.default_rng(3)).expose(beam).astype(float)
    beside = np.r_[image[60:88, 8:-8], image[105:180, 8:-8]]
    return (beside.mean() - image[96, 8:-8].mean()) / beside.std()


@pytest.mark.parametrize('photons', [300.0, 1500.0])
def test_a_faint_device_is_made_as_plain_as_is_said(photons):
    acquisition = chain(photons)
    faint = device(0.003, radius=4.0)
    made = bright_enough(faint, VISIBLE, acquisition, FLAT, 0)
    assert plainness(faint, acquisition) < 0.5
    assert plainness(made, acquisition) == pytest.approx(2.2, rel=0.12)
    plainer = bright_enough(faint, replace(VISIBLE, deviations=4.4), acquisition, FLAT, 0)
    assert plainer.attenuation == pytest.approx(2 * made.attenuation)


def test_a_plain_device_stays_as_it_is():
    plain = device(0.9)
    assert bright_enough(plain, VISIBLE, chain(), FLAT, 0) is plain


def test_a_device_is_made_denser_only_so_many_times():
    made = bright_enough(device(0.001), replace(VISIBLE, denser=20.0), chain(), FLAT, 0)
    assert made.attenuation == pytest.approx(0.02)


def test_a_share_of_the_limit_may_be_enough():
    whole, part = (bright_enough(device(0.001), VISIBLE, chain(), FLAT, 0, share).attenuation
                   for share in (1.0, 0.4))
    assert part == pytest.approx(0.4 * whole)


@pytest.mark.parametrize('kind, least', [(labels.CATHETER, 0.1), (labels.GUIDEWIRE, 0.05)])
def test_without_noise_there_is_a_least_contrast_for_each_class(kind, least):
    visible = replace(VISIBLE, catheter=0.1, guidewire=0.05)
    made = bright_enough(device(0.001, kind), visible, chain(1e9), FLAT, 0)
    assert made.attenuation * 4 / (4 + 2 * 0.3) == pytest.approx(least)


def test_less_dose_more_scatter_more_blur_and_uneven_anatomy_ask_for_more():
    ripple = np.ones((SIZE, SIZE), np.float32)
    ripple += 0.2 * np.sin(np.arange(SIZE, dtype=np.float32))  # along the device
    at = bright_enough(device(0.001), VISIBLE, chain(), FLAT, 0).attenuation
    for acquisition, background in ((chain(100.0), FLAT), (chain(scatter=1.0), FLAT),
                                    (chain(blur=2.0), FLAT), (chain(), Background(ripple))):
        assert bright_enough(device(0.001), VISIBLE, acquisition, background,
                             0).attenuation > 1.2 * at


def test_the_faintest_part_counts_and_contrast_agent_helps():
    shaft = device(0.001)
    soft = replace(shaft, tip_factor=0.5, tip_length_px=10.0)
    assert bright_enough(soft, VISIBLE, chain(), FLAT, 0).attenuation \
        == pytest.approx(2 * bright_enough(shaft, VISIBLE, chain(), FLAT, 0).attenuation)
    full = replace(shaft, filling=0.9)
    assert bright_enough(full, VISIBLE, chain(), FLAT, 0) is full


def test_what_lies_behind_the_blades_is_left_alone():
    closed = replace(chain(), field=np.zeros((SIZE, SIZE), np.float32))
    faint = device(0.001)
    assert bright_enough(faint, VISIBLE, closed, FLAT, 0) is faint


def test_a_device_that_comes_back_is_seen_in_parts_of_which_the_last_has_the_tip():
    field = np.ones((SIZE, SIZE), np.float32)
    field[:, 80:100] = 0.0
    first, last = seen_parts(labels.GUIDEWIRE, device(0.1).points, field, 0.5)
    assert (first.tip_visible, last.tip_visible) == (False, True)
    assert first.length_mm == pytest.approx(79 * 0.5) and last.length_mm == pytest.approx(91 * 0.5)
    assert seen_parts(labels.GUIDEWIRE, device(0.1).points[:3], field, 0.5) == []
