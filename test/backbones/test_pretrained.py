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

"""Published encoders, as tiny files in their formats: same tokens as in the original network."""

from fedefm_ros.backbones import create, load_checkpoint, ModelSpec, save_checkpoint
from fedefm_ros.backbones.pretrained import initialise
from fedefm_ros.backbones.tokens import resized_positions
from fedefm_ros.errors import FedefmError

import pytest

from safetensors.torch import save_file

import torch
from torch import nn

WIDTH, HEADS, DEPTH, GRID, MLP = 16, 2, 2, 4, 32
CONFIG = {'size': 64, 'width': WIDTH, 'depth': DEPTH, 'heads': HEADS, 'mlp': MLP,
          'decoder': [8, 8, 8, 4]}
CLIP_ARITHMETIC = {'pre_norm': True, 'activation': 'quick_gelu', 'norm_eps': 1e-5}
CLIP_CONFIG = {**CONFIG, **CLIP_ARITHMETIC}
TRANSUNET = {'size': 64, 'resnet_width': 8, 'units': [1, 1, 1], 'width': WIDTH, 'depth': DEPTH,
             'heads': HEADS, 'mlp': MLP, 'neck': 16, 'decoder': [8, 8, 8, 4]}
CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(1, 3, 1, 1)
CLIP_DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(1, 3, 1, 1)
SAM_MEAN = torch.tensor([123.675, 116.28, 103.53]).reshape(1, 3, 1, 1)
SAM_DEVIATION = torch.tensor([58.395, 57.12, 57.375]).reshape(1, 3, 1, 1)


def linear(state, name, outputs, inputs):
    state[f'{name}.weight'] = torch.randn(outputs, inputs) / inputs**0.5
    state[f'{name}.bias'] = torch.randn(outputs) / 4


def norm(state, name):
    state[f'{name}.weight'] = 1 + torch.randn(WIDTH) / 4
    state[f'{name}.bias'] = torch.randn(WIDTH) / 4


def clip_state(grid=GRID):
    """
    Return the names of OpenAI's CLIP with a small image tower, and a bit of the text's.

    What comes before the first norm is small, as in CLIP: so what is added to its variance counts.
    """
    torch.manual_seed(1)
    state = {'visual.class_embedding': torch.randn(WIDTH) / 50,
             'visual.positional_embedding': torch.randn(grid * grid + 1, WIDTH) / 50,
             'visual.conv1.weight': torch.randn(WIDTH, 3, 16, 16) / 1400,
             'visual.proj': torch.randn(WIDTH, 8),
             'token_embedding.weight': torch.randn(5, 8), 'logit_scale': torch.tensor(4.6)}
    for name in ('ln_pre', 'ln_post'):
        norm(state, f'visual.{name}')
    for layer in range(DEPTH):
        start = f'visual.transformer.resblocks.{layer}'
        state[f'{start}.attn.in_proj_weight'] = torch.randn(3 * WIDTH, WIDTH) / 4
        state[f'{start}.attn.in_proj_bias'] = torch.randn(3 * WIDTH) / 4
        linear(state, f'{start}.attn.out_proj', WIDTH, WIDTH)
        linear(state, f'{start}.mlp.c_fc', MLP, WIDTH)
        linear(state, f'{start}.mlp.c_proj', WIDTH, MLP)
        norm(state, f'{start}.ln_1')
        norm(state, f'{start}.ln_2')
    return state


def clip_tokens(state, grey):
    """Compute CLIP's tokens as its paper's code does, from a grey picture of three channels."""
    def layer_norm(x, name):
        return nn.functional.layer_norm(x, (WIDTH,), state[f'{name}.weight'],
                                        state[f'{name}.bias'])  # 1e-5 by default

    def dense(x, name):
        return x @ state[f'{name}.weight'].T + state[f'{name}.bias']

    x = (grey.expand(-1, 3, -1, -1) - CLIP_MEAN) / CLIP_DEVIATION
    x = nn.functional.conv2d(x, state['visual.conv1.weight'], stride=16)
    x = x.flatten(2).transpose(1, 2)
    first = state['visual.class_embedding'].expand(len(x), 1, -1)
    x = torch.cat([first, x], 1) + state['visual.positional_embedding']
    x = layer_norm(x, 'visual.ln_pre')
    for layer in range(DEPTH):
        start = f'visual.transformer.resblocks.{layer}'
        attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
        attention.load_state_dict({
            key: state[f'{start}.attn.{key}'] for key in
            ('in_proj_weight', 'in_proj_bias', 'out_proj.weight', 'out_proj.bias')})
        y = layer_norm(x, f'{start}.ln_1')
        x = x + attention(y, y, y, need_weights=False)[0]
        y = dense(layer_norm(x, f'{start}.ln_2'), f'{start}.mlp.c_fc')
        x = x + dense(y * torch.sigmoid(1.702 * y), f'{start}.mlp.c_proj')
    return layer_norm(x, 'visual.ln_post')[:, 1:]


