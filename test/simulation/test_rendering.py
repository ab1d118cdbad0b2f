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

"""Tubes drawn into attenuation maps."""

from fedefm_ros.simulation.curves import integrate
from fedefm_ros.simulation.rendering import cylinder
from fedefm_ros.simulation.rendering import hollow_cylinder
from fedefm_ros.simulation.rendering import near_curve

import numpy as np
import pytest


def draw(points, shape, radius):
    image = np.zeros(shape)
    for tube in near_curve(points, shape, radius + 1):
        np.add.at(image, (tube.rows, tube.cols), cylinder(tube.distance, radius))
    return image


def test_distance_is_exact_for_a_straight_line_at_a_subpixel_position():
    points = np.stack([np.full(80, 30.3), np.arange(80) - 5.0], axis=1)
    tube, = near_curve(points, (64, 64), 5.0)
    assert np.abs(tube.distance) == pytest.approx(np.abs(tube.cols - 30.3), abs=1e-4)
    assert tube.arc == pytest.approx(tube.rows + 5.0, abs=1e-4)
    assert set(tube.rows) == set(range(64))


def test_absorbed_mass_is_that_of_the_cylinder():
    radius = 4.0
    points = np.stack([np.arange(200) - 20.0, np.full(200, 50.4)], axis=1)
    image = draw(points, (100, 160), radius)
    # Chord through a unit-density cylinder, divided by its diameter: pi r / 2 a column.
    assert image.sum() / 160 == pytest.approx(np.pi * radius / 2, rel=0.03)


def test_a_crossing_absorbs_twice():
    loop = integrate(np.array([20.0, 60.0]), 0.0, np.concatenate(
        [np.zeros(60), np.full(150, -2 * np.pi / 120), np.zeros(60)]))
    image = draw(loop, (128, 160), 3.0)
    assert image.max() > 1.7
    assert np.median(image[image > 0.5]) < 1.1


def test_nothing_is_drawn_for_a_curve_outside():
    assert near_curve(np.array([[-50.0, -50.0], [-40.0, -45.0]]), (64, 64), 3.0) == []


def test_a_hollow_tube_is_darkest_at_its_inner_edge():
    d = np.linspace(-6, 6, 121)
    wall = hollow_cylinder(d, 6.0, 4.0)
    assert abs(abs(d[wall.argmax()]) - 4.0) < 0.2
    assert wall[60] < 0.6 and wall[0] == pytest.approx(0, abs=1e-6)
