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

"""Foundation weights as a checkpoint that fine-tuning and stations can start from."""

from dataclasses import asdict
from pathlib import Path

from fedefm_ros.backbones.checkpoint import ModelSpec
from fedefm_ros.backbones.checkpoint import save_checkpoint
from fedefm_ros.experiments.foundation_task import CLASSES
from fedefm_ros.experiments.presets import Entry
from fedefm_ros.experiments.presets import Preset
from fedefm_ros.federation.weights import State

from torch import nn


def export_foundation(path: Path, network: nn.Module, weights: State, preset: Preset,
                      entry: Entry, seed: int, accuracy: float) -> str | None:
    """
    Write the aggregate of a run as a checkpoint; return its id.

    Only networks of the registry (kind `backbone`) can go to a station: of others nothing is
    written, and None returned.

    :param network: any of the preset's kind; it gets the weights.
    :param accuracy: share of test images of all sources that the weights tell, for the
        checkpoint's provenance.
    """
    config = dict(preset.network)
    if config.pop('kind', '') != 'backbone':
        return None
    network.load_state_dict(weights)
    spec = ModelSpec('classifier', {**config, 'classes': len(CLASSES)}, CLASSES,
                     preset.data.size, provenance={
                         'trained_on': 'the foundation task (fedefm_ros.experiments)',
                         'entry': asdict(entry), 'seed': seed, 'accuracy': accuracy,
                         'settings': preset.identity()})
    return save_checkpoint(path, network, spec)
