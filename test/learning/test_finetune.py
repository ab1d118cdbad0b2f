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

"""Fine-tuning: learns, survives kill -9 with the same result, stops early, says what is wrong."""

import csv
from dataclasses import replace
import json
from pathlib import Path
import signal
import subprocess
import sys
import textwrap

import cv2

from fedefm_ros.backbones import create, load_checkpoint, ModelSpec, save_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.calibration import CANDIDATES
from fedefm_ros.learning.datasets import ranzcr
from fedefm_ros.learning.finetune import Finetuner
from fedefm_ros.learning.plan import FinetunePlan, read_plan
from fedefm_ros.learning.shuffled import TrainingCrops, whole_frame

import numpy as np

import pytest

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = {'widths': [8, 16], 'full': 4, 'encoder_convs': 1, 'decoder_convs': 1}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def wires(tmp_path):
    """Return a plain folder of twelve pictures with a dark wire, of four patients."""
    rng = np.random.default_rng(0)
    for number in range(12):
        image = rng.normal(180, 8, (64, 64))
        mask = np.zeros((64, 64), np.uint8)
        ends = rng.integers(4, 60, (2, 2)).tolist()
        cv2.line(mask, ends[0], ends[1], 2, 3)
        image[mask > 0] = 60
        for part, picture in (('images', np.clip(image, 0, 255).astype(np.uint8)),
                              ('masks', mask)):
            path = tmp_path / 'data' / part / f'patient{number // 3}-{number % 3}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
    return tmp_path / 'data'


def plan_for(root, **values):
    return FinetunePlan(**{
        'root': str(root), 'config': SMALL, 'size': 64, 'crop': 32, 'steps': 6, 'batch': 2,
        'warmup_steps': 1, 'check_every': 2, 'validation_share': 0.25, **values})


def weights(path):
    return load_checkpoint(path).state


