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

"""Data sets, on small ones written in the very layouts; each error names file and reason."""

import csv
import json

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.learning.datasets import open_dataset, split_groups
from fedefm_ros.learning.datasets import ranzcr

import numpy as np

from PIL import Image

import pytest

from scipy.interpolate import splprep

SHAPE = (24, 32)


def picture(path, array=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(SHAPE, 90, np.uint8) if array is None else array
    assert cv2.imwrite(str(path), array)
    return path


def mask_of(*rows, dtype=np.uint8):
    """Return a mask with whole rows of labels: (row, value) ..."""
    mask = np.zeros(SHAPE, dtype)
    for row, value in rows:
        mask[row] = value
    return mask


def array_mask(path, *rows, dtype=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, mask_of(*rows, dtype=dtype))
    return path


@pytest.fixture
def aioz(tmp_path):
    """Return a set of the four domains; sequences a and b, two frames each."""
    for part in ('train', 'test'):
        for name in ('a_001', 'a_002', 'b_001', 'b_002'):
            for domain in ('phantom', 'animal'):
                folder = tmp_path / f'{domain}_{part}'
                picture(folder / 'images' / f'{name}.png', np.full((*SHAPE, 3), 80, np.uint8))
                array_mask(folder / 'masks' / f'{name}.npy', (3, 1), (9, 2), dtype=np.int64)
            picture(tmp_path / f'sim_{part}' / 'images' / f'{name}.jpg')
            picture(tmp_path / f'sim_{part}' / 'masks' / f'{name}_mask.png',
                    mask_of((3, 255), (4, 100)))
            picture(tmp_path / f'real_{part}' / 'images' / f'{name}.png')
            picture(tmp_path / f'real_{part}' / 'masks' / f'{name}.png', mask_of((5, 1)))
    return tmp_path


def rows_of(mask):
    return [(int(row), int(mask[row, 0])) for row in np.flatnonzero(mask.any(axis=1))]


@pytest.mark.parametrize('domain, rows, classes', [
    ('phantom', [(3, 1), (9, 2)], (CATHETER, GUIDEWIRE)),
    ('animal', [(3, 1), (9, 2)], (CATHETER, GUIDEWIRE)),
    ('sim', [(3, 1)], (CATHETER,)), ('real', [(5, 1)], (CATHETER,))])
@pytest.mark.parametrize('part', ['train', 'test'])
def test_each_aioz_domain_is_read_with_its_own_kind_of_mask(aioz, domain, part, rows, classes):
    frames = open_dataset('aioz', aioz, part=part, domains=[domain])
    assert len(frames) == 4 and frames.classes == classes
    for image, mask in frames:
        assert image.shape == mask.shape == SHAPE
        assert image.dtype == mask.dtype == np.uint8
        assert rows_of(mask) == rows
    assert frames.groups == (f'{domain}/a', f'{domain}/b')


def test_all_aioz_domains_together_and_the_loose_threshold(aioz):
    frames = open_dataset('aioz', aioz)
    assert len(frames) == 16 and len(frames.groups) == 8
    loose = open_dataset('aioz', aioz, domains=['sim'], above=0)
    assert rows_of(loose[0][1]) == [(3, 1), (4, 1)]
    with pytest.raises(FedefmError, match='domain human is not known'):
        open_dataset('aioz', aioz, domains=['human'])
    with pytest.raises(FedefmError, match="part 'valid' is not known"):
        open_dataset('aioz', aioz, part='valid')


@pytest.mark.parametrize('value', [1, 255, 65535])
def test_sixteen_bit_masks_are_read_as_those_of_eight(aioz, value):
    for domain, ending in (('sim', '_mask'), ('real', '')):
        picture(aioz / f'{domain}_train' / 'masks' / f'a_001{ending}.png',
                mask_of((7, value), dtype=np.uint16))
        mask = open_dataset('aioz', aioz, domains=[domain])[0][1]
        assert mask.dtype == np.uint8 and rows_of(mask) == [(7, 1)]


def test_an_empty_place_is_no_aioz_set(tmp_path):
    with pytest.raises(FedefmError, match='has none of the folders phantom_train'):
        open_dataset('aioz', tmp_path)
    (tmp_path / 'sim_train' / 'images').mkdir(parents=True)
    with pytest.raises(FedefmError, match='sim_train/images: holds no picture'):
        open_dataset('aioz', tmp_path)


def test_a_missing_mask_is_named_before_any_training(aioz):
    (aioz / 'sim_train' / 'masks' / 'b_001_mask.png').unlink()
    with pytest.raises(FedefmError, match='b_001_mask.png: no such file'):
        open_dataset('aioz', aioz)


@pytest.mark.parametrize('make, reason', [
    (lambda path: path.write_bytes(b'nonsense'), 'no NumPy array'),
    (lambda path: path.write_bytes(path.read_bytes()[:100]), 'no NumPy array'),
    (lambda path: path.write_bytes(b''), 'no NumPy array'),
    (lambda path: np.save(path, np.array([{'a': 1}], object)), 'no NumPy array'),
    (lambda path: np.save(path, np.zeros((2, *SHAPE))), r'float64\[2, 24, 32\]'),
    (lambda path: np.save(path, np.zeros((10, 32), np.uint8)), 'is 32 x 10 pixels'),
    (lambda path: array_mask(path, (2, 7)), 'has the values 7, which mean nothing'),
    (lambda path: np.save(path, np.full(SHAPE, np.nan)), 'has the values nan')])
def test_a_bad_array_is_refused_with_its_name_and_the_reason(aioz, make, reason):
    path = aioz / 'phantom_train' / 'masks' / 'a_001.npy'
    make(path)
    frames = open_dataset('aioz', aioz, domains=['phantom'])
    with pytest.raises(FedefmError, match=f'a_001.npy.*{reason}'):
        frames[0]


@pytest.mark.parametrize('make, reason', [
    (lambda path: path.write_bytes(b'nonsense'), 'no picture that can be read'),
    (lambda path: path.write_bytes(b''), 'no picture that can be read'),
    (lambda path: picture(path, np.full(SHAPE, 90, np.uint8)), 'its brightest pixel is 90'),
    (lambda path: picture(path, np.zeros((5, 5), np.uint8)), 'is 5 x 5 pixels, its image 32')])
def test_a_bad_mask_picture_is_refused_with_its_name_and_the_reason(aioz, make, reason):
    path = aioz / 'real_train' / 'masks' / 'a_001.png'
    make(path)
    with pytest.raises(FedefmError, match=f'a_001.png: .*{reason}'):
        open_dataset('aioz', aioz, domains=['real'])[0]


def test_a_broken_image_is_refused_with_its_name(aioz):
    path = aioz / 'real_train' / 'images' / 'a_001.png'
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FedefmError, match='images/a_001.png: is no picture'):
        open_dataset('aioz', aioz, domains=['real'])[0]


