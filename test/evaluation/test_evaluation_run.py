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

"""Frames are streamed: memory does not grow with their number."""

import tracemalloc

from fedefm_ros.evaluation.cases import Case
from fedefm_ros.evaluation.contestants import Answer
from fedefm_ros.evaluation.contestants import derived
from fedefm_ros.evaluation.run import run
from fedefm_ros.evaluation.summary import summary_of
from fedefm_ros.segmentation.geometry import extract_instruments
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np
import pytest

SIDE = 128


class Knowing:
    """Gives the truth as its answer, but for every tenth frame, where it has none."""

    name, facts, is_model = 'knowing', {}, False

    def answer(self, case):
        return Answer(case.mask, case.instruments) if case.index % 10 else None

    def close(self):
        """Do nothing."""


def cases(count):
    for index in range(count):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[60:63, :40 + index % 60] = 1
        line = Instrument(1, np.array([(0.0, 61.0), (39.0 + index % 60, 61.0)]))
        yield Case(f'#{index}', mask, (line,), mask, (0.5, 0.5), 'video', index, index / 15.0,
                   alone=False)


def peak(count):
    tracemalloc.start()
    run(cases(count), [Knowing()])
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return top


def test_memory_is_that_of_the_figures_alone():
    run(cases(5), [Knowing()])  # what is imported or made once
    # A frame is 16 KiB, its mask as much; its figures are well below a kilobyte.
    assert peak(140) - peak(20) < 120 * 2048


def test_figures_of_a_perfect_answer():
    outcome = run(cases(60), [Knowing()])
    summary = summary_of(outcome, resamples=20)
    (figures,) = summary.contestants
    assert figures['frames_missing'] == 6 and figures['frames_answered'] == 54
    assert figures['classes']['catheter'] == {
        'dice': 1.0, 'iou': 1.0, 'dice_frame_mean': 1.0, 'iou_frame_mean': 1.0, 'cldice': 1.0,
        'hd95_px': {'median': 0.0}}
    assert np.isnan(figures['classes']['guidewire']['dice'])
    assert figures['tip_error_px']['median'] == figures['tip_error_mm']['median'] == 0.0
    assert figures['ci95']['classes.catheter.dice'] == [1.0, 1.0]
    # The tip moves by a pixel a frame: no jitter, and the truth itself flickers not at all.
    assert figures['temporal']['tip_jitter_px']['catheter'] == pytest.approx(0.0)
    assert summary.truth_temporal['temporal.flicker'] == 0.0
    assert 'too narrow' in summary.units.what  # four seconds


def test_tips_of_true_masks_lie_where_the_masks_end():
    """Not half a pixel before, as the engine has it of its own masks."""
    case = next(cases(1))
    found, expected = derived(case.mask, case), extract_instruments(case.mask)
    assert len(found) == len(expected) == 1 and found[0].tip_visible
    assert found[0].tip == pytest.approx(expected[0].tip) and found[0].tip[0] > 39.0
