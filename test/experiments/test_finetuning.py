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

"""Fine-tuning with few labels: what starts differ in, what is held out, the tables."""

from pathlib import Path

from fedefm_ros.backbones import load_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.experiments.finetuning import foundation_jobs
from fedefm_ros.experiments.finetuning import load_tuning_preset
from fedefm_ros.experiments.finetuning import measured
from fedefm_ros.experiments.finetuning import read_tuning_preset
from fedefm_ros.experiments.finetuning import run_tuning
from fedefm_ros.experiments.finetuning import started
from fedefm_ros.experiments.finetuning import tuning_jobs
from fedefm_ros.experiments.finetuning_report import tuning_rows
from fedefm_ros.experiments.finetuning_report import write_tuning
from fedefm_ros.experiments.foundation_task import CLASSES
from fedefm_ros.experiments.labelled_frames import chosen_scenes
from fedefm_ros.experiments.labelled_frames import FrameRecipe
from fedefm_ros.experiments.labelled_frames import labelled_frames
from fedefm_ros.experiments.labelled_frames import LabelledFrames
from fedefm_ros.experiments.labelled_frames import random_crops
from fedefm_ros.experiments.run import MODEL
from fedefm_ros.experiments.run import run_job

import numpy as np

import pytest

import torch

TINY = FrameRecipe(scenes=3, test_scenes=2, frames=2, size=64)


@pytest.fixture(autouse=True)
def one_torch_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def foundation(tmp_path_factory):
    """Return the run of fedefm in the smoke preset, done."""
    folder = tmp_path_factory.mktemp('foundation')
    job = foundation_jobs(load_tuning_preset('finetune', 'smoke'), folder)['fedefm']
    run_job(job, None, folder / 'cache')
    return job


def jobs(foundation, experiment, folder):
    preset = load_tuning_preset(experiment, 'smoke')
    return tuning_jobs(preset, [1], folder, dict.fromkeys(preset.starts, foundation))


def test_foundation_is_a_checkpoint_that_tells_the_sources(foundation):
    model = load_checkpoint(foundation.place / MODEL)
    assert model.spec.backbone == 'classifier' and model.spec.labels == CLASSES
    assert model.network()(torch.zeros(2, 1, 64, 64)).shape == (2, 12)
    assert model.spec.provenance['entry']['method'] == 'fedefm'


def test_training_and_test_share_no_scene():
    training, test = labelled_frames(TINY)
    assert set(training.scenes) == {0, 1, 2} and set(test.scenes) == {3, 4}
    assert training.images.shape == (6, 64, 64) and test.masks.shape == (4, 64, 64)
    assert not any(torch.equal(one, other) for one in training.images for other in test.images)


def test_few_labels_are_whole_scenes_and_among_those_of_more():
    recipe = FrameRecipe(scenes=20)
    few, more, other = (chosen_scenes(recipe, *args) for args in ((.1, 1), (.5, 1), (.1, 2)))
    assert len(few) == 2 and len(more) == 10 and set(few) < set(more) and few != other
    assert chosen_scenes(recipe, 1e-3, 1) and len(chosen_scenes(recipe, 1.0, 1)) == 20


def test_crops_keep_image_and_mask_together():
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[0, 20, 5:50] = 2
    frames = LabelledFrames(mask.float(), mask, np.zeros(1, int))
    images, masks = random_crops(frames, np.random.default_rng(1), 40, 32)
    assert images.shape == (40, 1, 32, 32) and torch.equal(images[:, 0].long(), masks)
    assert masks.flatten(1).any(1).sum() >= 20
    # Turned by quarters: lines run along and across.
    assert (masks == 2).sum(1).amax() > 10 and (masks == 2).sum(2).amax() > 10


