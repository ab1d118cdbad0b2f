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

"""`replay` as a user runs it: real bags, a real segmentation in the bag's time, real keys."""

from itertools import count
import json
import os
import pty
import subprocess
import sys

from fedefm_ros.commands.convert import convert
from fedefm_ros.imaging.bag import BagSource
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.station import SEGMENTATION

from harness import PATIENCE, RELIABLE, stamp_of, wait_until

from mcap_ros2.writer import Writer

import numpy as np

import pytest

from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy

from ros1_bag import write_ros1_bag

from rosgraph_msgs.msg import Clock

from sensor_msgs.msg import Image

IMAGE, MASK = 'fluoroscopy/image_raw', 'segmentation/mask'
#: Seconds; each bag begins later than the ones before, so that its messages tell whose they are.
STARTS = count(1_600_000_000, 1000)


@pytest.fixture(scope='module')
def station(harness, models):
    """Return the harness with a segmentation that lives in the time of /clock."""
    # The observer would send frames as well, and nobody else's topic is taken over.
    harness.node.destroy_publisher(harness.node.frames)
    harness.node.listen(IMAGE, Image, RELIABLE)
    harness.node.listen('/clock', Clock, RELIABLE)
    harness.start_active(SEGMENTATION, model=models['lines'], runtime='openvino',
                         precision='f32', use_sim_time=True)
    return harness


@pytest.fixture
def bag(tmp_path, sequence):
    """Return a bag of 30 frames at 15 Hz, as another station recorded it."""
    path = tmp_path / 'bag'
    convert(str(sequence), path, rate=15.0, start=next(STARTS), namespace='theirs')
    return path


