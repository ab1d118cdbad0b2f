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

"""The backbones by name, and the fingerprint of an architecture."""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import importlib
import inspect
import json
from typing import TYPE_CHECKING

from fedefm_ros.errors import FedefmError

if TYPE_CHECKING:
    from torch import nn

# 'module:name' is imported when it is first asked for: listing names must not import torch.
_BACKBONES: dict[str, str | Callable[..., nn.Module]] = {
    'classifier': 'fedefm_ros.backbones.classifier:Classifier',
    'compact': 'fedefm_ros.backbones.compact:CompactUNet',
    'piece_judge': 'fedefm_ros.backbones.piece_judge:PieceJudge',
    'swin_unet': 'fedefm_ros.backbones.swin_unet:SwinUNet',
    'transunet': 'fedefm_ros.backbones.transunet:TransUNet',
    'transunet_small': 'fedefm_ros.backbones.transunet:transunet_small',
    'unet': 'fedefm_ros.backbones.unet:UNet',
    'vit': 'fedefm_ros.backbones.vit:ViTSegmenter',
}


def names() -> tuple[str, ...]:
    """Return the registered names, sorted."""
    return tuple(sorted(_BACKBONES))


def register(name: str, factory: str | Callable[..., nn.Module]) -> None:
    """
    Make a backbone known.

    :param factory: 'module:name', or a callable whose keyword arguments are the configuration.
    """
    _BACKBONES[name] = factory


def create(name: str, **config) -> nn.Module:
    """
    Make a network with random weights.

    The network maps (B, 1, H, W) float32 to (B, classes, H, W) logits, H and W multiples of 32;
    'classifier' and 'piece_judge' map as their modules say.
    Raises FedefmError where the name is not known or the configuration does not fit.
    """
    if name not in _BACKBONES:
        raise FedefmError(f'backbone {name!r} is not known; known are {", ".join(names())}')
    factory = _BACKBONES[name]
    if isinstance(factory, str):
        module, _, attribute = factory.partition(':')
        factory = getattr(importlib.import_module(module), attribute)
    try:
        inspect.signature(factory).bind(**config)
        return factory(**config)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise FedefmError(
            f'backbone {name!r} cannot be made from the configuration {config}: {error}; '
            f'it takes {inspect.signature(factory)}') from error


def shapes(name: str, config: dict) -> dict[str, tuple[tuple[int, ...], str]]:
    """
    Return what an architecture has: key -> (shape, dtype as 'float32').

    The network is made without memory where it can be, so that a configuration from a hostile
    file (widths of a million) costs nothing.
    """
    import torch
    try:
        with torch.device('meta'):
            network = create(name, **config)
    except NotImplementedError:  # a constructor that needs values, such as .item()
        network = create(name, **config)
    return state_table(network.state_dict())


def state_table(state: dict) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return key -> (shape, dtype) of a state dictionary of tensors."""
    return {key: (tuple(tensor.shape), str(tensor.dtype).removeprefix('torch.'))
            for key, tensor in state.items()}


def architecture_hash(network: nn.Module, name: str, config: dict) -> str:
    """
    Return the SHA-256 (64 hex digits) of an architecture; weights do not enter it.

    Two stations whose hashes are equal can load each other's weights. It covers the backbone's
    name, its configuration and the sorted keys, shapes and dtypes.
    """
    return table_hash(state_table(network.state_dict()), name, config)


def table_hash(table: dict, name: str, config: dict) -> str:
    """Return the architecture hash from a table as ``shapes`` gives it."""
    rows = sorted((key, list(shape), dtype) for key, (shape, dtype) in table.items())
    text = json.dumps([name, config, rows], sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()
