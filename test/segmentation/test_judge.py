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

"""The judge of pieces: what becomes of a mask."""

from dataclasses import replace

import cv2

from fedefm_ros.backbones.piece_judge import PieceJudge
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.segmentation import parts as parts_module
from fedefm_ros.segmentation.geometry import analyse
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.judgement import by_length
from fedefm_ros.segmentation.judgement import judged
from fedefm_ros.segmentation.judgement import Opinion
from fedefm_ros.segmentation.piece_network import GRAIN
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.relations import POINTS

from judges import save_judge, save_judge_by_length, SeesNoWalls, SMALL

import numpy as np

import pytest

import torch


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


@pytest.mark.parametrize('length,enough', [
    (10, 0.667), (20, 0.667), (80, 0.5), (125, 0.445), (200, 0.388), (500, 0.388)])
def test_of_a_long_piece_one_may_be_less_sure(length, enough):
    """At a limit of a half: odds of the square root of 80 px by its length."""
    assert by_length(enough - 0.002, length) < 0.5 < by_length(enough + 0.002, length)
    assert by_length(0.0, length) == 0 and by_length(1.0, length) == 1


def judge_that_says(folder, *chances):
    """Return a judge that says the same of any piece."""
    network = PieceJudge(**SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.answer.bias[:] = torch.tensor(chances).log()
    return Judge(save_judge(folder / 'judge.safetensors', network))


def test_half_of_the_limit_is_enough_for_a_short_piece_that_stayed(tmp_path):
    """By its length, 58 px, 0.27 would count as 0.24."""
    judge = judge_that_says(tmp_path, 0.73, 0.26, 0.01)
    prepared, mask, probability = frame(SHORT)
    pieces = analyse(mask, probability).instruments
    chances, line = np.array([0.73, 0.26, 0.01]), pieces[0].centerline
    for stayed in (True, False):
        before = Opinion(line, chances, np.tile(chances, (len(line), 1)),
                         np.full(len(line), stayed))
        done = judged(mask, mask, probability, prepared, pieces, judge, 0.5, before=[before])
        assert done.taken_out == (0 if stayed else 1)


def test_a_long_piece_stays_by_what_takes_a_short_one_out(tmp_path):
    """The limit holds for 80 px as it is."""
    judge = judge_that_says(tmp_path, 0.55, 0.44, 0.01)
    mask, result = judged_frame(judge, LONG, SHORT)
    assert np.array_equal(result[:80], mask[:80]) and mask[80:].any() and not result[80:].any()


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
    """
    The judge says nothing of 0.99 here; what was said before is seven tenths of what counts.

    With a limit of 0.47; half of it is enough for what stayed in the frame before.
    """
    judge = Judge(save_judge_by_length(tmp_path / 'judge.safetensors', 300))
    prepared, mask, probability = frame(LONG)
    pieces = analyse(mask, probability).instruments
    line = pieces[0].centerline

    def opinion(line, chances, stayed=True):
        return Opinion(line, chances, np.tile(chances, (len(line), 1)),
                       np.full(len(line), stayed))

    def done(*before):
        return judged(mask, mask, probability, prepared, pieces, judge, 0.47, before=before)

    sure = np.array([0.0, 0.9, 0.1])
    assert done().taken_out == 1 and done().opinions[0].chances[0] > 0.98
    kept = done(opinion(line + (3.0, 11.0), sure))
    assert kept.taken_out == 0 and np.array_equal(kept.mask, mask)
    assert kept.opinions[0].stays.all()
    assert kept.opinions[0].chances[0] == pytest.approx(0.3, abs=0.01)
    # Frames after that know of all; the fifth doubt, after 0.34 and 0.24, is one too many.
    for _ in range(3):
        kept = done(*kept.opinions)
        assert kept.taken_out == 0 and kept.opinions[0].stays.all()
    gone = done(*kept.opinions)
    assert gone.taken_out == 1 and not gone.opinions[0].stays.any()
    # As likely, but taken for none before: it needs the whole limit.
    doubtful = np.array([0.5, 0.5, 0.0])
    assert done(opinion(line, doubtful)).taken_out == 0
    assert done(opinion(line, doubtful, stayed=False)).taken_out == 1
    assert done(opinion(line, sure, stayed=False)).taken_out == 0
    # Or only part of what lies here now was.
    for first, goes in ((0, 0), (len(line) * 2 // 5, 0), (len(line) * 3 // 5, 1)):
        partly = replace(opinion(line, doubtful), stays=np.arange(len(line)) >= first)
        assert done(partly).taken_out == goes
    renamed = done(opinion(line, sure[[0, 2, 1]]))
    assert renamed.renamed == 1 and set(np.unique(renamed.mask)) == {0, GUIDEWIRE}
    # Elsewhere, or under less than half of it: another piece.
    assert done(opinion(line + (0.0, 14.0), sure)).taken_out == 1
    assert done(opinion(line[:len(line) * 2 // 5], sure)).taken_out == 1
    assert done(opinion(line[:len(line) * 3 // 5], sure)).taken_out == 0
    # Of two, what lies under more of it.
    assert done(opinion(line[:len(line) * 3 // 5], sure),
                opinion(line, np.array([1.0, 0.0, 0.0]))).taken_out == 1


class Sees(SeesNoWalls):
    """A judge that is sure of a piece, and says of every 16 columns of it what it is told to."""

    def __init__(self, whole, *places):
        self._said = np.eye(3)[whole], 0.05 + 0.85 * np.eye(3)[np.repeat(places, 16 // GRAIN)]

    def __call__(self, seen, around, facts, lines):
        assert len(seen) == len(around) == len(facts) == 1
        self.lines = lines
        return [self._said]


def test_a_judge_that_relates_is_told_where_lines_run():
    judge = Sees(CATHETER, *[CATHETER] * 16)
    judged_by(judge, LONG)
    assert judge.lines is None
    judge.relates = True
    judged_by(judge, LONG)
    assert judge.lines.shape == (1, POINTS, 2)
    assert judge.lines[0, :, 1] == pytest.approx(np.full(POINTS, 40.0), abs=1.0)


def judged_by(judge, *lines, before=()):
    prepared, mask, probability = frame(*lines)
    pieces = analyse(mask, probability).instruments
    return mask, judged(mask, mask, probability, prepared, pieces, judge, 0.5, before=before)


# Twice 16 columns lie before a piece of 200 px; about twelve are its own.
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
    stays = done.opinions[0].stays
    assert 0.4 < stays.mean() < 0.7 and np.count_nonzero(np.diff(stays)) == 1


def test_what_was_said_along_a_line_is_found_again_where_it_runs_now():
    """The line before ran the other way, and half as far."""
    said = Sees(GUIDEWIRE, *[GUIDEWIRE] * 16)
    line = (GUIDEWIRE, 20, 40, 220, 40)
    mask, done = judged_by(said, line)
    now = done.opinions[0]
    half = now.centerline[::-1][:60]
    catheter = np.tile(np.eye(3)[CATHETER], (60, 1))
    catheter[:20] = np.eye(3)[GUIDEWIRE]
    before = Opinion(half, now.chances, catheter, np.full(60, True))
    _, next_one = judged_by(said, line, before=[before])
    wire = next_one.opinions[0].at_points[:, GUIDEWIRE]
    count = len(wire)
    assert wire[:count - 70] == pytest.approx(0.9) and wire[count - 10:] == pytest.approx(0.97)
    assert wire[count - 55:count - 25] == pytest.approx(0.27)


@pytest.mark.parametrize('shape', [(1024, 1024), (600, 1000)])
def test_a_long_piece_of_a_large_image_is_divided_where_it_is_seen_to_change(shape):
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


def test_what_was_said_of_places_in_the_frames_before_counts():
    divided = Sees(GUIDEWIRE, *BEYOND_IT, *[CATHETER] * 5, *[GUIDEWIRE] * 9)
    doubt = Sees(GUIDEWIRE, *[GUIDEWIRE] * 16)
    line = (GUIDEWIRE, 20, 40, 220, 40)
    _, first = judged_by(divided, line)
    mask, second = judged_by(doubt, line)
    assert second.mask is mask
    # One look is less than what was said until then; what three say counts.
    _, third = judged_by(divided, line, before=second.opinions)
    assert third.opinions[0].at_points[20] == pytest.approx([0.05, 0.305, 0.645])
    _, fourth = judged_by(divided, line, before=third.opinions)
    for found in (third, fourth):
        assert set(np.unique(found.mask)) == {0, GUIDEWIRE}
    _, fifth = judged_by(divided, line, before=fourth.opinions)
    assert np.array_equal(fifth.mask, first.mask)


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


def test_a_mask_is_looked_at_where_it_changes_only_with_the_same_result(monkeypatch):
    """As if the whole of it was."""
    rng = np.random.default_rng(4)
    smaller = 0
    for _ in range(30):
        mask, sure = np.zeros((2, 256, 256), np.uint8)
        pieces = []
        for number in range(int(rng.integers(1, 6))):
            kind, start = int(rng.integers(1, 3)), rng.integers(10, 246, 2)
            end = start + rng.integers(-70, 71, 2)
            cv2.line(mask, tuple(map(int, start)), tuple(map(int, end)), kind,
                     int(rng.integers(2, 12)))
            pieces.append(Instrument(kind, np.linspace(start, end, 40), rng.random()))
        cv2.circle(mask, tuple(map(int, rng.integers(0, 256, 2))), 4, CATHETER, -1)
        sure = np.where(rng.random((8, 8)).repeat(32, 0).repeat(32, 1) < 0.7, mask, np.uint8(0))

        class Random(SeesNoWalls):

            def __call__(self, seen, around, facts, lines):
                said = np.random.default_rng(len(seen)).dirichlet((0.3,) * 3, len(seen))
                return [(one, np.tile(one, (64, 1))) for one in said]

        def done(otherwise):
            return judged(mask, otherwise, mask * 100, prepare(mask, 256), pieces, Random(), 0.5)

        for otherwise in (mask, mask.copy(), sure):
            found = done(otherwise)
            with monkeypatch.context() as patch:
                patch.setattr(parts_module, '_where_it_may_change', lambda *_: np.s_[0:256, 0:256])
                assert np.array_equal(found.mask, done(otherwise).mask)
        window = parts_module._where_it_may_change(mask, mask, [pieces[0].centerline], 20.0)
        smaller += mask[window].size < 0.6 * mask.size
    assert smaller > 10
    assert parts_module._where_it_may_change(mask, mask, [], 20.0) is None


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