def test_starts_differ_in_the_trained_encoder_only(foundation, tmp_path):
    scratch, ours, *_ = jobs(foundation, 'finetune', tmp_path)
    (random, none), (given, share) = started(scratch), started(ours)
    trained = load_checkpoint(foundation.place / MODEL).state
    assert none == 0 and 0.3 < share < 1
    for key, value in given.state_dict().items():
        if key.startswith(('neck', 'decoder', 'head')):
            assert torch.equal(value, random.state_dict()[key]), key
        else:
            assert torch.equal(value, trained[f'backbone.{key}']), key


def test_a_network_that_nothing_fits_has_no_line(foundation, tmp_path):
    made = {(job.network, job.start): run_tuning(job)
            for job in jobs(foundation, 'backbones', tmp_path)}
    assert made['compact', 'fedefm'] is None and made['compact', 'scratch']
    assert made['transunet', 'fedefm']['weights_taken'] > 0.3


def test_run_is_the_same_again_and_read_when_done(foundation, tmp_path):
    first, again = (jobs(foundation, 'finetune', tmp_path / name)[1] for name in 'ab')
    figures = run_tuning(first)
    assert figures == run_tuning(again)
    assert run_tuning(first, lambda _: pytest.fail('ran again')) == figures
    assert figures['labelled_frames'] == 2 and 0 <= figures['dice'] <= 1


def test_measures_of_the_truth_are_one():
    class Oracle(torch.nn.Module):

        def forward(self, x):
            return 50.0 * torch.nn.functional.one_hot(x[:, 0].long(), 3).movedim(-1, 1)

    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 10], masks[1, 20] = 1, 2
    found = measured(Oracle(), LabelledFrames(masks.float(), masks, np.arange(2)))
    assert found['dice'] == found['iou_guidewire'] == found['fedefm_downstream_miou'] == 1.0
    found = measured(Oracle(), LabelledFrames(torch.zeros(2, 64, 64), masks, np.arange(2)))
    assert found['dice_catheter'] == 0.0


def test_gains_are_by_seed(tmp_path):
    def run(start, seed, dice):
        return {'network': 'n', 'start': start, 'share': 0.1, 'seed': seed, 'labelled_frames': 4,
                'weights_taken': 0.5, 'parameters': 10, 'dice': dice, 'dice_catheter': dice,
                'dice_guidewire': dice, 'iou': dice, 'fedefm_downstream_dice': dice,
                'fedefm_downstream_miou': dice, 'fedefm_downstream_jaccard': dice}

    runs = [run('scratch', 1, .3), run('fedefm', 1, .4), run('scratch', 2, .5),
            run('fedefm', 2, .45)]
    scratch, fedefm = tuning_rows(runs)
    assert scratch['gain_mean'] is None and fedefm['gain_mean'] == pytest.approx(0.025)
    assert fedefm['gain_least'] == pytest.approx(-.05) and fedefm['gain_most'] == pytest.approx(.1)
    table, figures, picture = write_tuning([scratch, fedefm], runs, tmp_path, 'tried')
    assert '+2.5' in table.read_text() and len(figures.read_text().splitlines()) == 5
    assert picture.read_bytes().startswith(b'\x89PNG')


def test_presets_that_cannot_be_are_refused():
    good = {'foundation': 'smoke', 'starts': ['scratch'], 'shares': [0.5], 'seeds': 1,
            'data': {}, 'tuning': {}}
    assert read_tuning_preset(good).tuning.steps == 300
    for change, reason in (({'shares': [0.0]}, 'shares'), ({'tuning': {'crop': 50}}, 'crop'),
                           ({'colour': 1}, "unknown field 'colour'"),
                           ({'data': {'size': 50}}, 'multiple of 32')):
        with pytest.raises(FedefmError, match=reason):
            read_tuning_preset({**good, **change})
    with pytest.raises(FedefmError, match="start 'magic'"):
        foundation_jobs(read_tuning_preset({**good, 'starts': ['magic']}), Path())
    with pytest.raises(FedefmError, match='no preset'):
        load_tuning_preset('finetune', 'enormous')
