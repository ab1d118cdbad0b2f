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

"""`simulate`, then `finetune` on what it wrote."""

import json

from fedefm_ros.backbones import load_checkpoint
from fedefm_ros.cli import app
from fedefm_ros.labels import NAMES
from fedefm_ros.paths import models_dir

import torch

from typer.testing import CliRunner

CONFIG = """
root: data
config: {widths: [8, 16], full: 4, encoder_convs: 1, decoder_convs: 1}
size: 96
crop: 64
steps: 4
batch: 2
check_every: 2
validation_share: 0.5
"""


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_simulated_set_is_learnt_from_and_the_same_command_finds_it_done(tmp_path):
    done = run('simulate', '-o', tmp_path / 'data', '--kind', 'phantom', '--frames', 8,
               '--size', 96)
    assert done.exit_code == 0, done.output
    (tmp_path / 'run.yaml').write_text(CONFIG)
    arguments = ('finetune', tmp_path / 'run.yaml', '-o', tmp_path / 'run', '--threads', 1,
                 '--json', tmp_path / 'figures.json')
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert figures['steps'] == 4 and figures['training_images'] == 4
    assert {'dice', 'dice_catheter', 'dice_guidewire'} <= figures.keys()
    model = load_checkpoint(tmp_path / 'run' / 'model.safetensors')
    again = run(*arguments)
    assert again.exit_code == 0 and 'goes on from step 4' in again.output
    assert load_checkpoint(tmp_path / 'run' / 'model.safetensors').model_id == model.model_id


def test_foundation_weights_are_a_start_by_their_shipped_name(tmp_path):
    done = run('simulate', '-o', tmp_path / 'data', '--kind', 'phantom', '--frames', 8,
               '--size', 96)
    assert done.exit_code == 0, done.output
    (tmp_path / 'run.yaml').write_text(CONFIG.replace('steps: 4', 'steps: 2'))
    foundation = load_checkpoint(models_dir() / 'foundation.safetensors')
    for name in ('foundation', 'models/foundation'):
        out = tmp_path / name.replace('/', '-')
        done = run('finetune', tmp_path / 'run.yaml', '-o', out, '--threads', 1,
                   '--checkpoint', name)
        assert done.exit_code == 0, done.output
        model = load_checkpoint(out / 'model.safetensors')
        assert model.spec.backbone == foundation.spec.config['backbone']
        assert model.spec.labels == NAMES
        # Two steps from where the foundation's encoder is; a decoder of its own.
        stem = 'resnet.stem.weight'
        assert (model.state[stem] - foundation.state[f'backbone.{stem}']).abs().max() < 0.01
        assert model.network()(torch.zeros(1, 1, 96, 96)).shape == (1, 3, 96, 96)
    done = run('finetune', tmp_path / 'run.yaml', '-o', tmp_path / 'none', '--checkpoint', 'nine')
    assert done.exit_code == 1 and 'nine is not a file' in done.output


def test_a_wrong_plan_or_place_is_said_on_one_line(tmp_path):
    (tmp_path / 'run.yaml').write_text(CONFIG + 'color: red\n')
    done = run('finetune', tmp_path / 'run.yaml', '-o', tmp_path / 'run')
    assert done.exit_code == 1 and 'color is not known' in done.output
    (tmp_path / 'run.yaml').write_text(CONFIG)
    done = run('finetune', tmp_path / 'run.yaml', '-o', tmp_path / 'run')
    assert done.exit_code == 1 and 'data: no such folder' in done.output
    assert 'Traceback' not in done.output
