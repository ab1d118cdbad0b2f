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

"""The segmentation networks: sizes as published, shapes, gradients, and a run in the engine."""

from fedefm_ros.backbones import create, ModelSpec, registry, save_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.engine import SegmentationEngine

import numpy as np

import pytest

import torch

from wire_networks import TINY, trained, wire_picture


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def full_size(name, **config):
    """Make a network without memory for its weights."""
    with torch.device('meta'):
        return create(name, **config)


@pytest.mark.parametrize('name, config, published', [
    # milesial/Pytorch-UNet, 3 channels in, 2 classes; the baseline of the field.
    ('unet', {'inputs': 3, 'classes': 2}, 31_037_698),
    # TransUNet R50-ViT-B/16 at 224 pixels as its authors' code makes it, 2 and 9 classes
    # (the first is printed in DA-TransUNet, Frontiers 2024, table 3).
    ('transunet', {'inputs': 3, 'classes': 2}, 105_276_066),
    ('transunet', {'inputs': 3, 'classes': 9}, 105_277_081)])
def test_parameters_are_as_many_as_published(name, config, published):
    assert parameters(full_size(name, **config)) == published


def test_the_encoder_of_vit_has_as_many_parameters_as_vit_b_16():
    # timm's vit_base_patch16_224 without a classifier.
    assert parameters(full_size('vit', inputs=3).tokens) == 85_798_656


def test_the_encoder_of_clip_differs_by_its_norm():
    # OpenAI's ViT-B/16 image tower has 86,192,640: a norm more, no patch bias (768 each way),
    # and the projection to 512.
    tokens = full_size('vit', inputs=3, pre_norm=True, activation='quick_gelu').tokens
    assert parameters(tokens) == 86_192_640 + 768 - 768 * 512


def test_swin_unet_has_the_published_27_million():
    # 27.17 M in comparisons of Swin-Unet (nine classes, 224 pixels); its paper prints none.
    assert round(parameters(full_size('swin_unet', inputs=3, classes=9)) / 1e6, 2) == 27.17


def test_the_small_transunet_is_below_a_tenth():
    assert parameters(full_size('transunet_small')) < 10_600_000


def test_every_registered_network_is_tested_here():
    ours = {name for name, factory in registry._BACKBONES.items()
            if isinstance(factory, str) and factory.startswith('fedefm_ros.')}
    # Those classify images, or pieces of masks.
    assert ours - {'classifier', 'vit_classifier', 'piece_judge'} == set(TINY)


@pytest.mark.parametrize('name', TINY)
def test_a_network_gives_three_logits_a_pixel_at_other_sizes_than_its_own_too(name):
    torch.manual_seed(0)
    network = create(name, **TINY[name]).eval()
    for height, width in ((64, 64), (32, 96)):
        with torch.no_grad():
            logits = network(torch.rand(2, 1, height, width))
        assert logits.shape == (2, 3, height, width) and bool(logits.isfinite().all())


@pytest.mark.parametrize('name', TINY)
def test_every_weight_of_a_network_learns(name):
    torch.manual_seed(0)
    network = create(name, **TINY[name])
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    idle = [key for key, parameter in network.named_parameters()
            if parameter.grad is None or not bool(parameter.grad.abs().sum() > 0)]
    assert idle == []


@pytest.mark.parametrize('name', TINY)
def test_features_are_maps_from_fine_to_coarse(name):
    network = create(name, **TINY[name]).eval()
    with torch.no_grad():
        maps = network.features(torch.rand(1, 1, 64, 64))
    sides = [m.shape[-1] for m in maps]
    assert len(maps) >= 2 and sides == sorted(sides, reverse=True)
    assert all(m.dim() == 4 and m.shape[0] == 1 for m in maps)


@pytest.mark.parametrize('name', TINY)
def test_shapes_of_the_default_configuration_need_no_memory(name):
    table = registry.shapes(name, {})
    assert table and all(dtype in ('float32', 'int64') for _, dtype in table.values())


@pytest.mark.parametrize('name', TINY)
def test_a_network_learns_and_runs_in_the_engine_as_torch_computes_it(name, tmp_path,
                                                                      monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    network, losses = trained(name)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    path = tmp_path / 'model.safetensors'
    save_checkpoint(path, network, ModelSpec(name, TINY[name], input_size=64))
    engine = SegmentationEngine.open(path, runtime='openvino', precision='f32', threads=1)
    assert engine.info.backbone == name and engine.info.measurements[0].agreement >= 0.999
    # The image's own grey levels are stretched, so what the network sees is as in training.
    image = wire_picture(seed=5)
    raw = engine.infer(np.kron(image, np.ones((2, 2), np.uint8)))
    assert raw.mask.shape == raw.probability.shape == (128, 128)
    assert np.ptp(engine.infer(image).probability) > 0


@pytest.mark.parametrize('name, config', [
    ('unet', {'width': 0}), ('unet', {'width': 10**9}), ('unet', {'classes': True}),
    ('transunet', {'depth': 10**9}), ('transunet', {'size': 100}),
    ('transunet', {'units': [1, 1]}), ('transunet', {'heads': 5}), ('transunet', {'decoder': [8]}),
    ('vit', {'patch': 10**6}), ('vit', {'decoder': [8, 8]}), ('vit', {'activation': 'relu'}),
    ('vit', {'patch': 2, 'decoder': [8]}),
    ('swin_unet', {'depths': [10**9, 2]}), ('swin_unet', {'heads': [3, 6]}),
    ('swin_unet', {'heads': [5, 6, 12, 24]}), ('swin_unet', {'width': 2.5})])
def test_impossible_configurations_are_refused_at_once(name, config):
    with pytest.raises(FedefmError, match=f"'{name}' cannot be made"):
        registry.shapes(name, config)


def test_shifted_windows_see_their_neighbours_and_no_further():
    torch.manual_seed(0)
    network = create('swin_unet', width=8, depths=[2, 2], heads=[1, 2], window=2, patch=4).eval()
    stage = network.down[0]
    x = torch.rand(1, 8, 8, 8)
    changed = x.clone()
    changed[0, 0, 0, 0] += 1.0  # one channel: a norm would take away what all have
    with torch.no_grad():
        reached = (stage(x) - stage(changed)).abs().sum(dim=3)[0] > 1e-6
    # Window (0, 0)-(1, 1) in the first layer, then the shifted ones that touch it; without the
    # mask the wrapped-around corner would be reached, too.
    assert bool(reached[0, 0]) and bool(reached[1, 1]) and bool(reached[2, 2])
    assert not bool(reached[3:, :].any()) and not bool(reached[:, 3:].any())
