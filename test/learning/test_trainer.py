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

"""Training: learns, goes on after a stop with the same result, refuses to diverge."""

from dataclasses import replace
import json
import time

from fedefm_ros.backbones.checkpoint import load_checkpoint
from fedefm_ros.backbones.registry import create
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning import loop, optimisers
from fedefm_ros.learning.loop import learning_rate_at
from fedefm_ros.learning.losses import cross_entropy_and_dice
from fedefm_ros.learning.optimisers import OPTIMISERS
from fedefm_ros.learning.simulated import FRAMES_PER_SCENE
from fedefm_ros.learning.trainer import Trainer
from fedefm_ros.learning.trainer import TrainingPlan
from fedefm_ros.simulation.config import read

import pytest

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import torch

SMALL = {'widths': (8, 16), 'full': 4, 'encoder_convs': 1, 'decoder_convs': 1}
PLAN = TrainingPlan(steps=4, batch=2, crop=64, validation_frames=1, warmup_steps=1)


def trainer(folder, plan=PLAN):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return Trainer(create('compact', **SMALL), plan, folder, workers=0)


def test_the_average_of_a_short_run_does_not_hold_on_to_the_first_weights(tmp_path):
    made = trainer(tmp_path)
    for value in (0.0, *[1.0] * 300):
        with torch.no_grad():
            for parameter in made.network.parameters():
                parameter.fill_(value)
        made.average.update_parameters(made.network)
    # At a decay of 0.998 from the first step on it would be 0.45.
    assert made.plan.ema == 0.998
    assert all(float(parameter.mean()) > 0.99 for parameter in made.average.parameters())


def test_a_run_goes_on_where_the_arithmetic_is_another(tmp_path, monkeypatch):
    plan = replace(PLAN, optimiser='muon')
    kinds = []
    for has, steps in ((True, 2), (False, 4), (True, 6)):
        for module in (loop, optimisers):
            monkeypatch.setattr(module, 'has_bf16', lambda device, has=has: has)
        made = trainer(tmp_path, replace(plan, steps=steps))
        assert made.step == max(0, steps - 2)
        with made.precision():
            kinds.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        made.run(check_every=2)
    assert kinds == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert all(value.isfinite().all() for value in made.average.parameters())


@pytest.mark.parametrize('optimiser', OPTIMISERS)
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(tmp_path, optimiser):
    plan = replace(PLAN, optimiser=optimiser)
    whole = trainer(tmp_path / 'whole', plan)
    whole.run(check_every=100)

    class Stopped(Exception):
        pass

    def stop(step, loss):
        if step == 3:
            raise Stopped

    first = trainer(tmp_path / 'parts', plan)
    with pytest.raises(Stopped):
        first.run(stop, check_every=2)
    # TensorBoard sorts files of the same second by a number as if it were a word.
    stopped = int(time.time())
    while int(time.time()) == stopped:
        time.sleep(0.01)
    second = trainer(tmp_path / 'parts', plan)
    assert second.step == 2
    second.run(check_every=100)
    for a, b in zip(whole.average.state_dict().values(), second.average.state_dict().values()):
        assert torch.equal(a, b)
    log = (tmp_path / 'parts' / 'log.jsonl').read_text().splitlines()
    assert [json.loads(line)['step'] for line in log] == [2, 4]
    board = EventAccumulator(str(tmp_path / 'parts' / 'tensorboard'))
    board.Reload()
    assert [event.step for event in board.Scalars('loss')] == [1, 2, 3, 4]
    assert [event.step for event in board.Scalars('validation/dice_catheter')] == [2, 4]


