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

"""A whole station in processes of their own: source, segmentation, and us as the receiver."""

import signal
import threading

import cv2

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.nodes.bring_up import ACTIVE
from fedefm_ros.nodes.conversion import label_info_type
from fedefm_ros.station import FLUOROSCOPY, SEGMENTATION

from geometry_msgs.msg import PoseArray

from harness import BEST_EFFORT, end, LATCHED, PATIENCE, RELIABLE, stamp_of, wait_until

from lifecycle_msgs.msg import Transition

import numpy as np

import pytest

from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import QoSProfile

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from std_srvs.srv import SetBool

# Where FASTDDS_BUILTIN_TRANSPORTS has no effect and the default transports lose large images.
ENVIRONMENT = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}

IMAGE, MASK = 'fluoroscopy/image_raw', 'segmentation/mask'
ACTIVITY = 'procedure_active'


@pytest.fixture(scope='module')
def running(harness, models, sequence):
    """Return the harness with a station that streams a looped folder of images."""
    harness.segmentation = harness.start(
        SEGMENTATION, model=models['lines'], runtime='openvino', precision='f32',
        min_confidence=0.325)
    harness.source = harness.start(FLUOROSCOPY, source=sequence, loop=True, rate=15)
    harness.bring_up('segmentation')
    harness.bring_up('fluoroscopy')
    harness.node.listen(IMAGE, Image, BEST_EFFORT)
    return harness


@pytest.fixture
def station(running):
    """Return the harness once new masks arrive."""
    masks_flow(running)
    return running


def masks_flow(harness, count=3):
    """Wait for new masks and forget what came before."""
    for topic in (IMAGE, MASK, 'segmentation/instruments'):
        harness.node.take(topic)
    wait_until(lambda: len(harness.node.got(MASK)) >= count, f'{count} masks')


def activity(harness):
    """Return what procedure_active said last."""
    said = harness.node.got(ACTIVITY)
    return said[-1].data if said else None


def test_each_mask_belongs_to_one_image_in_order(station):
    wait_until(lambda: len(station.node.got(MASK)) > 40, 'masks')
    masks = station.node.got(MASK)
    images = {stamp_of(image): image for image in station.node.got(IMAGE)}
    stamps = [stamp_of(mask) for mask in masks]
    assert stamps == sorted(set(stamps))
    # The first may be of an image from before we began to count.
    assert set(stamps[2:]) <= set(images)
    for mask in masks[2:]:
        image = images[stamp_of(mask)]
        assert mask.header == image.header and mask.header.frame_id == 'fluoroscopy_optical'
        assert (mask.width, mask.height, mask.encoding) == (image.width, image.height, 'mono8')
        assert set(np.unique(image_to_array(mask))) <= {0, 1, 2}
    found = station.node.stamps('segmentation/instruments')
    assert found == sorted(set(found)) and set(found[2:]) <= set(stamps)


def test_what_was_received_is_what_was_published_skipped_and_refused(station):
    assert station.change('segmentation', Transition.TRANSITION_DEACTIVATE)
    counts = station.counts()
    assert counts['received'] == counts['published'] + counts['skipped'] + counts['refused']
    assert counts['refused'] == counts['faults'] == 0
    assert station.change('segmentation', Transition.TRANSITION_ACTIVATE)


def test_everything_else_of_the_interface_is_there(station):
    node = station.node
    wait_until(lambda: activity(station) is True, 'procedure_active')
    kept = [node.listen(*entry) for entry in (
        ('fluoroscopy/camera_info', CameraInfo, BEST_EFFORT),
        ('fluoroscopy/image_raw/compressed', CompressedImage, BEST_EFFORT),
        ('segmentation/overlay', Image, BEST_EFFORT),
        ('segmentation/overlay/compressed', CompressedImage, BEST_EFFORT),
        ('segmentation/centerline', PoseArray, RELIABLE),
        ('segmentation/label_info', label_info_type(), LATCHED))]
    for subscription in kept:
        topic = subscription.topic_name.partition(f'{station.namespace}/')[2]
        wait_until(lambda: node.got(topic), topic)
    assert node.got('segmentation/overlay')[0].encoding == 'rgb8'
    png = node.got('fluoroscopy/image_raw/compressed')[-1]
    picture = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
    raw = wait_until(lambda: [image for image in node.got(IMAGE)
                              if image.header == png.header], 'the same image raw')[0]
    assert png.format.startswith('mono8; png') and (picture == image_to_array(raw)).all()
    for name in ('frames', 'model', 'transport'):
        assert isinstance(station.status(f'segmentation: {name}')[0], bytes)
    values = wait_until(lambda: station.status('segmentation: model')[2].get('runtime')
                        and station.status('segmentation: model')[2], 'diagnostics')
    assert values['runtime'] == 'openvino' and values['precision'] == 'f32'
    assert values['min_confidence'] == '0.325'
    frames = wait_until(lambda: float(station.status('segmentation: frames')[2].get(
        'latency_ms_p99', 'nan')) > 0 and station.status('segmentation: frames')[2], 'latency')
    assert float(frames['rate_in']) > 0 and float(frames['rate_out']) > 0
    for subscription in kept:
        node.destroy_subscription(subscription)


