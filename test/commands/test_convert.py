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

from itertools import islice
import os

import cv2

from fedefm_ros.commands.convert import convert, Kind
from fedefm_ros.commands.convert_inputs import items, open_input
from fedefm_ros.commands.convert_outputs import BagOutput, FOUND, Item
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.cases import open_cases
from fedefm_ros.evaluation.truth import bag_truth
from fedefm_ros.imaging.bag import BagSource
from fedefm_ros.imaging.bag_topics import StampedTopic
from fedefm_ros.imaging.source import open_source

import numpy as np

from PIL import Image

from pydicom import dcmread

import pytest

from rosbags.highlevel import AnyReader

COUNT = 12
START = 1_700_000_000


@pytest.fixture(scope='module')
def simulated():
    """Return some simulated frames."""
    return list(islice(open_source('simulator:phantom', size=96, seed=3), COUNT))


@pytest.fixture(scope='module', params=['mcap', 'sqlite3'])
def bag(tmp_path_factory, request):
    """Return a bag of these frames."""
    path = tmp_path_factory.mktemp('made') / 'bag'
    convert('simulator:phantom', path, frames=COUNT, size=96, seed=3, start=START,
            storage=request.param)
    return path


def read(path, **options):
    """Return the items of an input."""
    options = {'rate': None, 'size': None, 'seed': 0, 'topic': None, **options}
    with open_input(str(path), **options) as source:
        return list(items(source, str(path), START * 10**9, None))


def test_a_simulated_procedure_becomes_a_bag_with_its_truth(bag, simulated):
    assert sorted(os.listdir(bag))[1:] == ['metadata.yaml']
    with AnyReader([bag]) as reader:
        assert {c.topic: (c.msgtype, c.msgcount) for c in reader.connections} == {
            '/station/fluoroscopy/image_raw': ('sensor_msgs/msg/Image', COUNT),
            '/station/fluoroscopy/camera_info': ('sensor_msgs/msg/CameraInfo', COUNT),
            '/station/ground_truth/mask': ('sensor_msgs/msg/Image', COUNT),
            '/station/ground_truth/instruments': ('fedefm_ros/msg/InstrumentArray', COUNT)}
        connection, time, data = next(reader.messages())
        assert time == START * 10**9
        info = next(reader.deserialize(data, c.msgtype) for c, _, data in reader.messages()
                    if c.topic.endswith('camera_info'))
    assert (info.header.frame_id, info.width, info.height) == ('c_arm', 96, 96)
    assert info.k[0] == pytest.approx(1100.0 / (205.0 / 96))
    found = read(bag)
    assert [item.stamp for item in found] == [
        START * 10**9 + round(frame.time * 1e9) for frame in simulated]
    for item, frame in zip(found, simulated, strict=True):
        assert np.array_equal(item.image, frame.image)
        assert np.array_equal(item.mask, frame.truth.mask)
        for mine, given in zip(item.instruments, frame.truth.instruments, strict=True):
            assert mine.kind == given.kind
            assert mine.tip_visible == given.tip_visible
            assert np.allclose(mine.centerline, given.centerline, atol=1e-4)


def test_a_bag_becomes_a_folder_that_becomes_the_same_bag_again(bag, simulated, tmp_path):
    convert(str(bag), tmp_path / 'folder')
    assert sorted(os.listdir(tmp_path / 'folder')) == ['frames.csv', 'images', 'masks']
    lines = (tmp_path / 'folder' / 'frames.csv').read_text().splitlines()
    assert lines[0] == 'file,stamp_ns,mask'
    assert lines[1] == f'000000.png,{START * 10**9},1'
    found = read(tmp_path / 'folder', rate=15.0)
    for item, frame in zip(found, simulated, strict=True):
        assert np.array_equal(item.image, frame.image)
        assert np.array_equal(item.mask, frame.truth.mask)
        assert item.instruments is None  # masks do not tell them
    convert(str(tmp_path / 'folder'), tmp_path / 'again', start=START)
    again = read(tmp_path / 'again')
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(again, found, strict=True))
    with AnyReader([tmp_path / 'again']) as reader:
        assert '/station/ground_truth/instruments' not in {c.topic for c in reader.connections}


def test_a_bag_becomes_a_video(bag, simulated, tmp_path):
    convert(str(bag), tmp_path / 'procedure.mp4')
    with open_source(str(tmp_path / 'procedure.mp4')) as video:
        assert video.rate == 15.0
        frames = list(video)
    assert len(frames) == COUNT
    known = simulated[0].truth.mask == 0
    far = cv2.erode(known.astype(np.uint8), np.ones((15, 15))) > 0
    difference = np.abs(frames[0].image[far].astype(int) - simulated[0].image[far])
    assert difference.mean() < 8


