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

"""The segmentation node in a process of its own under bad and hasty input."""

import array
import signal
import threading
import time

import cv2

from fedefm_ros import labels
from fedefm_ros.backbones import ModelSpec, registry, save_checkpoint
from fedefm_ros.imaging.messages import fill_image
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.nodes.bring_up import ACTIVE
from fedefm_ros.segmentation.runtimes import graph_of
from fedefm_ros.srv import LoadModel
from fedefm_ros.station import SEGMENTATION

from harness import end, stamp_of, wait_until

from lifecycle_msgs.msg import Transition

from linenet import SlowLineNet

import numpy as np

import pytest

from safetensors import safe_open
from safetensors.torch import save_file

from sensor_msgs.msg import CompressedImage, Image

SECOND = 1_000_000_000
MASK, INSTRUMENTS = 'segmentation/mask', 'segmentation/instruments'


@pytest.fixture(scope='module')
def node(harness, models):
    """Return the harness with an active node that loses no frame between DDS and its slot."""
    topic = f'/{harness.namespace}/fluoroscopy/image_raw'
    harness.process = harness.start_active(
        SEGMENTATION, model=models['lines'], runtime='openvino', precision='f32',
        overrides=(f'qos_overrides.{topic}.subscription.reliability:=reliable',
                   f'qos_overrides.{topic}.subscription.depth:=200'))
    return harness


@pytest.fixture(scope='module')
def slow(models, tmp_path_factory):
    """Return a model that cannot keep up with 120 Hz, its graph in the cache of ``models``."""
    path = tmp_path_factory.mktemp('slow') / 'slow.safetensors'
    save_checkpoint(path, SlowLineNet(), ModelSpec('slow_lines', input_size=512))
    graph_of(path)
    return path


@pytest.fixture(autouse=True)
def at_rest(node, picture):
    """Begin each test with a connected, idle node and nothing received."""
    answered(node, picture)
    for topic in (MASK, INSTRUMENTS):
        node.node.take(topic)


def answered(node, picture):
    """Send a frame and wait for all that comes of it, which is after all that came before."""
    node.node.segmented(picture)
    last = node.node.send(picture)
    wait_until(lambda: last in node.node.stamps(INSTRUMENTS), 'the last answer')
    return last


def load(node, path):
    """Ask for another model; return the response."""
    return node.call(LoadModel, 'segmentation/load_model', LoadModel.Request(path=str(path)))


def test_lines_are_found_with_header_and_model_kept(node, picture):
    mask = node.node.segmented(picture)
    assert mask.shape == picture.shape
    assert mask[40, 45] == labels.CATHETER and mask[70, 45] == labels.BACKGROUND
    assert node.node.got(MASK)[-1].header.frame_id == 'somewhere'
    stamps = node.node.stamps()
    found = wait_until(lambda: [m for m in node.node.got('segmentation/instruments')
                                if stamp_of(m) == stamps[-1]], 'instruments')[0]
    assert (found.width, found.height) == (128, 128) and found.processing_time > 0
    assert found.instruments and len(found.model_id) == 16


def bad_images(picture):
    data = array.array('B', picture.tobytes())
    size = {'height': 128, 'width': 128, 'step': 128}
    yield 'no encoding', {**size, 'data': data}
    yield 'unknown encoding', {**size, 'data': data, 'encoding': 'bayer_rggb8'}
    yield 'float', {**size, 'data': data, 'encoding': '32FC1'}
    yield 'zero size', {'encoding': 'mono8'}
    yield 'zero width', {**size, 'width': 0, 'data': data, 'encoding': 'mono8'}
    yield 'truncated', {**size, 'data': data[:9000], 'encoding': 'mono8'}
    yield 'no data', {**size, 'encoding': 'mono8'}
    yield 'short step', {**size, 'step': 100, 'data': data, 'encoding': 'mono8'}
    yield 'size lies', {**size, 'height': 1000, 'data': data, 'encoding': 'mono8'}
    yield 'absurd size', {'height': 2**32 - 1, 'width': 2**32 - 1, 'step': 2**32 - 1,
                          'data': data, 'encoding': 'mono8'}
    yield 'tiny', {'height': 2, 'width': 2, 'step': 2, 'data': data[:4],
                   'encoding': 'mono8'}


def test_bad_images_are_counted_and_named_and_the_next_good_one_is_segmented(node, picture):
    before = node.counts()
    bad = {}
    for name, fields in bad_images(picture):
        bad[node.node.send(None, **fields)] = name
        good = node.node.send(picture)
        wait_until(lambda: good in node.node.stamps(INSTRUMENTS), f'the answer after {name}')
    after = node.counts()
    more = {name: after[name] - before[name] for name in after}
    assert more['received'] == 2 * len(bad) == sum(
        more[name] for name in ('published', 'skipped', 'refused'))
    # A bad one that still waits is displaced by the good one after it.
    assert more['published'] == len(bad) and more['refused'] > 0 == more['faults']
    assert node.status('segmentation: frames')[2]['last_refusal']
    assert not set(bad) & set(node.node.stamps())


