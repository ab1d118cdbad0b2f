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

import math

from fedefm_ros.imaging.windowing import apply_lut, apply_window, to_8_bit

import numpy as np

import pytest


@pytest.mark.parametrize('function, expected', [
    # The example of DICOM PS3.3 C.11.2.1.2: centre 2048, width 4096.
    ('LINEAR', [0.0, 2047.5 / 4095, 1.0]), ('LINEAR_EXACT', [0.0, 2047.5 / 4096, 4095 / 4096]),
    ('SIGMOID', [1 / (1 + math.e**2), 0.4999, 1 / (1 + math.e**-2)])])
def test_windows_follow_the_standard(function, expected):
    values = np.array([0, 2047.5, 4095])
    assert apply_window(values, 2048, 4096, function) == pytest.approx(expected, abs=5e-4)


def test_a_window_of_width_one_is_a_step():
    assert apply_window(np.array([9, 10, 11]), 10, 1).tolist() == [0, 1, 1]


def test_a_lut_holds_its_ends():
    entries = np.array([5, 6, 9])
    assert apply_lut(np.array([-100, 7, 8, 9, 10, 999]), 7, entries).tolist() == [
        5, 5, 6, 9, 9, 9]


def test_eight_bits_are_given_back_and_sixteen_are_stretched():
    image = np.tile(np.linspace(1000, 5000, 400).astype(np.uint16), (40, 1))
    assert to_8_bit(image.astype(np.uint8)).dtype == np.uint8
    found = to_8_bit(image)
    assert found.dtype == np.uint8 and found.min() == 0 and found.max() == 255
    assert to_8_bit(image, 0, 65535).max() == round(5000 / 257)
    assert not to_8_bit(np.zeros((8, 8), np.uint16)).any()
