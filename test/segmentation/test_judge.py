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

"""The judge of pieces."""

import sys

import cv2

from fedefm_ros.backbones.checkpoint import read_description
from fedefm_ros.backbones.checkpoint import read_file
from fedefm_ros.backbones.piece_judge import PieceJudge
from fedefm_ros.backbones.piece_judge import scaled
from fedefm_ros.errors import FedefmError
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.segmentation.engine import judge_of
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.geometry import analyse
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.judge import judged
from fedefm_ros.segmentation.judge import Opinion
from fedefm_ros.segmentation.postprocess import SpeckParameters
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.strips import CHANNELS
from fedefm_ros.segmentation.strips import FACTS
from fedefm_ros.segmentation.strips import HALF
from fedefm_ros.segmentation.strips import LENGTH
from fedefm_ros.segmentation.strips import OF_FIRST_END
from fedefm_ros.segmentation.strips import OF_LAST_END

from judges import OF_LENGTH, save_judge, save_judge_by_length, SMALL

from linenet import save_line_model

import numpy as np

import pytest

from safetensors.torch import load_file, save_file

import torch


@pytest.fixture(autouse=True, scope='module')
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


def frame(*lines, size=256):
    """Return the network's input, a mask and a probability with lines of (kind, x, y, x, y)."""
    image = np.full((size, size), 180, np.uint8)
    image[:, ::4] = 170
    mask = np.zeros((size, size), np.uint8)
    for kind, *ends in lines:
        cv2.line(mask, ends[:2], ends[2:], kind, 5)
    image[mask > 0] = 60
    return prepare(image, size), mask, np.where(mask > 0, np.uint8(250), np.uint8(0))


def judged_frame(judge, *lines, limit=None):
    prepared, mask, probability = frame(*lines)
    pieces = analyse(mask, probability).instruments
    before = mask.copy()
    result = judged(mask, mask, probability, prepared, pieces, judge,
                    judge.limit if limit is None else limit).mask
    assert np.array_equal(mask, before)
    return mask, result


LONG, SHORT = (CATHETER, 20, 40, 220, 40), (CATHETER, 40, 120, 90, 150)


def test_numpy_and_openvino_say_what_torch_says(tmp_path, monkeypatch):
    torch.manual_seed(3)
    network = PieceJudge(norms=True)
    rng = np.random.default_rng(3)
    seen = rng.integers(1, 256, (6, CHANNELS, 2 * HALF + 1, LENGTH), np.uint8)
    for number, length in enumerate((256, 255, 240, 100, 65, 64)):
        seen[number, :, :, length:] = 0
    facts = rng.normal(size=(6, FACTS)).astype(np.float32)
    inputs = scaled(torch.from_numpy(seen)), torch.from_numpy(facts)
    network(*inputs)  # norms get statistics
    network.eval()
    with torch.no_grad():
        network.answer.weight *= 8
        network.part_answer.weight *= 8
        expected = [logits.softmax(-1).numpy() for logits in network(*inputs)]
    assert all(np.ptp(part, axis=0).max() > 0.02 for part in expected)
    judge = Judge(save_judge(tmp_path / 'judge.safetensors', network.folded()))

    def said_by(judge):
        return [np.stack(part) for part in zip(*judge(seen, facts))]

    for threads in (1, 3):
        for found in (said_by(judge), said_by(judge.compiled(threads))):
            for part, right in zip(found, expected):
                assert part.shape == right.shape and part == pytest.approx(right, abs=3e-6)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, 'openvino', None)
            for part, right in zip(said_by(judge.compiled(threads)), said_by(judge)):
                assert np.array_equal(part, right)


