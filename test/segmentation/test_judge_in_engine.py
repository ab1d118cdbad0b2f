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

"""The engine with a judge of pieces."""

from dataclasses import replace

import cv2

from fedefm_ros.backbones.checkpoint import read_description
from fedefm_ros.backbones.checkpoint import read_file
from fedefm_ros.errors import FedefmError
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.segmentation.engine import judge_of
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.judgement import Opinion
from fedefm_ros.segmentation.postprocess import SpeckParameters
from fedefm_ros.segmentation.strips import OF_FIRST_END
from fedefm_ros.segmentation.strips import OF_LAST_END

from judges import OF_LENGTH, save_judge_by_length

from linenet import save_line_model

import numpy as np

import pytest

from safetensors import safe_open
from safetensors.torch import load_file, save_file

import torch


@pytest.fixture(autouse=True, scope='module')
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture
def model(tmp_path):
    return save_line_model(tmp_path / 'model.safetensors')


def picture():
    """Return an image with two dark lines that the line network calls catheters."""
    image = np.full((256, 256), 180, np.uint8) + np.linspace(0, 40, 256).astype(np.uint8)
    cv2.line(image, (-9, 60), (200, 60), 60, 3, cv2.LINE_AA)
    cv2.line(image, (90, 150), (140, 180), 60, 3, cv2.LINE_AA)
    return image


def opened(model, judge, **more):
    return SegmentationEngine.open(model, runtime='openvino', precision='f32', judge=judge,
                                   **more)


def test_an_engine_with_a_judge_gives_judged_masks_and_their_instruments(model, tmp_path):
    judge = save_judge_by_length(tmp_path / 'judge.safetensors', 100, limit=0.4)
    plain, engine = opened(model, 'none'), opened(model, judge)
    assert plain.info.judge_id == '' and engine.info.judge_id == Judge(judge).model_id
    assert plain.min_confidence == 0 and engine.min_confidence == 0.4
    before, after = plain.infer(picture()), engine.infer(picture())
    assert len(plain.instruments(before)) == 2
    instruments = engine.instruments(after)
    assert [one.kind for one in instruments] == [GUIDEWIRE]
    assert np.array_equal(before.mask[:100] > 0, after.mask[:100] > 0)
    assert not after.mask[100:].any()
    assert (after.taken_out, after.renamed, after.unjudged) == (1, 1, 0)
    assert (before.taken_out, before.renamed, before.unjudged) == (0, 0, 0)
    generous = opened(model, judge, specks=SpeckParameters(min_confidence=0.001))
    assert len(generous.instruments(generous.infer(picture()))) == 2


def test_the_edge_of_a_mask_is_where_the_judge_sees_the_walls(model, tmp_path):
    judge = save_judge_by_length(tmp_path / 'judge.safetensors', 100)
    plain = opened(model, judge).infer(picture()).mask
    state, metadata = load_file(judge), safe_open(judge, 'pt').metadata()
    state['walls.bias'] = torch.tensor([-1.4, 3.4])
    save_file(state, tmp_path / 'walls.safetensors', metadata)
    engine = opened(model, tmp_path / 'walls.safetensors')
    for image, scale in ((picture(), 1), (cv2.resize(picture(), (512, 512)), 2)):
        raw = engine.infer(image)
        middle = raw.mask[:, 50 * scale:150 * scale] > 0
        width = np.ptp(np.flatnonzero(middle.all(1))) + 1
        assert width == pytest.approx(5 * scale, abs=2 * scale - 2)
        assert middle.sum(0) == pytest.approx(width)
        assert set(np.unique(raw.mask)) == {0, GUIDEWIRE}
        (found,) = engine.instruments(raw)
        # It runs to the right, to its tip; the further wall is on its right, which is down.
        assert found.tip[0] > found.centerline[0, 0]
        assert found.centerline[20:-20, 1].mean() == pytest.approx(61 * scale, abs=0.4 * scale)
    assert ((plain[:, 50:150] > 0).sum(0) == 7).all()


