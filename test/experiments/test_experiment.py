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

"""Experiments end to end, at the smallest size, and their presets."""

import csv
from dataclasses import replace
import json

from fedefm_ros.backbones.vit_classifier import VitClassifier
from fedefm_ros.errors import FedefmError
from fedefm_ros.experiments.conv_classifier import ConvClassifier
from fedefm_ros.experiments.finetuning import load_tuning_preset
from fedefm_ros.experiments.finetuning import NAMES
from fedefm_ros.experiments.presets import Entry
from fedefm_ros.experiments.presets import experiment_names
from fedefm_ros.experiments.presets import load_preset
from fedefm_ros.experiments.presets import preset_names
from fedefm_ros.experiments.presets import read_preset
from fedefm_ros.experiments.reporting import write_tables
from fedefm_ros.experiments.run import Job
from fedefm_ros.experiments.run import network_of
from fedefm_ros.experiments.run import run_job
from fedefm_ros.experiments.tables import rows_of

import pytest

from safetensors.torch import load_file

import torch

TINY = {
    'entries': ['ring', {'method': 'fedefm', 'label': 'EMD off',
                         'options': {'distillation': {'emd': 'off'}}}],
    'seeds': 1, 'data': {'train': 2, 'test': 1, 'size': 32},
    'network': {'width': 16, 'depth': 1, 'heads': 2, 'stem': [8, 8]},
    'silos': 3, 'unseen': 1.0, 'steps': 3, 'batch': 4, 'plan': {'rounds': 2}}


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp('cache')


@pytest.fixture(autouse=True)
def one_torch_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_all_shipped_presets_can_be_read():
    assert {'validation', 'unseen', 'ablation', 'foundation', 'finetune',
            'backbones'} <= set(experiment_names())
    for experiment in experiment_names():
        for name in preset_names(experiment):
            least = 1 if name == 'smoke' else 3
            if experiment in NAMES:
                preset = load_tuning_preset(experiment, name)
                assert preset.starts and preset.seeds >= least
            else:
                preset = load_preset(experiment, name)
                assert preset.entries and preset.seeds >= least


def test_presets_of_validation_compare_the_same_methods():
    methods = [{entry.method for entry in load_preset('validation', name).entries}
               for name in preset_names('validation')]
    assert all(found == methods[0] for found in methods) and len(methods[0]) == 13


def test_unknown_preset_and_fields_are_refused():
    with pytest.raises(FedefmError, match='validation'):
        load_preset('validation', 'enormous')
    with pytest.raises(FedefmError, match='unknown field'):
        read_preset({**TINY, 'colour': 'red'})
    with pytest.raises(FedefmError, match='unknown method'):
        read_preset({**TINY, 'entries': ['magic']})
    with pytest.raises(FedefmError, match='emd'):
        read_preset({**TINY, 'entries': [{'method': 'fedefm', 'options': {
            'distillation': {'emd': 'perhaps'}}}]})
    with pytest.raises(FedefmError, match='two entries'):
        read_preset({**TINY, 'entries': ['ring', 'ring']})


def test_run_gives_its_figures_and_foundation_weights(tmp_path, cache):
    preset = read_preset(TINY)
    job = Job(preset, preset.entries[1], 1, tmp_path)
    seen = []
    figures = run_job(job, seen.append, cache)
    assert seen == [1, 2]
    assert figures['method'] == 'fedefm EMD off' and figures['scenario'] == 'DFL'
    assert figures['unseen_reached'] == 1.0
    # Two rounds of three silos: two stops and home, and the mixing.
    assert figures['transfers'] == 2 * (3 * 3 + 3)
    assert figures['megabytes'] == pytest.approx(
        figures['transfers'] * figures['model_megabytes'])
    assert figures['gradient_steps'] == 2 * 3 * 3 and figures['teacher_weight'] == 1.0
    for name in ('accuracy', 'accuracy_own', 'accuracy_unseen', 'accuracy_foundation'):
        assert 0 <= figures[name] <= 1
    # Four of twelve kinds a silo.
    assert figures['accuracy'] == pytest.approx(
        figures['accuracy_own'] / 3 + 2 * figures['accuracy_unseen'] / 3)
    weights = load_file(job.place / 'foundation.safetensors')
    assert weights['head.bias'].shape == (12,)


def test_network_is_the_presets_kind(tmp_path):
    preset = read_preset(TINY)
    conv = replace(preset, network={'kind': 'conv', 'widths': [8, 8, 16]})
    assert isinstance(network_of(preset), VitClassifier)
    assert isinstance(network_of(conv), ConvClassifier)
    with pytest.raises(FedefmError, match='conv, vit or backbone'):
        network_of(replace(preset, network={'kind': 'cnn'}))


def test_run_that_is_done_is_read_and_of_other_settings_made_again(tmp_path, cache):
    preset = read_preset(TINY)
    job = Job(preset, preset.entries[0], 1, tmp_path)
    figures = run_job(job, None, cache)
    assert run_job(job, lambda _: pytest.fail('ran again'), cache) == figures
    json.loads((job.place / 'result.json').read_text())
    other = Job(replace(preset, steps=2), preset.entries[0], 1, tmp_path)
    assert run_job(other, None, cache)['gradient_steps'] == 2 * 3 * 2


def test_rows_are_means_over_seeds():
    def figures(seed, accuracy):
        return {'scenario': 'DFL', 'method': 'ring', 'unseen': 1.0, 'seed': seed,
                'accuracy_foundation': 0.5, 'accuracy_worst': 0.1, 'accuracy_own': 0.9,
                'accuracy_unseen': 0.0, 'accuracy': accuracy, 'unseen_reached': 1.0,
                'megabytes': 2.0, 'transfers': 4, 'gradient_steps': 9, 'cycle_ms': 5.0,
                'seconds_per_round': 1.0, 'rounds': 2, 'model_megabytes': 0.5,
                'teacher_weight': None}

    row, = rows_of([figures(1, 0.2), figures(2, 0.4)])
    assert row['accuracy_mean'] == pytest.approx(0.3)
    assert row['accuracy_std'] == pytest.approx(0.1414, abs=1e-3)
    assert row['seeds'] == 2 and row['megabytes'] == 2.0 and row['teacher_weight'] is None


def test_places_of_runs_differ(tmp_path):
    preset = read_preset(TINY)
    places = {Job(preset, entry, seed, tmp_path).place for seed in (1, 2)
              for entry in (*preset.entries, Entry('ring', unseen=0.5), Entry('ring', 'x'))}
    assert len(places) == 8


def test_tables_have_a_line_for_each_row_and_run(tmp_path, cache):
    preset = read_preset(TINY)
    figures = [run_job(Job(preset, entry, 1, tmp_path), None, cache) for entry in preset.entries]
    rows = rows_of(figures)
    table, runs = write_tables(rows, figures, tmp_path, 'tried')
    lines = table.read_text().splitlines()
    assert len(lines) == 2 + len(rows) and len({line.count('|') for line in lines}) == 1
    # One seed has no spread to show.
    assert f'| {100 * rows[0]["accuracy_mean"]:.1f} |  |' in lines[2]
    assert '+-' in lines[0] and f'| {rows[0]["transfers"]:.0f} |' in lines[2]
    with runs.open(newline='') as file:
        read = list(csv.DictReader(file))
    assert [run['method'] for run in read] == ['ring', 'fedefm EMD off']
    assert float(read[1]['accuracy']) == figures[1]['accuracy']