def test_where_openvino_is_broken_numpy_judges_and_a_warning_tells(tmp_path, monkeypatch, caplog):
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 100))

    def broken():
        raise RuntimeError('no plugin for\nCPU')

    monkeypatch.setattr('fedefm_ros.segmentation.runtimes.pieces.core', broken)
    slow = judge.compiled(1)
    assert 'numpy computes the judge' in caplog.text and 'no plugin for CPU' in caplog.text
    plain = np.full((1, CHANNELS, 2 * HALF + 1, LENGTH), 128, np.uint8)
    facts = np.zeros((1, FACTS), np.float32)
    for found, expected in zip(slow(plain, facts)[0], judge(plain, facts)[0]):
        assert np.array_equal(found, expected)


def test_what_is_no_instrument_goes_and_what_is_one_gets_its_class(tmp_path):
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 100))
    mask, result = judged_frame(judge, LONG, SHORT)
    assert set(np.unique(result)) == {0, GUIDEWIRE}
    assert np.array_equal(result[:80] > 0, mask[:80] > 0) and not result[80:].any()


def test_a_mask_stays_as_it_is_where_the_judge_agrees(tmp_path):
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 10, CATHETER))
    mask, result = judged_frame(judge, LONG, SHORT)
    assert np.array_equal(result, mask)


def test_a_lower_limit_keeps_what_the_judge_would_take_out(tmp_path):
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 100, CATHETER))
    mask, result = judged_frame(judge, LONG, SHORT, limit=0.001)
    assert np.array_equal(result, mask)


@pytest.mark.parametrize('angle', [90, 45, 20, 10])
def test_a_crossing_stays_with_the_piece_that_stays(tmp_path, angle):
    """Also where the network was surer of the line that goes."""
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 180))
    across = 70 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    start, end = (np.rint(128 + side * across).astype(int) for side in (-1, 1))
    prepared, mask, _ = frame((GUIDEWIRE, 20, 128, 236, 128))
    whole = mask.copy()
    cv2.line(mask, tuple(map(int, start)), tuple(map(int, end)), CATHETER, 5)
    probability = np.where(whole > 0, np.uint8(200), np.uint8(0))
    cv2.line(probability, tuple(map(int, start)), tuple(map(int, end)), 250, 5)
    wire = Instrument(GUIDEWIRE, np.stack([np.arange(20, 237, 2.0), np.full(109, 128.0)], 1), 0.8)
    lead = Instrument(CATHETER, np.linspace(start, end, 70).astype(float), 0.98)

    done = judged(mask, mask, probability, prepared, (wire, lead), judge, 0.5)
    assert (done.taken_out, done.renamed, done.unjudged) == (1, 0, 0)
    middle = done.mask[126:131, 24:232] > 0
    assert middle.any(0).all()
    left = analyse(done.mask, probability).instruments
    assert len(left) == 1 and left[0].length_px > 200