def test_the_overlay_stops_when_nobody_watches(station):
    node = station.node
    watching = node.listen('segmentation/overlay', Image, BEST_EFFORT)
    wait_until(lambda: node.got('segmentation/overlay'), 'an overlay')
    node.destroy_subscription(watching)
    wait_until(lambda: node.count_subscribers('segmentation/overlay') == 0, 'the end of it')
    masks_flow(station)


def source_statuses(harness):
    """Return what the source's diagnostics said since they were last taken."""
    return [status for array in harness.node.got('/diagnostics') for status in array.status
            if status.name.endswith('fluoroscopy: source')]


def test_pausing_stops_the_frames_and_says_so(station):
    pause = SetBool.Request(data=True)
    assert station.call(SetBool, 'fluoroscopy/pause', pause).success
    wait_until(lambda: activity(station) is False, 'procedure_active false')
    wait_until(lambda: station.status('fluoroscopy: source')[1] == 'paused', 'paused')
    wait_until(lambda: 'no frame for' in station.status('segmentation: frames')[1], 'silence')
    listening = station.node.listen('/diagnostics', DiagnosticArray, RELIABLE)
    wait_until(lambda: source_statuses(station), 'the first word to this listener')
    station.node.take('/diagnostics')
    assert station.call(SetBool, 'fluoroscopy/pause', SetBool.Request(data=False)).success
    masks_flow(station)
    # A pause of longer than stall_time is not a stall, not even in the first word after it.
    wait_until(lambda: any(status.message == 'has just started'
                           for status in source_statuses(station)), 'the first word')
    assert {status.level for status in source_statuses(station)} == {DiagnosticStatus.OK}
    station.node.destroy_subscription(listening)
    wait_until(lambda: activity(station) is True, 'procedure_active true')


def test_frames_that_came_while_the_process_was_held_up_are_counted_as_missed(station):
    def missed():
        return int(station.status('segmentation: frames')[2]['missed'])
    before = missed()
    station.node.take(IMAGE)
    station.segmentation.send_signal(signal.SIGSTOP)
    wait_until(lambda: len(station.node.got(IMAGE)) > 10, 'frames meanwhile')
    station.segmentation.send_signal(signal.SIGCONT)
    wait_until(lambda: missed() > before, 'the count')
    masks_flow(station)


def test_a_killed_source_is_noticed_by_deadline_and_its_successor_followed(station, sequence):
    missed = threading.Event()
    watcher = station.node.create_subscription(
        Image, MASK, lambda message: None,
        QoSProfile(depth=1, deadline=Duration(seconds=0.5)),
        event_callbacks=SubscriptionEventCallbacks(deadline=lambda event: missed.set()))
    wait_until(lambda: station.node.count_publishers(MASK), 'a publisher')
    masks_flow(station)
    missed.clear()
    station.source.kill()
    station.source.wait()
    assert missed.wait(PATIENCE), 'no deadline event'
    station.node.destroy_subscription(watcher)
    assert station.segmentation.poll() is None
    assert station.state('segmentation') == ACTIVE
    station.source = station.start_active(FLUOROSCOPY, source=sequence, loop=True, rate=15)
    masks_flow(station, 10)


