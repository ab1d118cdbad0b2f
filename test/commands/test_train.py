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

"""`./run train`: from a command to a model, again from its config.yaml, through kills."""

import json
import random
import signal
import subprocess
import sys
import time

import cv2

from fedefm_ros.backbones.checkpoint import load_checkpoint, ModelSpec, save_checkpoint
from fedefm_ros.backbones.registry import create
from fedefm_ros.cli import app
from fedefm_ros.commands.train import train
from fedefm_ros.errors import FedefmError
from fedefm_ros.paths import config_dir

import numpy as np

import pytest

from safetensors.torch import load_file

import torch

from typer.testing import CliRunner

import yaml

HUMAN = config_dir() / 'simulation' / 'training' / 'human.yaml'


def test_two_files_of_scenes_of_one_kind_are_refused(tmp_path):
    with pytest.raises(FedefmError, match='two files are of one kind'):
        train(out=tmp_path / 'run', scenes=[HUMAN, HUMAN])
    assert not (tmp_path / 'run').exists()


def test_a_file_of_scenes_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FedefmError, match='absent.yaml: cannot be read'):
        train(out=tmp_path / 'run', scenes=[tmp_path / 'absent.yaml'])


SMALL = {'widths': [8, 16], 'full': 4, 'encoder_convs': [1, 1], 'decoder_convs': [1]}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Return the command of a run and its folder."""
    folder = tmp_path_factory.mktemp('train')
    torch.manual_seed(0)
    save_checkpoint(folder / 'parent.safetensors', create('compact', **SMALL),
                    ModelSpec('compact', SMALL))
    part = folder / 'robot' / 'phantom_train'
    for kind in ('images', 'masks'):
        (part / kind).mkdir(parents=True)
    cv2.imwrite(str(part / 'images' / 'phantom-0-0.png'), np.full((512, 512), 90, np.uint8))
    np.save(part / 'masks' / 'phantom-0-0.npy', np.full((512, 512), 2, np.uint8))
    arguments = ['--from', folder / 'parent.safetensors', '--encoder-convs', '1,2',
                 '--add', folder / 'robot', '--add-share', 0.5, '--scenes', HUMAN,
                 '--steps', 6, '--batch', 2, '--crop', 64, '--check-every', 2,
                 '--validation-frames', 2, '--optimiser', 'muon', '--seed', 3, '--threads', 1]
    run = fedefm('train', *arguments, '-o', folder / 'run', '--json', folder / 'run.json')
    assert run.returncode == 0, run.stderr + run.stdout
    return arguments, folder


def fedefm(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300)


def command(*arguments):
    return [sys.executable, '-m', 'fedefm_ros.cli', *map(str, arguments)]


def weights(folder):
    return load_file(folder / 'model.safetensors')


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_leaves_a_model_pictures_and_what_it_was_made_of(made):
    _, folder = made
    told = json.loads((folder / 'run.json').read_text())
    spec = load_checkpoint(folder / 'run' / 'model.safetensors').spec
    assert spec.config['encoder_convs'] == [1, 2]
    assert spec.provenance['plan']['scenes_at_once'] == 8 == told['plan']['scenes_at_once']
    assert told['steps'] == told['step_kept'] == 6
    rows = (folder / 'run' / 'log.jsonl').read_text().splitlines()
    assert [json.loads(row)['step'] for row in rows] == [2, 4, 6]
    assert cv2.imread(str(folder / 'run' / 'samples.png')).std() > 5
    assert list((folder / 'run' / 'tensorboard').iterdir())


def test_config_yaml_takes_the_run_again_wherever_it_lies(made, tmp_path):
    _, folder = made
    # The settings of its scenes lie beside it; the rest is by options.
    (folder / 'run' / 'config.yaml').rename(folder / 'run' / 'again.yaml')
    run = fedefm('train', '--config', folder / 'run' / 'again.yaml', '-o', tmp_path)
    assert run.returncode == 0, run.stderr + run.stdout
    assert same(weights(tmp_path), weights(folder / 'run'))
    assert yaml.safe_load((tmp_path / 'config.yaml').read_text())['scenes'] \
        == ['scenes/human.yaml']
    # An option that is given wins.
    longer = fedefm('train', '--config', tmp_path / 'config.yaml', '-o', tmp_path, '--steps', 7)
    assert longer.returncode == 0 and 'plan than so far: steps 6 -> 7\n' in longer.stderr, \
        longer.stderr
    assert 'other plans until step 6' in (tmp_path / 'config.yaml').read_text()


@pytest.mark.parametrize('change, told', [
    ({'learning_speed': 1}, 'learning_speed is not known; known are'),
    ({'out': 'elsewhere'}, 'out is not known'),
    ({'from_id': '0123456789abcdef'}, 'had 0123456789abcdef'),
    ({'add_hash': '0123456789abcdef'}, 'had 0123456789abcdef'),
    ({'steps': 'many'}, 'steps'), ({'steps': [1, 2]}, 'one value was expected'),
    ({'scenes': 5}, 'a list of files was expected')])
def test_a_config_that_cannot_be_taken_again_is_refused(made, tmp_path, change, told):
    _, folder = made
    kept = next(path for name in ('config.yaml', 'again.yaml')
                if (path := folder / 'run' / name).exists())
    file = folder / 'run' / 'changed.yaml'
    file.write_text(yaml.safe_dump({**yaml.safe_load(kept.read_text()), **change}))
    run = CliRunner().invoke(app, ['train', '--config', str(file), '-o', str(tmp_path / 'run')])
    assert run.exit_code in (1, 2) and told in ' '.join(run.output.split()), run.output
    assert not (tmp_path / 'run').exists()


def test_another_parent_on_the_command_line_wins(made, tmp_path):
    _, folder = made
    kept = next(path for name in ('config.yaml', 'again.yaml')
                if (path := folder / 'run' / name).exists())
    values = {**yaml.safe_load(kept.read_text()), 'from_id': '0123456789abcdef', 'steps': 1,
              'scenes': 'scenes/human.yaml', 'encoder_convs': [1, 2], 'batch': 3, 'workers': 0}
    file = folder / 'run' / 'changed.yaml'
    file.write_text(yaml.safe_dump(values))
    run = CliRunner().invoke(app, ['train', '--config', str(file), '-o', str(tmp_path), '--from',
                                   str(folder / 'parent.safetensors'), '--crop', '96'])
    assert run.exit_code == 0, run.output
    plan = load_checkpoint(tmp_path / 'model.safetensors').spec.provenance['plan']
    assert (plan['scenes_at_once'], plan['crop']) == (12, 96)  # as suits the new batch


def test_a_run_killed_again_and_again_ends_with_the_same_weights(made, tmp_path):
    arguments, folder = made
    rng = random.Random(7)
    for _ in range(2):
        process = subprocess.Popen(command('train', *arguments, '-o', tmp_path),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # After another validation, so that it has moved; anywhere in what comes next.
        before, deadline = steps_logged(tmp_path), time.monotonic() + 120
        while steps_logged(tmp_path) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert steps_logged(tmp_path) > before
    run = fedefm('train', *arguments, '-o', tmp_path)
    assert run.returncode == 0 and 'goes on from step' in run.stderr, run.stderr
    assert same(weights(tmp_path), weights(folder / 'run'))
    rows = (tmp_path / 'log.jsonl').read_text().splitlines()
    assert [json.loads(row)['step'] for row in rows] == [2, 4, 6]


def steps_logged(folder):
    path = folder / 'log.jsonl'
    return path.read_text().count('\n') if path.exists() else 0
