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


def test_a_wrong_plan_or_place_is_said_on_one_line(tmp_path):
    (tmp_path / 'run.yaml').write_text(CONFIG + 'color: red\n')
    done = run('finetune', tmp_path / 'run.yaml', '-o', tmp_path / 'run')
    assert done.exit_code == 1 and 'color is not known' in done.output
    (tmp_path / 'run.yaml').write_text(CONFIG)
    done = run('finetune', tmp_path / 'run.yaml', '-o', tmp_path / 'run')
    assert done.exit_code == 1 and 'data: no such folder' in done.output
    assert 'Traceback' not in done.output
