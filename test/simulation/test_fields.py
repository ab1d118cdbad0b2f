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

"""Lines that bones follow, and the parts of a picture in which they are drawn."""

from fedefm_ros.simulation import anatomy
from fedefm_ros.simulation.anatomy_settings import Human
from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.fields import WavyLine

import numpy as np

import pytest

SHAPE = (200, 312)
Y, X = (np.arange(size, dtype=np.float32) for size in SHAPE)


def test_the_distance_to_a_straight_line_is_that_of_geometry():
    line = WavyLine(np.random.default_rng(0), np.pi / 6, (50.0, 20.0), 0.0, 0.0)
    expected = (Y[:, None] - 20) * np.cos(np.pi / 6) - (X - 50) * np.sin(np.pi / 6)
    np.testing.assert_allclose(line.distance(X, Y), expected, atol=1e-4)
    assert line.along(X, Y)[20, 60] == pytest.approx(10 * np.cos(np.pi / 6))


@pytest.mark.parametrize('angle', np.linspace(0, np.pi, 7))
@pytest.mark.parametrize('bow, wobble', [(0.0, 0.0), (0.004, 4.0), (-0.008, 8.0)])
def test_parts_hold_all_that_is_near_once(angle, bow, wobble):
    rng = np.random.default_rng(3)
    line = WavyLine(rng, angle, tuple(rng.uniform(0, SHAPE[::-1])), bow, wobble)
    parts = np.zeros(SHAPE, int)
    for part in line.parts_near(SHAPE, 17.0):
        parts[part] += 1
    assert parts.max() == 1
    assert parts[np.abs(line.distance(X, Y)) <= 17.0].all()
    assert parts.mean() < 0.9, 'all of the picture is no part'


def test_a_line_far_away_has_no_parts():
    line = WavyLine(np.random.default_rng(0), 0.0, (0.0, -500.0), 0.0, 0.0)
    assert not list(line.parts_near(SHAPE, 17.0))


@pytest.mark.parametrize('draw, bones', [(anatomy._ribs, 'ribs'), (anatomy._spine, 'spine')])
def test_bones_drawn_in_parts_are_those_drawn_in_the_whole_picture(monkeypatch, draw, bones):
    ranges = find('human').anatomy
    assert isinstance(ranges, Human)

    def drawn(seed):
        return draw(getattr(ranges, bones), np.random.default_rng(seed), SHAPE, 0.6)
    parts = [drawn(seed) for seed in range(6)]
    monkeypatch.setattr(WavyLine, 'parts_near',
                        lambda self, shape, reach: [tuple(slice(0, size) for size in shape)])
    for seed, part in enumerate(parts):
        assert part.max() > 0.01
        np.testing.assert_allclose(part, drawn(seed), atol=1e-9)