@pytest.mark.parametrize(('domain', 'ending'), [('phantom', '.npy'), ('sim', '_mask.png')])
def test_a_bag_becomes_a_data_set_in_the_layout_of_aioz(bag, simulated, tmp_path, domain, ending):
    out = tmp_path / 'data'
    convert(str(bag), out, to=Kind.AIOZ, domain=domain, test_share=0.25)
    train, test = (sorted(os.listdir(out / f'{domain}_{part}' / 'images'))
                   for part in ('train', 'test'))
    assert len(train) == 9
    assert test == ['000009.png', '000010.png', '000011.png']
    image = cv2.imread(str(out / f'{domain}_train' / 'images' / '000000.png'), -1)
    assert image.shape == (96, 96, 3)
    mask_file = out / f'{domain}_train' / 'masks' / f'000000{ending}'
    mask = np.load(mask_file) if ending == '.npy' else cv2.imread(str(mask_file), -1)
    truth = simulated[0].truth.mask
    assert np.array_equal(mask, truth if domain == 'phantom' else (truth > 0) * 255)
    back = read(out / f'{domain}_train', rate=15.0)
    assert np.array_equal(back[0].mask, truth if domain == 'phantom' else truth > 0)


def test_compressed_images_lose_nothing(simulated, tmp_path):
    convert('simulator:phantom', tmp_path / 'bag', frames=COUNT, size=96, seed=3,
            compressed=True)
    source = BagSource(tmp_path / 'bag')
    assert source.topic == '/station/fluoroscopy/image_raw/compressed'
    assert all(np.array_equal(a.image, b.image) for a, b in zip(source, simulated, strict=True))


def test_sixteen_bit_images_keep_their_depth(tmp_path):
    images = np.random.default_rng(0).integers(0, 65535, (3, 20, 30), np.uint16)
    (tmp_path / 'in').mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / 'in' / f'{number}.png'), image)
    convert(str(tmp_path / 'in'), tmp_path / 'bag', rate=7.5)
    source = BagSource(tmp_path / 'bag')
    assert source.rate == 7.5
    assert np.array_equal([frame.image for frame in source], images)


def test_an_output_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / 'in').mkdir()
    for number, shape in enumerate([(20, 30), (20, 31)]):
        cv2.imwrite(str(tmp_path / 'in' / f'{number}.png'), np.zeros(shape, np.uint8))
    with pytest.raises(FedefmError, match='a sequence has one size'):
        convert(str(tmp_path / 'in'), tmp_path / 'out')
    assert os.listdir(tmp_path) == ['in']


@pytest.mark.parametrize(('options', 'problem'), [
    ({'source': 'nowhere'}, 'no such file or folder'),
    ({'storage': 'rosbag1'}, "storage 'rosbag1' is unknown"),
    ({'domain': 'real'}, "domain 'real' is unknown"),
    ({'topic': '/image'}, 'is no bag'),
])
def test_what_cannot_be_converted_is_told(tmp_path, options, problem):
    options = {'source': 'simulator', 'out': tmp_path / 'out', **options}
    with pytest.raises(FedefmError, match=problem):
        convert(**options)
    assert not list(tmp_path.iterdir())


def test_an_output_that_exists_is_not_touched(tmp_path):
    (tmp_path / 'out').write_text('precious')
    with pytest.raises(FedefmError, match='out exists'):
        convert('simulator', tmp_path / 'out')
    assert (tmp_path / 'out').read_text() == 'precious'


def test_a_data_set_without_masks_is_refused(tmp_path):
    (tmp_path / 'in').mkdir()
    cv2.imwrite(str(tmp_path / 'in' / '0.png'), np.zeros((20, 30), np.uint8))
    with pytest.raises(FedefmError, match='no mask for any frame'):
        convert(str(tmp_path / 'in'), tmp_path / 'out', to=Kind.AIOZ)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('mask', 'problem'), [
    (np.zeros((20, 31), np.uint8), '31 x 20 pixels, its image 30 x 20'),
    (np.zeros((20, 30, 3), np.uint8), r'a mask is \(height, width\)'),
    (np.full((20, 30), 0.5), 'has the values 0.5, which mean nothing'),
    (np.full((20, 30), -1), 'has the values -1'),
    (np.array([[{}]]), 'no NumPy array'),
    (np.repeat([[0], [127], [255]], 30, 1).repeat((6, 7, 7), 0), 'has the values 127, 255'),
])
def test_masks_that_are_none_are_refused(tmp_path, mask, problem):
    for name in ('images', 'masks'):
        (tmp_path / 'in' / name).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'in' / 'images' / 'a.png'), np.zeros((20, 30), np.uint8))
    np.save(tmp_path / 'in' / 'masks' / 'a.npy', mask)
    with pytest.raises(FedefmError, match=problem):
        convert(str(tmp_path / 'in'), tmp_path / 'out')