@pytest.mark.parametrize('encoding, scale', [
    ('mono16', 257), ('16UC1', 257), ('8UC1', 1), ('rgb8', 1), ('bgr8', 1), ('bgra8', 1)])
def test_every_usual_encoding_gives_the_same_mask(node, picture, encoding, scale):
    reference = node.node.segmented(picture)
    image = picture.astype(np.uint16) * scale if scale > 1 else picture
    if encoding in ('rgb8', 'bgr8', 'bgra8'):
        image = np.repeat(picture[:, :, None], 4 if 'a' in encoding else 3, axis=2)
    message = Image()
    fill_image(message, np.ascontiguousarray(image), encoding)
    stamp = node.node.send_message(message)
    mask = wait_until(lambda: [m for m in node.node.got(MASK) if stamp_of(m) == stamp], 'mask')[0]
    assert (image_to_array(mask) == reference).mean() > 0.99


def test_a_huge_image_is_refused_and_the_node_goes_on(node, picture):
    huge = np.full((4096, 4096), 128, np.uint8)
    pause = threading.Event()

    def refused():
        # In pieces, which may get lost: sent until it is seen.
        node.node.send(huge)
        return '4096 x 4096' in node.status('segmentation: frames')[2]['last_refusal']
    wait_until(lambda: refused() or pause.wait(0.3), 'a refusal')
    assert all((mask.width, mask.height) == (128, 128) for mask in node.node.got(MASK))
    assert node.node.segmented(picture).any()


def test_frames_out_of_order_are_refused_and_a_new_sequence_is_followed(node, picture):
    before = node.counts()
    base = node.node.send(picture) + 100 * SECOND
    old = base - 60 * SECOND
    wanted = [base, base + 1, old, old + 1]
    for stamp in (base, base, base - SECOND // 50, base + 1, old, old + 1):
        node.node.send(picture, stamp)
        if stamp in wanted:
            wait_until(lambda: stamp in node.node.stamps(INSTRUMENTS), 'an answer')
    after = node.counts()
    assert after['out_of_order'] == before['out_of_order'] + 2
    assert after['restarts'] == before['restarts'] + 1
    assert [stamp for stamp in node.node.stamps() if stamp in wanted] == wanted


def test_a_frame_older_than_max_age_is_refused_as_stale(node, picture):
    assert node.set_parameters('segmentation', max_age=2.0) == ['']
    try:
        node.node.send(picture, time.time_ns() - 5 * SECOND)
        wait_until(lambda: 'max_age' in node.status('segmentation: frames')[2]['last_refusal'],
                   'a refusal')
        assert node.node.segmented(picture).any()
    finally:
        assert node.set_parameters('segmentation', max_age=0.0) == ['']


def test_under_more_frames_than_it_manages_each_one_is_published_or_counted(
        node, models, slow, picture):
    assert load(node, slow).success
    try:
        before = node.counts()
        sent, pause = [], threading.Event()
        for _ in range(120):
            sent.append(node.node.send(picture))
            pause.wait(1 / 120)
        wait_until(lambda: sent[-1] in node.node.stamps(INSTRUMENTS), 'the newest, which wins')
        counts = node.counts()
        more = {name: counts[name] - before[name] for name in counts}
        assert more['skipped'] > 0 and more['refused'] == 0
        assert node.status('segmentation: frames')[2]['missed'] == '0'
        assert more['published'] + more['skipped'] == 120
        stamps = node.node.stamps()
        assert len(stamps) == more['published']
        assert stamps == sorted(set(stamps)) and set(stamps) <= set(sent)
    finally:
        assert load(node, models['lines']).success


def test_nothing_is_published_once_deactivate_has_returned(node, models, slow, picture):
    assert load(node, slow).success
    try:
        for _ in range(3):
            answered(node, picture)
            node.node.take(MASK)
            before = node.counts()
            last = [node.node.send(picture) for _ in range(3)][-1]
            assert node.change('segmentation', Transition.TRANSITION_DEACTIVATE)
            # The count is at rest only when the inference that was under way has ended.
            after = node.counts()
            assert node.change('segmentation', Transition.TRANSITION_ACTIVATE)
            answered(node, picture)  # masks come in order: this one behind all of those
            old = [stamp for stamp in node.node.stamps() if stamp <= last]
            assert len(old) == after['published'] - before['published']
    finally:
        assert load(node, models['lines']).success


def test_a_model_swaps_under_load_with_nothing_lost_and_each_mask_of_one_model(
        node, models, picture):
    wide = {}
    for name in ('lines', 'swapped'):
        loaded = load(node, models[name]).model_id
        wide[loaded] = int(node.node.segmented(picture)[40, 45])
    assert sorted(wide.values()) == [labels.CATHETER, labels.GUIDEWIRE]
    answered(node, picture)
    node.node.take(MASK)
    node.node.take(INSTRUMENTS)
    before, pause, sent = node.counts(), threading.Event(), []
    for name in ('lines', 'swapped', 'lines'):
        finish = node.begin_call(LoadModel, 'segmentation/load_model',
                                 LoadModel.Request(path=str(models[name])))
        while not finish.done():
            sent.append(node.node.send(picture))
            pause.wait(0.1)
        assert finish().success
        sent.append(node.node.send(picture))
        wait_until(lambda: sent[-1] in node.node.stamps(INSTRUMENTS), 'the last answer')
    after = node.counts()
    more = {name: after[name] - before[name] for name in after}
    assert more['received'] == len(sent) == more['published'] + more['skipped']
    masks = node.node.got(MASK)
    assert len(masks) == more['published']
    model_of = {stamp_of(found): found.model_id for found in node.node.got(INSTRUMENTS)}
    assert set(model_of.values()) == set(wide)
    for mask in masks:
        assert image_to_array(mask)[40, 45] == wide[model_of[stamp_of(mask)]]


def bad_models(folder, models):
    """Yield files that must not be loaded and a word of why."""
    whole = models['lines'].read_bytes()
    (folder / 'empty.safetensors').write_bytes(b'')
    yield folder / 'empty.safetensors', 'not a whole safetensors file'
    (folder / 'short.safetensors').write_bytes(whole[:-100])
    yield folder / 'short.safetensors', 'damaged'
    yield folder / 'absent.safetensors', 'not a file'
    good = folder / 'good.safetensors'
    config = {'widths': [4, 4], 'full': 2}
    save_checkpoint(good, registry.create('compact', **config),
                    ModelSpec('compact', config, input_size=128))
    with safe_open(good, 'pt') as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] * float('nan')}, folder / 'nan.safetensors',
              metadata)
    yield folder / 'nan.safetensors', 'not finite'
    save_file({**tensors, name: tensors[name][:1].clone()}, folder / 'other.safetensors',
              metadata)
    yield folder / 'other.safetensors', 'weights of its architecture'


