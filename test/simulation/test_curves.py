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

"""Curves from curvature."""

from fedefm_ros.simulation.curves import crossings
from fedefm_ros.simulation.curves import integrate
from fedefm_ros.simulation.curves import resample
from fedefm_ros.simulation.curves import smooth_noise

import numpy as np
import pytest


def test_constant_curvature_gives_a_circle():
    radius = 50.0
    points = integrate(np.array([0.0, -radius]), 0.0, np.full(200, 1 / radius))
    assert np.hypot(*points.T) == pytest.approx(radius, rel=1e-3)


def test_resampling_keeps_ends_and_spaces_evenly():
    points = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 31.0]])
    even = resample(points, 2.0)
    steps = np.linalg.norm(np.diff(even, axis=0), axis=1)
    assert even[0] == pytest.approx(points[0]) and even[-1] == pytest.approx(points[-1])
    assert steps == pytest.approx(2.0, abs=0.6)


def test_a_loop_crosses_itself_once_and_an_arc_never():
    loop = integrate(np.array([0.0, 0.0]), 0.0, np.concatenate(
        [np.zeros(60), np.full(150, 2 * np.pi / 120), np.zeros(60)]))
    found = crossings(loop)
    (i, j), = found
    assert 60 < i < 120 and 180 < j < 240
    assert crossings(integrate(np.zeros(2), 0.0, np.full(200, 0.01))) == []


def test_smooth_noise_is_smooth_and_seeded():
    values = smooth_noise(np.random.default_rng(3), 500, 100.0)
    assert len(values) == 500
    assert np.abs(np.diff(values)).max() < 0.1
    assert np.array_equal(values, smooth_noise(np.random.default_rng(3), 500, 100.0))
