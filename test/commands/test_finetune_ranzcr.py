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

"""`finetune` on chest radiographs as RANZCR lays them out: measures, kills at random moments."""

import csv
import json
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import time

import cv2

from fedefm_ros.backbones import load_checkpoint
from fedefm_ros.cli import app
from fedefm_ros.learning.datasets.ranzcr import CLASSES
from fedefm_ros.learning.plan import read_plan

import numpy as np

import pytest

import torch

from typer.testing import CliRunner

REPOSITORY = Path(__file__).resolve().parents[2]
PLAN = """
root: ranzcr-clip
layout: ranzcr
task: classification
config: {widths: [8, 16], full: 4, encoder_convs: 1, decoder_convs: 1}
size: 64
crop: 32
steps: 16
batch: 2
warmup_steps: 1
learning_rate: 1.0e-3
check_every: 2
validation_share: 0.4
"""
VALIDATIONS = 8
KILLS = 4
# Runs the command once for each line of arguments, in a fork: what takes long to import is there.
RUNNER = """
import json, os, sys
import monai.metrics, torch, torch.utils.tensorboard
from fedefm_ros.cli import app
from fedefm_ros.learning import finetune
import fedefm_ros.commands.finetune
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            app(json.loads(line))
        except SystemExit as end:
            os._exit(end.code or 0)
        os._exit(70)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def radiographs(tmp_path):
    """Write ten tiny radiographs of five patients, and the files that lie beside them."""
    root = tmp_path / 'ranzcr-clip'
    (root / 'train').mkdir(parents=True)
    (root / 'test').mkdir()
    rng = np.random.default_rng(0)
    with (root / 'train.csv').open('w', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(['StudyInstanceUID', *CLASSES, 'PatientID'])
        for number in range(10):
            uid = f'1.2.826.0.1.3680043.8.498.{26697628953273228189375557799582420561 + number}'
            truth = [int(value) for value in rng.integers(0, 2, len(CLASSES))]
            truth[0] = number % 2
            rows.writerow([uid, *truth, f'ec{number // 2:07x}'])
            picture = rng.integers(60, 255, (70, 80)).astype(np.uint8)
            picture[30:40] //= 1 + 3 * truth[0]
            cv2.imwrite(str(root / 'train' / f'{uid}.jpg'), picture)
    (root / 'train_annotations.csv').write_text('StudyInstanceUID,label,data\n')
    (root / 'sample_submission.csv').write_text(
        ','.join(['StudyInstanceUID', *CLASSES]) + '\n')
    (tmp_path / 'run.yaml').write_text(PLAN)


def test_the_command_ends_with_a_model_its_measures_and_its_plan(radiographs, tmp_path):
    (tmp_path / 'run.yaml').write_text(PLAN.replace('steps: 16', 'steps: 3'))
    done = CliRunner().invoke(app, ['finetune', str(tmp_path / 'run.yaml'), '-o',
                                    str(tmp_path / 'out'), '--threads', '1', '--json',
                                    str(tmp_path / 'figures.json')])
    assert done.exit_code == 0, done.output
    assert '6 images to train on, 4 to validate' in done.output
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert figures['steps'] == 3
    for name in ('auc', 'accuracy', 'exact'):
        assert 0.0 <= figures[name] <= 1.0 and name in done.output
    rows = [json.loads(row) for row in (tmp_path / 'out' / 'log.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [2, 3]
    best = max(rows, key=lambda row: row['auc'])
    assert {name: figures[name] for name in ('auc', 'accuracy', 'exact', 'loss')} \
        == {name: best[name] for name in ('auc', 'accuracy', 'exact', 'loss')}
    model = load_checkpoint(tmp_path / 'out' / 'model.safetensors')
    assert model.spec.labels == CLASSES and model.spec.provenance['steps_done'] == best['step']
    assert model.network()(torch.zeros(1, 1, 64, 64)).shape == (1, 11)
    assert read_plan(tmp_path / 'out' / 'config.yaml') == read_plan(tmp_path / 'run.yaml')
    assert cv2.imread(str(tmp_path / 'out' / 'samples.png')) is not None


@pytest.fixture
def runner(tmp_path):
    """Return a process that runs the command as often as it is told to."""
    with subprocess.Popen(
            [sys.executable, '-c', RUNNER], cwd=tmp_path, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, 'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1'}) as process:
        yield process
        process.kill()


def started(runner, folder):
    """Start the command for a folder; return the process id."""
    runner.stdin.write(json.dumps(['finetune', 'run.yaml', '-o', folder, '--threads', '1',
                                   '--workers', '1', '--json', f'{folder}.json']) + '\n')
    runner.stdin.flush()
    return int(runner.stdout.readline())


def ended(runner):
    return int(runner.stdout.readline())


def validations(folder):
    log = folder / 'log.jsonl'
    return len(log.read_text().splitlines()) if log.exists() else 0


def wait_for(folder, wanted):
    patience = time.monotonic() + 120
    while validations(folder) < wanted and time.monotonic() < patience:
        time.sleep(0.002)


def test_a_run_killed_at_random_moments_ends_as_one_that_was_left_alone(radiographs, runner,
                                                                        tmp_path):
    whole, parts, reached = tmp_path / 'whole', tmp_path / 'parts', []
    started(runner, 'whole')
    wait_for(whole, 1)
    begun = time.monotonic()
    assert ended(runner) == 0
    per_validation = (time.monotonic() - begun) / (VALIDATIONS - 1)
    chance = random.Random(4)
    for _ in range(KILLS):
        child = started(runner, 'parts')
        # Up to two validations more than before, then anywhere within the next one; not the last.
        wait_for(parts, min(validations(parts) + chance.randrange(3), VALIDATIONS - 3))
        time.sleep(chance.random() * per_validation)
        os.kill(child, signal.SIGKILL)
        assert ended(runner) == -signal.SIGKILL
        reached.append(validations(parts))
    assert reached == sorted(reached) and 0 < reached[-1] < VALIDATIONS
    started(runner, 'parts')
    assert ended(runner) == 0
    for name in ('model.safetensors', 'log.jsonl', 'samples.png', 'config.yaml'):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
    # Also what is not the best: the last weights, the averaged ones, the optimiser's memory.
    states = [torch.load(folder / 'state.pt', weights_only=True) for folder in (whole, parts)]
    assert flat(states[0]) and flat(states[0]).keys() == flat(states[1]).keys()
    for key, value in flat(states[0]).items():
        assert torch.equal(value, flat(states[1])[key]), key


def flat(state, start=''):
    """Return every tensor in nested tables by its path."""
    if isinstance(state, torch.Tensor):
        return {start: state}
    if not isinstance(state, dict):
        return {}
    return {path: value for key, inner in state.items()
            for path, value in flat(inner, f'{start}/{key}').items()}