def replay(bag, harness, folder, *options, **popen):
    """Start `replay` of a bag as this station's images, which two read: it and the observer."""
    return subprocess.Popen(
        [sys.executable, '-m', 'fedefm_ros.cli', 'replay', bag, '--namespace', harness.namespace,
         '--json', folder / 'replay.json', '--readers', '2', '--wait', str(PATIENCE),
         *map(str, options)],
        **{'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True, **popen})


def finished(process, folder):
    """Return the figures of a replay that has ended well."""
    text = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, text
    return json.loads((folder / 'replay.json').read_text())


def stamps_of(bag):
    return [stamp for stamp, _ in BagSource(bag).stamped()]


def received(station, topic, bag):
    """Return the messages with stamps of this bag, whatever else is still on its way."""
    stamps = stamps_of(bag)
    return [message for message in station.node.got(topic)
            if stamps[0] <= stamp_of(message) <= stamps[-1]]


def wait_for(station, topic, bag, wanted):
    """Wait until just these stamps of a bag have come, in their order; return the messages."""
    return wait_until(
        lambda: [stamp_of(each) for each in received(station, topic, bag)] == wanted
        and received(station, topic, bag), f'{len(wanted)} messages of {topic}')


def clock_in(station, bag):
    """Return the times of /clock within a bag."""
    stamps = stamps_of(bag)
    times = [message.clock.sec * 10**9 + message.clock.nanosec
             for message in station.node.got('/clock')]
    return [each for each in times if stamps[0] <= each <= stamps[-1]]


def test_messages_keep_their_stamps_and_the_clock_runs_in_the_bags_time(station, bag, tmp_path):
    told = finished(replay(bag, station, tmp_path, '--rate', 2), tmp_path)
    wanted = stamps_of(bag)
    assert told['frames'] == len(wanted) == 30
    assert told['topics'][f'/{station.namespace}/fluoroscopy/camera_info'] == 30
    assert 29 / 15 / 2 <= told['seconds']
    wait_for(station, IMAGE, bag, wanted)
    wait_until(lambda: clock_in(station, bag)[-1] == wanted[-1], 'the last time')
    clock = clock_in(station, bag)
    assert clock == sorted(clock)
    assert set(clock) - set(wanted), 'it also runs between messages'


def test_lock_step_gets_a_mask_for_every_frame_and_those_of_the_engine(
        station, bag, tmp_path, models):
    told = finished(replay(bag, station, tmp_path, '--lock-step', '--patience', 30), tmp_path)
    assert (told['frames'], told['masks'], told['missed']) == (30, 30, 0)
    masks = wait_for(station, MASK, bag, stamps_of(bag))
    engine = SegmentationEngine.open(str(models['lines']), 'openvino', 2, 'f32')
    for message, frame in zip(masks, BagSource(bag), strict=True):
        assert np.array_equal(image_to_array(message), engine.infer(frame.image).mask)


def write_foreign(path, images, encoding='mono8'):
    """Write images by mcap-ros2-support alone, as somebody without ROS would."""
    from fedefm_ros.imaging.bag_types import definition
    start = next(STARTS)
    with open(path, 'wb') as stream:
        writer = Writer(stream)
        schema = writer.register_msgdef(
            'sensor_msgs/msg/Image', definition('sensor_msgs/msg/Image')[0])
        for number, image in enumerate(images):
            stamp = {'sec': start, 'nanosec': number * 10**8}
            writer.write_message('/cath_lab/xray', schema, {
                'header': {'stamp': stamp, 'frame_id': 'x'}, 'height': image.shape[0],
                'width': image.shape[1], 'encoding': encoding if number else 'mono8',
                'is_bigendian': 0, 'step': image.shape[1], 'data': image.tobytes()},
                log_time=start * 10**9 + number * 10**8)
        writer.finish()
    return path


def test_a_bag_that_others_wrote_is_replayed(station, tmp_path, picture):
    bag = write_foreign(tmp_path / 'foreign.mcap', [np.roll(picture, n, 0) for n in range(6)])
    told = finished(replay(bag, station, tmp_path, '--lock-step', '--patience', 30), tmp_path)
    assert told['topics'] == {f'/{station.namespace}/{IMAGE}': 6}
    assert (told['masks'], told['missed']) == (6, 0)


def test_a_bag_of_ros_1_is_replayed(station, tmp_path, picture):
    images = [np.roll(picture, n, 0) for n in range(4)]
    start = next(STARTS) * 10**9
    bag = write_ros1_bag(tmp_path / 'old.bag', {'/xray': images}, start)
    told = finished(replay(bag, station, tmp_path, '--lock-step', '--patience', 30), tmp_path)
    assert told['topics'] == {f'/{station.namespace}/{IMAGE}': 4}
    assert (told['masks'], told['missed']) == (4, 0)
    stamps = [start + number * 10**8 for number in range(4)]
    for number, message in enumerate(wait_for(station, IMAGE, bag, stamps)):
        assert message.header.frame_id == 'c_arm'
        assert np.array_equal(image_to_array(message), images[number])


def test_a_frame_without_a_mask_is_counted(station, tmp_path, picture):
    bag = write_foreign(tmp_path / 'bayer.mcap', [picture, picture], 'bayer_rggb8')
    told = finished(replay(bag, station, tmp_path, '--lock-step', '--patience', 8), tmp_path)
    assert (told['frames'], told['masks'], told['missed']) == (2, 1, 1)


def test_a_part_is_replayed(station, bag, tmp_path):
    told = finished(replay(bag, station, tmp_path, '--start', 0.5, '--duration', 0.7,
                           '--rate', 4), tmp_path)
    stamps = stamps_of(bag)
    wanted = [stamp for stamp in stamps if 0.5e9 <= stamp - stamps[0] < 1.2e9]
    assert told['frames'] == len(wanted)
    wait_for(station, IMAGE, bag, wanted)


def test_keys_pause_step_and_end(station, bag, tmp_path):
    terminal, other = pty.openpty()
    try:
        process = replay(bag, station, tmp_path, '--pause', stdin=other)

        def frames():
            return len(received(station, IMAGE, bag))

        def ticks():
            return len(clock_in(station, bag))
        wait_until(ticks, 'the clock')
        assert frames() == 0
        for number in (1, 2):
            os.write(terminal, b'\x1b[C')
            wait_until(lambda: frames() == number, f'frame {number}')  # noqa: B023
        stands = ticks()
        wait_until(lambda: ticks() > stands + 5, 'the clock')
        assert frames() == 2, 'one step shows one frame'
        os.write(terminal, b' ')
        wait_until(lambda: frames() >= 5, 'to go on')
        os.write(terminal, b'q')
        told = finished(process, tmp_path)
    finally:
        os.close(terminal)
        os.close(other)
    assert 5 <= told['frames'] <= 30
    wait_for(station, IMAGE, bag, stamps_of(bag)[:told['frames']])


def test_a_loop_begins_again_until_it_is_ended(station, bag, tmp_path):
    terminal, other = pty.openpty()
    try:
        process = replay(bag, station, tmp_path, '--loop', '--start', 1.5, '--rate', 2,
                         stdin=other)
        part = [stamp for stamp in stamps_of(bag) if stamp >= stamps_of(bag)[0] + 1.5e9]
        wait_until(lambda: len(received(station, IMAGE, bag)) > 2 * len(part), 'the third time')
        os.write(terminal, b'q')
        told = finished(process, tmp_path)
    finally:
        os.close(terminal)
        os.close(other)
    assert told['loops'] >= 2
    came = [stamp_of(each) for each in received(station, IMAGE, bag)]
    assert came[:2 * len(part)] == 2 * part


def test_a_topic_that_somebody_publishes_is_not_taken_over(station, bag):
    process = subprocess.Popen(
        [sys.executable, '-m', 'fedefm_ros.cli', 'replay', bag, '--remap',
         f'/theirs/{IMAGE}:=/{station.namespace}/{MASK}'], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    text = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1
    assert 'is published by segmentation already' in ' '.join(text.split())


def test_lock_step_says_when_nobody_segments(station, bag, tmp_path):
    process = replay(bag, station, tmp_path, '--lock-step', '--mask', '/nobody/mask',
                     '--readers', 0, '--wait', 2)
    text = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1
    assert 'start and activate the segmentation' in ' '.join(text.split())


def test_the_first_images_reach_a_reader_that_comes_late(station, bag, tmp_path):
    name = f'/{station.namespace}/{IMAGE}'
    process = replay(bag, station, tmp_path, '--rate', 4, '--readers', 3)
    wait_until(lambda: station.node.count_publishers(name), 'the player')
    assert not clock_in(station, bag), 'it waits'
    late = station.node.create_subscription(
        Image, IMAGE, lambda message: station.node._keep('late', message),
        QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT))
    try:
        assert finished(process, tmp_path)['frames'] == 30
        wait_for(station, 'late', bag, stamps_of(bag))
    finally:
        station.node.destroy_subscription(late)


def test_it_says_how_many_readers_are_missing(station, bag, tmp_path):
    process = replay(bag, station, tmp_path, '--readers', 9, '--wait', 2)
    text = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1
    assert f'of 9 readers of /{station.namespace}/{IMAGE} are there' in ' '.join(text.split())


def test_stamps_are_those_of_the_header():
    message = Image()
    message.header.stamp.sec, message.header.stamp.nanosec = 7, 8
    from fedefm_ros.nodes.replay import _stamp

    from rclpy.serialization import serialize_message
    assert _stamp(serialize_message(message)) == stamp_of(message) == 7_000_000_008