def test_where_the_judge_cannot_tell_walls_edges_stay_and_the_log_says_so_once(
        model, tmp_path, caplog, monkeypatch):
    judge = save_judge_by_length(tmp_path / 'judge.safetensors', 100)
    plain = opened(model, judge).infer(picture())
    state, metadata = load_file(judge), safe_open(judge, 'pt').metadata()
    state['walls.bias'] = torch.tensor([-1.4, 3.4])
    save_file(state, tmp_path / 'walls.safetensors', metadata)
    engine = opened(model, tmp_path / 'walls.safetensors')
    assert not np.array_equal(engine.infer(picture()).mask, plain.mask)

    def broken(self, seen, kinds):
        raise FedefmError('numbers that are not finite')

    monkeypatch.setattr(Judge, 'walls', broken)
    for _ in range(3):
        raw = engine.infer(picture())
        assert np.array_equal(raw.mask, plain.mask) and raw.taken_out == 1
    assert caplog.text.count('the edges of masks stay as they are') == 1


def save_judge_that_sees_tips(path, along, **more):
    """Write a judge that keeps all pieces and sees a tip so far beyond each end."""
    save_judge_by_length(path, 1, **more)
    state, metadata = load_file(path), safe_open(path, 'pt').metadata()
    state['tip.bias'] = torch.tensor([5.0, along, 0.0])
    save_file(state, path, metadata)
    return path


def test_what_was_said_of_another_scene_does_not_count(model, tmp_path):
    engine = opened(model, save_judge_by_length(tmp_path / 'judge.safetensors', 100, limit=0.4))
    assert engine.infer(picture()).taken_out == 1

    def shown(*ends):
        ends = np.array(ends, float)
        count = int(np.hypot(*(ends[1] - ends[0])) / 3)
        return Opinion(np.linspace(*ends, count), np.eye(3)[CATHETER],
                       np.eye(3)[[CATHETER] * count], np.full(count, True))

    short, far = shown((90, 150), (140, 180)), shown((20, 240), (250, 240))
    assert engine.infer(picture(), (short,)).taken_out == 0
    assert engine.infer(picture(), (far, short)).taken_out == 1
    # Where nothing was shown, what was looked at tells: half of it is where something is now.
    hidden = [replace(one, stays=~one.stays) for one in (far, shown((5, 60), (190, 60)))]
    assert engine.infer(picture(), (short, *hidden)).taken_out == 0


@pytest.mark.parametrize('shape', [(256, 256), (192, 256), (768, 1024)])
def test_tips_are_where_the_judge_sees_them_and_the_mask_stays(model, tmp_path, shape):
    plain = opened(model, save_judge_by_length(tmp_path / 'plain.safetensors', 1))
    engine = opened(model, save_judge_that_sees_tips(tmp_path / 'judge.safetensors', 5.0))
    image = np.full(shape, 180, np.uint8) + np.linspace(0, 40, shape[1]).astype(np.uint8)
    scale = max(shape) / 256
    ends = (np.array([(-9, 60), (150, 60)]) * scale).astype(int)
    cv2.line(image, *map(tuple, ends.tolist()), 60, round(3 * scale), cv2.LINE_AA)
    one, other = plain.infer(image), engine.infer(image)
    assert np.array_equal(one.mask, other.mask)
    (before,), (after,) = plain.instruments(one), engine.instruments(other)
    assert after.tip - before.tip == pytest.approx([5 * scale, 0], abs=0.3 * scale)
    assert np.array_equal(after.centerline[0], before.centerline[0])
    # Another judge in between changes nothing: a frame is its own model's and judge's.
    engine._active = plain._active
    assert np.array_equal(engine.instruments(other)[0].centerline, after.centerline)


def test_where_the_judge_cannot_look_tips_stay_and_the_log_says_so_once(
        model, tmp_path, caplog, monkeypatch):
    engine = opened(model, save_judge_that_sees_tips(tmp_path / 'judge.safetensors', 5.0))
    raw = engine.infer(picture())
    moved = engine.instruments(raw)

    def broken(self, views):
        raise FedefmError('numbers that are not finite')

    monkeypatch.setattr(Judge, 'tips', broken)
    for _ in range(3):
        found = engine.instruments(raw)
        assert len(found) == len(moved) and found[0].tip[0] < moved[0].tip[0] - 3
    assert caplog.text.count('tips stay at the ends of the mask') == 1


