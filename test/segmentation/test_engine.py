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

from dataclasses import replace
import json
from pathlib import Path
import threading

import cv2

from fedefm_ros.backbones.checkpoint import save_checkpoint
from fedefm_ros.backbones.spec import ModelSpec
from fedefm_ros.errors import FedefmError
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.segmentation.engine import model_path, SegmentationEngine
from fedefm_ros.segmentation.postprocess import SpeckParameters
from fedefm_ros.segmentation.runtimes.picture import line_picture

from linenet import LineNet, save_line_model

import numpy as np

import pytest

from safetensors.torch import load_file, save_file

import torch


@pytest.fixture(autouse=True, scope='module')
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """Return two checkpoints that call the same lines by opposite names."""
    folder = tmp_path_factory.mktemp('models')
    return (save_line_model(folder / 'plain.safetensors'),
            save_line_model(folder / 'swapped.safetensors', swapped=True))


@pytest.fixture
def engine(models):
    return SegmentationEngine.open(models[0], runtime='openvino', precision='f32')


def wire_picture(height=256, width=256, thickness=9):
    """Return a grey picture with one dark line from the top, and the line's end."""
    image = np.full((height, width), 180, np.uint8)
    tip = (int(width * 0.6), int(height * 0.7))
    cv2.line(image, (int(width * 0.4), -20), tip, 60, thickness, cv2.LINE_AA)
    # Grey levels on both sides, so that the line is not the whole range.
    image += np.linspace(0, 40, width).astype(np.uint8)
    return image, tip


def test_open_says_what_runs(models):
    engine = SegmentationEngine.open(str(models[0]), threads=1)
    info = engine.info
    assert info.model_path == models[0]
    assert len(info.model_id) == 16 and info.backbone == 'lines'
    assert info.input_size == 256 and info.threads == 1
    assert info.runtime in ('openvino', 'onnxruntime') and info.precision in ('f32', 'bf16')
    assert len(info.measurements) >= 2


def test_the_least_confidence_is_the_models_unless_another_is_given(models, tmp_path):
    cautious = tmp_path / 'cautious.safetensors'
    save_checkpoint(cautious, LineNet(), ModelSpec('lines', input_size=256, min_confidence=0.8))
    image = np.ascontiguousarray(line_picture(300)[:256, :256])
    pieces = {}
    for model, given in ((models[0], None), (models[0], 0.8),
                         (cautious, None), (cautious, 0.1)):
        engine = SegmentationEngine.open(model, runtime='openvino', precision='f32',
                                         specks=SpeckParameters(min_confidence=given))
        count = cv2.connectedComponents(engine.infer(image).mask)[0] - 1
        pieces[model.stem, given] = engine.min_confidence, count
    # The network is 0.74, 0.85 and 0.9 sure of the three lines.
    assert pieces == {('plain', None): (0.0, 3), ('plain', 0.8): (0.8, 2),
                      ('cautious', None): (0.8, 2), ('cautious', 0.1): (0.1, 3)}


def test_a_line_is_marked_and_measured(engine):
    image, tip = wire_picture()
    raw = engine.infer(image)
    assert raw.mask.shape == raw.probability.shape == image.shape
    assert raw.model_id == engine.info.model_id
    assert 0 < raw.inference_ms < raw.total_ms
    assert raw.mask[60, 123] in (CATHETER, GUIDEWIRE) and raw.mask[60, 30] == 0
    leading = engine.instruments(raw, (0.2, 0.2))[0]
    assert np.hypot(*(leading.tip - tip)) < 12
    assert abs(leading.length_mm - 0.2 * leading.length_px) < 0.01


def test_specks_do_not_get_into_the_mask(engine):
    image, _ = wire_picture()
    image[200:203, 30:33] = 60
    raw = engine.infer(image)
    assert raw.mask[195:208, 25:38].max() == 0
    assert raw.mask[60, 123] > 0