def test_what_was_seen_well_in_the_frame_before_stays_in_one_in_doubt(tmp_path):
    """The judge says nothing of 0.99 here; what was said before is half of what counts."""
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 300))
    prepared, mask, probability = frame(LONG)
    pieces = analyse(mask, probability).instruments
    line = pieces[0].centerline

    def opinion(line, chances):
        return Opinion(line, chances, np.tile(chances, (len(line), 1)))

    def done(*before):
        return judged(mask, mask, probability, prepared, pieces, judge, 0.45, before=before)

    sure = np.array([0.0, 0.9, 0.1])
    assert done().taken_out == 1 and done().opinions[0].instrument < 0.02
    kept = done(opinion(line + (3.0, 11.0), sure))
    assert kept.taken_out == 0 and np.array_equal(kept.mask, mask)
    assert kept.opinions[0].instrument == pytest.approx(0.5, abs=0.01)
    # The frame after next knows of both; a second doubt is one too many.
    assert done(*kept.opinions).taken_out == 1
    renamed = done(opinion(line, sure[[0, 2, 1]]))
    assert renamed.renamed == 1 and set(np.unique(renamed.mask)) == {0, GUIDEWIRE}
    # Elsewhere, or under less than half of it: another piece.
    assert done(opinion(line + (0.0, 14.0), sure)).taken_out == 1
    assert done(opinion(line[:len(line) * 2 // 5], sure)).taken_out == 1
    assert done(opinion(line[:len(line) * 3 // 5], sure)).taken_out == 0
    # Of two, what lies under more of it.
    assert done(opinion(line[:len(line) * 3 // 5], sure),
                opinion(line, np.array([1.0, 0.0, 0.0]))).taken_out == 1


class Sees:
    """A judge that is sure of a piece, and says of each place along it what it is told to."""

    def __init__(self, whole, *places):
        self._said = np.eye(3)[whole], 0.05 + 0.85 * np.eye(3)[list(places)]

    def __call__(self, seen, facts):
        assert len(seen) == 1
        return [self._said]


def judged_by(judge, *lines, before=()):
    prepared, mask, probability = frame(*lines)
    pieces = analyse(mask, probability).instruments
    return mask, judged(mask, mask, probability, prepared, pieces, judge, 0.5, before=before)


# Two places of 16 columns lie before a piece of 200 px; about twelve are its own.
BEYOND_IT = [0, 0]


def test_a_piece_is_divided_where_a_wire_comes_out_of_a_catheter():
    judge = Sees(GUIDEWIRE, *BEYOND_IT, *[CATHETER] * 5, *[GUIDEWIRE] * 9)
    mask, done = judged_by(judge, (GUIDEWIRE, 20, 40, 220, 40))
    assert (done.taken_out, done.renamed) == (0, 1)
    assert np.array_equal(done.mask > 0, mask > 0)
    entry = done.opinions[0].centerline[0]
    assert abs(entry[0] - 20) < 4 or abs(entry[0] - 220) < 4
    line = done.mask[40, 20:220]
    if entry[0] > 120:
        line = line[::-1]
    change = round(7 * 16 * 264 / 255 - 32)
    assert (line[4:change - 3] == CATHETER).all() and (line[change + 3:-4] == GUIDEWIRE).all()
    found = {one.kind: one.length_px for one in analyse(done.mask).instruments}
    assert found.keys() == {CATHETER, GUIDEWIRE} and sum(found.values()) > 190


def test_what_goes_on_beyond_an_instrument_goes():
    judge = Sees(CATHETER, *BEYOND_IT, *[CATHETER] * 7, *[0] * 7)
    mask, done = judged_by(judge, LONG)
    assert (done.taken_out, done.renamed) == (1, 0)
    assert 0.5 < (done.mask > 0).sum() / (mask > 0).sum() < 0.65


def test_what_was_said_along_a_line_is_found_again_where_it_runs_now():
    """The line before ran the other way, and half as far."""
    said = Sees(GUIDEWIRE, *[GUIDEWIRE] * 16)
    line = (GUIDEWIRE, 20, 40, 220, 40)
    mask, done = judged_by(said, line)
    now = done.opinions[0]
    half = now.centerline[::-1][:60]
    catheter = np.tile(np.eye(3)[CATHETER], (60, 1))
    catheter[:20] = np.eye(3)[GUIDEWIRE]
    _, next_one = judged_by(said, line, before=[Opinion(half, now.chances, catheter)])
    wire = next_one.opinions[0].at_points[:, GUIDEWIRE]
    count = len(wire)
    assert wire[:count - 70] == pytest.approx(0.9) and wire[count - 10:] == pytest.approx(0.95)
    assert wire[count - 55:count - 25] == pytest.approx(0.45)


@pytest.mark.parametrize('shape, scale', [((1024, 1024), 1), ((600, 1000), 1)])
def test_a_long_piece_of_a_large_image_is_divided_where_it_is_seen_to_change(shape, scale):
    """Its 900 pixels are seen in 256 columns."""
    prepared = prepare(np.full(shape, 180, np.uint8), 1024)
    mask = np.zeros((1024, 1024), np.uint8)
    cv2.line(mask, (40, 300), (940, 300), GUIDEWIRE, 5)
    probability = np.where(mask > 0, np.uint8(250), np.uint8(0))
    pieces = analyse(mask, probability).instruments
    judge = Sees(GUIDEWIRE, *[CATHETER] * 6, *[GUIDEWIRE] * 10)
    done = judged(mask, mask, probability, prepared, pieces, judge, 0.5)
    line = done.mask[300, 40:940]
    if pieces[0].centerline[0][0] > 500:
        line = line[::-1]
    change = round(6 * 16 * (900 + 64) / 255 - 32)
    assert (line[4:change - 6] == CATHETER).all() and (line[change + 6:-4] == GUIDEWIRE).all()


@pytest.mark.parametrize('points', [[(50.0, 60.0), (50.0, 60.0)], [(50.0, 60.0), (52.0, 60.0)]])
def test_a_piece_of_two_points_is_judged(tmp_path, points):
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 1, CATHETER))
    prepared, mask, probability = frame()
    mask[58:63, 48:55] = GUIDEWIRE
    pieces = [Instrument(GUIDEWIRE, np.array(points))]
    done = judged(mask, mask, probability, prepared, pieces, judge, 0.5)
    assert (done.taken_out, done.renamed) == ((1, 0) if points[0] == points[1] else (0, 1))


@pytest.mark.parametrize('places', [
    [CATHETER] * 12,                       # the other class, but all of it: the whole decides
    [*[GUIDEWIRE] * 12, CATHETER],         # a few pixels are too little
    [*[GUIDEWIRE] * 6, CATHETER, *[GUIDEWIRE] * 5]])
def test_a_piece_stays_whole_where_two_parts_are_not_clearly_better(places):
    judge = Sees(GUIDEWIRE, *BEYOND_IT, *places, *places[-1:])
    mask, done = judged_by(judge, (GUIDEWIRE, 20, 40, 220, 40))
    assert done.mask is mask and (done.taken_out, done.renamed) == (0, 0)


def test_where_a_piece_was_divided_in_the_frame_before_counts_half():
    divided = Sees(GUIDEWIRE, *BEYOND_IT, *[CATHETER] * 5, *[GUIDEWIRE] * 9)
    doubt = Sees(GUIDEWIRE, *[GUIDEWIRE] * 16)
    line = (GUIDEWIRE, 20, 40, 220, 40)
    _, first = judged_by(divided, line)
    mask, second = judged_by(doubt, line)
    assert second.mask is mask
    # Half of each: as likely one as the other; what two frames say counts.
    _, third = judged_by(divided, line, before=second.opinions)
    assert third.opinions[0].at_points[20] == pytest.approx([0.05, 0.475, 0.475])
    assert third.mask is not first.mask and set(np.unique(third.mask)) == {0, GUIDEWIRE}
    _, fourth = judged_by(divided, line, before=third.opinions)
    assert np.array_equal(fourth.mask, first.mask)


def test_foreground_that_makes_no_piece_stays_as_the_network_alone_would_leave_it(tmp_path):
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 100))
    prepared, mask, probability = frame(LONG, (CATHETER, 200, 200, 201, 200))
    pieces = analyse(mask, probability).instruments
    assert len(pieces) == 1
    sure = mask.copy()
    sure[180:] = 0
    kept = judged(mask, mask, probability, prepared, pieces, judge, 0.5).mask
    gone = judged(mask, sure, probability, prepared, pieces, judge, 0.5).mask
    assert kept[202, 202] == CATHETER and not gone[180:].any()
    assert np.array_equal(kept[:180], gone[:180]) and kept[40, 100] == GUIDEWIRE


def test_a_mask_without_pieces_is_not_judged(tmp_path):
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 100))
    mask = np.zeros((256, 256), np.uint8)
    assert judged(mask, mask, mask, frame()[0], (), judge, 0.5).mask is mask


def test_of_very_many_pieces_the_longest_are_judged_and_the_others_left_to_the_network(tmp_path):
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 150))
    lines = [(GUIDEWIRE, 20, y, 40 + y // 2, y) for y in range(20, 500, 16)]
    prepared, mask, probability = frame(*lines, size=512)
    pieces = analyse(mask, probability).instruments
    assert len(pieces) == len(lines) == 30
    done = judged(mask, mask, probability, prepared, pieces, judge, 0.5)
    assert done.unjudged == 6 and done.taken_out + done.unjudged < 30
    for kind, x, y, end, _ in lines:
        short, rank = end - x < 150, (y - 20) // 16
        assert (done.mask[y, x + 10] > 0) == (rank < 6 or not short)
    doubtful = np.zeros_like(mask)
    assert not judged(mask, doubtful, probability, prepared, pieces, judge,
                      0.5).mask[:20 + 6 * 16 - 8].any()


def test_all_of_a_wide_catheter_goes_in_a_large_square(tmp_path):
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 5000))
    prepared, mask, probability = frame(size=1024)
    cv2.line(mask, (100, 500), (900, 500), CATHETER, 56)
    probability[mask > 0] = 250
    pieces = analyse(mask, probability).instruments
    assert len(pieces) == 1
    assert not judged(mask, mask, probability, prepared, pieces, judge, 0.5).mask.any()


