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

"""Stations can start from the shipped foundation weights."""

from fedefm_ros.backbones import load_checkpoint
from fedefm_ros.federation.station.plan import TaskPlan
from fedefm_ros.federation.station.task import make_task
from fedefm_ros.paths import models_dir

import torch


def test_all_stations_start_from_the_foundations_encoder_and_one_decoder(tmp_path):
    plan = TaskPlan(task='segmentation', data='simulator:phantom', model='foundation', images=1,
                    held_out=1, batch=1, size=64)
    foundation = load_checkpoint(models_dir() / 'foundation.safetensors').state
    first, second = (make_task(plan) for _ in range(2))
    state, other = first.network.state_dict(), second.network.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in state.items())
    for key in ('resnet.stem.weight', 'tokens.layers.0.qkv.weight', 'tokens.position'):
        assert torch.equal(state[key], foundation[f'backbone.{key}'])
    assert not torch.equal(state['head.weight'], foundation['backbone.head.weight'])
    first.export(tmp_path / 'model.safetensors', state, {})
    model = load_checkpoint(tmp_path / 'model.safetensors')
    assert model.spec.backbone == 'transunet_small' and len(model.spec.labels) == 3
    assert model.network()(torch.zeros(1, 1, 64, 64)).shape == (1, 3, 64, 64)
