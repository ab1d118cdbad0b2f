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

"""Which frames the gallery keeps, and what stands below them."""

import re

import cv2

from fedefm_ros.evaluation.cases import Case
from fedefm_ros.evaluation.contestants import Answer
from fedefm_ros.evaluation.pictures import Gallery

import numpy as np

IMAGE = np.full((64, 64), 120, np.uint8)
MASK = np.zeros((64, 64), np.uint8)


def shown(qualities, rate=10.0, alone=False):
    """Return the captions that a gallery of three has after frames of these Dice."""
    gallery = Gallery(0, count=3)
    for index, dice in enumerate(qualities):
        case = Case(f'#{index}', IMAGE, (), MASK, None, 'video', index, index / rate, alone=alone)
        gallery(case, [(Answer(MASK, ()), {'instrument_dice': dice, 'tip_error_px': 290.4})])
    for _, data in gallery.worst:
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (512, 512, 3)
    return [caption for caption, _ in gallery.worst]


def numbers(captions):
    return [int(re.match(r'#(\d+)', caption)[1]) for caption in captions]


def test_the_worst_frames_are_kept_and_of_one_second_only_the_worst():
    qualities = [0.2, 0.1, 0.3] + [0.9] * 7 + [0.5] * 10 + [0.8] * 10 + [0.6] * 10
    assert numbers(shown(qualities)) == [1, 10, 30]


def test_stills_are_no_neighbours():
    assert numbers(shown([0.2, 0.1, 0.3, 0.9], alone=True)) == [1, 0, 2]


def test_a_better_frame_of_a_second_does_not_push_out_another_second():
    assert numbers(shown([0.1, 0.9, 0.15, 0.5, 0.4, 0.6], rate=2.0)) == [0, 2, 4]


def test_captions_are_numbers_as_people_write_them():
    caption, = shown([0.5])
    assert caption == '#0, tip error px 290.4'
