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

"""How pieces wind, how they lie to each other, and what is made of it."""

from fedefm_ros.backbones.piece_judge import PieceJudge
from fedefm_ros.backbones.piece_relations import PieceRelations
from fedefm_ros.errors import FedefmError
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.overviews import LAYERS as OVERVIEW_LAYERS, SIDE
from fedefm_ros.segmentation.relations import KNOWN, known, lines_of, POINTS
from fedefm_ros.segmentation.relations import RELATIONS, Relations, relations, SHAPES, shapes
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, HALF, LENGTH

from judges import save_judge, SMALL

import numpy as np

import pytest

from safetensors import safe_open
from safetensors.torch import load_file, save_file

import torch


def straight(x, y, to_x, to_y, kind=CATHETER):
    steps = np.linspace(0, 1, 60)[:, None]
    return Instrument(kind, np.array([x, y]) + steps * np.array([to_x - x, to_y - y]))


def winding(x, y, length, amplitude, period):
    along = np.arange(0.0, length, 2.0)
    return Instrument(CATHETER, np.stack([
        x + along, y + amplitude * np.sin(2 * np.pi * along / period)], 1))


def turned(piece):
    return Instrument(piece.kind, piece.centerline[::-1])


def test_a_line_is_described_by_points_the_same_way_apart():
    piece = Instrument(CATHETER, np.array([[0.0, 0.0], [30.0, 0.0], [30.0, 10.0], [30.0, 55.0]]))
    line, = lines_of([piece])
    assert line.shape == (POINTS, 2) and np.array_equal(line[[0, -1]], [[0, 0], [30, 55]])
    steps = np.hypot(*np.diff(line, axis=0).T)
    assert steps.max() == pytest.approx(85 / (POINTS - 1), rel=1e-4) and steps.min() > 0.5
    assert lines_of([]).shape == (0, POINTS, 2)


def test_shapes_tell_how_a_line_winds():
    plain, fine, wide = shapes(lines_of([
        straight(20, 30, 220, 130), winding(20, 60, 200, 3, 30), winding(20, 60, 200, 30, 200)]))
    assert plain[0] == pytest.approx(1.0, abs=1e-5)
    assert plain[1:3] * 512 == pytest.approx([200, 100])
    assert plain[3:] == pytest.approx(np.zeros(SHAPES - 3), abs=2e-3)
    assert fine[0] < 0.95 and fine[6] > wide[6] and fine[13] < fine[3]
    assert wide[13] > fine[13] and wide[0] < fine[0]
    # A circle comes back to where it began, its curvature has one sign.
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = Instrument(CATHETER, 200 + 60 * np.stack([np.cos(angle), np.sin(angle)], 1))
    found, = shapes(lines_of([circle]))
    assert found[0] < 0.01 and found[7] > 1.9 and found[3] == pytest.approx(4 * 3 / 60, rel=0.1)
    assert shapes(lines_of([])).shape == (0, SHAPES)


@pytest.mark.parametrize('length', (12, 20, 60))
def test_a_short_line_is_as_straight_wherever_it_lies(length):
    line = straight(380.3, 401.7, 380.3 + length, 401.7 + 0.4 * length)
    assert shapes(lines_of([line]))[0, 3:] == pytest.approx(np.zeros(SHAPES - 3), abs=1e-2)
    bent = winding(20, 60, length, 2, 25)
    moved = Instrument(CATHETER, bent.centerline + (401.3, 377.9))
    there, here = shapes(lines_of([moved, bent]))
    assert there == pytest.approx(here, abs=1e-2)


def test_where_a_line_begins_changes_nothing():
    pieces = [winding(20, 60, 200, 20, 90), straight(220, 62, 300, 200, GUIDEWIRE),
              straight(100, 300, 140, 20)]
    lines = lines_of(pieces)
    for number, piece in enumerate(pieces):
        others = lines_of([*pieces[:number], turned(piece), *pieces[number + 1:]])
        assert shapes(others) == pytest.approx(shapes(lines), abs=2e-3)
        assert relations(others) == pytest.approx(relations(lines), abs=1e-3)


def test_relations_tell_which_line_goes_on_as_another():
    first, follows, away = (straight(20, 100, 200, 100), straight(203, 100, 380, 110, GUIDEWIRE),
                            straight(40, 400, 300, 420))
    across = straight(120, 20, 120, 190)
    found = relations(lines_of([first, follows, away, across]))
    assert found.shape == (4, 4, RELATIONS) and not found[range(4), range(4)].any()
    near, _, parallel, meets, looks = found[0, 1, :5]
    assert near > 0.6 and parallel > 0.99 and meets == 1 and looks > 0.99
    assert found[0, 2, :2] == pytest.approx([0, 0], abs=0.01)
    # What crosses has no end near, and comes near all the same.
    assert found[3, 0, 0] < 0.01 and found[3, 0, 8] > 0.7 and found[3, 0, 3] == 0
    assert found[0, 1, 9] < 0.1 < found[3, 0, 9]
    beside = relations(lines_of([first, straight(30, 106, 190, 106)]))
    assert beside[1, 0, 9] == 1.0 and beside[0, 1, 9] > 0.9
    assert not relations(lines_of([first])).any() and relations(lines_of([])).shape[:2] == (0, 0)