def camera(name, points):
    return {'image': name, 'points': points}


@pytest.fixture
def guide3d(tmp_path):
    """Return two video pairs of ten frames: a wire from the right edge to (8, 12)."""
    videos = []
    for number in (5, 6):
        frames = []
        for frame in range(10):
            cameras = {}
            for key, plane in (('cameraA', 1), ('cameraB', 2)):
                name = f'1-bca-angle-{number}-{plane}/{frame:03d}.png'
                picture(tmp_path / name)
                cameras[key] = camera(name, [[31, 4], [20, 4], [8, 12]])
            frames.append({'frame_number': frame, **cameras})
        videos.append({'fluid': 1, 'guidewire_type': 'angle', 'video_number': number,
                       'frame_count': 10, 'task': 'bca', 'frames': frames})
    (tmp_path / 'raw.json').write_text(json.dumps(videos))
    return tmp_path


def test_guide3d_masks_are_the_authors_polylines(guide3d):
    frames = open_dataset('guide3d', guide3d)
    assert len(frames) == 40 and frames.groups == ('1-bca-angle-5', '1-bca-angle-6')
    image, mask = frames[0]
    expected = np.zeros(SHAPE, np.uint8)
    cv2.polylines(expected, [np.array([[31, 4], [20, 4], [8, 12]])], False, 2, 2)
    assert image.shape == SHAPE and np.array_equal(mask, expected)
    assert frames.classes == (GUIDEWIRE,) and mask[4, 25] == GUIDEWIRE


