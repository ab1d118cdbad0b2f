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

"""The commands `judge collect`, `train`, `average`, `relate` and `limit`."""

import json
from pathlib import Path
import subprocess
import sys

from fedefm_ros.cli import app
from fedefm_ros.learning import pieces
from fedefm_ros.segmentation.engine import SegmentationEngine

from linenet import save_line_model

import pytest

import torch

from typer.testing import CliRunner

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures('use_cache')


def run(*words, code=0):
    done = CliRunner().invoke(app, ['judge', *map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return save_line_model(tmp_path_factory.mktemp('model') / 'lines.safetensors')


@pytest.fixture
def collected(model, tmp_path, monkeypatch):
    """Return folders of pieces to train on, and to validate."""
    monkeypatch.setattr(pieces, 'FRAMES_PER_FILE', 6)
    folders = tmp_path / 'training', tmp_path / 'validation'
    for seed, folder in enumerate(folders):
        run('collect', '-o', folder, '--model', model, '--frames', 12, '--seed', seed,
            '--json', tmp_path / 'collected.json', '--runtime', 'openvino')
    return folders


def test_a_judge_is_made_by_two_commands_and_used(collected, model, tmp_path):
    figures = json.loads((tmp_path / 'collected.json').read_text())
    assert figures['frames'] == 12 and figures['pieces']['nothing'] > 0
    training, validation = collected
    words = ('train', training, '--validation', validation, '-o', tmp_path / 'run', '--batch', 8,
             '--check-every', 2, '--widths', '8,8,12,12,16,16', '--json',
             tmp_path / 'trained.json')
    assert 'area' in run(*words, '--steps', 4)
    figures = json.loads((tmp_path / 'trained.json').read_text())
    assert figures['step'] == 4 and figures['plan']['steps'] == 4
    judge = tmp_path / 'run' / 'judge.safetensors'
    assert Path(figures['judge']) == judge
    engine = SegmentationEngine.open(model, judge=judge)
    assert engine.info.judge_id and engine.min_confidence > 0
    assert 'another plan' in run(*words, '--steps', 5, code=1)
    further = [tmp_path / 'further' if word == tmp_path / 'run' else word for word in words]
    run(*further, '--steps', 2, '--start', judge)
    figures = json.loads((tmp_path / 'trained.json').read_text())
    assert figures['step'] == 2 and figures['plan']['start'] == engine.info.judge_id
    walls = [tmp_path / 'walls' if word == tmp_path / 'run' else word for word in words]
    run(*walls, '--steps', 2, '--start', judge, '--walls-only', '--noise', 0,
        '--whole-wall-weight', 1)
    figures = json.loads((tmp_path / 'trained.json').read_text())
    assert figures['plan']['walls_only'] and figures['wall_error_catheter'] >= 0
    assert (figures['plan']['noise'], figures['plan']['whole_wall_weight']) == (0.0, 1.0)
    others = [tmp_path / 'others' if word == tmp_path / 'run' else word for word in words]
    run(*others, '--steps', 2, '--start', judge, '--wall-weight', 0, '--hidden', 0.5,
        '--appearance', 0.5)
    figures = json.loads((tmp_path / 'trained.json').read_text())
    assert [figures['plan'][name] for name in ('wall_weight', 'hidden', 'appearance')] == [
        0.0, 0.5, 0.5]
    mean = tmp_path / 'mean.safetensors'
    run('average', judge, tmp_path / 'others' / 'judge.safetensors', '--validation', validation,
        '-o', mean, '--json', tmp_path / 'mean.json')
    figures = json.loads((tmp_path / 'mean.json').read_text())
    assert SegmentationEngine.open(model, judge=mean).info.judge_id == figures['judge_id']
    assert figures['share'] == 0.5 and figures['area'] >= 0
    run('collect', '-o', tmp_path / 'more', '--model', model, '--frames', 6, '--seed', 9)
    related, judged = tmp_path / 'related.safetensors', mean.read_bytes()
    words = ('relate', mean, tmp_path / 'more', '--validation', validation, '-o', related,
             '--steps', 5, '--batch', 4, '--json', tmp_path / 'related.json')
    assert 'wrong_guidewire' in run(*words) and mean.read_bytes() == judged
    figures = json.loads((tmp_path / 'related.json').read_text())
    engine = SegmentationEngine.open(model, judge=related)
    assert engine.info.judge_id == figures['id'] and figures['plan']['steps'] == 5
    words = ('limit', related, '--validation', validation)
    assert '0.985' in run(*words) and 'is the judge itself' in run(*words, '-o', related, code=1)
    run(*words, '--kept', 0.9, '-o', tmp_path / 'limit.safetensors', '--json',
        tmp_path / 'limit.json')
    figures = json.loads((tmp_path / 'limit.json').read_text())
    engine = SegmentationEngine.open(model, judge=tmp_path / 'limit.safetensors')
    assert engine.info.judge_id == figures['id'] and figures['limits'][0]['kept'] == 0.9
    assert engine.min_confidence == pytest.approx(figures['limits'][0]['limit'])
    assert 'is the judge itself' in run(
        'relate', mean, tmp_path / 'more', '--validation', validation, '-o', mean, code=1)
    assert 'was trained on, of which it is surer' in run(
        'relate', mean, training, '--validation', validation, '-o', related, code=1)


def test_what_does_not_go_together_is_refused(collected, model, tmp_path):
    training, validation = collected
    out = ('-o', tmp_path / 'run')
    assert 'trained on: it is of the same seed' in run(
        'train', training, '--validation', training, *out, code=1)
    assert '--walls-only needs --start' in run(
        'train', training, '--validation', validation, *out, '--walls-only', code=1)
    assert '--whole-wall-weight counts nothing beside --wall-weight 0' in run(
        'train', training, '--validation', validation, *out, '--wall-weight', 0,
        '--whole-wall-weight', 1, code=1)
    if not torch.cuda.is_available():
        assert '--device cuda:1: this torch finds no CUDA device; use --device cpu' in run(
            'train', training, '--validation', validation, *out, '--device', 'cuda:1', code=1)
    small = save_line_model(tmp_path / 'small.safetensors', 128)
    assert 'not of one architecture' in run(
        'collect', '--model', model, '--model', small, *out, code=1)
    for name in ('--precision', '--runtime'):
        assert "depend on the machine's speed" in run(
            'collect', '--model', model, name, 'auto', *out, code=1)
    run('collect', '-o', tmp_path / 'other', '--model', small, '--frames', 4, '--seed', 7)
    assert 'different architectures' in run(
        'train', training, '--validation', tmp_path / 'other', *out, code=1)
    for widths in ('24,32', '8,8,8,8,8,x', '8,8,8,8,8,0'):
        assert '6 whole numbers with commas' in run(
            'train', training, '--validation', validation, *out, '--widths', widths, code=1)
    assert 'two files are of one kind' in run(
        'collect', '--model', model, *out, *(
            f'--scenes={REPOSITORY}/config/simulation/{name}.yaml'
            for name in ('human', 'training/human')), code=1)


def test_help_of_each_needs_neither_torch_nor_ros():
    for name, says in (('collect', 'same command goes on'), ('train', 'same command goes on'),
                       ('average', 'WiSE-FT'), ('relate', 'learnt of whole frames'),
                       ('limit', 'what other limits')):
        done = subprocess.run(
            [sys.executable, '-c', 'import sys; sys.modules["torch"] = None; '
             'sys.modules["rclpy"] = None; from fedefm_ros.cli import main; main()',
             'judge', name, '--help'], cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0 and says in done.stdout
