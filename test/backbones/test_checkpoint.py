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

import json
import struct

from fedefm_ros import labels
from fedefm_ros.backbones import checkpoint as checkpoints
from fedefm_ros.backbones import create, load_checkpoint, ModelSpec, Normalisation, save_checkpoint
from fedefm_ros.errors import FedefmError

from fresh import run_python

from linenet import LineNet

import pytest

from safetensors.torch import load_file
from safetensors.torch import save_file

import torch

CONFIG = {'widths': [16, 16], 'full': 8}


@pytest.fixture
def spec():
    return ModelSpec('compact', CONFIG, input_size=64, provenance={'trained_on': 'nothing'})


@pytest.fixture
def model(tmp_path, spec):
    path = tmp_path / 'model.safetensors'
    save_checkpoint(path, create('compact', **CONFIG), spec)
    return path


def header_of(path):
    data = path.read_bytes()
    length = struct.unpack('<Q', data[:8])[0]
    return json.loads(data[8:8 + length]), data[8 + length:]


def rewrite(path, header, payload):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + payload)


def rewrite_tensors(path, change):
    """Save other tensors under the same description."""
    description = header_of(path)[0]['__metadata__']
    state = load_file(path)
    change(state)
    save_file(state, path, description)


def rewrite_description(path, **values):
    header, payload = header_of(path)
    description = json.loads(header['__metadata__']['fedefm_ros'])
    description.update(values)
    header['__metadata__']['fedefm_ros'] = json.dumps(description)
    rewrite(path, header, payload)


def test_weights_and_description_come_back_as_they_were(tmp_path, spec):
    network = create('compact', **CONFIG).eval()
    path = tmp_path / 'new folder' / 'model.safetensors'
    model_id = save_checkpoint(path, network, spec)
    loaded = load_checkpoint(path)
    assert loaded.spec == spec
    assert loaded.spec.labels == labels.NAMES
    assert loaded.model_id == model_id and len(model_id) == 16
    image = torch.rand(1, 1, 64, 64)
    assert torch.equal(loaded.network()(image), network(image))


def test_equal_weights_give_equal_files_and_other_weights_another_id(tmp_path, spec):
    torch.manual_seed(0)
    network = create('compact', **CONFIG)
    ids = {save_checkpoint(tmp_path / f'{i}.safetensors', network, spec) for i in range(4)}
    assert len(ids) == 1
    other = save_checkpoint(tmp_path / 'o.safetensors', create('compact', **CONFIG), spec)
    assert other not in ids


def test_saving_leaves_the_old_file_where_the_new_one_cannot_be_written(model, spec, tmp_path):
    before = model.read_bytes()
    network = create('compact', **CONFIG)
    with torch.no_grad():
        network.head.bias[0] = float('nan')
    with pytest.raises(FedefmError, match='not finite'):
        save_checkpoint(model, network, spec)
    assert model.read_bytes() == before
    with pytest.raises(FedefmError, match='cannot be written'):
        save_checkpoint(model / 'below a file', create('compact', **CONFIG), spec)
    assert [entry.name for entry in tmp_path.iterdir()] == [model.name]


def test_a_network_that_is_not_what_its_description_says_is_not_saved(tmp_path, spec):
    with pytest.raises(FedefmError, match='is missing.*is missing.*is missing; and .* more'):
        save_checkpoint(tmp_path / 'm.safetensors', LineNet(), spec)


@pytest.mark.parametrize('name', ['model.pt', 'model.PTH', 'model.pkl', 'model.ckpt'])
def test_pickles_are_refused_by_name(tmp_path, name):
    torch.save({}, tmp_path / name)
    with pytest.raises(FedefmError, match='can run code'):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize('zipped', [True, False])