def test_a_run_killed_at_any_moment_ends_as_one_that_was_not(wires, tmp_path):
    plan = plan_for(wires)
    whole = Finetuner(plan, tmp_path / 'whole')
    whole.run()
    (tmp_path / 'plan.yaml').write_text(plan.to_yaml())
    script = textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        import torch
        from fedefm_ros.learning.finetune import Finetuner
        from fedefm_ros.learning.plan import read_plan
        torch.set_num_threads(1)
        def report(step, loss):
            if step == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        Finetuner(read_plan(Path({str(tmp_path / 'plan.yaml')!r})),
                  Path({str(tmp_path / 'parts')!r})).run(report)
    """)
    done = subprocess.run([sys.executable, '-c', script], timeout=300)
    assert done.returncode == -signal.SIGKILL
    second = Finetuner(plan, tmp_path / 'parts')
    assert second.step == 2
    second.run()
    for key, value in whole.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[key]), key
    for name in ('log.jsonl', 'model.safetensors', 'samples.png', 'config.yaml'):
        assert (tmp_path / 'whole' / name).read_bytes() \
            == (tmp_path / 'parts' / name).read_bytes(), name


def test_it_learns_and_the_folder_tells_how(wires, tmp_path):
    plan = plan_for(wires, steps=60, check_every=20, learning_rate=1e-2, ema=0.8, batch=4)
    run = Finetuner(plan, tmp_path / 'run')
    losses = []
    run.run(lambda step, loss: losses.append(loss))
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    rows = [json.loads(line) for line in (tmp_path / 'run/log.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [20, 40, 60]
    assert run.best['dice_guidewire'] > 0.5
    checkpoint = load_checkpoint(tmp_path / 'run' / 'model.safetensors')
    assert checkpoint.spec.input_size == 64
    assert checkpoint.spec.provenance['steps_done'] == run.best['step']
    assert read_plan(tmp_path / 'run' / 'config.yaml') == plan
    assert cv2.imread(str(tmp_path / 'run' / 'samples.png')).shape[1] == 1024
    board = EventAccumulator(str(tmp_path / 'run' / 'tensorboard'))
    board.Reload()
    assert [event.step for event in board.Scalars('validation/dice')] == [20, 40, 60]
    assert len(board.Scalars('loss')) == 60


def test_patients_of_the_validation_are_not_trained_on(wires, tmp_path):
    run = Finetuner(plan_for(wires), tmp_path / 'run')
    assert not set(run.task.training.groups) & set(run.task.validation.groups)
    assert len(run.task.training) == 9 and len(run.task.validation) == 3


def test_it_starts_from_a_checkpoint_and_keeps_its_architecture(wires, tmp_path):
    torch.manual_seed(5)
    path = tmp_path / 'start.safetensors'
    network = create('unet', width=4)
    save_checkpoint(path, network, ModelSpec('unet', {'width': 4}, input_size=96))
    run = Finetuner(plan_for(wires, config={}, checkpoint=str(path)), tmp_path / 'run')
    for key, value in network.state_dict().items():
        assert torch.equal(run.network.state_dict()[key], value)
    run.run()
    spec = load_checkpoint(tmp_path / 'run' / 'model.safetensors').spec
    assert (spec.backbone, spec.config, spec.input_size) == ('unet', {'width': 4}, 64)


def test_how_sure_a_piece_must_be_is_chosen_for_the_new_weights(wires, tmp_path):
    path = tmp_path / 'start.safetensors'
    save_checkpoint(path, create('unet', width=4),
                    ModelSpec('unet', {'width': 4}, input_size=64, min_confidence=0.99))
    run = Finetuner(plan_for(wires, config={}, checkpoint=str(path), steps=2), tmp_path / 'run')
    run.run()
    assert load_checkpoint(tmp_path / 'run' / 'model.safetensors').spec.min_confidence \
        in (*CANDIDATES, 0.99)

    class Doubtful(torch.nn.Module):
        """Marks what is dark, and is 0.72 sure of it."""

        def forward(self, image):
            dark = (image < image.mean() - 2 * image.std()).float()
            return torch.cat([0 * dark, 0 * dark - 9, 0.944 * dark - 9 * (1 - dark)], 1)

    spec = run.task.described(ModelSpec('unet', {}, min_confidence=0.99), Doubtful(),
                              torch.device('cpu'))
    # Above 0.7 nothing would be left of what is all true.
    assert spec.min_confidence == 0.7
    for kept in (0.0, 0.6):  # never a more demanding one
        spec = run.task.described(ModelSpec('unet', {}, min_confidence=kept), Doubtful(),
                                  torch.device('cpu'))
        assert spec.min_confidence == kept


def test_a_class_that_is_neither_there_nor_found_has_no_score(wires, tmp_path):
    run = Finetuner(plan_for(wires), tmp_path / 'run')

    class Nothing(torch.nn.Module):

        def forward(self, image):
            return torch.cat([image * 0 + 1, image * 0, image * 0], 1)

    class Dark(torch.nn.Module):

        def forward(self, image):
            dark = (image < image.mean() - 2 * image.std()).float()
            return torch.cat([1 - dark, image * 0 - 1, dark], 1)

    assert run.task.validate(Nothing(), torch.device('cpu')) == {'dice_guidewire': 0, 'dice': 0}
    scores = run.task.validate(Dark(), torch.device('cpu'))
    assert set(scores) == {'dice_guidewire', 'dice'}
    assert scores['dice'] == scores['dice_guidewire'] > 0.6


def test_it_stops_when_nothing_gets_better(wires, tmp_path):
    plan = plan_for(wires, steps=40, patience=2, learning_rate=1e-9, ema=0.999)
    run = Finetuner(plan, tmp_path / 'run')
    run.run()
    assert run.stopped_early and run.step == 6 and run.best['step'] == 2
    again = Finetuner(plan, tmp_path / 'run')
    again.run()
    assert again.step == 6


def test_numbers_that_are_not_finite_stop_it_and_leave_the_last_good_state(wires, tmp_path):
    run = Finetuner(plan_for(wires), tmp_path / 'run')

    def spoil(step, loss):
        if step == 3:
            with torch.no_grad():
                run.network.head.bias[0] = float('nan')

    with pytest.raises(FedefmError, match=r'the loss is nan .* at step 4: lower learning_rate.*'
                                          r'last good state \(step 2\)'):
        run.run(spoil)
    assert Finetuner(plan_for(wires), tmp_path / 'run').step == 2


def test_a_folder_of_another_run_is_not_mixed_with_this_one(wires, tmp_path):
    Finetuner(plan_for(wires, steps=2), tmp_path / 'run').run()
    with pytest.raises(FedefmError, match='holds a run with other steps, seed'):
        Finetuner(plan_for(wires, steps=4, seed=9), tmp_path / 'run')
    (tmp_path / 'run' / 'state.pt').write_bytes(b'nonsense')
    with pytest.raises(FedefmError, match='state.pt cannot be read.*remove it'):
        Finetuner(plan_for(wires, steps=2), tmp_path / 'run')


def test_a_run_of_an_older_version_goes_on_with_what_it_did_not_know_by_default(wires, tmp_path):
    folder = tmp_path / 'run'
    Finetuner(plan_for(wires, steps=2), folder).run()
    state = torch.load(folder / 'state.pt', weights_only=True)
    plan = json.loads(state['plan'])
    del plan['optimiser']
    torch.save({**state, 'plan': json.dumps(plan)}, folder / 'state.pt')
    assert Finetuner(plan_for(wires, steps=2), folder).step == 2
    with pytest.raises(FedefmError, match='holds a run with other optimiser'):
        Finetuner(plan_for(wires, steps=2, optimiser='muon'), folder)


def test_samples_are_the_same_whenever_asked_for_and_each_epoch_has_every_image(wires, tmp_path):
    plan = plan_for(wires, steps=18)
    run = Finetuner(plan, tmp_path / 'run')
    first, late = run.task.samples(0), TrainingCrops(run.task.training, plan, 10)
    assert len(late) == len(first) - 10
    for a, b in zip(first[15], late[5]):
        assert torch.equal(a, b)
    image, mask = first[0]
    assert image.shape == (1, 32, 32) and image.dtype == torch.float32
    assert mask.shape == (32, 32) and mask.dtype == torch.int64
    seen = []

    class Recorder(TrainingCrops):

        def sample(self, rng, image, truth):
            seen.append(image.tobytes())

    recorder = Recorder(run.task.training, plan)
    for number in range(18):
        recorder[number]
    assert len(set(seen[:9])) == len(set(seen[9:])) == 9 and seen[:9] != seen[9:]


def test_a_thin_wire_stays_whole_when_an_image_is_shrunk():
    mask = np.zeros((200, 100), np.uint8)
    cv2.line(mask, (10, 5), (90, 190), 2, 2)
    grey, small = whole_frame(np.full((200, 100), 90, np.uint8), mask, 96)
    assert grey.shape == small.shape == (96, 96)
    assert cv2.connectedComponents((small == 2).astype(np.uint8))[0] == 2  # and the background
    assert not small[:, 48:].any()


@pytest.fixture
def radiographs(tmp_path):
    """Return ten radiographs of five patients; label 0 holds where the image is dark."""
    root = tmp_path / 'ranzcr'
    (root / 'train').mkdir(parents=True)
    with (root / 'train.csv').open('w', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(['StudyInstanceUID', *ranzcr.CLASSES, 'PatientID'])
        for number in range(10):
            rows.writerow([f'1.2.{number}', number % 2, *[0] * 9, 1, f'p{number // 2}'])
            picture = np.random.default_rng(number).integers(0, 255, (70, 80)).astype(np.uint8)
            if number % 2:
                picture[30:40] = 0
            cv2.imwrite(str(root / 'train' / f'1.2.{number}.jpg'), picture)
    return root


def test_radiographs_are_classified_from_the_encoder_of_a_segmentation_model(radiographs,
                                                                             tmp_path):
    torch.manual_seed(5)
    start = tmp_path / 'start.safetensors'
    network = create('compact', **SMALL)
    save_checkpoint(start, network, ModelSpec('compact', SMALL, input_size=64))
    plan = plan_for(radiographs, task='classification', layout='ranzcr', config={},
                    checkpoint=str(start), steps=4, validation_share=0.4)
    run = Finetuner(plan, tmp_path / 'run')
    assert torch.equal(run.network.backbone.stem[0].weight, network.stem[0].weight)
    run.run()
    model = load_checkpoint(tmp_path / 'run' / 'model.safetensors')
    assert model.spec.labels == ranzcr.CLASSES and model.spec.backbone == 'classifier'
    assert model.network()(torch.zeros(2, 1, 64, 64)).shape == (2, 11)
    assert 0 <= run.best['auc'] <= 1 and 0 <= run.best['exact'] <= run.best['accuracy'] <= 1
    again = plan_for(radiographs, task='classification', layout='ranzcr', config={},
                     checkpoint=str(tmp_path / 'run' / 'model.safetensors'), steps=2,
                     validation_share=0.4)
    Finetuner(again, tmp_path / 'more').run()


@pytest.mark.parametrize('text, reason', [
    ('root: x\nlearning_rat: 3', 'learning_rat is not known; known are root, layout'),
    ('steps: 3', 'root is missing'), ('- a', 'a table of keys'), ('root: [', 'is no YAML'),
    ('root: x\nsteps: many', "steps is 'many'; int was expected"),
    ('root: x\nsteps: true', 'steps is True; int was expected'),
    ('root: x\nsteps: 0', 'steps is 0; 1 to'), ('root: x\nlearning_rate: .nan', 'is nan'),
    ('root: x\nsize: 100', 'must be multiples of 32|100 was expected'),
    ('root: x\ncrop: 1024', 'crop is 1024; 32 to 512'),
    ('root: x\ntask: detection', "task 'detection' is not known"),
    ('root: x\nlayout: ranzcr', 'does not go with layout'),
    ('root: x\ncheckpoint: a\npretrained: b', 'leave out')])
def test_a_plan_that_cannot_be_is_refused_with_the_key(tmp_path, text, reason):
    path = tmp_path / 'plan.yaml'
    path.write_text(text)
    with pytest.raises(FedefmError, match=reason) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)


def test_a_plan_is_read_with_paths_beside_it_and_numbers_as_people_write_them(tmp_path):
    path = tmp_path / 'plan.yaml'
    path.write_text('root: ../data\nlearning_rate: 2e-3\nema: 0\nlayout: aioz\n'
                    'options: {part: train}\n')
    plan = read_plan(path)
    assert plan.root == str((tmp_path.parent / 'data').resolve())
    assert plan.learning_rate == 2e-3 and plan.ema == 0.0 and plan.options == {'part': 'train'}
    (tmp_path / 'again.yaml').write_text(plan.to_yaml())
    assert read_plan(tmp_path / 'again.yaml') == plan
    with pytest.raises(FedefmError, match='no such file|cannot be read'):
        read_plan(tmp_path / 'none.yaml')


def test_data_that_cannot_be_used_are_named_before_training(wires, tmp_path):
    with pytest.raises(FedefmError, match='no such folder'):
        Finetuner(plan_for(tmp_path / 'none'), tmp_path / 'run')
    one = replace(plan_for(wires), options={'groups': '(patient)'})
    with pytest.raises(FedefmError, match='cannot be divided into train, val'):
        Finetuner(one, tmp_path / 'run')


def test_the_plans_in_config_can_be_read():
    plans = {path.stem: read_plan(path) for path in (REPOSITORY / 'config').glob('finetune_*')}
    assert plans['finetune_segmentation'].layout == 'aioz'
    assert plans['finetune_ranzcr'].task == 'classification'