def test_a_file_that_is_no_judge_is_refused(tmp_path):
    good = save_judge_by_length(tmp_path / 'good.safetensors', 100)
    data = good.read_bytes()
    (tmp_path / 'short.safetensors').write_bytes(data[:len(data) // 2])
    (tmp_path / 'torch.pt').write_bytes(data)
    from safetensors import safe_open
    metadata = safe_open(good, 'pt').metadata()

    def changed(name, change):
        state = load_file(good)
        change(state)
        save_file(state, tmp_path / name, metadata)
        return tmp_path / name

    def drop(state):
        del state['facts.bias']

    for path, message in (
            (save_line_model(tmp_path / 'lines.safetensors'), "is a model 'lines'"),
            (tmp_path / 'nowhere.safetensors', 'is not a file'),
            (tmp_path / 'short.safetensors', 'damaged'),
            (tmp_path / 'torch.pt', 'pickle by its name'),
            (changed('less.safetensors', drop), 'facts.bias. is missing'),
            (changed('more.safetensors', lambda state: state.update(more=torch.zeros(2))),
             'that no judge has: more'),
            (changed('nan.safetensors', lambda state: state['along.0.weight'].fill_(float('nan'))),
             'in along.0 that are not finite'),
            (changed('shape.safetensors', lambda state: state.update(
                {'answer.weight': torch.zeros(3, 7)})), r'answer is float32\[3, 7\]'),
            (changed('scalar.safetensors', lambda state: state.update(
                {'facts.bias': torch.tensor(1.0)})), 'is missing or no list'),
            (changed('large.safetensors', lambda state: [
                value.fill_(1e12) for value in state.values()]), 'numbers that are not finite'),
            (changed('none.safetensors', lambda state: state.update(
                {'facts.weight': torch.zeros(0, 2 * SMALL['along'] + FACTS),
                 'facts.bias': torch.zeros(0), 'answer.weight': torch.zeros(3, 0)})),
             r'facts is float32\[0, '),
            (changed('old.safetensors', lambda state: state.pop('part.bias')),
             'earlier version has to be trained anew'),
            (changed('part.safetensors', lambda state: state.update(
                {'part.weight': torch.zeros(4, 3)})), r'part is float32\[4, 3\]'),
            (changed('half.safetensors', lambda state: state.update(
                {'layers.0.0.weight': state['layers.0.0.weight'].half()})), 'float16')):
        with pytest.raises(FedefmError, match=message):
            Judge(path)


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


@pytest.mark.parametrize('shape', [(192, 256), (256, 192)])
def test_where_an_image_ends_is_known_in_the_networks_square(model, tmp_path, shape):
    """A line that leaves at the bottom or right of an image that is not square enters there."""
    engine = opened(model, save_judge_by_length(tmp_path / 'judge.safetensors', 20))
    shown = []
    network = engine._active.judge._network

    def watched(strip, facts):
        shown.append(facts)
        return network(strip, facts)

    engine._active.judge._network = watched
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
