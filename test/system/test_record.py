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

"""`record` as a user runs it: a real station, real DDS, real files, real kills."""

from collections import Counter
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag import BagSource
from fedefm_ros.imaging.bag_reader import open_bag
from fedefm_ros.imaging.messages import fill_image
from fedefm_ros.msg import FederationStatus
from fedefm_ros.msg import ModelManifest
from fedefm_ros.station import FLUOROSCOPY, SEGMENTATION

from harness import LATCHED, PATIENCE, RELIABLE, wait_until

from mcap.reader import make_reader

from mcap_ros2.decoder import DecoderFactory

import numpy as np

import pytest

from rosbags.highlevel import AnyReader

from sensor_msgs.msg import Image

import yaml

IMAGE, MASK = 'fluoroscopy/image_raw', 'segmentation/mask'


@pytest.fixture(scope='module')
def running(harness, models, sequence):
    """Return the harness with a station that streams a looped folder of images."""
    harness.start_active(SEGMENTATION, model=models['lines'], runtime='openvino',
                         precision='f32')
    harness.start_active(FLUOROSCOPY, source=sequence, loop=True, rate=15)
    wait_until(lambda: harness.node.got(MASK), 'a mask')
    return harness


@pytest.fixture
def start(running, tmp_path):
    """Return a function that starts `record` into tmp_path/bag; what still runs is killed."""
    started = []

    def start(*options, **popen):
        process = subprocess.Popen(
            [sys.executable, '-m', 'fedefm_ros.cli', 'record', '-o', tmp_path / 'bag',
             '--namespace', running.namespace, '--json', tmp_path / 'record.json',
             *map(str, options)], stdout=open(tmp_path / 'log', 'wb'),
            stderr=subprocess.STDOUT, **popen)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def topics_in(path):
    """Return the topics of which a bag that is being written holds messages already."""
    try:
        with open_bag(path) as reader:
            return {name for name in reader.topics if next(reader.messages([name]), None)}
    except FedefmError:  # not one whole chunk yet
        return set()


def recorded_bytes(path):
    """Return how much a bag that is being written holds."""
    return sum(file.stat().st_size for file in path.glob('bag_*')
               if file.suffix in ('.mcap', '.db3'))


def words(folder):
    return ' '.join((folder / 'log').read_text().split())


def told(folder):
    return json.loads((folder / 'record.json').read_text())


def topic(running, name):
    return f'/{running.namespace}/{name}'


