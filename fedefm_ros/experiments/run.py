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

"""One run of an experiment: a method, a seed; data, rounds, what its models know in the end."""

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
import json
from pathlib import Path
import re

from fedefm_ros.backbones import registry
from fedefm_ros.backbones.vit_classifier import VitClassifier
from fedefm_ros.errors import FedefmError
from fedefm_ros.experiments.conv_classifier import ConvClassifier
from fedefm_ros.experiments.foundation_model import export_foundation
from fedefm_ros.experiments.foundation_task import CLASSES
from fedefm_ros.experiments.foundation_task import foundation_data
from fedefm_ros.experiments.foundation_task import FoundationData
from fedefm_ros.experiments.presets import Entry
from fedefm_ros.experiments.presets import Preset
from fedefm_ros.experiments.unseen_split import deal_samples
from fedefm_ros.experiments.unseen_split import KindSplit
from fedefm_ros.experiments.unseen_split import split_kinds
from fedefm_ros.federation.data import ArrayData
from fedefm_ros.federation.methods import create_method
from fedefm_ros.federation.methods import Federation
from fedefm_ros.federation.methods import Method
from fedefm_ros.federation.methods import overlay_of
from fedefm_ros.federation.rounds import run
from fedefm_ros.federation.silo import Workbench
from fedefm_ros.federation.store import StateStore
from fedefm_ros.federation.topology import create_topology
from fedefm_ros.federation.topology import load_network
from fedefm_ros.federation.topology import Network
from fedefm_ros.federation.weights import state_bytes
from fedefm_ros.federation.weights import state_of
from fedefm_ros.files import write_atomically
from fedefm_ros.segmentation.grey import grey_range
from fedefm_ros.segmentation.grey import to_network

import numpy as np

from safetensors.torch import save

import torch
from torch import nn

_RESULT = 'result.json'
_FOUNDATION = 'foundation.safetensors'
#: A run's checkpoint, where its network is of the registry.
MODEL = 'model.safetensors'


@dataclass(frozen=True)
class Job:
    """What one run is."""

    preset: Preset
    entry: Entry
    seed: int
    folder: Path

    @property
    def unseen(self) -> float:
        """Return the wanted share of unseen kinds."""
        return self.preset.unseen if self.entry.unseen is None else self.entry.unseen

    @property
    def place(self) -> Path:
        """Return the folder of this run."""
        name = re.sub(r'[^a-z0-9.+]+', '-', self.entry.name.lower()).strip('-')
        return self.folder / f'{name}-unseen{round(100 * self.unseen)}-seed{self.seed}'


def run_job(job: Job, on_round: Callable[[int], None] | None = None,
            cache: Path | None = None) -> dict:
    """
    Return the figures of a run; go on with one that was stopped, read one that is done.

    Writes result.json and foundation.safetensors (the aggregate's weights; also as a checkpoint,
    model.safetensors, where a station has such a network) to the job's place;
    the silos' weights are removed when the run is done.
    """
    identity = {**job.preset.identity(), 'seed': job.seed, 'entry': asdict(job.entry)}
    result = job.place / _RESULT
    if result.is_file():
        found = json.loads(result.read_text(encoding='utf-8'))
        # Through JSON, as tuples become lists.
        if found.get('identity') == json.loads(json.dumps(identity)):
            return found['figures']
    data = foundation_data(job.preset.data, cache)
    method, split, network = _prepared(job, data)
    initial = method.federation.bench.reference
    record = run(method, job.preset.plan_of(job.entry), initial,
                 (lambda done, _: on_round(done)) if on_round else None, identity=identity)
    figures = {**_figures(job, method, network, record),
               **_accuracies(method, job.preset, data, split),
               'unseen_reached': split.unseen}
    foundation = {key: value.contiguous() for key, value in method.foundation().items()}
    write_atomically(job.place / _FOUNDATION, save(foundation))
    export_foundation(job.place / MODEL, method.federation.bench.network, foundation, job.preset,
                      job.entry, job.seed, figures['accuracy_foundation'])
    write_atomically(result, json.dumps({'identity': identity, 'figures': figures},
                                        indent=1).encode())
    for path in (job.place / 'rounds').glob('*'):
        path.unlink()
    return figures


