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

"""`finetune` from published encoders, named by `pretrained:` in the plan."""

import os
from pathlib import Path
import subprocess
import sys

import cv2

from fedefm_ros.backbones import load_checkpoint

import numpy as np

import pytest

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
WIDTH, MLP, DEPTH, GRID = 16, 32, 2, 4
PLAN = """
root: data
backbone: vit
config: {size: 64, width: 16, depth: 2, heads: 2, mlp: 32, decoder: [8, 8, 8, 4],
         class_token: false}
pretrained: weights/encoder.pth
size: 64
crop: 32
steps: 1
batch: 2
learning_rate: 1.0e-6
ema: 0
validation_share: 0.5
"""


def sam_state(prefix):
    """Return a tiny image encoder by SAM's names; without the prefix it is LVM-Med's."""
    torch.manual_seed(3)
    shapes = {'pos_embed': (1, GRID, GRID, WIDTH),
              'patch_embed.proj.weight': (WIDTH, 3, 16, 16), 'patch_embed.proj.bias': (WIDTH,),
              'neck.0.weight': (8, WIDTH, 1, 1)}
    for layer in range(DEPTH):
        for part, shape in {
                'norm1': (WIDTH,), 'norm2': (WIDTH,), 'attn.qkv': (3 * WIDTH, WIDTH),
                'attn.proj': (WIDTH, WIDTH), 'mlp.lin1': (MLP, WIDTH),
                'mlp.lin2': (WIDTH, MLP)}.items():
            shapes[f'blocks.{layer}.{part}.weight'] = shape
            shapes[f'blocks.{layer}.{part}.bias'] = shape[:1]
        shapes[f'blocks.{layer}.attn.rel_pos_h'] = (7, 8)
        shapes[f'blocks.{layer}.attn.rel_pos_w'] = (7, 8)
    return {prefix + name: torch.randn(shape) / 4 for name, shape in shapes.items()}


@pytest.fixture
def wires(tmp_path):
    """Write four pictures with a dark wire, of two patients, as the layout `folder` has them."""
    rng = np.random.default_rng(0)
    for part in ('images', 'masks'):
        (tmp_path / 'data' / part).mkdir(parents=True)
    for number in range(4):
        mask = cv2.line(np.zeros((64, 64), np.uint8), (4, 8 + 9 * number), (58, 50), 2, 3)
        image = np.where(mask, 60, rng.normal(180, 8, mask.shape).clip(0, 255)).astype(np.uint8)
        name = f'patient{number // 2}-{number % 2}.png'
        cv2.imwrite(str(tmp_path / 'data' / 'images' / name), image)
        cv2.imwrite(str(tmp_path / 'data' / 'masks' / name), mask)


@pytest.mark.parametrize('prefix, name', [('image_encoder.', 'SAM'), ('', 'LVM-Med')])
def test_the_command_starts_from_a_published_encoder_and_tells_what_it_took(wires, tmp_path,
                                                                            prefix, name):
    theirs = sam_state(prefix)
    (tmp_path / 'weights').mkdir()
    torch.save(theirs, tmp_path / 'weights' / 'encoder.pth')
    (tmp_path / 'run.yaml').write_text(PLAN)
    # A wide terminal, so that the report's lines stay lines.
    done = subprocess.run(
        [sys.executable, '-m', 'fedefm_ros.cli', 'finetune', 'run.yaml', '-o', 'out',
         '--threads', '1'], cwd=tmp_path, text=True, capture_output=True, timeout=280,
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY), 'COLUMNS': '1000',
             'OMP_NUM_THREADS': '1'})
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip() for line in done.stderr.splitlines()]
    start = next(n for n, line in enumerate(lines) if 'encoder.pth' in line)
    assert lines[start].endswith(f'encoder.pth ({name}): {12 * DEPTH + 3} tensors taken')
    assert lines[start + 1] == (
        "not used: 1 x the encoder's neck; the network has a decoder of its own; "
        f'{2 * DEPTH} x relative positions; the network has absolute ones only')
    assert lines[start + 2].startswith(
        'left random: tokens.norm.bias, tokens.norm.weight; all of ')
    assert lines[start + 3].startswith('computes otherwise: ') and '14 x 14' in lines[start + 3]

    model = load_checkpoint(tmp_path / 'out' / 'model.safetensors')
    assert model.spec.provenance['plan']['pretrained'] \
        == str((tmp_path / 'weights' / 'encoder.pth').resolve())
    # One step of at most a millionth away from the file's.
    for layer in range(DEPTH):
        for own, part in (('norm1', 'norm1'), ('qkv', 'attn.qkv'), ('out', 'attn.proj'),
                          ('norm2', 'norm2'), ('up', 'mlp.lin1'), ('down', 'mlp.lin2')):
            for kind in ('weight', 'bias'):
                found = model.state[f'tokens.layers.{layer}.{own}.{kind}']
                expected = theirs[f'{prefix}blocks.{layer}.{part}.{kind}']
                assert torch.allclose(found, expected, atol=1e-5, rtol=0), (layer, part, kind)
    position = theirs[f'{prefix}pos_embed'].reshape(1, -1, WIDTH)
    assert torch.allclose(model.state['tokens.position'], position, atol=1e-5, rtol=0)


def test_a_file_that_is_no_encoder_is_refused_on_one_line(wires, tmp_path):
    from fedefm_ros.cli import app
    from typer.testing import CliRunner
    (tmp_path / 'weights').mkdir()
    torch.save({'layer1.weight': torch.zeros(2)}, tmp_path / 'weights' / 'encoder.pth')
    (tmp_path / 'run.yaml').write_text(PLAN)
    done = CliRunner().invoke(app, ['finetune', str(tmp_path / 'run.yaml'),
                                    '-o', str(tmp_path / 'out')])
    assert done.exit_code == 1 and 'Traceback' not in done.output
    assert 'encoder.pth is of no known format; known are SAM, LVM-Med' in done.output
    assert not (tmp_path / 'out' / 'model.safetensors').exists()
