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

from io import BytesIO

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag import BagSource
from fedefm_ros.imaging.bag_files import is_bag
from fedefm_ros.imaging.bag_reader import open_bag
from fedefm_ros.imaging.bag_recovery import mend, recover
from fedefm_ros.imaging.bag_storage import Topic
from fedefm_ros.imaging.bag_writer import BagWriter
from fedefm_ros.imaging.source import open_source

from mcap.reader import make_reader

from mcap_ros2.writer import Writer as McapWriter

import numpy as np

import pytest

from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
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
            # An MCAP file tells by itself that it was closed.
            unsure = given == path and not whole and storage is StoragePlugin.SQLITE3
            assert bool(source.losses) == unsure
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
    # One chunk: nothing of it can be recovered.
    for end in (0, 10, len(data) // 3, len(data) // 2):
        data_file.write_bytes(data[:end])
        for given in (path, data_file):
            with pytest.raises(FedefmError, match=given.name):
                list(open_source(str(given)))


@pytest.mark.parametrize('storage', list(StoragePlugin))
def test_metadata_that_is_damaged_or_names_what_is_gone_is_not_needed(write_bag, storage):
    path = write_bag({'/image': [raw(image, 1 + n) for n, image in enumerate(pictures())]},
                     storage)
    metadata = (path / 'metadata.yaml').read_text()
    (path / 'metadata.yaml').write_text('{')
    source = BagSource(path)
    assert len(list(source)) == 5
    assert 'metadata.yaml: cannot be read' in source.losses[0]
    name = next(file.name for file in path.iterdir() if file.suffix != '.yaml')
    (path / 'metadata.yaml').write_text(metadata.replace(
        f'- {name}', f'- {name}\n  - gone.mcap'))
    source = BagSource(path)
    assert len(list(source)) == 5
    assert 'names gone.mcap, which is not there' in source.losses[0]


def test_the_whole_chunks_of_a_torn_file_are_read_and_the_loss_is_told(tmp_path, caplog):
    images = pictures(40)
    with BytesIO() as stream:
        writer = McapWriter(stream, chunk_size=3000)
        schema = writer.register_msgdef('sensor_msgs/msg/Image', TYPES.generate_msgdef(
            'sensor_msgs/msg/Image', ros_version=2)[0])
        for number, image in enumerate(images):
            writer.write_message('/xray', schema, {
                'header': {'stamp': {'sec': 5, 'nanosec': number * 10**7}, 'frame_id': ''},
                'height': 20, 'width': 30, 'encoding': 'mono8', 'is_bigendian': 0, 'step': 30,
                'data': image.tobytes()}, log_time=10**9 + number)
        writer.finish()
        data = stream.getvalue()
    whole = tmp_path / 'whole.mcap'
    whole.write_bytes(data)
    assert len(list(BagSource(whole))) == 40
    torn = tmp_path / 'torn.mcap'
    counts = []
    for end in range(1000, len(data), 997):
        torn.write_bytes(data[:end])
        try:
            source = BagSource(torn)
        except FedefmError as error:
            assert 'torn before its first whole message' in str(error)
            counts.append(0)
            continue
        found = [frame.image for frame in source]
        counts.append(len(found))
        assert np.array_equal(found, images[:len(found)])
        assert source.frame_count == len(found)
        assert f'recovered {len(found)} messages' in source.losses[0]
        assert source.losses[0] in caplog.text
    assert counts == sorted(counts)
    assert counts[-1] == 40, 'only the index was torn'
    assert len(set(counts)) > 8
    # Garbage, as after a power cut, ends what can be used.
    torn.write_bytes(data[:len(data) // 2] + bytes(5000))
    assert 0 < len(list(BagSource(torn))) < 40
    # A bit that flipped: its chunk and what follows are not believed.
    flipped = bytearray(data[:len(data) * 3 // 4])
    flipped[len(data) // 2] ^= 1
    torn.write_bytes(flipped)
    assert 0 < len(list(BagSource(torn))) < 24


def test_a_mended_file_reads_everywhere(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_topic(Topic('/i', 'sensor_msgs/msg/Image'))
        for number, image in enumerate(pictures()):
            message = raw(image, 1 + number)
            writer.write('/i', number + 1, TYPES.serialize_cdr(message, message.__msgtype__))
            writer.flush()
    file = tmp_path / 'bag' / 'bag_0.mcap'
    file.write_bytes(file.read_bytes()[:-200])
    mend(recover(file))
    with Reader(file) as reader:
        assert reader.message_count == 5
        assert reader.end_time - reader.start_time == 5
    with open(file, 'rb') as stream:
        assert make_reader(stream).get_summary().statistics.message_count == 5


def test_big_endian_pixels_and_padded_rows_are_read(write_bag):
    images = pictures(dtype=np.uint16)
    padded = np.zeros((5, 20, 36), '>u2')
    padded[:, :, :30] = images
    path = write_bag({'/cam': [TYPES.types['sensor_msgs/msg/Image'](
        header(1 + n), 20, 30, '16UC1', 1, 72, image.reshape(-1).view(np.uint8))
        for n, image in enumerate(padded)]})
    assert np.array_equal([frame.image for frame in BagSource(path)], images)


@pytest.mark.parametrize(('encoding', 'remedy'), [
    ('bayer_rggb8', 'demosaic it first'), ('32FC1', 'scale it to mono8 or mono16'),
    ('yuv422', 'convert it to mono8')])
def test_images_whose_grey_is_not_known_are_refused_with_the_remedy(write_bag, encoding, remedy):
    path = write_bag({'/cam': [raw(np.zeros((4, 6), np.uint8), 1, encoding)]})
    with pytest.raises(FedefmError, match=remedy):
        list(BagSource(path))


def test_a_usable_topic_is_preferred_to_a_depth_image(write_bag):
    image = pictures()[0]
    path = write_bag({'/a/depth': [raw(image, 1, '32FC1')], '/b/overlay': [raw(image, 1)],
                      '/c/picture': [raw(image, 1)]})
    assert BagSource(path).topic == '/c/picture'


def test_stamps_slightly_out_of_order_are_put_in_order_and_a_restart_stays(write_bag, caplog):
    images = pictures(12)
    stamps = [1.0, 1.2, 1.1, 1.3, 1.5, 1.4, 50.0, 50.1, 1.0, 1.1, 1.3, 1.2]
    path = write_bag({'/i': [raw(image, stamp) for image, stamp in zip(images, stamps)]})
    found = [stamp / 1e9 for stamp, _ in BagSource(path).stamped()]
    assert found == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 50.0, 50.1, 1.0, 1.1, 1.2, 1.3])
    assert 'go back 1 times' in caplog.text


def test_files_of_a_split_bag_are_read_in_order_without_metadata(tmp_path):
    images = pictures(9)
    with BagWriter(tmp_path / 'bag', split_seconds=3) as writer:
        writer.add_topic(Topic('/i', 'sensor_msgs/msg/Image'))
        for number, image in enumerate(images):
            message = raw(image, 1 + number)
            writer.write('/i', number * 10**9, TYPES.serialize_cdr(message, message.__msgtype__))
    (tmp_path / 'bag' / 'metadata.yaml').unlink()
    assert len(list((tmp_path / 'bag').glob('*.mcap'))) == 3
    assert np.array_equal([frame.image for frame in BagSource(tmp_path / 'bag')], images)
    # One of them torn to nothing is a loss, not the end.
    (tmp_path / 'bag' / 'bag_2.mcap').write_bytes(b'')
    source = BagSource(tmp_path / 'bag')
    assert len(list(source)) == 6
    assert 'bag_2.mcap' in source.losses[0]


def test_bags_of_ros_1_are_read_and_their_messages_become_those_of_ros_2(tmp_path):
    images = pictures()
    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer1(tmp_path / 'old.bag') as writer:
        connection = writer.add_connection(
            '/xray', 'sensor_msgs/msg/Image', typestore=store)
        for number, image in enumerate(images):
            stamp = store.types['builtin_interfaces/msg/Time'](1 + number, 0)
            message = store.types['sensor_msgs/msg/Image'](
                store.types['std_msgs/msg/Header'](number, stamp, 'c_arm'), 20, 30, 'mono8', 0,
                30, image.reshape(-1))
            writer.write(connection, (1 + number) * 10**9, store.serialize_ros1(
                message, message.__msgtype__))
    assert is_bag(tmp_path / 'old.bag')
    source = BagSource(tmp_path / 'old.bag')
    assert np.array_equal([frame.image for frame in source], images)
    with open_bag(tmp_path / 'old.bag') as reader:
        first = next(reader.messages())
        message = TYPES.deserialize_cdr(reader.cdr(first), first.msgtype)
    assert (message.header.stamp.sec, message.header.frame_id) == (1, 'c_arm')
    assert np.array_equal(message.data, images[0].reshape(-1))