def test_a_model_that_cannot_be_used_is_refused_and_the_old_one_goes_on(
        node, models, picture, tmp_path):
    good = load(node, models['lines'])
    for path, word in bad_models(tmp_path, models):
        response = load(node, path)
        assert not response.success
        assert path.name in response.message and word in response.message
        assert response.model_id == good.model_id
    assert node.node.segmented(picture).any()
    assert node.status('segmentation: model')[2]['model_id'] == good.model_id


def test_an_empty_path_loads_the_file_of_the_parameter_anew(node, models):
    assert load(node, models['swapped']).success
    response = load(node, '')
    assert response.success and response.model_id == load(node, models['lines']).model_id


def test_parameters_out_of_range_are_refused_and_named(node):
    reasons = node.set_parameters('segmentation', max_side=3, runtime='abacus', overlay_rate=5)
    assert 'max_side' in reasons[0] and 'expected one of auto' in reasons[1]
    assert reasons[2] == ''


def test_a_wrong_picture_for_compressed_input_is_refused_and_a_png_segmented(node, picture):
    assert node.change('segmentation', Transition.TRANSITION_DEACTIVATE)
    assert node.set_parameters('segmentation', compressed=True) == ['']
    assert node.change('segmentation', Transition.TRANSITION_ACTIVATE)
    sender = node.node.create_publisher(CompressedImage, 'fluoroscopy/image_raw/compressed', 10)
    try:
        data = cv2.imencode('.png', picture)[1].tobytes()
        pause = threading.Event()
        wait_until(sender.get_subscription_count, 'a subscription')

        def told():
            node.node.send_message(cut, publisher=sender)
            return 'compressed image message' in \
                node.status('segmentation: frames')[2]['last_refusal']
        cut = CompressedImage(format='png', data=array.array('B', data[:len(data) // 2]))
        wait_until(lambda: told() or pause.wait(0.1), 'a refusal')
        whole = CompressedImage(format='png', data=array.array('B', data))
        wait_until(lambda: node.node.send_message(whole, publisher=sender) and (
            node.node.got(MASK) or pause.wait(0.1)), 'a mask')
        assert image_to_array(node.node.got(MASK)[0])[40, 45] == labels.CATHETER
    finally:
        node.node.destroy_publisher(sender)
        assert node.change('segmentation', Transition.TRANSITION_DEACTIVATE)
        assert node.set_parameters('segmentation', compressed=False) == ['']
        assert node.change('segmentation', Transition.TRANSITION_ACTIVATE)


def test_after_all_that_it_is_active_and_ends_at_once_with_code_0(node):
    assert node.state('segmentation') == ACTIVE
    assert end(node.process, signal.SIGINT) == 0
    assert b'Traceback' not in node.process.log.read_bytes()
