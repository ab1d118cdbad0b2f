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

from ros1_bag import write_ros1_bag

from rosgraph_msgs.msg import Clock

from sensor_msgs.msg import Image

IMAGE, MASK = 'fluoroscopy/image_raw', 'segmentation/mask'
START = 1_600_000_000


@pytest.fixture(scope='module')
def running(harness, models):
    """Return the harness with a segmentation that lives in the time of /clock."""
    # The observer would send frames as well, and nobody else's topic is taken over.
    harness.node.destroy_publisher(harness.node.frames)
    harness.node.listen(IMAGE, Image, RELIABLE)
    harness.node.listen('/clock', Clock, RELIABLE)
    harness.start_active(SEGMENTATION, model=models['lines'], runtime='openvino',
                         precision='f32', use_sim_time=True)
    return harness


@pytest.fixture
def station(running):
    """Return the harness with nothing received yet."""
    for name in (IMAGE, MASK, '/clock'):
        running.node.take(name)
    return running


@pytest.fixture(scope='module')
def bag(tmp_path_factory, sequence):
    """Return a bag of 30 frames at 15 Hz, as another station recorded it."""
    path = tmp_path_factory.mktemp('bags') / 'bag'
    convert(str(sequence), path, rate=15.0, start=START, namespace='theirs')
    return path


def replay(bag, harness, folder, *options, **popen):
    """Start `replay` of a bag as this station's images."""
    return subprocess.Popen(
        [sys.executable, '-m', 'fedefm_ros.cli', 'replay', bag, '--namespace', harness.namespace,
         '--json', folder / 'replay.json', *map(str, options)],
        **{'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True, **popen})


def finished(process, folder):
    """Return the figures of a replay that has ended well."""
    text = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, text
    return json.loads((folder / 'replay.json').read_text())


def stamps_of(bag):
    return [stamp for stamp, _ in BagSource(bag).stamped()]


def test_messages_keep_their_stamps_and_the_clock_runs_in_the_bags_time(station, bag, tmp_path):
    told = finished(replay(bag, station, tmp_path, '--rate', 2), tmp_path)
    wanted = stamps_of(bag)
    assert told['frames'] == len(wanted) == 30
    assert told['topics'][f'/{station.namespace}/fluoroscopy/camera_info'] == 30
    assert 29 / 15 / 2 <= told['seconds']
    wait_until(lambda: len(station.node.got(IMAGE)) == 30, 'all images')
    assert station.node.stamps(IMAGE) == wanted
    clock = [message.clock.sec * 10**9 + message.clock.nanosec
             for message in station.node.got('/clock')]
    assert clock == sorted(clock)
    assert START * 10**9 <= clock[0] and clock[-1] == wanted[-1]
    assert len(clock) > 60  # also between messages


def test_lock_step_gets_a_mask_for_every_frame_and_those_of_the_engine(
        station, bag, tmp_path, models):
    told = finished(replay(bag, station, tmp_path, '--lock-step', '--patience', 30), tmp_path)
    assert (told['frames'], told['masks'], told['missed']) == (30, 30, 0)
    assert station.node.stamps() == stamps_of(bag)
    engine = SegmentationEngine.open(str(models['lines']), 'openvino', 2, 'f32')
    for message, frame in zip(station.node.got(MASK), BagSource(bag), strict=True):
        assert np.array_equal(image_to_array(message), engine.infer(frame.image).mask)


def write_foreign(path, images, encoding='mono8', start=START):
    """Write images by mcap-ros2-support alone, as somebody without ROS would."""
    from fedefm_ros.imaging.bag_types import definition
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
    start = (START + 50) * 10**9
    bag = write_ros1_bag(tmp_path / 'old.bag', {'/xray': images}, start)
    told = finished(replay(bag, station, tmp_path, '--lock-step', '--patience', 30), tmp_path)
    assert told['topics'] == {f'/{station.namespace}/{IMAGE}': 4}
    assert (told['masks'], told['missed']) == (4, 0)
    wait_until(lambda: len(station.node.got(IMAGE)) == 4, 'the images')
    for number, message in enumerate(station.node.got(IMAGE)):
        assert stamp_of(message) == start + number * 10**8
        assert message.header.frame_id == 'c_arm'
        assert np.array_equal(image_to_array(message), images[number])


def test_a_frame_without_a_mask_is_counted(station, tmp_path, picture):
    # Later than what the station has seen: stamps that go back a little are refused.
    bag = write_foreign(tmp_path / 'bayer.mcap', [picture, picture], 'bayer_rggb8', START + 100)
    told = finished(replay(bag, station, tmp_path, '--lock-step', '--patience', 3), tmp_path)
    assert (told['frames'], told['masks'], told['missed']) == (2, 1, 1)


def test_a_part_is_replayed(station, bag, tmp_path):
    told = finished(replay(bag, station, tmp_path, '--start', 0.5, '--duration', 0.7,
                           '--rate', 4), tmp_path)
    wanted = [stamp for stamp in stamps_of(bag)
              if 0.5e9 <= stamp - START * 10**9 < 1.2e9]
    assert told['frames'] == len(wanted)
    wait_until(lambda: len(station.node.got(IMAGE)) == len(wanted), 'the images')
    assert station.node.stamps(IMAGE) == wanted


def test_keys_pause_step_and_end(station, bag, tmp_path):
    terminal, other = pty.openpty()
    try:
        process = replay(bag, station, tmp_path, '--pause', stdin=other)

        def frames():
            return len(station.node.got(IMAGE))
        wait_until(lambda: station.node.got('/clock'), 'the clock')
        assert frames() == 0
        for count in (1, 2):
            os.write(terminal, b'\x1b[C')
            wait_until(lambda: frames() == count, f'frame {count}')  # noqa: B023
        stands = len(station.node.got('/clock'))
        wait_until(lambda: len(station.node.got('/clock')) > stands + 5, 'the clock')
        assert frames() == 2, 'one step shows one frame'
        os.write(terminal, b' ')
        wait_until(lambda: frames() >= 5, 'to go on')
        os.write(terminal, b'q')
        told = finished(process, tmp_path)
    finally:
        os.close(terminal)
        os.close(other)
    assert 5 <= told['frames'] <= 30
    assert station.node.stamps(IMAGE) == stamps_of(bag)[:told['frames']]


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
                     '--wait', 2)
    text = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1
    assert 'start and activate the segmentation' in ' '.join(text.split())


def test_stamps_are_those_of_the_header(station):
    message = Image()
    message.header.stamp.sec, message.header.stamp.nanosec = 7, 8
    from fedefm_ros.nodes.replay import _stamp

    from rclpy.serialization import serialize_message
    assert _stamp(serialize_message(message)) == stamp_of(message) == 7_000_000_008
