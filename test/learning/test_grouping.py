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

"""Which images are of one patient or sequence by their names, and sets that are divided by it."""

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.datasets import open_dataset
from fedefm_ros.learning.datasets.grouping import groups_by_name

import numpy as np

import pytest


@pytest.mark.parametrize('names, groups', [
    ('p2_seq-0012 p2_seq-0013 p3_seq-0012', 'p2_seq p3_seq'),
    ('0001_seqA 0002_seqA 0001_seqB 0002_seqB', 'seqA seqB'),
    ('0001_seq3 0002_seq3 0001_seq4 0002_seq4', 'seq3 seq4'),
    ('p2_0012_left p2_0013_left p3_0012_left p3_0013_left', 'p2_left p3_left'),
    ('human-00012-0 human-00012-1 human-00013-0 human-00013-1', 'human-00012 human-00013'),
    ('video_0001 video_0002 video_0003', 'video'),
    ('0001 0002 0003', ''),
    ('2_0012_left 2_0013_left 3_0012_left', '2_0012_left 2_0013_left 3_0012_left'),
    ('patient1_0001 patient1_0002 pt2_0001', 'patient1 pt2'),
    ('0001_patient1 0002_patient1 0001_patient2', 'patient1 patient2'),
    ('patient1_run1 patient1_run2 patient2_run1', 'patient1_run patient2_run'),
    ('2023-01-01_000_v1 2023-01-01_001_v1 2023-01-01_000_v2', '2023-01-01_v1 2023-01-01_v2'),
    ('2023-01-01_000_v1 2023-01-02_001_v1', '2023-01-01_000_v1 2023-01-02_001_v1')])
def test_the_frame_number_is_found_where_one_alone_can_be_it(names, groups):
    assert sorted(set(groups_by_name(names.split()).groups.values())) == groups.split(' ')


@pytest.mark.parametrize('names', [
    'patient1 patient2 patient3 patient4 patient5 patient6', 'pt01 pt02 pt03',
    'Case-1 Case-2 Case-3', 'subject_7 subject_8 subject_9'])
def test_a_patient_of_one_image_is_one_though_it_is_alone(names):
    found = groups_by_name(names.split())
    assert found.clear and all(name == group for name, group in found.groups.items())


def test_a_number_after_a_patient_is_believed_with_nothing_else_only():
    assert not groups_by_name([f'{view}_patient{number}' for view in ('AP', 'LAT')
                               for number in range(4)]).clear


@pytest.mark.parametrize('names', [
    '001_AP 001_LAT 002_AP 002_LAT 003_AP 003_LAT', '001_AP 002_AP 003_AP 003_LAT',
    'IMG0_ap IMG0_lat IMG0_obl IMG1_ap IMG1_lat IMG1_obl', '1a 1b 1c 1d 2a 2b 2c 2d',
    'AP_001_x AP_002_x LAT_001_x LAT_002_x', '0001_A 0002_A 0001_B', '001 002 001_LAT 002_LAT',
    # What the words name is the same, or is no name.
    'p2_0012_left p2_0013_left p2_0012_right p2_0013_right',
    '001_seqA_AP 002_seqA_AP 001_seqA_LAT 002_seqA_LAT', '001_pa 002_pa 001_lat 002_lat',
    '001_videos 002_videos 001_clips 002_clips', '0001_seqA 0002_seqA 0001_other 0002_other',
    # Neither the date nor the frame.
    '2023-01-01_000_v1 2023-01-01_000_v2 2023-01-02_001_v1 2023-01-02_001_v2'])
def test_a_number_that_may_be_the_patients_makes_names_unclear(names):
    found = groups_by_name(names.split())
    assert not found.clear and all(name == group for name, group in found.groups.items())


@pytest.mark.parametrize('names', [
    '0001_seqA 0002_seqA 0001_seqB', '0001_seq_a 0002_seq_a 0001_seq_b',
    '0001_run1 0002_run1 0001_run2 0002_run2', '0001_seqA 0002_seqA 0001_video3 0002_video3',
    'p2_0012_left p2_0013_left p3_0012_left p3_0013_left',
    # Numbers that go on from one sequence to the next recur nowhere.
    '0001_left 0002_left 0003_right 0004_right'])
def test_a_number_inside_is_the_frames_where_words_name_the_rest_or_it_does_not_recur(names):
    assert groups_by_name(names.split()).clear


@pytest.fixture
def named(tmp_path):
    """Return a function that writes a set of given names in one of the layouts."""
    def write(layout, names):
        folder, masks = {'folder': ('.', 'masks'), 'cathaction': ('train', 'labels'),
                         'aioz': ('real_train', 'masks')}[layout]
        for name in names.split():
            for place, value in (('images', 90), (masks, 1)):
                path = tmp_path / folder / place / f'{name}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), np.full((24, 32), value, np.uint8))
        return tmp_path
    return write


@pytest.mark.parametrize('layout', ['folder', 'cathaction', 'aioz'])
def test_frames_of_one_sequence_stay_together_wherever_their_number_is(named, layout):
    frames = open_dataset(layout, named(layout, ' '.join(
        f'{number:04d}_seq{letter}' for letter in 'ABCD' for number in range(6))))
    assert len(frames.groups) == 4
    parts = frames.split({'train': 0.5, 'val': 0.5}, seed=1)
    assert not set(parts['train'].groups) & set(parts['val'].groups)
    assert [len(part) for part in parts.values()] == [12, 12]


def test_views_of_one_patient_are_not_put_into_two_parts(named):
    root = named('folder', ' '.join(
        f'{number:03d}_{view}' for number in range(6) for view in ('AP', 'LAT')))
    with pytest.raises(FedefmError, match='(?s)into train, val.*groups: '):
        open_dataset('folder', root).split({'train': 0.5, 'val': 0.5}, seed=1)
    parts = open_dataset('folder', root, groups='^([^_]+)_').split(
        {'train': 0.5, 'val': 0.5}, seed=1)
    assert [len(part) for part in parts.values()] == [6, 6]
    assert not set(parts['train'].groups) & set(parts['val'].groups)


@pytest.mark.parametrize('layout', ['folder', 'cathaction', 'aioz'])
def test_names_that_tell_no_sequence_are_not_divided_by_frame(named, layout):
    frames = open_dataset(layout, named(layout, 'a1b2c 9f3e4d 77aa0b c0ffee1 c0ffee2 0badf00d'))
    with pytest.raises(FedefmError) as error:
        frames.split({'train': 0.5, 'val': 0.5}, seed=1)
    for words in (str(frames.name), 'do not show which images are of one patient',
                  'into train, val', 'groups:', 'sub-folder'):
        assert words in str(error.value)
    own = open_dataset(layout, frames.entries[0].image.parents[
        1 if layout == 'folder' else 2], groups='(.+)')
    assert [len(part) for part in own.split({'train': 0.5, 'val': 0.5}, seed=1).values()] == [3, 3]


def test_pictures_in_subfolders_are_divided_whatever_they_are_called(named):
    frames = open_dataset('folder', named('folder', 'p1/a1b2c p1/9f3e4d p2/77aa0b p3/c0ffee'))
    parts = frames.split({'train': 0.7, 'val': 0.3}, seed=1)
    assert sorted(group for part in parts.values() for group in part.groups) == ['p1', 'p2', 'p3']


def test_a_pattern_that_leaves_its_group_empty_does_not_fit(named):
    with pytest.raises(FedefmError, match="does not fit the name 'b_1'"):
        open_dataset('folder', named('folder', 'a_1 b_1'), groups='(a)?_1')