def test_guide3d_with_numbered_cameras_is_read_too(guide3d):
    path = guide3d / 'raw.json'
    path.write_text(path.read_text().replace('cameraA', 'camera1').replace('cameraB', 'camera2'))
    assert len(open_dataset('guide3d', guide3d)) == 40


def test_guide3d_splines_give_the_same_wire_as_points(guide3d):
    videos = json.loads((guide3d / 'raw.json').read_text())
    points = np.array([[30, 4], [24, 5], [18, 8], [12, 12], [8, 16]], float)
    (t, c, k), u = splprep(points.T, s=0)
    for video in videos:
        for frame in video['frames']:
            for key in ('cameraA', 'cameraB'):
                frame[key] = {'image': frame[key]['image'], 'u': u.tolist(), 'tck': {
                    't': t.tolist(), 'c': [part.tolist() for part in c], 'k': k}}
    (guide3d / 'b_spline.json').write_text(json.dumps(videos))
    mask = open_dataset('guide3d', guide3d, annotations='b_spline.json')[0][1]
    assert all(mask[int(y), int(x)] == GUIDEWIRE for x, y in points)
    assert 40 < np.count_nonzero(mask) < 120


def test_guide3d_published_split_is_in_time_inside_each_video(guide3d):
    names = {part: [entry.name for entry in open_dataset('guide3d', guide3d,
                                                         published_part=part).entries]
             for part in ('train', 'val', 'test')}
    assert [len(names[part]) for part in ('train', 'val', 'test')] == [32, 4, 4]
    assert all('008' in name for name in names['val'])
    assert all('009' in name for name in names['test'])


@pytest.mark.parametrize('change, reason', [
    (lambda v: v[1].pop('frames'), 'raw.json: video 1 is not as expected'),
    (lambda v: v[0]['frames'][0].update(cameraA={'image': 'x'}), 'video 0 is not as expected'),
    (lambda v: v[0]['frames'][0]['cameraA'].update(points=[[1, 2]]), r'000.png: points of shape'),
    (lambda v: v[0]['frames'][0]['cameraA'].update(points=[[1, 2], [3]]), '000.png'),
    (lambda v: v[0]['frames'][0]['cameraA'].update(points=[[1, 2], ['a', 3]]), '000.png')])
def test_guide3d_says_which_video_or_frame_is_not_as_expected(guide3d, change, reason):
    videos = json.loads((guide3d / 'raw.json').read_text())
    change(videos)
    (guide3d / 'raw.json').write_text(json.dumps(videos))
    with pytest.raises(FedefmError, match=reason):
        open_dataset('guide3d', guide3d)


def test_guide3d_without_its_file_or_an_image_is_refused(guide3d):
    (guide3d / '1-bca-angle-5-1' / '000.png').unlink()
    with pytest.raises(FedefmError, match='1-bca-angle-5-1/000.png: no such file'):
        open_dataset('guide3d', guide3d)[0]
    (guide3d / 'raw.json').write_text('{}')
    with pytest.raises(FedefmError, match='a list of videos was expected'):
        open_dataset('guide3d', guide3d)
    (guide3d / 'raw.json').unlink()
    with pytest.raises(FedefmError, match='has no raw.json or b_spline.json'):
        open_dataset('guide3d', guide3d)


@pytest.fixture
def cathaction(tmp_path):
    for part in ('train', 'test'):
        for number in (1, 2, 3):
            picture(tmp_path / part / 'images' / f'image{number}.jpg')
            picture(tmp_path / part / 'labels' / f'mask{number}.png',
                    mask_of((number, 1), (20, 2)))
    return tmp_path