def seen_by(preset: Preset, images: np.ndarray) -> torch.Tensor:
    """
    Return images (M, S, S) uint8 as a preset's network sees them, (M, 1, S, S).

    A station's backbone sees them as the station shows them to it: its weights are to go there.
    """
    if preset.network.get('kind') != 'backbone':
        return tensors(images)
    return torch.from_numpy(np.stack([to_network(image, *grey_range(image))
                                      for image in images]))[:, None]


def tensors(images: np.ndarray) -> torch.Tensor:
    """Return images (M, S, S) uint8 as the network sees them: (M, 1, S, S), each standardised."""
    values = images.astype(np.float32)
    # A few grey levels on top, so that a flat image is not blown up to pure noise.
    spread = values.std((1, 2), keepdims=True) + 4.0
    return torch.from_numpy((values - values.mean((1, 2), keepdims=True)) / spread)[:, None]


def network_of(preset: Preset) -> nn.Module:
    """Return a preset's network with random weights; its `kind` is 'vit' if not given."""
    options = dict(preset.network)
    kind = options.pop('kind', 'vit')
    if kind == 'conv':
        return ConvClassifier(len(CLASSES), **options)
    if kind == 'backbone':
        return registry.create('classifier', classes=len(CLASSES), **options)
    if kind != 'vit':
        raise FedefmError(f'network kind {kind!r}; expected conv, vit or backbone')
    return VitClassifier(**{'classes': len(CLASSES), 'size': preset.data.size, **options})


def _prepared(job: Job, data: FoundationData) -> tuple[Method, KindSplit, Network]:
    preset = job.preset
    split = split_kinds(len(CLASSES), preset.silos, job.unseen, job.seed)
    images, labels = seen_by(preset, data.train_images), torch.from_numpy(data.train_labels)
    silos = [ArrayData(images[own], labels[own], preset.batch, 1000 * job.seed + i,
                       turn=False, mirror=True)
             for i, own in enumerate(deal_samples(data.train_labels, split, job.seed))]
    torch.manual_seed(job.seed)
    made = network_of(preset)
    everywhere = load_network(preset.places)
    network = everywhere.restricted(everywhere.silos[:preset.silos])
    bits = 8 * state_bytes(state_of(made))
    topology = create_topology(overlay_of(job.entry.method), network, bits,
                               preset.steps * preset.step_ms, seed=job.seed)
    federation = Federation(Workbench(made, preset.plan_of(job.entry).step), silos,
                            StateStore(job.place / 'rounds'), topology, preset.steps)
    return create_method(job.entry.method, federation, **job.entry.arguments()), split, network


def _figures(job: Job, method: Method, network: Network, record: dict) -> dict:
    weights = [note['teacher_weight'] for note in record['notes'] if 'teacher_weight' in note]
    rounds = record['rounds']
    return {
        'scenario': method.scenario, 'method': job.entry.name, 'seed': job.seed,
        'unseen': job.unseen, 'megabytes': record['bytes'] / 1e6,
        'transfers': record['transfers'], 'gradient_steps': record['steps'],
        'cycle_ms': method.cycle_ms(network, job.preset.step_ms, rounds),
        'seconds_per_round': record['seconds'] / rounds, 'rounds': rounds,
        'model_megabytes': state_bytes(method.federation.bench.reference) / 1e6,
        'teacher_weight': float(np.mean(weights)) if weights else None}


def _accuracies(method: Method, preset: Preset, data: FoundationData,
                split: KindSplit) -> dict:
    """
    Return what the models know, of test images of all kinds.

    accuracy: of the silos' models, their mean; accuracy_own and accuracy_unseen: the same on the
    kinds that the silo has and has not (NaN where it has all); accuracy_foundation: of the
    aggregate.
    """
    images, labels = seen_by(preset, data.test_images), torch.from_numpy(data.test_labels)
    bench = method.federation.bench

    def right(state):
        return (bench.logits(state, images).argmax(1) == labels).float().numpy()

    silos, own, others = [], [], []
    for i, kinds in enumerate(split.kinds):
        hits = right(method.model(i))
        held = np.isin(data.test_labels, kinds)
        silos.append(hits.mean())
        own.append(hits[held].mean())
        others.append(hits[~held].mean() if not held.all() else np.nan)
    return {'accuracy': float(np.mean(silos)), 'accuracy_worst': float(np.min(silos)),
            'accuracy_own': float(np.mean(own)), 'accuracy_unseen': float(np.mean(others)),
            'accuracy_foundation': float(right(method.foundation()).mean())}
