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

import logging
import shutil
import struct

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.folder import ImageSource, natural_key

import numpy as np

import pytest


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def grey(value, dtype=np.uint8, shape=(8, 12)):
    return np.full(shape, value, dtype)


def values(source):
    return [int(frame.image[0, 0]) for frame in source]


def test_images_come_in_natural_order_and_at_the_default_rate(tmp_path):
    for number in (10, 2, 1, 33):
        write(tmp_path / f'img{number}.png', grey(number))
    source = ImageSource(tmp_path)
    frames = list(source)
    assert values(source) == [1, 2, 10, 33]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.time for frame in frames] == pytest.approx([0, 1 / 15, 2 / 15, 3 / 15])
    assert (source.rate, source.frame_count, source.name) == (15.0, 4, tmp_path.name)


def test_a_duplicate_follows_its_original(tmp_path):
    names = ['frame_00011 (1).jpg', 'frame_00011.jpg', 'frame_00012.jpg', 'frame_00002.jpg']
    ordered = sorted((tmp_path / name for name in names), key=natural_key)
    assert [path.name for path in ordered] == ['frame_00002.jpg', 'frame_00011.jpg',
                                               'frame_00011 (1).jpg', 'frame_00012.jpg']


def test_numbers_and_letters_at_the_same_place_can_be_ordered(tmp_path):
    names = ['a.png', '1.png', 'a1b.png', 'a1.png', '1a.png', 'A2.png', '٣.png', '²x.png']
    assert len(sorted((tmp_path / name for name in names), key=natural_key)) == len(names)


def test_real_runs_are_read_with_their_duplicates(shared_data):
    with ImageSource(shared_data / 'coronary_run_2') as source:
        assert source.frame_count == len(list((shared_data / 'coronary_run_2').glob('*.jpg')))
        assert {frame.image.shape for frame in source} == {(512, 512)}


@pytest.mark.parametrize('ending', ['png', 'tiff', 'bmp', 'jpg'])
def test_each_format_is_told_by_content_whatever_its_name(tmp_path, ending):
    path = write(tmp_path / f'a.{ending}', grey(77)).rename(tmp_path / 'frame_without_suffix')
    assert values(ImageSource(path)) == [77]


@pytest.mark.parametrize('ending', ['png', 'tiff'])
def test_sixteen_bits_stay_as_they_are_stored(tmp_path, ending):
    image = np.arange(96, dtype=np.uint16).reshape(8, 12) * 600
    found = next(iter(ImageSource(write(tmp_path / f'a.{ending}', image)))).image
    assert found.dtype == np.uint16 and np.array_equal(found, image)


def test_colour_becomes_grey_and_equal_channels_keep_their_value(tmp_path):
    ramp = np.arange(96, dtype=np.uint8).reshape(8, 12)
    path = write(tmp_path / 'grey.png', np.repeat(ramp[..., None], 3, axis=2))
    assert np.array_equal(next(iter(ImageSource(path))).image, ramp)
    red = np.zeros((8, 12, 3), np.uint8)
    red[..., 2] = 255
    assert values(ImageSource(write(tmp_path / 'red.png', red))) == [76]


def test_other_and_hidden_files_are_left_aside_and_noted(tmp_path, caplog):
    write(tmp_path / 'a.png', grey(1))
    (tmp_path / 'README.md').write_text('text')
    (tmp_path / 'fake.png').write_text('no image')
    (tmp_path / '.DS_Store').write_bytes(b'x')
    (tmp_path / 'sub').mkdir()
    with caplog.at_level(logging.INFO):
        assert values(ImageSource(tmp_path)) == [1]
    assert 'fake.png' in caplog.text and 'README.md' in caplog.text
    assert '.DS_Store' not in caplog.text


def test_mixed_sizes_are_refused_before_the_first_frame(tmp_path):
    write(tmp_path / '1.png', grey(1))
    write(tmp_path / '2.jpg', grey(2, shape=(12, 8)))
    with pytest.raises(FedefmError, match=r'2\.jpg: 8 x 12 pixels, but 1\.png has 12 x 8'):
        ImageSource(tmp_path)


def test_mixed_depths_are_refused_and_the_file_named(tmp_path):
    write(tmp_path / '1.png', grey(1))
    write(tmp_path / '2.png', grey(2, np.uint16))
    with pytest.raises(FedefmError, match=r'2\.png: uint16 pixels, but 1\.png has uint8'):
        values(ImageSource(tmp_path))


def test_a_damaged_image_is_refused_by_name_when_its_turn_comes(tmp_path):
    write(tmp_path / '1.png', grey(1))
    data = write(tmp_path / '2.png', grey(2)).read_bytes()
    (tmp_path / '2.png').write_bytes(data[:-20])
    frames = iter(ImageSource(tmp_path))
    assert next(frames).image[0, 0] == 1
    with pytest.raises(FedefmError, match=r'2\.png: damaged PNG image'):
        next(frames)


@pytest.mark.parametrize('prepare, words', [
    (lambda path: path.mkdir(), 'no PNG'),
    (lambda path: path.write_bytes(b''), 'the file is empty'),
    (lambda path: path.write_text('text'), 'not a PNG'),
    (lambda path: None, 'cannot be read')])
def test_what_holds_no_image_is_refused(tmp_path, prepare, words):
    path = tmp_path / 'thing'
    prepare(path)
    with pytest.raises(FedefmError, match=words) as caught:
        ImageSource(path)
    assert 'thing' in str(caught.value)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_turned(tmp_path, dtype):
    path = write(tmp_path / 'a.tiff', grey(100, dtype))
    black, white = (struct.pack('<HHIHH', 262, 3, 1, zero, 0) for zero in (1, 0))
    assert path.read_bytes().count(black) == 1
    assert values(ImageSource(path)) == [100]
    path.write_bytes(path.read_bytes().replace(black, white))
    assert values(ImageSource(path)) == [np.iinfo(dtype).max - 100]


def test_a_tiff_of_several_pages_is_refused_when_it_is_opened(tmp_path):
    assert cv2.imwritemulti(str(tmp_path / 'b.tiff'), [grey(1), grey(2)])
    write(tmp_path / 'a.tiff', grey(0))
    with pytest.raises(FedefmError, match='b.tiff: this TIFF has several pages'):
        ImageSource(tmp_path)


def test_float_images_are_refused(tmp_path):
    path = write(tmp_path / 'a.tiff', np.zeros((8, 8), np.float32))
    with pytest.raises(FedefmError, match='float32 samples'):
        values(ImageSource(path))


def test_a_file_that_goes_away_is_reported(tmp_path):
    write(tmp_path / 'run' / '1.png', grey(1))
    source = ImageSource(tmp_path / 'run')
    shutil.rmtree(tmp_path / 'run')
    with pytest.raises(FedefmError, match=r'1\.png: cannot be read'):
        values(source)
