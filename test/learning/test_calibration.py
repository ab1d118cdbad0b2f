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

"""The confidence that a model asks for."""

from fedefm_ros.learning.calibration import choose_min_confidence

import numpy as np


def frame(confidence_of_truth, confidence_of_false):
    """Return a frame with one catheter that was found, and one that is none."""
    truth = np.zeros((64, 64), np.uint8)
    truth[10:20, 5:60] = 1
    found = truth.copy()
    found[40:50, 5:60] = 1
    probability = np.zeros((64, 64), np.uint8)
    probability[10:20] = round(255 * confidence_of_truth)
    probability[40:50] = round(255 * confidence_of_false)
    return found, probability, truth


def test_it_lies_between_what_is_true_and_what_is_not():
    best, reached = choose_min_confidence([frame(0.97, 0.72), frame(0.88, 0.78)])
    assert best == 0.85
    assert reached[0.85] == 0.5 and reached[0.0] < 0.4  # no guidewire anywhere: its Dice is 0


def test_where_nothing_is_gained_nothing_that_is_true_is_taken_away():
    best, reached = choose_min_confidence([frame(0.71, 0.99)])
    assert best == 0.7 and reached[0.7] == reached[0.0] > reached[0.75]


def test_what_costs_hardly_any_dice_goes():
    found, probability, truth = frame(0.97, 0.97)
    probability[40:50] = 0
    found[40:50] = 0
    truth[60:62, :] = found[60:62, :] = 1
    truth[60, :4] = 0  # hardly more right than wrong
    probability[60:62] = round(255 * 0.82)
    big = [frame(0.97, 0.97)[2] for _ in range(200)]
    best, reached = choose_min_confidence([
        (found, probability, truth),
        *((truth, np.full_like(truth, 247), truth) for truth in big)])
    assert reached[0.8] > reached[0.85] > reached[0.8] - 0.001
    assert best == 0.95