@pytest.mark.parametrize('shape', [(1, 1), (1, 300), (37, 501), (255, 257), (4096, 4096)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_images_of_any_size_and_depth_are_segmented(engine, shape, dtype):
    image = line_picture(256)
    image = cv2.resize(image, shape[::-1]).astype(dtype) * (257 if dtype == np.uint16 else 1)
    raw = engine.infer(image)
    assert raw.mask.shape == raw.probability.shape == shape
    assert raw.mask.dtype == raw.probability.dtype == np.uint8
    assert raw.mask.max() <= GUIDEWIRE
    assert isinstance(engine.instruments(raw), tuple)


def test_sixteen_bits_give_the_mask_of_eight(engine):
    image = line_picture(256)
    eight = engine.infer(image).mask
    sixteen = engine.infer(image.astype(np.uint16) * 257).mask
    assert np.count_nonzero(eight) > 500
    assert np.mean(eight == sixteen) > 0.997


def test_a_larger_image_of_the_same_scene_gives_the_same_lines(engine):
    image = line_picture(256)
    small = engine.infer(image).mask > 0
    large = engine.infer(cv2.resize(image, (1024, 1024), interpolation=cv2.INTER_CUBIC)).mask
    again = cv2.resize((large > 0).astype(np.uint8), (256, 256), interpolation=cv2.INTER_AREA)
    both = np.count_nonzero(small & (again > 0))
    assert 2 * both / (np.count_nonzero(small) + np.count_nonzero(again)) > 0.9


@pytest.mark.parametrize('image', [np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8), np.uint8),
                                   np.zeros((8, 8), np.float32), None])
def test_what_is_no_grey_image_is_refused_and_the_engine_goes_on(engine, image):
    with pytest.raises(FedefmError, match='an image to segment'):
        engine.infer(image)
    assert engine.infer(wire_picture()[0]).mask.any()


def test_a_mask_that_covers_much_of_the_image_is_refused(engine):
    stripes = np.full((256, 256), 180, np.uint8)
    stripes[:, np.arange(256) % 9 < 4] = 60
    with pytest.raises(FedefmError, match='at most 25% can be instruments'):
        engine.infer(stripes)
    assert engine.infer(wire_picture()[0]).mask.any()


def test_what_infer_returned_stays_when_it_is_called_again(engine):
    first = engine.infer(line_picture(256))
    mask, probability = first.mask.copy(), first.probability.copy()
    engine.infer(wire_picture()[0])
    assert np.array_equal(first.mask, mask)
    assert np.array_equal(first.probability, probability)


def test_steadied_tips_move_half_way_and_the_mask_stays_that_of_the_frame(models):
    plain, steady = (SegmentationEngine.open(models[0], runtime='openvino', precision='f32',
                                             steady_tips=chosen) for chosen in (False, True))
    image, _ = wire_picture()
    shifted = np.roll(image, 4, axis=1)
    first, second = plain.infer(image), plain.infer(shifted)
    before, moved = (plain.instruments(raw)[0].tip for raw in (first, second))
    known = steady.instruments(first)
    assert known[0].tip == pytest.approx(before)
    raw = steady.infer(shifted)
    assert np.array_equal(raw.mask, second.mask)
    tip = steady.instruments(raw, previous=known)[0].tip
    assert before[0] + 1 < tip[0] < moved[0] - 0.5
    # A frame that follows no other has the tip it has.
    assert steady.instruments(raw)[0].tip == pytest.approx(moved)


def test_a_tip_near_that_of_another_scene_at_the_same_cadence_is_not_drawn_to_it(models):
    steady = SegmentationEngine.open(models[0], runtime='openvino', precision='f32',
                                     steady_tips=True)
    image, _ = wire_picture()
    first = steady.infer(image)
    known = steady.instruments(first)
    x, y = known[0].tip
    mask = np.zeros_like(first.mask)
    # Another wire that ends four pixels beside, and comes from the other side.
    cv2.line(mask, (250, 250), (round(x) + 4, round(y)), known[0].kind, 3)
    other = replace(first, mask=mask, probability=255 * (mask > 0).astype(np.uint8))
    alone = steady.instruments(other)[0].tip
    assert np.abs(alone - (x, y)).max() < 8
    steady.instruments(first)
    assert steady.instruments(other, previous=known)[0].tip == pytest.approx(alone)