def hugging_face(state):
    """Return the image tower of a CLIP by the names of transformers."""
    table = {'visual.class_embedding': 'embeddings.class_embedding',
             'visual.positional_embedding': 'embeddings.position_embedding.weight',
             'visual.conv1.weight': 'embeddings.patch_embedding.weight'}
    made = {f'vision_model.{new}': state[old] for old, new in table.items()}
    for kind in ('weight', 'bias'):
        made[f'vision_model.pre_layrnorm.{kind}'] = state[f'visual.ln_pre.{kind}']
        made[f'vision_model.post_layernorm.{kind}'] = state[f'visual.ln_post.{kind}']
        for layer in range(DEPTH):
            old = f'visual.transformer.resblocks.{layer}'
            new = f'vision_model.encoder.layers.{layer}'
            parts = state[f'{old}.attn.in_proj_{kind}'].chunk(3)
            for part, tensor in zip('qkv', parts):
                made[f'{new}.self_attn.{part}_proj.{kind}'] = tensor
            made[f'{new}.self_attn.out_proj.{kind}'] = state[f'{old}.attn.out_proj.{kind}']
            made[f'{new}.layer_norm1.{kind}'] = state[f'{old}.ln_1.{kind}']
            made[f'{new}.layer_norm2.{kind}'] = state[f'{old}.ln_2.{kind}']
            made[f'{new}.mlp.fc1.{kind}'] = state[f'{old}.mlp.c_fc.{kind}']
            made[f'{new}.mlp.fc2.{kind}'] = state[f'{old}.mlp.c_proj.{kind}']
    return {name: tensor.clone() for name, tensor in made.items()}