@pytest.mark.parametrize('points', ([[5.0, 5.0], [5.0, 5.0]], [[5.0, 5.0], [6.0, 5.0]]))
def test_what_has_no_length_is_told_finitely(points):
    lines = lines_of([Instrument(CATHETER, np.array(points)), straight(0, 0, 100, 100)])
    assert np.isfinite(shapes(lines)).all() and np.isfinite(relations(lines)).all()


def random_relations(seed=0):
    torch.manual_seed(seed)
    network = PieceRelations(7, 6, 5, 4).eval()
    torch.nn.init.normal_(network.more.weight)
    return network


def test_numpy_says_what_torch_says():
    network = random_relations()
    rng = np.random.default_rng(1)
    of_pieces = rng.normal(size=(2, 4, KNOWN)).astype(np.float32)
    between = rng.normal(size=(2, 4, 4, RELATIONS)).astype(np.float32)
    there = np.ones((2, 4), bool)
    there[1, 3] = False
    with torch.no_grad():
        expected = network(*map(torch.from_numpy, (of_pieces, between, there))).numpy()
    plain = Relations({name: values.numpy() for name, values in network.state_dict().items()})
    assert plain(of_pieces[0], between[0]) == pytest.approx(expected[0], abs=1e-5)
    assert plain(of_pieces[1, :3], between[1, :3, :3]) == pytest.approx(expected[1, :3], abs=1e-5)
    assert np.ptp(expected[0], axis=0).min() > 0.01


def test_a_judge_weighs_what_it_says_of_a_frame(tmp_path):
    torch.manual_seed(2)
    alone = PieceJudge(**SMALL)
    related = PieceJudge(**SMALL, relations=(7, 6, 5, 4))
    related.load_state_dict(alone.state_dict(), strict=False)
    at_first = Judge(save_judge(tmp_path / 'first.safetensors', related))
    related.relations.load_state_dict(random_relations().state_dict())
    paths = [save_judge(tmp_path / name, network) for name, network in (
        ('alone.safetensors', alone), ('related.safetensors', related.folded()))]
    judges = [Judge(path) for path in paths]
    assert [judge.relates for judge in judges] == [False, True]
    rng = np.random.default_rng(3)
    lines = lines_of([straight(20, 100, 200, 100), straight(203, 100, 380, 110)])
    seen = (rng.integers(1, 256, (2, CHANNELS, 2 * HALF + 1, LENGTH), np.uint8),
            rng.integers(0, 256, (2, OVERVIEW_LAYERS, SIDE, SIDE), np.uint8),
            rng.random((2, FACTS), np.float32))
    plain, untaught, weighed = (one(*seen, lines) for one in (judges[0], at_first, judges[1]))
    with pytest.raises(ValueError, match='their lines are needed'):
        judges[1](*seen)
    added = Relations({name: values.numpy() for name, values in
                       random_relations().state_dict().items()})(
        known(np.stack([whole for whole, _ in plain]), lines), relations(lines))
    for before, same, after, more in zip(plain, untaught, weighed, added):
        for part, equal, other in zip(before, same, after):
            assert equal == pytest.approx(part, abs=1e-6)
            right = part * np.exp(more)
            assert other == pytest.approx(right / right.sum(-1, keepdims=True), abs=1e-5)
            assert np.abs(other - part).max() > 0.01
    for found, expected in zip(judges[1].compiled(1)(*seen, lines), weighed):
        assert found[0] == pytest.approx(expected[0], abs=1e-5)
    state = load_file(paths[1])
    for name, change, message in (
            ('relations.told.weight', lambda values: values[:, 1:], 'relations.told is'),
            ('relations.more.bias', lambda values: values * np.nan, 'not finite'),
            # What is told is told by others: one piece alone would not show it.
            ('relations.told.bias', lambda values: values + 3e38, 'not finite'),
            ('relations.own.weight', None, 'is missing')):
        spoiled = {**state, name: change(state[name]).contiguous()} if change else {
            key: values for key, values in state.items() if key != name}
        if name == 'relations.told.bias':
            spoiled['relations.joint.weight'] = 100.0 * state['relations.joint.weight']
        with safe_open(paths[1], 'numpy') as file:
            save_file(spoiled, tmp_path / 'spoiled.safetensors', file.metadata())
        with pytest.raises(FedefmError, match=message):
            Judge(tmp_path / 'spoiled.safetensors')