@pytest.mark.parametrize('shape', [(192, 256), (256, 192)])
def test_where_an_image_ends_is_known_in_the_networks_square(model, tmp_path, shape):
    """A line that leaves at the bottom or right of an image that is not square enters there."""
    engine = opened(model, save_judge_by_length(tmp_path / 'judge.safetensors', 20))
    shown = []
    judge = engine._active.judge
    network = judge._network

    class Watched:
        tip, walls = network.tip, network.walls

        def __call__(self, strip, overview, facts):
            shown.append(facts)
            return network(strip, overview, facts)

    judge._network = Watched()
    image = np.full(shape, 180, np.uint8) + np.linspace(0, 40, shape[1]).astype(np.uint8)
    height, width = shape
    cv2.line(image, (width // 2, height // 2), (width + 9, height + 9), 60, 3, cv2.LINE_AA)
    found = engine.instruments(engine.infer(image))
    assert len(found) == 1 and np.hypot(*(found[0].tip - (width / 2, height / 2))) < 8
    facts = max(shown, key=lambda one: one[OF_LENGTH])
    # Its entry lies at the border of the image, its tip far from it.
    assert 512 * facts[OF_FIRST_END[0]] < 13 < 40 < 512 * facts[OF_LAST_END[0]]
    assert facts[8] == 1


def test_a_judge_sees_the_networks_square_whatever_the_image(model, tmp_path):
    judge = save_judge_by_length(tmp_path / 'judge.safetensors', 100, CATHETER)
    engine = opened(model, judge)
    for shape in ((512, 512), (700, 512), (1, 1), (300, 1)):
        image = cv2.resize(picture(), shape[::-1])
        mask = engine.infer(image).mask
        assert mask.shape == shape
    large = engine.infer(cv2.resize(picture(), (512, 512), interpolation=cv2.INTER_LINEAR)).mask
    assert large[100:140].any() and not large[200:].any()


def test_the_shipped_judge_is_for_models_of_the_architecture_that_it_learnt_from(
        model, tmp_path, monkeypatch):
    monkeypatch.setattr('fedefm_ros.paths.models_dir', lambda: tmp_path)
    assert opened(model, 'auto').info.judge_id == ''
    for made_for, fits in (
            ({'backbone': 'lines', 'config': {}, 'input_size': 256}, True),
            ({'backbone': 'lines', 'config': {'swapped': True}, 'input_size': 256}, False),
            ({'backbone': 'lines', 'config': {}, 'input_size': 512}, False)):
        save_judge_by_length(tmp_path / 'judge.safetensors', 100, made_for=made_for)
        assert bool(opened(model, 'auto').info.judge_id) is fits


def test_a_model_that_is_swapped_in_has_its_judge_looked_for_anew(model, tmp_path, monkeypatch):
    monkeypatch.setattr('fedefm_ros.paths.models_dir', lambda: tmp_path)
    save_judge_by_length(tmp_path / 'judge.safetensors', 100, made_for={
        'backbone': 'lines', 'config': {}, 'input_size': 256})
    engine = opened(model, 'auto')
    assert engine.info.judge_id
    assert not engine.load(save_line_model(tmp_path / 'other.safetensors', 128)).judge_id
    assert engine.load(model).judge_id


def test_a_judge_of_another_size_is_refused_and_the_old_model_stays(model, tmp_path):
    judge = save_judge_by_length(tmp_path / 'judge.safetensors', 100)
    engine = opened(model, judge)
    before = engine.info
    with pytest.raises(FedefmError, match='256 x 256 pixels, the model finds them in 128 x 128'):
        engine.load(save_line_model(tmp_path / 'other.safetensors', 128))
    assert engine.info is before
    # Whatever becomes of the file: a training writes judges again and again.
    judge.write_bytes(b'')
    assert engine.load(model).judge_id == before.judge_id
    with pytest.raises(FedefmError, match="is a model 'lines'"):
        opened(model, model)


def test_noise_is_judged_too(model, tmp_path):
    """Hundreds of pieces, or a mask that geometry refuses, end in a mask or a clear refusal."""
    judge = save_judge_by_length(tmp_path / 'judge.safetensors', 100)
    engine = opened(model, judge)
    rng = np.random.default_rng(0)
    for grain in (1, 3, 9, 20):
        noise = rng.integers(0, 256, (256 // grain + 1, 256 // grain + 1), np.uint8)
        noise = cv2.resize(noise, (256, 256), interpolation=cv2.INTER_CUBIC)
        try:
            assert engine.infer(noise).mask.shape == noise.shape
        except FedefmError as error:
            assert 'no mask' in str(error)


def test_the_shipped_judge_is_for_the_shipped_model(checkout):
    judge = Judge(checkout / 'models' / 'judge.safetensors')
    assert 0 < judge.limit < 1
    model = read_description(read_file(checkout / 'models' / 'realtime.safetensors'))[0]
    assert judge_of('auto', model).model_id == judge.model_id
    assert judge_of('none', model) is None