def test_a_killed_segmentation_is_noticed_by_liveliness_and_its_successor_works(
        station, models):
    lost = threading.Event()
    watcher = station.node.create_subscription(
        Image, MASK, lambda message: None,
        QoSProfile(depth=1, liveliness_lease_duration=Duration(seconds=2.0)),
        event_callbacks=SubscriptionEventCallbacks(
            liveliness=lambda event: event.alive_count or lost.set()))
    masks_flow(station)
    lost.clear()
    station.segmentation.kill()
    station.segmentation.wait()
    assert lost.wait(PATIENCE), 'no liveliness event'
    station.node.destroy_subscription(watcher)
    station.node.take(IMAGE)
    wait_until(lambda: len(station.node.got(IMAGE)) > 5, 'images all the same')
    station.segmentation = station.start_active(
        SEGMENTATION, model=models['lines'], runtime='openvino', precision='f32')
    masks_flow(station, 10)


def reopen(station, **parameters):
    """Give the source other parameters."""
    assert station.change('fluoroscopy', Transition.TRANSITION_DEACTIVATE)
    assert station.change('fluoroscopy', Transition.TRANSITION_CLEANUP)
    assert set(station.set_parameters('fluoroscopy', **parameters)) == {''}
    return station.change('fluoroscopy', Transition.TRANSITION_CONFIGURE) and \
        station.change('fluoroscopy', Transition.TRANSITION_ACTIVATE)


def test_the_simulator_comes_with_its_truth_under_the_same_stamps(station):
    node = station.node
    assert reopen(station, source='simulator:phantom', size=96, rate=10.0)
    topics = ('ground_truth/mask', 'ground_truth/instruments')
    kept = [node.listen(topic, kind, RELIABLE)
            for topic, kind in zip(topics, (Image, InstrumentArray))]
    node.take(IMAGE)
    wait_until(lambda: set(node.stamps(IMAGE)) & set(node.stamps(topics[0]))
               & set(node.stamps(topics[1])), 'image, mask and instruments of one frame')
    truth = node.got(topics[1])[-1]
    assert (truth.width, truth.height) == (96, 96) and truth.pixel_spacing_x_mm > 0
    masks_flow(station)
    for subscription in kept:
        node.destroy_subscription(subscription)


def test_megapixel_frames_arrive(station):
    assert reopen(station, source='simulator', size=1024, rate=10.0)
    wait_until(lambda: sum(image.width == 1024 for image in station.node.got(IMAGE)) > 20
               and sum(mask.width == 1024 for mask in station.node.got(MASK)) > 10, 'they')
    for name in ('segmentation', 'fluoroscopy'):
        assert station.status(f'{name}: transport')[1] == 'suitable'


def test_the_end_of_a_sequence_ends_the_procedure(station, sequence):
    assert reopen(station, source=str(sequence), loop=False, rate=30.0)
    wait_until(lambda: activity(station) is True, 'the procedure')
    wait_until(lambda: activity(station) is False, 'its end')
    wait_until(lambda: 'end of the sequence' in station.status('fluoroscopy: source')[1], 'word')
    assert station.state('fluoroscopy') == ACTIVE


@pytest.mark.parametrize('loop', [False, True])
def test_a_damaged_frame_is_counted_and_the_source_node_lives(
        running, tmp_path, sequence, loop):
    for index, file in enumerate(sorted(sequence.iterdir())[:6]):
        data = file.read_bytes()
        (tmp_path / file.name).write_bytes(data if index != 3 else data[:60])
    assert reopen(running, source=str(tmp_path), loop=loop, rate=30.0, retry_period=0.1)

    def reported():
        level, text, values = running.status('fluoroscopy: source')
        return '003.png' in values.get('last_failure', '') and int(values['failures']) > loop
    wait_until(reported, 'a report')
    if loop:
        masks_flow(running, 6)
    else:
        wait_until(lambda: 'ended by a failure' in running.status('fluoroscopy: source')[1],
                   'the end')
        wait_until(lambda: activity(running) is False, 'the end of the procedure')
    assert running.source.poll() is None


def test_a_source_that_is_not_there_is_refused_at_configure(running):
    assert not reopen(running, source='/nowhere/at/all.dcm')
    assert b'/nowhere/at/all.dcm: no such file' in running.source.log.read_bytes()
    assert running.set_parameters('fluoroscopy', source='simulator', size=64) == ['', '']
    running.bring_up('fluoroscopy')


def test_asked_to_end_the_source_ends_the_procedure_first(running):
    wait_until(lambda: activity(running) is True, 'frames')
    assert end(running.source, signal.SIGTERM) == 0
    wait_until(lambda: activity(running) is False, 'procedure_active false')
    assert end(running.segmentation, signal.SIGINT) == 0
    assert b'Traceback' not in running.segmentation.log.read_bytes()
