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

"""
Start ViT and TransUNet from published encoders: CLIP, SAM, LVM-Med.

Only local files are read, as tensors, never as code. What a file has and the network has not, and
the other way round, is told tensor by tensor; so is where the network computes otherwise than the
one that the weights were trained in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from fedefm_ros.backbones.pretrained_files import read_tensors
from fedefm_ros.backbones.pretrained_formats import Source, translate
from fedefm_ros.backbones.tokens import grid_of, resized_positions, TokenEncoder
from fedefm_ros.errors import FedefmError

import torch
from torch import nn


@dataclass(frozen=True)
class Report:
    """What became of every tensor."""

    path: Path
    format: str  # noqa: A003
    """'CLIP', 'CLIP (Hugging Face)', 'SAM', 'LVM-Med', or 'ViT (timm)'."""
    loaded: dict[str, str]
    """Key of the network -> what in the file it was taken from, and how it was changed."""
    skipped: dict[str, str]
    """Name in the file -> why it was not used."""
    untouched: tuple[str, ...]
    """Keys of the network's transformer that keep their random weights."""
    outside: tuple[str, ...]
    """Parts of the network beside its transformer; all of them keep their random weights."""
    differences: tuple[str, ...]
    """Where the network computes otherwise than the one that the weights are of."""

    def __str__(self) -> str:
        """Return four lines for people."""
        reasons = {}
        for reason in self.skipped.values():
            reasons[reason] = reasons.get(reason, 0) + 1
        return '\n'.join((
            f'{self.path} ({self.format}): {len(self.loaded)} tensors taken',
            'not used: ' + ('; '.join(f'{count} x {reason}' for reason, count in reasons.items())
                            or 'none'),
            'left random: ' + (', '.join(self.untouched) or 'none')
            + (f'; all of {", ".join(self.outside)}' if self.outside else ''),
            'computes otherwise: ' + ('; '.join(self.differences) or 'nowhere')))


def initialise(network: nn.Module, path: str | Path) -> Report:
    """
    Copy the weights of a published image encoder into a network's transformer.

    Where the network takes grey images, the patch convolution is summed over the colours, with
    the file's own normalisation of colours folded in: a grey image in 0 .. 1 gives the tokens
    that it gave there. A position embedding of another grid is resized.

    :param network: one with a ``TokenEncoder`` as ``tokens``: 'vit', 'transunet'. CLIP's wants
        pre_norm=True, activation='quick_gelu' and norm_eps=1e-5, and like SAM's as many heads as
        were trained; what it has otherwise is in the report's ``differences``.
    :raises FedefmError: the file cannot be read without running code, is of no known format, has
        numbers that are not finite, or nothing in it fits.
    """
    tokens = getattr(network, 'tokens', None)
    if not isinstance(tokens, TokenEncoder):
        raise FedefmError(f'{type(network).__name__} has no transformer that a published encoder '
                          'fits; take the backbone vit or transunet')
    path = Path(path)
    source = translate(path, read_tensors(path))
    width, own = source.width, tokens.norm.weight.shape[0]
    if width != own:
        raise FedefmError(f'{path} ({source.format}): its transformer is {width} wide, the '
                          f"network's {own}; give the network the same width")
    state, loaded, skipped = tokens.state_dict(), {}, dict(source.skipped)
    for key, (name, tensor) in source.tensors.items():
        if not bool(tensor.isfinite().all()):
            raise FedefmError(f'{path}: {name} has numbers that are not finite')
        try:
            value, how = _fitted(tokens, key, tensor.float(), source)
        except ValueError as error:
            skipped[name] = str(error)
            continue
        state[key] = value
        loaded[f'tokens.{key}'] = name + how
    if not loaded:
        raise FedefmError(f'{path} ({source.format}): nothing in it fits this network; '
                          f'{next(iter(skipped.values()))}')
    tokens.load_state_dict(state)
    untouched = tuple(sorted(f'tokens.{key}' for key in state if f'tokens.{key}' not in loaded))
    outside = tuple(name for name, part in network.named_children()
                    if part is not tokens and part.state_dict())
    return Report(path, source.format, loaded, skipped, untouched, outside,
                  _differences(tokens, source))


