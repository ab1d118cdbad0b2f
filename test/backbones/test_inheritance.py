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

"""Compact networks made of others: deeper ones, and averages."""

from fedefm_ros.backbones import create, ModelSpec, save_checkpoint
from fedefm_ros.backbones.checkpoint import load_checkpoint
from fedefm_ros.backbones.inheritance import averaged, deepened
from fedefm_ros.cli import app
from fedefm_ros.errors import FedefmError

import pytest

import torch

from typer.testing import CliRunner

TINY = {'widths': [8, 16], 'full': 4}


def test_a_deepened_network_starts_near_its_parent_and_all_of_it_learns():
    torch.manual_seed(0)
    parent = create('compact', widths=(16, 32), encoder_convs=1, decoder_convs=1).eval()
    deep = deepened(parent, create('compact', widths=(16, 32), encoder_convs=(1, 3),
                                   decoder_convs=2)).eval()
    image = torch.rand(1, 1, 64, 64)
    before, after = parent(image), deep(image)
    assert 0 < (after - before).abs().max() < 0.3 * before.std()
    after.square().mean().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in deep.parameters())


def test_a_network_is_not_deepened_into_a_shallower_one():
    parent = create('compact', widths=(16, 32), encoder_convs=2)
    with pytest.raises(FedefmError, match='not fewer'):
        deepened(parent, create('compact', widths=(16, 32), encoder_convs=1))
    with pytest.raises(FedefmError, match='one a level'):
        create('compact', widths=(16, 32), encoder_convs=(1, 2, 3))


def test_an_average_lies_between_a_model_and_what_was_made_of_it():
    torch.manual_seed(0)
    older = create('compact', widths=(16, 32), encoder_convs=1).eval()
    image = torch.rand(1, 1, 64, 64)

    def newer():
        torch.manual_seed(1)
        network = deepened(older, create('compact', widths=(16, 32), encoder_convs=2)).eval()
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.01 * torch.randn_like(weight))
        return network
    first, last = older(image), newer()(image)
    torch.testing.assert_close(averaged(older, newer(), 1.0)(image), last)
    torch.testing.assert_close(averaged(older, newer(), 0.0)(image), first)
    half = averaged(older, newer(), 0.5)(image)
    assert (half - first).norm() < (last - first).norm()
    assert (half - last).norm() < (last - first).norm()
    with pytest.raises(FedefmError, match='not trained on from'):
        averaged(create('compact', widths=(8, 32)), newer(), 0.5)


def test_the_command_writes_an_average_that_tells_its_parents(tmp_path):
    ids = [save_checkpoint(tmp_path / f'{name}.safetensors', create('compact', **TINY),
                           ModelSpec('compact', TINY)) for name in 'ab']
    CliRunner().invoke(app, ['average', *(str(tmp_path / f'{name}.safetensors') for name in 'ab'),
                             '-o', str(tmp_path / 'c.safetensors'), '--share', '0.25'],
                       catch_exceptions=False)
    made = load_checkpoint(tmp_path / 'c.safetensors')
    assert made.spec.provenance['averaged'] == {'older': ids[0], 'newer': ids[1], 'share': 0.25}
    first, last = (load_checkpoint(tmp_path / f'{name}.safetensors').state for name in 'ab')
    torch.testing.assert_close(made.state['head.bias'],
                               0.25 * last['head.bias'] + 0.75 * first['head.bias'])
