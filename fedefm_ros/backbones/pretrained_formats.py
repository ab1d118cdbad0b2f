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

"""The names that published image encoders use, and what they are called here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
import re

from fedefm_ros.errors import FedefmError

import torch

#: Mean and standard deviation of red, green, blue in 0 .. 1 that an encoder was trained with.
_CLIP_COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET_COLOURS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_PLAIN_COLOURS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Arithmetic:
    """What an encoder does with its weights; the fields are keywords of ``TokenEncoder``."""

    pre_norm: bool = False
    activation: str = 'gelu'
    norm_eps: float = 1e-6


@dataclass
class Source:
    """An encoder's tensors by this package's names."""

    format: str  # noqa: A003
    colours: tuple[tuple[float, ...], tuple[float, ...]]
    arithmetic: Arithmetic
    remarks: tuple[str, ...]
    """What its weights were trained with and no configuration of a ``TokenEncoder`` does."""
    tensors: dict[str, tuple[str, torch.Tensor]] = field(default_factory=dict)
    """Key of a ``TokenEncoder`` -> (name in the file, tensor)."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Name in the file -> why it has no counterpart."""

    @property
    def width(self) -> int:
        """Return how many channels a token has."""
        return self.tensors['layers.0.norm1.weight'][1].shape[0]


@dataclass(frozen=True)
class _Format:
    name: str
    prefix: str
    """Of the image encoder's names; what lies outside is skipped."""
    colours: tuple
    signs: tuple[str, ...]
    """Names that tell the format; all must be there."""
    plain: dict[str, str]
    """Name -> key; for both weight and bias where it ends in a dot."""
    layer: str
    """Start of a layer's names; {} is its number."""
    layer_parts: dict[str, str]
    reasons: dict[str, str] = field(default_factory=dict)
    """Part of a name -> why it is skipped."""
    arithmetic: Arithmetic = Arithmetic()
    remarks: tuple[str, ...] = ()


_SAM = {
    'plain': {'patch_embed.proj.': 'embed.', 'pos_embed': 'position', 'cls_token': 'class_token',
              'norm.': 'norm.'},
    'layer': 'blocks.{}.',
    'layer_parts': {'norm1.': 'norm1.', 'attn.qkv.': 'qkv.', 'attn.proj.': 'out.',
                    'norm2.': 'norm2.', 'mlp.lin1.': 'up.', 'mlp.lin2.': 'down.',
                    'mlp.fc1.': 'up.', 'mlp.fc2.': 'down.'},
    'reasons': {'rel_pos': 'relative positions; the network has absolute ones only',
                'neck': "the encoder's neck; the network has a decoder of its own",
                'head': 'the classifier'}}
_WINDOWS = ('each layer attends to all tokens, most of those that the weights are of to windows '
            'of 14 x 14',)
# OpenAI's; what OpenCLIP trained itself has the same names and mostly 'gelu'.
_CLIP_ARITHMETIC = Arithmetic(pre_norm=True, activation='quick_gelu', norm_eps=1e-5)

