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

"""Masks in folders and the frames that they belong to."""

import json

import cv2

from fedefm_ros.commands.segment_results import Results
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.cases import open_cases
from fedefm_ros.evaluation.contestants import FolderContestant
from fedefm_ros.imaging.source import open_source
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np
import pytest

FRAMES = 12


def place(number):
    """Return mask and instrument that tell the number of their frame."""
    mask = np.zeros((64, 64), np.uint8)
    mask[4 * number + 2:4 * number + 5] = 1
    return mask, Instrument(1, np.array([[0.0, 4 * number + 3], [60.0, 4 * number + 3]]))


@pytest.fixture
def images(tmp_path):
    """Return a folder whose images are numbered from 1, as FFmpeg does; pixels tell the place."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(folder / f'{number + 1}.png'), np.full((64, 64), number, np.uint8))
    return folder


@pytest.fixture
def segmented(images, tmp_path):
    """Return what segment would have left of the images; frame 4 was refused."""
    with Results(tmp_path / 'segmented', 15.0) as results:
        for frame in open_source(str(images)):
            mask, instrument = place(frame.index)
            if frame.index == 4:
                results.add(frame, None, (), {'refused': 'as a test'})
            else:
                results.add(frame, mask, (instrument,), {})
    return tmp_path / 'segmented'


def without_names(folder):
    """Leave the names out, as earlier versions did."""
    path = folder / 'instruments.jsonl'
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line['name']
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return folder


def check(cases, contestant):
    """Check that masks and instruments are those of their frames; return the frames' numbers."""
    numbers = []
    for case in cases:
        number = int(case.image[0, 0])
        numbers.append(number)
        answer = contestant.answer(case)
        if number == 4:
            assert answer is None
            continue
        mask, instrument = place(number)
        np.testing.assert_array_equal(answer.mask, mask)
        (found,) = answer.instruments
        np.testing.assert_array_equal(found.centerline, instrument.centerline)
    return numbers


@pytest.mark.parametrize('named', (True, False))
def test_masks_of_segment_are_those_of_its_frames_whatever_these_are_called(
        images, segmented, named):
    folder = segmented if named else without_names(segmented)
    for given in (folder, folder / 'masks'):
        assert check(open_cases(str(images)).frames, FolderContestant(given)) \
            == list(range(FRAMES))
    for case in open_cases(str(images), folder).frames:
        assert case.mask is None if case.image[0, 0] == 4 else \
            np.array_equal(case.mask, place(case.image[0, 0])[0])


@pytest.mark.parametrize('named', (True, False))
def test_of_a_partly_labelled_folder_frames_keep_their_place(images, segmented, tmp_path, named):
    labels = tmp_path / 'labels.json'
    labels.write_text(json.dumps({'frames': {
        f'{name}.png': {'catheter': [[5, 5], [50, 50]]} for name in (4, 5, 7, 11)}}))
    folder = segmented if named else without_names(segmented)
    cases = list(open_cases(str(images), labels).frames)
    assert check(cases, FolderContestant(folder)) == [3, 4, 6, 10]
    assert [case.index for case in cases] == [3, 4, 6, 10]


def test_images_that_segment_has_not_seen_have_no_mask(images, segmented):
    (images / '0.png').write_bytes((images / '1.png').read_bytes())
    first, *others = open_cases(str(images)).frames
    assert FolderContestant(segmented).answer(first) is None
    assert check(others, FolderContestant(segmented)) == list(range(FRAMES))


def test_other_masks_belong_to_the_image_of_their_name(images, tmp_path):
    masks = tmp_path / 'drawn'
    masks.mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(masks / f'{number + 1}.png'), place(number)[0])
    for case in open_cases(str(images), masks).frames:
        np.testing.assert_array_equal(case.mask, place(case.image[0, 0])[0])


def test_a_line_that_segment_did_not_write_is_named(segmented):
    with (segmented / 'instruments.jsonl').open('a') as file:
        file.write('{"frame": "last"}\n')
    with pytest.raises(FedefmError, match=f'line {FRAMES + 1} is no line of `segment`'):
        FolderContestant(segmented)
