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

"""One table of accuracy and speed, from networks that are really run."""

import json

from fedefm_ros.backbones import registry
from fedefm_ros.backbones.checkpoint import ModelSpec
from fedefm_ros.backbones.checkpoint import save_checkpoint
from fedefm_ros.cli import app

import pytest

from typer.testing import CliRunner


def test_models_are_scored_and_timed_beside_the_unet(tmp_path):
    config = {'widths': [16, 16], 'full': 8}
    save_checkpoint(tmp_path / 'tiny.safetensors', registry.create('compact', **config),
                    ModelSpec('compact', config, input_size=64))
    done = CliRunner().invoke(app, [
        'bench', 'backbones', '--model', 'realtime', '--model', str(tmp_path / 'tiny.safetensors'),
        '--frames', '4', '--kinds', 'simulation,phantom', '--size', '64', '--repeats', '2',
        '--json', str(tmp_path / 'told.json')])
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / 'told.json').read_text())
    realtime, tiny = told['rows']
    assert realtime['dice_catheter'] > 0.5 and realtime['backbone'] == 'compact'
    # Random weights find nothing that is there, or so much that it is refused.
    assert tiny['dice_catheter'] < 0.3
    assert realtime['parameters'] == pytest.approx(3.2e6, rel=0.1)
    for row in told['rows']:
        assert row['eager_ms'] > 0 and row['openvino_ms'] > 0
        assert row['times_faster_than_unet'] == pytest.approx(
            told['unet_eager_ms'] / row['eager_ms'])
