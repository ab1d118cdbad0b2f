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

from fedefm_ros.backbones import registry
from fedefm_ros.errors import FedefmError

from fresh import run_python

import linenet

import pytest

import torch


def test_the_compact_network_maps_an_image_to_three_logits_a_pixel():
    network = registry.create('compact', widths=(16, 16), full=8)
    assert network(torch.zeros(2, 1, 64, 96)).shape == (2, 3, 64, 96)


def test_an_unknown_name_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(FedefmError, match="'nosuch' is not known; known are .*compact"):
        registry.create('nosuch')


@pytest.mark.parametrize('config', [{'depth': 3}, {'widths': 'wide'}, {'widths': (-16,)}])
def test_a_configuration_that_does_not_fit_is_refused_with_the_signature(config):
    with pytest.raises(FedefmError, match=r"'compact' cannot be made .* it takes \(widths"):
        registry.create('compact', **config)


def test_shapes_are_those_of_the_network():
    network = registry.create('compact')
    assert registry.shapes('compact', {}) == registry.state_table(network.state_dict())


def test_shapes_of_a_monstrous_network_cost_no_memory():
    table = registry.shapes('compact', {'widths': [16, 1_000_000]})
    assert table['down.1.0.weight'] == ((1_000_000, 16, 3, 3), 'float32')


def test_the_architecture_hash_knows_shapes_names_and_configuration_but_not_weights():
    def digest(name='compact', **config):
        return registry.architecture_hash(registry.create(name, **config), name, config)
    assert digest() == digest()
    assert len({digest(), digest(full=16), digest(widths=(16, 32)), digest('lines')}) == 4
    network = linenet.LineNet()
    before = registry.architecture_hash(network, 'lines', {})
    with torch.no_grad():
        network.compare.weight.zero_()
    assert registry.architecture_hash(network, 'lines', {}) == before
    assert registry.architecture_hash(network.double(), 'lines', {}) != before


def test_the_architecture_hash_is_the_same_before_and_after_json():
    network = registry.create('compact')
    assert registry.architecture_hash(network, 'compact', {'widths': (16, 32)}) \
        == registry.architecture_hash(network, 'compact', {'widths': [16, 32]})


def test_names_are_listed_without_torch():
    run_python("""
        import sys
        from fedefm_ros.backbones import names
        assert 'compact' in names()
        assert 'torch' not in sys.modules
    """)
