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

"""Optimisers: the one of matrices moves the weights themselves, whatever their order in memory."""

import subprocess
import sys
import textwrap

from fedefm_ros.backbones.registry import create
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning import optimisers
from fedefm_ros.learning.optimisers import MuonInF32, MuonWithAdamW, optimiser_of

import pytest

import torch
from torch import nn

SMALL = {'widths': (16, 16), 'full': 4, 'encoder_convs': 1, 'decoder_convs': 1}


def made(memory_format=torch.contiguous_format):
    torch.manual_seed(0)
    network = create('compact', **SMALL).to(memory_format=memory_format)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = gradient.to(memory_format=memory_format) if gradient.ndim == 4 \
            else gradient
    return network


def moved(network, before):
    return {name: (value.detach() - old) for (name, value), old
            in zip(network.named_parameters(), before)}


def after_a_step(network, name):
    before = [value.detach().clone() for value in network.parameters()]
    optimiser_of(network, name, 1e-3, 0.0).step()
    return moved(network, before)


def test_a_step_makes_the_gradient_of_a_matrix_orthogonal_and_is_adamw_for_the_rest():
    by_muon, by_adamw = (after_a_step(made(), name) for name in ('muon', 'adamw'))
    weight = by_muon['encoder.0.0.unit.0.weight'].flatten(1)
    values = torch.linalg.svdvals(weight)
    assert values.min() > 0.5 * values.max()
    assert 0.1e-3 < weight.pow(2).mean().sqrt() < 0.3e-3  # 0.2 of the learning rate
    small = [name for name in by_muon if torch.equal(by_muon[name], by_adamw[name])]
    assert {'head.weight', 'head.bias', 'stem.0.weight', 'stem.1.weight'} <= set(small)
    assert 'encoder.0.0.unit.0.weight' not in small


def test_the_order_of_a_weight_in_memory_does_not_matter():
    one, other = (after_a_step(made(order), 'muon')
                  for order in (torch.contiguous_format, torch.channels_last))
    for name, step in one.items():
        # Sums of bf16 products in another order.
        assert torch.allclose(step, other[name], atol=3e-5), name


def test_in_f32_the_step_is_that_of_torch_but_for_its_rounding():
    steps = []
    for kind in (torch.optim.Muon, MuonInF32):
        weights = [torch.linspace(-1, 1, 16 * 48).reshape(size).requires_grad_()
                   for size in ((16, 48), (48, 16), (24, 32))]
        optimiser = kind(weights, 1e-2, 0.1, adjust_lr_fn='match_rms_adamw')
        generator = torch.Generator().manual_seed(1)
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimiser.step()
        state = optimiser.state_dict()['state']
        steps.append(weights + [state[number]['momentum_buffer'] for number in range(3)])
    for one, other in zip(*steps, strict=True):
        assert torch.allclose(one, other, atol=5e-4)


def test_a_step_is_in_bf16_only_where_the_device_has_it(monkeypatch):
    kinds = {}
    for has in (True, False):
        monkeypatch.setattr(optimisers, 'has_bf16', lambda device, has=has: has)
        kinds[has] = type(MuonWithAdamW(made(), 1e-3, 0.0)._muon)
    assert kinds == {True: torch.optim.Muon, False: MuonInF32}


def test_a_torch_without_muon_says_so_and_does_all_else():
    done = subprocess.run([sys.executable, '-c', textwrap.dedent("""
        import torch
        del torch.optim.Muon, torch.cpu.get_capabilities
        from fedefm_ros.backbones.registry import create
        from fedefm_ros.errors import FedefmError
        from fedefm_ros.learning import trainer
        from fedefm_ros.learning.optimisers import optimiser_of
        from fedefm_ros.segmentation.runtimes.runtime import precisions
        network = create('compact', widths=(16, 16), full=4)
        print(type(optimiser_of(network, 'adamw', 1e-3, 0.0)).__name__, precisions('torch'))
        try:
            optimiser_of(network, 'muon', 1e-3, 0.0)
        except FedefmError as error:
            print(error)
        """)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "AdamW ('f32',)"
    assert second.startswith('torch 2') and second.endswith('take adamw')


def test_gradients_are_forgotten_by_both():
    network = made()
    optimiser = optimiser_of(network, 'muon', 1e-3, 0.0)
    optimiser.step()
    optimiser.zero_grad()
    assert all(parameter.grad is None for parameter in network.parameters())
    before = [value.detach().clone() for value in network.parameters()]
    optimiser.step()
    assert all(not step.any() for step in moved(network, before).values())


def test_both_follow_the_learning_rate():
    network = made()
    optimiser = optimiser_of(network, 'muon', 1e-3, 0.0)
    for group in optimiser.param_groups:
        group['lr'] = 0.0
    before = [value.detach().clone() for value in network.parameters()]
    optimiser.step()
    assert all(not step.any() for step in moved(network, before).values())


def test_an_unknown_optimiser_is_refused_with_those_that_are_known():
    with pytest.raises(FedefmError, match="'sgd' is unknown; known: adamw, muon"):
        optimiser_of(made(), 'sgd', 1e-3, 0.0)


def test_a_network_without_a_matrix_is_refused():
    with pytest.raises(FedefmError, match='Conv2d has not both.*take adamw'):
        MuonWithAdamW(nn.Conv2d(1, 3, 1), 1e-3, 0.0)