def test_ctrl_c_ends_with_a_bag_that_the_official_readers_open(running, start, tmp_path):
    process = start()
    bag = tmp_path / 'bag'
    wanted = {topic(running, name) for name in (
        IMAGE, MASK, 'fluoroscopy/camera_info', 'segmentation/instruments',
        'segmentation/centerline', 'segmentation/label_info', 'procedure_active')}
    wanted.add('/diagnostics')
    wait_until(lambda: recorded_bytes(bag) > 600_000, 'some recording')
    wait_until(lambda: wanted <= topics_in(bag), 'a message of each topic')
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0, words(tmp_path)
    figures = told(tmp_path)
    assert figures['dropped'] == 0
    counts = {name: each['messages'] for name, each in figures['topics'].items()
              if each['messages']}
    assert wanted <= set(counts)
    # rosbags, through metadata.yaml
    with AnyReader([bag]) as reader:
        assert {c.topic: c.msgcount for c in reader.connections} == counts
        read = Counter(c.topic for c, _, _ in reader.messages())
        assert read == counts
        mask = next(c for c in reader.connections if c.topic == topic(running, MASK))
        assert mask.ext.offered_qos_profiles[0].reliability.name == 'RELIABLE'
        assert mask.ext.offered_qos_profiles[0].deadline.nsec > 0
    # mcap
    file, = bag.glob('*.mcap')
    with open(file, 'rb') as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == 'ros2'
        found = Counter()
        for _, channel, message, decoded in reader.iter_decoded_messages():
            found[channel.topic] += 1
        assert found == counts
        statistics = reader.get_summary().statistics
    # What `ros2 bag info` prints
    info = yaml.safe_load((bag / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert (info['version'], info['storage_identifier']) == (9, 'mcap')
    assert info['message_count'] == sum(counts.values()) == statistics.message_count
    assert info['starting_time']['nanoseconds_since_epoch'] == statistics.message_start_time
    assert info['duration']['nanoseconds'] == (
        statistics.message_end_time - statistics.message_start_time)
    assert info['relative_file_paths'] == [file.name]
    assert sorted(os.listdir(bag)) == [file.name, 'metadata.yaml']


def test_every_recorded_mask_belongs_to_a_recorded_image(running, start, tmp_path):
    process = start()
    wait_until(lambda: recorded_bytes(tmp_path / 'bag') > 1_600_000, 'some recording')
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0, words(tmp_path)
    with open_bag(tmp_path / 'bag') as reader:
        stamps = {name: [stamp_of(reader.decode(message)) for message in
                         reader.messages([topic(running, name)])] for name in (IMAGE, MASK)}
    # Topics are discovered one after the other, and the end may cut a pair in two.
    middle = [stamp for stamp in stamps[MASK] if stamp >= stamps[IMAGE][0]][2:-2]
    assert len(middle) > 10
    # Images are best effort: what the transport says it lost on the way here may be missing.
    lost = told(tmp_path)['topics'][topic(running, IMAGE)]['lost']
    assert len(set(middle) - set(stamps[IMAGE])) <= lost
    assert stamps[IMAGE] == sorted(set(stamps[IMAGE]))


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_killed_recorder_leaves_a_bag_that_reads_to_its_last_flush(
        running, start, tmp_path, storage, caplog):
    process = start('--storage', storage)
    bag = tmp_path / 'bag'
    wait_until(lambda: recorded_bytes(bag) > 600_000, 'some recording')
    stamp = running.node.stamps()[-1]
    # The file grows while a flush goes on, too: only what came before the last one is safe.
    for _ in range(3):
        size = recorded_bytes(bag)
        wait_until(lambda: recorded_bytes(bag) > size + 100_000, 'another flush')
    process.kill()
    process.wait()
    assert not (bag / 'metadata.yaml').exists()
    source = BagSource(bag)
    frames = list(source.stamped())
    assert len(frames) > 10
    assert frames[-1][0] >= stamp, 'what was flushed is lost'
    assert all(frame.image.shape == (128, 128) for _, frame in frames)
    assert source.losses and source.losses[0] in caplog.text


def test_what_a_slow_disk_has_no_room_for_is_dropped_counted_and_told(
        running, start, tmp_path, picture):
    publisher = running.node.create_publisher(Image, 'ground_truth/mask', RELIABLE)
    process = start('--storage', 'sqlite3', '--queue', 1)
    wait_until(lambda: publisher.get_subscription_count(), 'the recorder')
    wait_until(lambda: recorded_bytes(tmp_path / 'bag') > 200_000, 'some recording')
    # Who reads the database makes its writer wait, up to five seconds.
    file, = (tmp_path / 'bag').glob('*.db3')
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute('BEGIN')
    wait_until(lambda: rows_of(reader), 'the reader')
    large, sent = np.tile(picture, (4, 4)), 0
    pace = threading.Event()
    while 'was dropped' not in (tmp_path / 'log').read_text():
        running.node.send_message(image_message(large), publisher=publisher)
        sent += 1
        assert not pace.wait(0.05) and sent < RELIABLE.depth
    reader.close()
    # Nobody was held up, and nothing but the queue's share is lost.
    size = recorded_bytes(tmp_path / 'bag')
    wait_until(lambda: recorded_bytes(tmp_path / 'bag') > size + 200_000, 'to go on')
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0, words(tmp_path)
    running.node.destroy_publisher(publisher)
    figures = told(tmp_path)
    ours = figures['topics'][topic(running, 'ground_truth/mask')]
    # What was still on its way at the end was never taken.
    assert ours['dropped'] and ours['messages'] + ours['dropped'] + ours['lost'] <= sent
    assert figures['dropped'] == sum(each['dropped'] for each in figures['topics'].values())
    assert figures['queue_fullest'] > 0.7
    assert f'{figures["dropped"]} messages were dropped: the disk is slower' in words(tmp_path)
    with AnyReader([tmp_path / 'bag']) as bag:
        assert bag.message_count == figures['messages'] == sum(1 for _ in bag.messages())


def image_message(image):
    message = Image()
    fill_image(message, image, 'mono8')
    return message


def rows_of(connection):
    """Return how many rows there are; from now on the file is being read. 0: not now."""
    try:
        return connection.execute('SELECT count(*) FROM topics').fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_a_bag_is_split_by_size_and_by_time(running, start, tmp_path):
    process = start('--split-size', 0.5, '--split-seconds', 2)
    bag = tmp_path / 'bag'
    wait_until(lambda: (bag / 'bag_3.mcap').exists(), 'three files')
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0, words(tmp_path)
    info = yaml.safe_load((bag / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    files = info['relative_file_paths']
    assert len(files) >= 3
    assert files == [f'bag_{number}.mcap' for number in range(len(files))]
    assert all((bag / name).stat().st_size < 1.5 * 2**20 for name in files)
    assert sum(each['message_count'] for each in info['files']) == info['message_count']
    for each in info['files']:
        assert each['duration']['nanoseconds'] <= 2.1e9
        with AnyReader([bag / each['path']]) as reader:  # each file is whole in itself
            assert reader.message_count == each['message_count']
    with AnyReader([bag]) as reader:
        times = [time for _, time, _ in reader.messages()]
    assert times == sorted(times)
    assert len(times) == info['message_count']


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_full_disk_ends_the_recording_with_a_word_and_a_valid_bag(
        running, start, tmp_path, storage):
    # A limit on the size of any file stands for the end of the disk.
    process = start('--storage', storage, preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_FSIZE, (3 * 2**19, 3 * 2**19)))
    assert process.wait(PATIENCE) == 1
    text = words(tmp_path)
    assert 'cannot be written on' in text
    assert 'recording has stopped' in text
    bag = tmp_path / 'bag'
    figures = told(tmp_path)
    assert figures['messages'] > 50
    with AnyReader([bag]) as reader:
        assert reader.message_count == figures['messages'] == sum(1 for _ in reader.messages())
    if storage == 'sqlite3':
        with sqlite3.connect(next(bag.glob('*.db3'))) as connection:
            assert connection.execute('PRAGMA integrity_check').fetchone() == ('ok',)


def test_it_stops_before_the_disk_is_full(running, start, tmp_path):
    free = os.statvfs(tmp_path)
    process = start('--keep-free', free.f_bavail * free.f_frsize / 2**20 + 1000)
    assert process.wait(PATIENCE) == 1
    assert 'MiB are left on the disk' in words(tmp_path)
    with AnyReader([tmp_path / 'bag']) as reader:
        assert reader.message_count == sum(1 for _ in reader.messages())


def test_compressed_images_are_recorded_without_loss(running, start, tmp_path, sequence):
    process = start('--compressed')
    wait_until(lambda: recorded_bytes(tmp_path / 'bag') > 1_600_000, 'some recording')
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0, words(tmp_path)
    source = BagSource(tmp_path / 'bag')
    assert source.topic == topic(running, f'{IMAGE}/compressed')
    from fedefm_ros.imaging.source import open_source
    with open_source(str(sequence)) as given:
        known = {frame.image.tobytes() for frame in given}
    images = [frame.image for frame in source]
    assert len(images) > 10
    assert all(np.ascontiguousarray(image).tobytes() in known for image in images)


def test_topics_are_chosen_by_name_or_expression(running, start, tmp_path):
    process = start('--topics', '/.*/(segmentation/mask|camera_info)')
    wanted = {topic(running, MASK), topic(running, 'fluoroscopy/camera_info')}
    wait_until(lambda: wanted <= topics_in(tmp_path / 'bag'), 'both topics')
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0, words(tmp_path)
    assert set(told(tmp_path)['topics']) == wanted


def test_what_the_federation_says_is_recorded(running, start, tmp_path):
    status = running.node.create_publisher(FederationStatus, 'federation/status', LATCHED)
    manifests = running.node.create_publisher(
        ModelManifest, '/federation/announcements', LATCHED)
    status.publish(FederationStatus(round=7))
    manifests.publish(ModelManifest(round=7))
    process = start()
    wanted = {topic(running, 'federation/status'), '/federation/announcements'}
    wait_until(lambda: wanted <= topics_in(tmp_path / 'bag'), 'both topics')
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0, words(tmp_path)
    for publisher in status, manifests:
        running.node.destroy_publisher(publisher)
    with open_bag(tmp_path / 'bag') as reader:
        assert [reader.decode(message).round for message in reader.messages(wanted)] == [7, 7]


def test_silence_is_told(start, tmp_path):
    process = start('--topics', '/nobody/says/this', '--seconds', 1)
    assert process.wait(PATIENCE) == 1
    assert 'nothing was recorded' in words(tmp_path)
