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

"""The network that judges pieces, in numpy and in OpenVINO, and its file."""

import sys

from fedefm_ros.backbones.piece_judge import BRANCHES
from fedefm_ros.backbones.piece_judge import PieceJudge
from fedefm_ros.backbones.piece_judge import scaled
from fedefm_ros.backbones.piece_judge import scaled_ends
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.ends import LAYERS as END_LAYERS
from fedefm_ros.segmentation.ends import VIEW
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.overviews import LAYERS
from fedefm_ros.segmentation.overviews import SIDE
from fedefm_ros.segmentation.piece_network import OUTLINE_CHANNELS
from fedefm_ros.segmentation.strips import CHANNELS
from fedefm_ros.segmentation.strips import FACTS
from fedefm_ros.segmentation.strips import HALF
from fedefm_ros.segmentation.strips import LENGTH

from judges import save_judge, save_judge_by_length, SMALL

from linenet import save_line_model

import numpy as np

import pytest

from safetensors.torch import load_file, save_file

import torch


def test_numpy_and_openvino_say_what_torch_says(tmp_path, monkeypatch):
    torch.manual_seed(3)
    network = PieceJudge(norms=BRANCHES)
    torch.nn.init.normal_(network.of_context.weight)
    rng = np.random.default_rng(3)
    seen = rng.integers(1, 256, (6, CHANNELS, 2 * HALF + 1, LENGTH), np.uint8)
    for number, length in enumerate((256, 255, 240, 100, 65, 64)):
        seen[number, :, :, length:] = 0
    facts = rng.normal(size=(6, FACTS)).astype(np.float32)
    around = rng.integers(0, 256, (6, LAYERS, SIDE, SIDE), np.uint8)
    views = rng.integers(0, 256, (6, END_LAYERS, *VIEW), np.uint8)
    inputs = (scaled(torch.from_numpy(seen)), torch.from_numpy(around) / 255,
              torch.from_numpy(facts))
    ends = scaled_ends(torch.from_numpy(views))
    kinds = rng.integers(0, 3, (6, LENGTH), np.uint8)
    walls = inputs[0][:, list(OUTLINE_CHANNELS)], torch.from_numpy(kinds)
    network(*inputs), network.tips(ends), network.outlines(*walls)  # norms get statistics
    network.eval()
    with torch.no_grad():
        network.answer.weight *= 8
        network.part_answer.weight *= 8
        network.tip.weight *= 8
        network.walls.weight *= 8
        expected = [logits.softmax(-1).numpy() for logits in network(*inputs)]
        tips = network.tips(ends)
        tips[:, 0] = tips[:, 0].sigmoid()
        expected += [tips.numpy(), network.outlines(*walls).numpy()]
    assert all(np.ptp(part, axis=0).max() > 0.02 for part in expected)
    judge = Judge(save_judge(tmp_path / 'judge.safetensors', network.folded()))

    def said_by(judge):
        return [*(np.stack(part) for part in zip(*judge(seen, around, facts))), judge.tips(views),
                judge.walls(seen, kinds)]

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

    monkeypatch.setattr('fedefm_ros.segmentation.runtimes.openvino.core', broken)
    slow = judge.compiled(1)
    assert 'numpy computes the judge' in caplog.text and 'no plugin for CPU' in caplog.text
    plain = np.full((1, CHANNELS, 2 * HALF + 1, LENGTH), 128, np.uint8)
    facts = np.zeros((1, FACTS), np.float32)
    around = np.full((1, LAYERS, SIDE, SIDE), 128, np.uint8)
    for found, expected in zip(slow(plain, around, facts)[0], judge(plain, around, facts)[0]):
        assert np.array_equal(found, expected)


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
             'of an earlier version .* --start. goes on'),
            (changed('part.safetensors', lambda state: state.update(
                {'part.weight': torch.zeros(4, 3)})), r'part is float32\[4, 3\]'),
            (changed('blind.safetensors', lambda state: state.pop('overview.2.0.bias')),
             'overview.2.0.bias. is missing'),
            (changed('end.safetensors', lambda state: state.update(
                {'tip.weight': torch.zeros(2, 5), 'tip.bias': torch.zeros(2)})),
             r'tip is float32\[2, 5\]'),
            (changed('wall.safetensors', lambda state: state.update(
                {'walls.weight': torch.zeros(2, 4)})), r'walls is float32\[2, 4\]'),
            (changed('edge.safetensors', lambda state: state.pop('outline_more.0.weight')),
             'outline_more.0.weight. is missing .* --start. goes on'),
            (changed('half.safetensors', lambda state: state.update(
                {'layers.0.0.weight': state['layers.0.0.weight'].half()})), 'float16')):
        with pytest.raises(FedefmError, match=message):
            Judge(path)