def test_cathaction_pairs_images_with_their_labels(cathaction):
    frames = open_dataset('cathaction', cathaction, part='test')
    assert [rows_of(mask) for _, mask in frames] == [[(n, 1), (20, 2)] for n in (1, 2, 3)]
    (cathaction / 'train' / 'labels' / 'mask2.png').rename(
        cathaction / 'train' / 'labels' / 'image2.png')
    assert rows_of(open_dataset('cathaction', cathaction)[1][1]) == [(2, 1), (20, 2)]
    (cathaction / 'train' / 'labels' / 'image2.png').unlink()
    with pytest.raises(FedefmError, match='labels: has no label of image2.jpg'):
        open_dataset('cathaction', cathaction)


def test_cathaction_values_and_colours_can_be_said(cathaction):
    label = cathaction / 'train' / 'labels' / 'mask1.png'
    picture(label, mask_of((1, 100), (20, 200)))
    with pytest.raises(FedefmError, match='mask1.png: has the values 100, 200'):
        open_dataset('cathaction', cathaction)[0]
    frames = open_dataset('cathaction', cathaction, values={0: 0, 100: 1, 200: 2})
    assert rows_of(frames[0][1]) == [(1, 1), (20, 2)]
    colours = np.zeros((*SHAPE, 3), np.uint8)
    colours[1], colours[20] = (0, 0, 255), (0, 255, 0)  # OpenCV's order: red, green
    picture(label, colours)
    with pytest.raises(FedefmError, match='mask1.png: is a colour picture'):
        open_dataset('cathaction', cathaction)[0]
    table = {'#000000': 0, '#ff0000': 1, '#00ff00': 2}
    assert rows_of(open_dataset('cathaction', cathaction, values=table)[0][1]) \
        == [(1, 1), (20, 2)]
    with pytest.raises(FedefmError, match='mask1.png: has the values #00ff00'):
        open_dataset('cathaction', cathaction, values={'#000000': 0, '#ff0000': 1})[0]


def test_the_indices_of_a_palette_are_the_labels_not_its_colours(cathaction):
    paletted = Image.fromarray(mask_of((1, 1), (20, 2))).convert('P')
    paletted.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    paletted.save(cathaction / 'train' / 'labels' / 'mask1.png')
    assert rows_of(open_dataset('cathaction', cathaction)[0][1]) == [(1, 1), (20, 2)]


def test_a_plain_folder_has_patients_as_subfolders_or_in_names(tmp_path):
    for name in ('p1/0', 'p1/1', 'p2/0', 'single_7'):
        picture(tmp_path / 'images' / f'{name}.jpg')
        picture(tmp_path / 'masks' / f'{name}.png', mask_of((6, 2)))
    frames = open_dataset('folder', tmp_path)
    assert [entry.name for entry in frames.entries] == ['p1/0', 'p1/1', 'p2/0', 'single_7']
    assert frames.groups == ('p1', 'p2', 'single')
    assert rows_of(frames[3][1]) == [(6, 2)]
    assert open_dataset('folder', tmp_path, groups='(p|s)').groups == ('p', 's')
    with pytest.raises(FedefmError, match="'(.*)' does not fit the name 'single_7'"):
        open_dataset('folder', tmp_path, groups='(p.)')
    with pytest.raises(FedefmError, match='no regular expression'):
        open_dataset('folder', tmp_path, groups='(')
    (tmp_path / 'masks' / 'p2' / '0.png').unlink()
    with pytest.raises(FedefmError, match='masks/p2/0.png: no such file'):
        open_dataset('folder', tmp_path)


def test_images_of_sixteen_bits_keep_them(tmp_path):
    deep = np.full(SHAPE, 40_000, np.uint16)
    picture(tmp_path / 'images' / 'a.png', deep)
    picture(tmp_path / 'masks' / 'a.png', mask_of((1, 1)))
    image, _ = open_dataset('folder', tmp_path)[0]
    assert image.dtype == np.uint16 and np.array_equal(image, deep)