def test_pickles_are_refused_by_content(tmp_path, zipped):
    path = tmp_path / 'model.safetensors'
    torch.save({'a': torch.zeros(3)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(FedefmError, match='can run code'):
        load_checkpoint(path)


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path / 'none.safetensors', tmp_path):
        with pytest.raises(FedefmError, match=f'{path} is not a file'):
            load_checkpoint(path)


def test_files_above_the_limit_are_not_read(model):
    with pytest.raises(FedefmError, match='may have at most 1000'):
        load_checkpoint(model, max_bytes=1000)


def test_files_cut_anywhere_are_refused(model):
    data = model.read_bytes()
    for length in (0, 1, 7, 8, 100, len(data) // 2, len(data) - 1):
        model.write_bytes(data[:length])
        with pytest.raises(FedefmError, match=str(model)):
            load_checkpoint(model)


def test_trailing_bytes_are_refused(model):
    model.write_bytes(model.read_bytes() + b'\0')
    with pytest.raises(FedefmError, match='damaged'):
        load_checkpoint(model)


@pytest.mark.parametrize('start', [b'\xff' * 8, struct.pack('<Q', 20), struct.pack('<Q', 2)])
def test_damaged_headers_are_refused(model, start):
    model.write_bytes(start + model.read_bytes()[8:])
    with pytest.raises(FedefmError, match='header'):
        load_checkpoint(model)


def test_safetensors_of_others_are_refused(tmp_path):
    path = tmp_path / 'foreign.safetensors'
    save_file({'weight': torch.zeros(3)}, path)
    with pytest.raises(FedefmError, match='without the description'):
        load_checkpoint(path)


def test_a_format_of_the_future_is_refused(model):
    rewrite_description(model, version=2)
    with pytest.raises(FedefmError, match='format version 2; this program reads 1'):
        load_checkpoint(model)


@pytest.mark.parametrize('text', ['[]', '{}', '{"backbone": 3}', 'nonsense', '{"labels": 1}'])
def test_damaged_descriptions_are_refused(model, text):
    rewrite_description(model, spec=text)
    with pytest.raises(FedefmError, match='model description cannot be read'):
        load_checkpoint(model)


def test_an_unknown_backbone_is_refused(model, spec):
    rewrite_description(model, spec=spec.to_json().replace('compact', 'swin'))
    with pytest.raises(FedefmError, match="'swin' is not known"):
        load_checkpoint(model)


def test_weights_of_another_configuration_are_refused(model, spec):
    rewrite_description(model, spec=spec.to_json().replace('[16, 16]', '[16, 32]'))
    with pytest.raises(FedefmError, match=r'down.1.0.weight is float32\[16, 16, 3, 3\], '
                                          r'not float32\[32, 16, 3, 3\]'):
        load_checkpoint(model)


def test_missing_and_surplus_keys_are_named(model):
    def change(state):
        state['extra'] = state.pop('head.bias')
    rewrite_tensors(model, change)
    with pytest.raises(FedefmError, match='head.bias is missing; extra is not known'):
        load_checkpoint(model)


def test_another_number_type_is_refused(model):
    def change(state):
        state['head.bias'] = state['head.bias'].half()
    rewrite_tensors(model, change)
    with pytest.raises(FedefmError, match=r'head.bias is float16\[3\], not float32\[3\]'):
        load_checkpoint(model)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_numbers_that_are_not_finite_are_refused(model, value):
    def change(state):
        state['stem.0.weight'][2] = value
    rewrite_tensors(model, change)
    with pytest.raises(FedefmError, match='9 of 72 numbers in stem.0.weight'):
        load_checkpoint(model)


def test_a_changed_architecture_hash_is_refused(model):
    rewrite_description(model, architecture='0' * 64)
    with pytest.raises(FedefmError, match='changed after it was saved'):
        load_checkpoint(model)


@pytest.mark.parametrize('values', [
    {'backbone': 3}, {'input_size': 500}, {'input_size': 0}, {'input_size': 8192},
    {'input_size': 64.0}, {'labels': ('one',)}, {'normalisation': None}, {'config': 'wide'}])
def test_impossible_descriptions_are_refused(values):
    with pytest.raises(FedefmError):
        ModelSpec(**{'backbone': 'compact', **values})


@pytest.mark.parametrize('values', [
    {'low_percentile': 99.0}, {'margin': 0.5}, {'clip_low': 0.5}, {'clip_high': float('nan')}])
def test_impossible_normalisations_are_refused(values):
    with pytest.raises(FedefmError):
        Normalisation(**values)


def test_reading_and_hashing_a_file_needs_no_torch(model):
    expected = checkpoints.read_file(model).model_id
    run_python(f"""
        import sys
        from fedefm_ros.backbones.checkpoint import read_file
        assert read_file({str(model)!r}).model_id == {expected!r}
        assert 'torch' not in sys.modules
    """)
