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

"""What lies along a line, as another X-ray machine might show it."""

from fedefm_ros.learning.appearance import by_another_machine, by_another_network, magnified

import numpy as np

import pytest

ROWS, COLUMNS = 33, 200


def line(width):
    """Return the view of a dark line, so many rows wide, with sharp edges."""
    view = np.full((ROWS, COLUMNS), 140, np.float32)
    half = width // 2
    view[ROWS // 2 - half:ROWS // 2 + half + 1] = 60
    return view


def test_the_line_stays_where_it_is_and_dark_at_each_scale():
    views = [line(9), line(5), line(1)]
    before = [view.copy() for view in views]
    shown = [by_another_machine(np.random.default_rng(seed), views, (0.5, 1.0, 3.0))
             for seed in range(30)]
    for found in shown:
        for view in found:
            assert view.shape == (ROWS, COLUMNS) and view.dtype == np.float32
            assert view.mean() == pytest.approx(128, abs=3)
            assert view.mean(1).argmin() == pytest.approx(ROWS // 2, abs=5)
            assert view[ROWS // 2].mean() < view[[0, -1]].mean() - 20
    for view, same in zip(views, before):
        assert np.array_equal(view, same)
    # Some are soft and some are sharp: how much the grey level changes at the edge.
    steps = [np.diff(found[1].mean(1)).min() / (found[1].mean(1).min() - found[1].mean(1).max())
             for found in shown]
    assert min(steps) < 0.6 and max(steps) > 0.95


def test_a_surer_network_is_as_sure_of_what_is_certain():
    probability = np.array([0, 64, 128, 192, 255], np.uint8)
    found = np.array([by_another_network(np.random.default_rng(seed), probability)
                      for seed in range(30)])
    assert found.dtype == np.uint8 and (np.diff(found.astype(int), axis=1) > 0).all()
    assert (found[:, 0] == 0).all() and (found[:, -1] == 255).all()
    assert found[:, 2].min() < 90 and found[:, 2].max() > 160


def test_a_magnified_line_is_thicker_by_what_is_told():
    layers = np.stack([line(9), line(5), np.zeros((ROWS, COLUMNS))]).astype(np.uint8)
    layers[:, :, 150:] = 0
    for seed in range(10):
        found, times = magnified(np.random.default_rng(seed), layers)
        assert found.shape == layers.shape and found.dtype == np.uint8 and 1 <= times <= 1.5
        assert not found[2].any() and not found[:, :, 150:].any()
        for view, width in zip(found, (9, 5)):
            dark = (140.0 - view[:, :150]).sum(0) / 80.0
            assert dark == pytest.approx(width * times, abs=0.3)
            assert np.array_equal(view, view[::-1])