def test_load_replaces_the_model(engine, models):
    image = line_picture(256)
    before = engine.infer(image)
    info = engine.load(models[1])
    after = engine.infer(image)
    assert engine.info is info and info.model_path == models[1]
    assert after.model_id == info.model_id != before.model_id
    assert np.mean((before.mask == CATHETER) == (after.mask == GUIDEWIRE)) > 0.99
    assert (info.runtime, info.precision, info.threads) == ('openvino', 'f32', 2)


def test_models_swapped_under_load_lose_nothing_and_no_mask_is_of_two(models):
    engine = SegmentationEngine.open(models[0], runtime='openvino', precision='f32')
    image = line_picture(256)
    expected = {}
    for model in models:
        engine.load(model)
        expected[engine.info.model_id] = engine.infer(image).mask
    failures, done = [], threading.Event()

    def swap():
        try:
            for turn in range(12):
                engine.load(models[turn % 2])
        except Exception as error:
            failures.append(error)
        done.set()

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen, count = [], 0
    while not done.is_set():
        raw = engine.infer(image)
        count += 1
        assert np.array_equal(raw.mask, expected[raw.model_id])
        if not seen or seen[-1] != raw.model_id:
            seen.append(raw.model_id)
    swapper.join()
    assert not failures
    assert count > 12 and len(seen) > 2
    assert engine.infer(image).model_id == engine.info.model_id


def damaged(path, model, change):
    """Write the model's weights, changed, under its description."""
    with model.open('rb') as file:
        head = file.read(8)
        header = file.read(int.from_bytes(head, 'little'))
    state = load_file(model)
    change(state)
    save_file(state, path, json.loads(header)['__metadata__'])
    return path


def test_models_that_do_not_fit_are_refused_and_the_old_one_stays(engine, models, tmp_path):
    image = line_picture(256)
    before = engine.infer(image)

    def with_nan(state):
        state['compare.bias'][1] = float('nan')

    def other_shape(state):
        state['compare.weight'] = torch.zeros(3, 1, 19, 19)

    truncated = tmp_path / 'truncated.safetensors'
    truncated.write_bytes(models[1].read_bytes()[:-100])
    pickled = tmp_path / 'pickled.safetensors'
    torch.save(LineNet().state_dict(), pickled)
    for path, message in (
            (truncated, 'damaged'), (pickled, 'can run code'),
            (tmp_path / 'none.safetensors', 'is not a file'),
            (damaged(tmp_path / 'nan.safetensors', models[1], with_nan), 'not finite'),
            (damaged(tmp_path / 'other.safetensors', models[1], other_shape),
             r'compare.weight is float32\[3, 1, 19, 19\]')):
        with pytest.raises(FedefmError, match=message):
            engine.load(path)
    after = engine.infer(image)
    assert after.model_id == before.model_id
    assert np.array_equal(after.mask, before.mask)


def test_a_model_of_another_input_size_may_be_loaded(engine, tmp_path):
    engine.load(save_line_model(tmp_path / 'small.safetensors', 128))
    assert engine.info.input_size == 128
    assert engine.infer(line_picture(256)).mask.shape == (256, 256)


def test_bare_inference_is_timed(engine):
    times = engine.bare_inference_ms(5)
    assert times.shape == (5,) and (times > 0).all()


def test_a_name_that_is_neither_a_file_nor_shipped_is_refused():
    with pytest.raises(FedefmError, match="'nosuch' is neither a file nor shipped"):
        SegmentationEngine.open('nosuch')


def test_a_path_is_taken_as_it_is(tmp_path):
    assert model_path(tmp_path / 'a.safetensors') == tmp_path / 'a.safetensors'
    assert model_path('b.safetensors').name == 'b.safetensors'


def test_loading_again_and_again_leaves_no_threads_behind(engine, models):
    def threads():
        return len(list(Path('/proc/self/task').iterdir()))
    for turn in range(3):
        engine.load(models[turn % 2])
    before = threads()
    for turn in range(6):
        engine.load(models[turn % 2])
        engine.infer(line_picture(256))
    assert threads() <= before