def test_unknown_layouts_folders_and_options_are_named(tmp_path):
    with pytest.raises(FedefmError, match="layout 'coco' is not known; known are aioz"):
        open_dataset('coco', tmp_path)
    with pytest.raises(FedefmError, match='no such folder'):
        open_dataset('folder', tmp_path / 'none')
    with pytest.raises(FedefmError, match="layout 'folder': .*speed.*it takes groups, values"):
        open_dataset('folder', tmp_path, speed=3)


@pytest.fixture
def radiographs(tmp_path):
    """Return six images of three patients in Kaggle's layout."""
    with (tmp_path / 'train.csv').open('w', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(['StudyInstanceUID', *ranzcr.CLASSES, 'PatientID'])
        for number in range(6):
            uid = f'1.2.826.0.{number}'
            truth = [int(index == number or index == 10) for index in range(11)]
            rows.writerow([uid, *truth, f'patient{number // 2}'])
            picture(tmp_path / 'train' / f'{uid}.jpg')
    return tmp_path


def test_ranzcr_gives_images_with_eleven_labels(radiographs):
    images = ranzcr.read(radiographs)
    assert len(images) == 6 and len(ranzcr.CLASSES) == 11
    image, truth = images[2]
    assert image.shape == SHAPE and truth.dtype == np.float32
    assert np.flatnonzero(truth).tolist() == [2, 10]
    parts = images.split({'train': 2, 'val': 1}, seed=4)
    patients = [{entry.patient for entry in part.entries} for part in parts.values()]
    assert not patients[0] & patients[1] and sum(map(len, parts.values())) == 6


@pytest.mark.parametrize('change, reason', [
    (lambda text: text.replace('PatientID', 'Patient'), 'lacks the columns PatientID'),
    (lambda text: text.replace('0.3,0', '0.3,yes'), "line 5: ETT - Abnormal is 'yes'"),
    (lambda text: text.replace('1.2.826.0.4', '../secret'), 'line 6: .*is no name of a study'),
    (lambda text: text.replace('1.2.826.0.4', 'gone'), 'gone.jpg: no such file; line 6'),
    (lambda text: '', 'lacks rows')])
def test_ranzcr_says_which_line_is_wrong(radiographs, change, reason):
    path = radiographs / 'train.csv'
    path.write_text(change(path.read_text()))
    with pytest.raises(FedefmError, match=reason):
        ranzcr.read(radiographs)


def test_a_split_never_divides_a_group_and_depends_on_nothing_but_the_seed(aioz):
    frames = open_dataset('aioz', aioz)
    parts = frames.split({'train': 0.75, 'val': 0.25}, seed=1)
    groups = [set(part.groups) for part in parts.values()]
    assert not groups[0] & groups[1] and len(groups[0]) == 6 and len(groups[1]) == 2
    assert sum(map(len, parts.values())) == len(frames)
    names = [f'g{number}' for number in range(40)]
    assert split_groups(names, {'a': 1, 'b': 1}, 3) \
        == split_groups(reversed(names), {'a': 1, 'b': 1}, 3)
    assert split_groups(names, {'a': 1, 'b': 1}, 3) != split_groups(names, {'a': 1, 'b': 1}, 4)
    # Fixed for ever: published splits must stay what they were.
    assert split_groups('abcdef', {'x': 0.5, 'y': 0.5}, 0)['x'] == {'b', 'c', 'f'}


@pytest.mark.parametrize('groups, shares, reason', [
    ('a', {'x': 1, 'y': 1}, r'1 patient\(s\) or sequence\(s\) \(a\) cannot be divided'),
    ('ab', {'x': 1, 'y': 0}, 'must be positive'), ('ab', {}, 'must be positive'),
    ('ab', {'x': float('nan')}, 'must be positive')])
def test_impossible_splits_are_refused(groups, shares, reason):
    with pytest.raises(FedefmError, match=reason):
        split_groups(groups, shares, 0)


def test_small_shares_get_a_group_at_least():
    parts = split_groups('abcd', {'train': 0.98, 'val': 0.01, 'test': 0.01}, 0)
    assert [len(part) for part in parts.values()] == [2, 1, 1]
