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

from fedefm_ros.simulation.detector import Detector
from fedefm_ros.simulation.detector import random_chain

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


def test_scatter_lowers_contrast_before_the_display_stretches_it():
    spot = np.full(SHAPE, 0.1, np.float32)
    spot[60:68, 60:68] = 1.0
    spot[:, :4] = 3.0

    def depth(scatter):
        image = Detector(chain(scatter=scatter), np.random.default_rng(0)).expose(spot)
        return int(image[64, 100]) - int(image[64, 64])
    assert depth(1.0) != depth(0.0)


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