def sam_state(prefix='image_encoder.', grid=GRID):
    """Return the names of a SAM; without the prefix those of LVM-Med."""
    torch.manual_seed(2)
    state = {f'{prefix}pos_embed': torch.randn(1, grid, grid, WIDTH)}
    state[f'{prefix}patch_embed.proj.weight'] = torch.randn(WIDTH, 3, 16, 16) / 28
    state[f'{prefix}patch_embed.proj.bias'] = torch.randn(WIDTH)
    for layer in range(DEPTH):
        start = f'{prefix}blocks.{layer}'
        linear(state, f'{start}.attn.qkv', 3 * WIDTH, WIDTH)
        linear(state, f'{start}.attn.proj', WIDTH, WIDTH)
        linear(state, f'{start}.mlp.lin1', MLP, WIDTH)
        linear(state, f'{start}.mlp.lin2', WIDTH, MLP)
        norm(state, f'{start}.norm1')
        norm(state, f'{start}.norm2')
        state[f'{start}.attn.rel_pos_h'] = torch.randn(7, WIDTH // HEADS)
        state[f'{start}.attn.rel_pos_w'] = torch.randn(7, WIDTH // HEADS)
    state[f'{prefix}neck.0.weight'] = torch.randn(8, WIDTH, 1, 1)
    if prefix:
        state['mask_decoder.iou_token.weight'] = torch.randn(1, 8)
    return state


def saved(path, state):
    if path.suffix == '.safetensors':
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize('file, change', [
    ('clip.pt', dict), ('clip.safetensors', dict), ('hf.safetensors', hugging_face),
    ('wrapped.pth', lambda state: {'epoch': 3, 'state_dict': {
        f'module.{name}': tensor for name, tensor in state.items()}})])
def test_a_grey_picture_gives_the_tokens_that_it_gives_in_clip(tmp_path, file, change):
    state = clip_state()
    path = saved(tmp_path / file, change(state))
    network = create('vit', **CLIP_CONFIG).eval()
    report = initialise(network, path)
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        found = network.tokens(grey).flatten(2).transpose(1, 2)
        assert torch.allclose(found, clip_tokens(state, grey), atol=1e-5)
    assert report.untouched == () and report.differences == ()
    assert 'computes otherwise: nowhere' in str(report)
    assert len(report.loaded) == len(network.tokens.state_dict())
    assert 'colours summed' in report.loaded['tokens.embed.weight']


def test_what_clip_has_beside_the_image_encoder_is_told(tmp_path):
    report = initialise(create('vit', **CLIP_CONFIG), saved(tmp_path / 'c.pt', clip_state()))
    assert report.format == 'CLIP'
    assert report.skipped['token_embedding.weight'] == 'not of the image encoder'
    assert 'shared with text' in report.skipped['visual.proj']
    assert '3 x' not in str(report) and '2 x not of the image encoder' in str(report)
    plain = initialise(create('vit', **CONFIG), tmp_path / 'c.pt')
    assert 'pre_norm=False' in plain.skipped['visual.ln_pre.weight']


@pytest.mark.parametrize('own, told', [
    ({'activation': 'gelu'}, 'activation is gelu, {} has quick_gelu'),
    ({'norm_eps': 1e-6}, 'norm_eps is 1e-06, {} has 1e-05'),
    ({'pre_norm': False}, 'pre_norm is False, {} has True')])
@pytest.mark.parametrize('form, name', [(dict, 'CLIP'), (hugging_face, 'CLIP (Hugging Face)')])
def test_what_the_network_computes_otherwise_than_clip_is_told_and_matters(tmp_path, own, told,
                                                                           form, name):
    state = clip_state()
    network = create('vit', **{**CLIP_CONFIG, **own}).eval()
    report = initialise(network, saved(tmp_path / 'clip.pt', form(state)))
    assert report.differences == (told.format(name),)
    assert f'computes otherwise: {told.format(name)}' in str(report)
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        found = network.tokens(grey).flatten(2).transpose(1, 2)
        assert not torch.allclose(found, clip_tokens(state, grey), atol=1e-4)


def test_what_the_network_computes_otherwise_than_sam_is_told(tmp_path):
    windows = 'each layer attends to all tokens, most of those that the weights are of to ' \
              'windows of 14 x 14'
    path = saved(tmp_path / 'sam.pth', sam_state())
    assert initialise(create('vit', **CONFIG), path).differences == (windows,)
    assert initialise(create('vit', **CLIP_CONFIG), path).differences == (
        'pre_norm is True, SAM has False', 'activation is quick_gelu, SAM has gelu',
        'norm_eps is 1e-05, SAM has 1e-06', windows)


def test_another_number_of_heads_than_was_trained_is_told(tmp_path):
    state = {'blocks.0.norm1.weight': torch.ones(384),
             'blocks.0.attn.qkv.weight': torch.zeros(3 * 384, 384),
             'cls_token': torch.zeros(1, 1, 384)}
    path = saved(tmp_path / 'vit_small.pth', state)
    for heads, told in ((6, ()), (12, ('heads is 12, ViT (timm) has 6',))):
        network = create('vit', **{**CONFIG, 'width': 384, 'heads': heads, 'depth': 1})
        assert initialise(network, path).differences == told


@pytest.mark.parametrize('eps', ['1e-5', 0.0, -1e-5, float('nan'), 1, True, None])
def test_what_is_added_to_the_variance_must_be_a_small_number(eps):
    with pytest.raises(FedefmError, match='norm_eps .* must be a number above 0.*1.0e-5'):
        create('vit', **CONFIG, norm_eps=eps)


def test_half_precision_is_widened(tmp_path):
    state = {name: tensor.half() for name, tensor in clip_state().items()}
    network = create('vit', **CLIP_CONFIG)
    initialise(network, saved(tmp_path / 'c.pt', state))
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.parametrize('prefix, name', [('image_encoder.', 'SAM'), ('', 'LVM-Med')])
def test_the_encoder_of_sam_and_of_lvm_med_is_taken(tmp_path, prefix, name):
    state = sam_state(prefix)
    network = create('vit', **CONFIG, class_token=False).eval()
    report = initialise(network, saved(tmp_path / 'vit_b.pth', state))
    assert report.format == name
    assert report.untouched == ('tokens.norm.bias', 'tokens.norm.weight')
    assert 'relative positions' in report.skipped[f'{prefix}blocks.0.attn.rel_pos_h']
    assert 'decoder of its own' in report.skipped[f'{prefix}neck.0.weight']
    own = network.tokens.state_dict()
    assert torch.equal(own['layers.1.down.weight'], state[f'{prefix}blocks.1.mlp.lin2.weight'])
    assert torch.equal(own['position'], state[f'{prefix}pos_embed'].reshape(1, -1, WIDTH))
    grey = torch.rand(1, 1, 64, 64)
    colour = (255 * grey.expand(-1, 3, -1, -1) - SAM_MEAN) / SAM_DEVIATION
    with torch.no_grad():
        expected = nn.functional.conv2d(colour, state[f'{prefix}patch_embed.proj.weight'],
                                        state[f'{prefix}patch_embed.proj.bias'], stride=16)
        assert torch.allclose(network.tokens.embed(grey), expected, atol=1e-4)


def test_a_network_of_three_channels_keeps_the_colours(tmp_path):
    state = sam_state()
    network = create('vit', **CONFIG, class_token=False, inputs=3)
    initialise(network, saved(tmp_path / 'sam.pth', state))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = nn.functional.conv2d(
            (255 * image - SAM_MEAN) / SAM_DEVIATION,
            state['image_encoder.patch_embed.proj.weight'],
            state['image_encoder.patch_embed.proj.bias'], stride=16)
        assert torch.allclose(network.tokens.embed(image), expected, atol=1e-4)


def test_positions_are_resized_and_the_class_token_is_kept_or_left_out(tmp_path):
    state = clip_state(grid=2)
    path = saved(tmp_path / 'clip.pt', state)
    network = create('vit', **CLIP_CONFIG)
    report = initialise(network, path)
    position = network.tokens.position.detach()
    assert position.shape == (1, 17, WIDTH)
    assert torch.equal(position[0, 0], state['visual.positional_embedding'][0])
    corner = state['visual.positional_embedding'][1]
    assert torch.allclose(position[0, 1], corner, atol=1e-6)  # a corner has no other neighbour
    assert 'resized from 2 x 2 to 4 x 4' in report.loaded['tokens.position']
    bare = create('vit', **CLIP_CONFIG, class_token=False)
    report = initialise(bare, path)
    assert 'without the class token' in report.loaded['tokens.position']
    assert 'no class token' in report.skipped['visual.class_embedding']
    assert torch.equal(bare.tokens.position, position[:, 1:])
    kept = create('vit', **CONFIG)
    before = kept.tokens.position.detach()[0, 0].clone()
    initialise(kept, saved(tmp_path / 'sam.pth', sam_state()))
    assert torch.equal(kept.tokens.position.detach()[0, 0], before)


@pytest.mark.parametrize('prefix', ['image_encoder.', ''])
def test_positions_of_sam_and_lvm_med_are_resized_along_rows_and_columns(tmp_path, prefix):
    state = sam_state(prefix, grid=8)
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing='ij')
    state[f'{prefix}pos_embed'][..., 0] = rows
    state[f'{prefix}pos_embed'][..., 1] = columns
    network = create('vit', **CONFIG, class_token=False)
    report = initialise(network, saved(tmp_path / 'vit_b.pth', state))
    assert 'resized from 8 x 8 to 4 x 4' in report.loaded['tokens.position']
    found = network.tokens.position.detach().reshape(4, 4, WIDTH)
    assert torch.allclose(found[..., 0].mean(1).diff(), torch.tensor(2.0), atol=0.2)
    assert torch.allclose(found[..., 0].diff(dim=1), torch.tensor(0.0), atol=1e-4)
    assert torch.allclose(found[..., 1], found[..., 0].T, atol=1e-4)


def test_resizing_keeps_a_linear_ramp_linear():
    ramp = torch.arange(4.0).repeat(4, 1).reshape(1, 16, 1)
    wide = resized_positions(ramp, 4, (8, 8)).reshape(8, 8)
    assert torch.allclose(wide[:, 1:-1].diff(dim=1), torch.tensor(0.5))
    assert torch.allclose(wide, wide[:1].expand(8, -1))


def test_transunet_takes_the_layers_and_positions_but_not_the_patches(tmp_path):
    network = create('transunet', **TRANSUNET)
    state = sam_state()
    report = initialise(network, saved(tmp_path / 'sam.pth', state))
    assert torch.equal(network.tokens.layers[0].qkv.weight,
                       state['image_encoder.blocks.0.attn.qkv.weight'])
    assert 'the network does it by [16, 128, 1, 1]' \
        in report.skipped['image_encoder.patch_embed.proj.weight']
    assert 'tokens.embed.weight' in report.untouched
    # Its convolutions are of no published encoder that is read.
    assert set(report.outside) == {
        name for name, part in network.named_children() if name != 'tokens'}
    assert f'; all of {report.outside[0]}, ' in str(report)


@pytest.mark.parametrize('form', [dict, hugging_face])
def test_transunet_takes_clip_and_computes_as_clip_where_it_is_told_to(tmp_path, form):
    state = clip_state()
    path = saved(tmp_path / 'clip.pt', form(state))
    plain = initialise(create('transunet', **TRANSUNET), path)
    assert [text.split()[0] for text in plain.differences] \
        == ['pre_norm', 'activation', 'norm_eps']
    assert len(plain.loaded) == 12 * DEPTH + 3  # layers, positions, last norm
    network = create('transunet', **TRANSUNET, **CLIP_ARITHMETIC).eval()
    report = initialise(network, path)
    assert report.differences == ()
    assert report.untouched == ('tokens.embed.bias', 'tokens.embed.weight')
    assert 'no class token' in next(
        text for name, text in report.skipped.items() if 'class_embedding' in name)
    # The same tokens as a ViT without class token makes of the same map by the same patches.
    other = create('vit', **CLIP_CONFIG, class_token=False).eval()
    initialise(other, path)
    coarse = torch.rand(1, network.tokens.embed.in_channels, GRID, GRID)
    other.tokens.embed = network.tokens.embed
    with torch.no_grad():
        assert torch.equal(network.tokens(coarse), other.tokens(coarse))
    assert network(torch.rand(1, 1, 64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize('name', ['transunet', 'transunet_small'])
def test_a_transunet_like_clip_is_kept_in_a_checkpoint_with_all_that_it_computes(tmp_path, name):
    config = {**TRANSUNET, **CLIP_ARITHMETIC}
    network = create(name, **config).eval()
    save_checkpoint(tmp_path / 'm.safetensors', network, ModelSpec(name, config, input_size=64))
    again = load_checkpoint(tmp_path / 'm.safetensors').network()
    picture = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(picture), network(picture))


def test_other_widths_and_surplus_layers_are_told_tensor_by_tensor(tmp_path):
    path = saved(tmp_path / 'sam.pth', sam_state())
    shallow = initialise(create('vit', **{**CONFIG, 'depth': 1}), path)
    assert shallow.skipped['image_encoder.blocks.1.norm1.weight'] == 'the network has fewer layers'
    with pytest.raises(FedefmError, match="transformer is 16 wide, the network's 24"):
        initialise(create('vit', **{**CONFIG, 'width': 24}), path)


class Harmful:

    def __reduce__(self):
        return print, ('this must never be printed',)


def test_files_that_could_run_code_are_refused_and_do_not_run_it(tmp_path, capsys):
    path = tmp_path / 'sam.pth'
    torch.save({**sam_state(), 'extra': Harmful()}, path)
    with pytest.raises(FedefmError, match='could run code.*as .safetensors'):
        initialise(create('vit', **CONFIG), path)
    assert 'never be printed' not in capsys.readouterr().out


def test_a_torchscript_archive_is_refused_with_the_way_to_convert_it(tmp_path):
    path = tmp_path / 'ViT-B-16.pt'
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), str(path))
    with pytest.raises(FedefmError, match='TorchScript archive.*torch.jit.load.*safetensors'):
        initialise(create('vit', **CONFIG), path)


