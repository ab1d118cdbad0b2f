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

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag import BagSource
from fedefm_ros.imaging.source import open_source

import numpy as np

import pytest

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

TYPES = get_typestore(Stores.ROS2_JAZZY)


def header(stamp):
    time = TYPES.types['builtin_interfaces/msg/Time'](int(stamp), round(stamp % 1 * 1e9))
    return TYPES.types['std_msgs/msg/Header'](stamp=time, frame_id='carm')


def raw(image, stamp, encoding='mono8'):
    return TYPES.types['sensor_msgs/msg/Image'](
        header(stamp), *image.shape[:2], encoding, 0, image.strides[0],
        image.reshape(-1).view(np.uint8))


def compressed(image, stamp):
    return TYPES.types['sensor_msgs/msg/CompressedImage'](
        header(stamp), 'mono8; png compressed ', cv2.imencode('.png', image)[1].reshape(-1))


@pytest.fixture
def write_bag(tmp_path):
    """Return a function that writes {topic: [messages]} as a bag, recorded at 1 Hz."""
    def write(topics, storage=StoragePlugin.MCAP, name='bag'):
        with Writer(tmp_path / name, version=9, storage_plugin=storage) as writer:
            for topic, messages in topics.items():
                kind = messages[0].__msgtype__
                connection = writer.add_connection(topic, kind, typestore=TYPES)
                for number, msg in enumerate(messages):
                    writer.write(connection, (number + 1) * 10**9, TYPES.serialize_cdr(msg, kind))
        return tmp_path / name

    return write


def pictures(count=5, dtype=np.uint8):
    high = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, high, (count, 20, 30), dtype, endpoint=True)


@pytest.mark.parametrize('storage', list(StoragePlugin))
@pytest.mark.parametrize('whole', [True, False])
def test_image_messages_are_read_with_their_stamps(write_bag, storage, whole):
    images = pictures()
    path = write_bag({'/image': [raw(image, 100 + number / 20)
                                 for number, image in enumerate(images)]}, storage)
    if not whole:
        (path / 'metadata.yaml').unlink()
    for given in {path, *path.glob('*.mcap'), *path.glob('*.db3')}:
        with open_source(str(given)) as source:
            assert isinstance(source, BagSource)
            assert (source.rate, source.frame_count, source.topic) == (20.0, 5, '/image')
            frames = list(source)
            assert len(list(source)) == 5
        assert np.array_equal(np.stack([frame.image for frame in frames]), images)
        assert [frame.time for frame in frames] == pytest.approx([n / 20 for n in range(5)],
                                                                 abs=1e-6)


def test_compressed_and_sixteen_bit_images_are_read(write_bag):
    images = pictures()
    path = write_bag({'/i/compressed': [compressed(image, 1 + n) for n, image in
                                        enumerate(images)]}, name='a')
    assert np.array_equal(np.stack([frame.image for frame in BagSource(path)]), images)
    images = pictures(dtype=np.uint16)
    path = write_bag({'/i': [raw(image, 1 + n, 'mono16') for n, image in enumerate(images)]},
                     name='b')
    assert np.array_equal(np.stack([frame.image for frame in BagSource(path)]), images)


def test_without_stamps_the_time_of_recording_counts(write_bag):
    path = write_bag({'/image': [raw(image, 0) for image in pictures()]})
    source = BagSource(path)
    assert source.rate == 1.0
    assert [frame.time for frame in source] == [0, 1, 2, 3, 4]


def test_the_raw_image_is_chosen_before_masks(write_bag):
    images = pictures()
    path = write_bag({'/segmentation/mask': [raw(images[0] // 99, 1)],
                      '/fluoroscopy/image_raw': [raw(images[0], 1)]})
    assert BagSource(path).topic == '/fluoroscopy/image_raw'
    assert BagSource(path, topic='/segmentation/mask').topic == '/segmentation/mask'


def test_bags_without_images_or_of_another_topic_are_refused_with_what_they_hold(write_bag):
    text = TYPES.types['std_msgs/msg/String']('hello')
    path = write_bag({'/chatter': [text]})
    with pytest.raises(FedefmError, match=r'no image topic in this bag \(it has /chatter\)'):
        BagSource(path)
    with pytest.raises(FedefmError, match='no /other in this bag'):
        BagSource(path, topic='/other')


def test_a_message_that_is_no_image_is_named(write_bag):
    images = pictures()
    path = write_bag({'/image': [raw(images[0], 1), raw(images[1], 2, '32FC1')]})
    frames = iter(BagSource(path))
    next(frames)
    with pytest.raises(FedefmError, match=r"bag: message 1 of /image: .*'32FC1'"):
        next(frames)


@pytest.mark.parametrize('storage', list(StoragePlugin))
def test_damaged_bags_are_refused(write_bag, storage):
    path = write_bag({'/image': [raw(image, n) for n, image in enumerate(pictures())]}, storage)
    data_file = next(file for file in path.iterdir() if file.suffix != '.yaml')
    data = data_file.read_bytes()
    for end in (0, 10, len(data) // 3, len(data) // 2):
        data_file.write_bytes(data[:end])
        for given in (path, data_file):
            with pytest.raises(FedefmError, match=given.name):
                list(open_source(str(given)))
    data_file.write_bytes(data)
    (path / 'metadata.yaml').write_text('{')
    with pytest.raises(FedefmError, match='damaged bag'):
        BagSource(path)