@pytest.mark.parametrize(('dtype', 'value'), [
    (np.uint8, 1), (np.uint8, 255), (np.uint16, 1), (np.uint16, 255), (np.uint16, 65535)])
def test_masks_of_two_values_mark_the_catheter(tmp_path, dtype, value):
    expected = np.zeros((20, 30), np.uint8)
    expected[5:9] = 1
    for name, array in (('images', expected), ('masks', expected.astype(dtype) * dtype(value))):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / 'a.png'), array)
    assert np.array_equal(read(tmp_path)[0].mask, expected)


def test_a_palette_s_indices_are_labels(tmp_path):
    expected = np.zeros((20, 30), np.uint8)
    expected[5:9], expected[12:15] = 1, 2
    for name in ('images', 'masks'):
        (tmp_path / name).mkdir()
        picture = Image.fromarray(expected, 'P')
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        picture.save(tmp_path / name / 'a.png')
    assert np.array_equal(read(tmp_path)[0].mask, expected)


def test_what_a_station_found_is_never_written_as_truth(simulated, tmp_path, capsys):
    made = BagOutput(tmp_path / 'bag', 'bag', 'mcap', 'or1', compressed=False)
    for number, frame in enumerate(simulated):
        made.add(Item(START * 10**9 + number, frame.image, frame.truth.mask,
                      frame.truth.instruments, FOUND))
    made.close()
    for options in ({}, {'mask': '/or1/segmentation/mask'}):
        out = tmp_path / f'copy {len(options)}'
        convert(str(tmp_path / 'bag'), out, to=Kind.BAG, **options)
        assert bag_truth(out) is None
        masks = StampedTopic(out, '/station/segmentation/mask')
        assert np.array_equal(masks.mask(START * 10**9)[0], simulated[0].truth.mask)
    capsys.readouterr()
    convert(str(tmp_path / 'bag'), tmp_path / 'set', to=Kind.AIOZ)
    assert f'{COUNT} of the masks are what a model found' in capsys.readouterr().err


def test_each_file_of_a_run_keeps_its_pitch(tmp_path, shared_data):
    (tmp_path / 'run').mkdir()
    for number in (1, 2):
        dataset = dcmread(shared_data / 'xa_human_a.dcm')
        dataset.InstanceNumber = number
        dataset.ImagerPixelSpacing = [0.2 * number] * 2
        dataset.save_as(tmp_path / 'run' / f'{number}.dcm')
    convert(str(tmp_path / 'run'), tmp_path / 'bag')
    with AnyReader([tmp_path / 'bag']) as reader:
        focal = [reader.deserialize(data, c.msgtype).k[0] for c, _, data in reader.messages()
                 if c.topic.endswith('camera_info')]
    assert focal[0] == focal[7] == pytest.approx(2 * focal[8]) == pytest.approx(2 * focal[15])
    spacing = [case.spacing_mm[0] for case in open_cases(str(tmp_path / 'run')).frames]
    assert spacing[0] == spacing[7] == pytest.approx(spacing[8] / 2)


def test_a_file_that_is_called_like_the_simulator_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(152):
        (tmp_path / 'simulator_run').mkdir(exist_ok=True)
        cv2.imwrite(f'simulator_run/{number}.png', np.zeros((8, 8), np.uint8))
    convert('simulator_run', tmp_path / 'bag')
    assert BagSource(tmp_path / 'bag').frame_count == 152


def test_dicom_becomes_a_bag_with_its_geometry(tmp_path, shared_data):
    convert(str(shared_data / 'xa_human_a.dcm'), tmp_path / 'bag', frames=3)
    with open_source(str(shared_data / 'xa_human_a.dcm')) as source:
        frames = list(islice(source, 3))
    found = read(tmp_path / 'bag')
    assert all(np.array_equal(a.image, b.image) for a, b in zip(found, frames, strict=True))
    assert found[1].stamp - found[0].stamp == round(frames[1].time * 1e9)