def test_a_run_with_patience_stops_and_keeps_the_best_weights(tmp_path, monkeypatch):
    scores = iter([0.3, 0.5, 0.4, 0.5, 0.2, 0.9])
    kept = []

    def validate(self):
        kept.append({name: value.clone() for name, value in self.average.state_dict().items()})
        return {'dice_catheter': next(scores), 'dice_guidewire': 0.5}

    monkeypatch.setattr(Trainer, 'validate', validate)
    made = trainer(tmp_path, replace(PLAN, steps=6, patience=2))
    made.run(check_every=1)
    assert made.finished and made.step == 4  # the second 0.5 is no better than the first
    again = trainer(tmp_path, replace(PLAN, steps=6, patience=2))
    again.run(check_every=1)
    # With patience for less, and for none: then the last weights stay.
    assert again.step == 4
    assert trainer(tmp_path, replace(PLAN, steps=6)).keep_best() == 4
    assert again.keep_best() == 2
    for name, value in again.average.state_dict().items():
        assert torch.equal(value, kept[1][name]), name


def test_patience_that_comes_later_counts_from_the_best_so_far(tmp_path, monkeypatch):
    scores = iter([0.5, 0.4, 0.3])
    monkeypatch.setattr(Trainer, 'validate', lambda self: {
        'dice_catheter': next(scores), 'dice_guidewire': 0.5})
    trainer(tmp_path, replace(PLAN, steps=2)).run(check_every=1)
    late = trainer(tmp_path, replace(PLAN, steps=6, patience=2))
    late.run(check_every=1)
    assert late.step == 3 and late.keep_best() == 1
    # On other frames the means say nothing of each other.
    assert trainer(tmp_path, replace(PLAN, steps=6, patience=2, validation_frames=2)) \
        .keep_best() == 3