_FORMATS = (
    _Format('SAM', 'image_encoder.', _IMAGENET_COLOURS,
            ('image_encoder.patch_embed.proj.weight',), remarks=_WINDOWS, **_SAM),
    # LVM-Med publishes the encoder of SAM alone, so its names begin where SAM's prefix ends.
    _Format('LVM-Med', '', _IMAGENET_COLOURS, ('blocks.0.attn.qkv.weight', 'neck.0.weight'),
            remarks=_WINDOWS, **_SAM),
    _Format('ViT (timm)', '', _PLAIN_COLOURS, ('blocks.0.attn.qkv.weight', 'cls_token'), **_SAM),
    _Format('CLIP', 'visual.', _CLIP_COLOURS,
            ('visual.conv1.weight', 'visual.class_embedding'),
            {'conv1.': 'embed.', 'class_embedding': 'class_token',
             'positional_embedding': 'position', 'ln_pre.': 'pre_norm.', 'ln_post.': 'norm.'},
            'transformer.resblocks.{}.',
            {'ln_1.': 'norm1.', 'attn.in_proj_weight': 'qkv.weight',
             'attn.in_proj_bias': 'qkv.bias', 'attn.out_proj.': 'out.', 'ln_2.': 'norm2.',
             'mlp.c_fc.': 'up.', 'mlp.c_proj.': 'down.'},
            {'proj': 'the projection to the space shared with text'}, _CLIP_ARITHMETIC),
    _Format('CLIP (Hugging Face)', 'vision_model.', _CLIP_COLOURS,
            ('vision_model.embeddings.patch_embedding.weight',),
            {'embeddings.patch_embedding.': 'embed.',
             'embeddings.class_embedding': 'class_token',
             'embeddings.position_embedding.weight': 'position',
             'pre_layrnorm.': 'pre_norm.', 'post_layernorm.': 'norm.'},
            'encoder.layers.{}.',
            {'layer_norm1.': 'norm1.', 'self_attn.q_proj.': 'q.', 'self_attn.k_proj.': 'k.',
             'self_attn.v_proj.': 'v.', 'self_attn.out_proj.': 'out.', 'layer_norm2.': 'norm2.',
             'mlp.fc1.': 'up.', 'mlp.fc2.': 'down.'},
            {'position_ids': 'a table of numbers 0, 1, 2, ...'}, _CLIP_ARITHMETIC))


def translate(path: Path, tensors: dict[str, torch.Tensor]) -> Source:
    """Return an encoder's tensors by this package's names; raises FedefmError if unknown."""
    known = next((f for f in _FORMATS if all(sign in tensors for sign in f.signs)), None)
    if known is None:
        raise FedefmError(
            f'{path} is of no known format; known are {", ".join(f.name for f in _FORMATS)}, all '
            f'with a vision transformer. It begins with {", ".join(sorted(tensors)[:3])}')
    source = Source(known.name, known.colours, known.arithmetic, known.remarks)
    for name, tensor in tensors.items():
        key = _key(known, name)
        if key is None:
            source.skipped[name] = _reason(known, name)
        else:
            shape = (1, 1, -1) if key == 'class_token' else tensor.shape
            source.tensors[key] = (name, tensor.reshape(shape))
    if 'layers.0.norm1.weight' not in source.tensors:
        raise FedefmError(f'{path} ({known.name}): has no whole first layer')
    _join_attention(source)
    if 'embed.weight' in source.tensors and 'embed.bias' not in source.tensors:
        # CLIP's has none; folding the colours' mean in makes one.
        name, kernel = source.tensors['embed.weight']
        source.tensors['embed.bias'] = (name, torch.zeros(kernel.shape[0]))
    return source


def _key(known: _Format, name: str) -> str | None:
    if not name.startswith(known.prefix):
        return None
    name = name.removeprefix(known.prefix)
    found = re.match(re.escape(known.layer).replace(r'\{\}', r'(\d+)') + '(.*)', name)
    start, table = ('', known.plain)
    if found:
        start, name, table = f'layers.{int(found.group(1))}.', found.group(2), known.layer_parts
    for theirs, ours in table.items():
        if name == theirs:
            return start + ours
        rest = name.removeprefix(theirs)
        if theirs.endswith('.') and rest in ('weight', 'bias') and rest != name:
            return start + ours + rest
    return None


def _reason(known: _Format, name: str) -> str:
    if not name.startswith(known.prefix):
        return 'not of the image encoder'
    return next((reason for part, reason in known.reasons.items() if part in name),
                'has no counterpart in the network')


def _join_attention(source: Source) -> None:
    """Make one 'qkv' of separate queries, keys and values."""
    for key in [key for key in source.tensors if re.fullmatch(r'layers\.\d+\.q\.\w+', key)]:
        layer, kind = key.rsplit('.', 2)[0], key.rsplit('.', 1)[1]
        parts = [source.tensors.pop(f'{layer}.{part}.{kind}', None) for part in 'qkv']
        if None in parts:
            for part in parts:
                if part is not None:
                    source.skipped[part[0]] = 'queries, keys or values are missing'
            continue
        source.tensors[f'{layer}.qkv.{kind}'] = (
            ' + '.join(name for name, _ in parts), torch.cat([tensor for _, tensor in parts]))