#: Width -> heads of the published encoders; no tensor tells them.
_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16}


def _differences(tokens: TokenEncoder, source: Source) -> tuple[str, ...]:
    """Return in words, by the keys of the configuration, what the network does otherwise."""
    own = {'pre_norm': isinstance(tokens.pre_norm, nn.LayerNorm),
           'activation': tokens.activation, 'norm_eps': tokens.norm_eps, 'heads': tokens.heads}
    theirs = {**asdict(source.arithmetic), 'heads': _HEADS.get(source.width, tokens.heads)}
    return tuple(f'{key} is {own[key]}, {source.format} has {value}'
                 for key, value in theirs.items() if own[key] != value) + source.remarks


def _fitted(tokens: TokenEncoder, key: str, tensor: torch.Tensor,
            source: Source) -> tuple[torch.Tensor, str]:
    """Return a tensor as the network has it and what was done; raises ValueError with a reason."""
    target = tokens.state_dict().get(key)
    if target is None:
        raise ValueError(_LACKING.get(key.partition('.')[0], f'the network has no {key}'))
    if key == 'position':
        return _fitted_position(tokens, tensor)
    if key.startswith('embed.'):
        return _fitted_embedding(tokens, key, tensor, source)
    if tensor.shape != target.shape:
        raise ValueError(f'is {list(tensor.shape)}, the network has {list(target.shape)}')
    return tensor, ''


_LACKING = {
    'pre_norm': 'the network has no norm before its first layer (pre_norm=False)',
    'class_token': 'the network has no class token',
    'layers': 'the network has fewer layers'}


def _fitted_position(tokens, tensor):
    """Resize (1, [1 +] n, width); a class token's place is kept, left out, or left as it is."""
    has_class = tokens.class_token is not None
    tensor = tensor.reshape(1, -1, tokens.position.shape[2])  # SAM's is (1, side, side, width)
    try:
        grid, extra = grid_of(tensor.shape[1]), 0
    except ValueError:
        grid, extra = grid_of(tensor.shape[1] - 1), 1
    first, rest = tensor[:, :extra], tensor[:, extra:]
    how = ''
    if grid != tokens.grid:
        rest = resized_positions(rest, grid, (tokens.grid, tokens.grid))
        how = f', resized from {grid} x {grid} to {tokens.grid} x {tokens.grid}'
    if not has_class:
        return rest, how + (', without the class token' if extra else '')
    if not extra:
        first, how = tokens.position.detach()[:, :1], how + ', the class token left random'
    return torch.cat([first, rest], dim=1), how


def _fitted_embedding(tokens, key, tensor, source):
    """Fold colours and their normalisation into the patch convolution."""
    weight = tokens.embed.weight
    if key == 'embed.bias':
        kernel = source.tensors['embed.weight'][1].float()
    else:
        kernel = tensor
    if kernel.shape[0] != weight.shape[0] or kernel.shape[2:] != weight.shape[2:] \
            or kernel.shape[1] != 3 or weight.shape[1] not in (1, 3):
        raise ValueError(f'patches are embedded by {list(kernel.shape)}, the network does it by '
                         f'{list(weight.shape)}')
    mean, deviation = (torch.tensor(v).reshape(1, 3, 1, 1) for v in source.colours)
    if key == 'embed.bias':
        return tensor - (kernel * mean / deviation).sum(dim=(1, 2, 3)), ', normalisation folded in'
    if weight.shape[1] == 3:
        return tensor / deviation, ', normalisation folded in'
    return (tensor / deviation).sum(dim=1, keepdim=True), \
        ', colours summed, normalisation folded in'