def test_a_run_stopped_between_its_state_and_its_log_has_each_row_once(tmp_path, monkeypatch):
    whole = trainer(tmp_path)
    monkeypatch.setattr(whole, '_write_log', lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        whole.run(check_every=2)
    assert not (tmp_path / 'log.jsonl').exists()
    trainer(tmp_path).run(check_every=2)
    log = (tmp_path / 'log.jsonl').read_text().splitlines()
    assert [json.loads(line)['step'] for line in log] == [2, 4]


def test_a_plan_that_lacks_what_is_newer_is_the_same_plan(tmp_path):
    trainer(tmp_path, replace(PLAN, steps=2)).run()
    state = torch.load(tmp_path / 'state.pt', weights_only=True)
    for name in ('patience', 'scenes_at_once', 'crops_per_frame', 'added', 'centreline_share',
                 'class_entropy_weight'):
        del state['plan'][name]
    for name in ('log', 'best'):
        del state[name]
    torch.save(state, tmp_path / 'state.pt')
    with open(tmp_path / 'log.jsonl', 'a') as log:  # a step that was killed before it was saved
        log.write(json.dumps({'step': 3}) + '\n')
    assert trainer(tmp_path, replace(PLAN, steps=2)).earlier == []
    rows = (tmp_path / 'log.jsonl').read_text().splitlines()
    assert [json.loads(row)['step'] for row in rows] == [2]
    told = trainer(tmp_path, replace(PLAN, steps=2, scenes_at_once=2)).earlier
    assert [one['until_step'] for one in told] == [2]


def test_a_run_does_not_go_on_with_another_optimiser(tmp_path):
    trainer(tmp_path, replace(PLAN, steps=1, optimiser='muon')).run()
    with pytest.raises(FedefmError, match='of another optimiser than adamw'):
        trainer(tmp_path)


def test_a_run_does_not_go_on_with_another_network_or_to_fewer_steps(tmp_path):
    trainer(tmp_path, replace(PLAN, steps=2)).run()
    with pytest.raises(FedefmError, match='taken 2 steps already, of 1 now'):
        trainer(tmp_path, replace(PLAN, steps=1))
    other = create('compact', **{**SMALL, 'widths': (8, 24)})
    with pytest.raises(FedefmError, match='of another network .*size mismatch'):
        Trainer(other, PLAN, tmp_path, workers=0)
    deeper = create('compact', **{**SMALL, 'encoder_convs': 2})
    with pytest.raises(FedefmError, match='of another network .*Missing key'):
        Trainer(deeper, PLAN, tmp_path, workers=0)


def test_a_damaged_state_is_said_and_not_trained_over(tmp_path):
    (tmp_path / 'state.pt').write_bytes(b'half a file')
    with pytest.raises(FedefmError, match='state.pt cannot be read.*remove it'):
        trainer(tmp_path)


def test_the_loss_falls_when_a_sample_is_repeated():
    torch.manual_seed(0)
    network = create('compact', **SMALL)
    image = torch.rand(2, 1, 64, 64)
    target = (image[:, 0] < 0.2).long()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = cross_entropy_and_dice(network(image), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]


def test_the_result_is_a_checkpoint_with_its_provenance(tmp_path):
    torch.manual_seed(0)
    run = Trainer(create('compact'), replace(PLAN, steps=1), tmp_path, workers=0)
    run.export(tmp_path / 'model.safetensors', 'compact', {'dice_catheter': 0.5})
    checkpoint = load_checkpoint(tmp_path / 'model.safetensors')
    assert checkpoint.spec.provenance['plan']['seed'] == PLAN.seed
    assert checkpoint.spec.provenance['validation'] == {'dice_catheter': 0.5}


def test_frozen_norms_change_neither_the_results_nor_their_own_statistics(tmp_path):
    torch.manual_seed(0)
    network = create('compact', **SMALL)
    network(torch.rand(4, 1, 64, 64))  # gives the statistics other values than at birth
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected = network.eval()(image)
    run = Trainer(network, replace(PLAN, freeze_norms=True), tmp_path, workers=0)
    with torch.no_grad():
        assert torch.allclose(network.train()(image), expected, atol=1e-5)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    run.run()
    for key, value in network.state_dict().items():
        fixed = 'running' in key or 'num_batches' in key
        assert torch.equal(value, before[key]) == fixed, key


def test_a_network_that_cannot_freeze_its_norms_is_refused(tmp_path):
    with pytest.raises(FedefmError, match='Conv2d cannot freeze'):
        Trainer(torch.nn.Conv2d(1, 3, 1), replace(PLAN, freeze_norms=True), tmp_path, workers=0)


def test_the_plan_tells_how_many_images_were_added(tmp_path):
    with pytest.raises(FedefmError, match='3 added images'):
        trainer(tmp_path, replace(PLAN, added_images=3))


def test_a_run_trains_on_the_scenes_it_is_given_and_is_validated_on_the_default_ones(tmp_path):
    path = tmp_path / 'empty.yaml'
    path.write_text('kind: human\ndevices: {count: {0: 1}}\n')
    plan = replace(PLAN, scenes=('human of a test',), validation_frames=4)
    with pytest.raises(FedefmError, match='settings of 1 kind'):
        trainer(tmp_path / 'run', plan)
    made = Trainer(create('compact', **SMALL), plan, tmp_path / 'run', workers=0,
                   scenes=(read(path),))
    samples, kinds = made.samples, set()
    for number in range(0, 96, 8):
        _, truth = samples.frame(number)
        kinds.add((samples._scenes[number // FRAMES_PER_SCENE].kind, bool(truth.mask.any())))
    assert ('human', True) not in kinds and any(held for _, held in kinds)
    assert any(target.any() for _, target in made._validation(plan.validation_frames))
    made.run()
    assert load_checkpoint(_exported(made, tmp_path)).spec.provenance['plan']['scenes'] \
        == ['human of a test']


def _exported(run, folder):
    run.export(folder / 'model.safetensors', 'compact', {}, SMALL)
    return folder / 'model.safetensors'


def test_a_run_that_goes_on_with_another_plan_says_so_in_its_model(tmp_path):
    trainer(tmp_path).run()
    longer = Trainer(create('compact', **SMALL), replace(PLAN, steps=5), tmp_path, workers=0)
    assert longer.step == 4
    assert [(e['until_step'], e['plan']['steps']) for e in longer.earlier] == [(4, 4)]
    again = trainer(tmp_path)
    assert again.earlier == []


def test_the_learning_rate_warms_up_stays_and_falls():
    plan = TrainingPlan(steps=100, warmup_steps=10, decay_share=0.5, learning_rate=1.0)
    rates = [learning_rate_at(plan, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == rates[49] == 1.0
    assert all(a > b for a, b in zip(rates[51:], rates[52:])) and rates[-1] < 0.02