@pytest.mark.parametrize('name, contents, reason', [
    ('none.pth', None, 'is not a file'), ('x.pth', b'', 'x.pth'), ('x.pth', b'nonsense', 'x.pth'),
    ('x.safetensors', b'nonsense', 'is damaged'), ('x.onnx', b'x', r'\.safetensors, \.pt')])
def test_damaged_and_foreign_files_are_refused(tmp_path, name, contents, reason):
    if contents is not None:
        (tmp_path / name).write_bytes(contents)
    with pytest.raises(FedefmError, match=reason):
        initialise(create('vit', **CONFIG), tmp_path / name)


def test_a_checkpoint_cut_short_is_refused(tmp_path):
    path = saved(tmp_path / 'sam.pth', sam_state())
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(FedefmError, match='sam.pth'):
        initialise(create('vit', **CONFIG), path)


def test_other_contents_are_refused(tmp_path):
    vit = create('vit', **CONFIG)
    with pytest.raises(FedefmError, match='is of no known format; known are SAM, LVM-Med'):
        initialise(vit, saved(tmp_path / 'resnet.pth', {'layer1.weight': torch.zeros(2)}))
    with pytest.raises(FedefmError, match='holds no tensors'):
        initialise(vit, saved(tmp_path / 'list.pth', [1, 2]))
    bad = sam_state()
    bad['image_encoder.blocks.0.norm1.weight'][3] = float('nan')
    with pytest.raises(FedefmError, match='blocks.0.norm1.weight has numbers that are not finite'):
        initialise(vit, saved(tmp_path / 'nan.pth', bad))
    with pytest.raises(FedefmError, match='UNet has no transformer'):
        initialise(create('unet', width=4), tmp_path / 'nan.pth')
