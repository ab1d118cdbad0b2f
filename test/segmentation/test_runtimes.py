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

import logging

from fedefm_ros.backbones import create, ModelSpec, save_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.paths import models_dir
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.runtimes import graph_of, NAMES, quantise, select
from fedefm_ros.segmentation.runtimes.cache import cache_folder
from fedefm_ros.segmentation.runtimes.graph import Graph
from fedefm_ros.segmentation.runtimes.picture import line_picture
from fedefm_ros.segmentation.runtimes.runtime import precisions

from fresh import run_python

from linenet import LineNet, save_line_model

import numpy as np

import pytest

import torch


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def model(tmp_path):
    return save_line_model(tmp_path / 'lines.safetensors')


CANDIDATES = [(name, precision) for name in NAMES
              if name != 'cuda' or torch.cuda.is_available() for precision in precisions(name)]


def frames(size, count=3):
    """Return pictures with lines, each another one."""
    picture = line_picture(2 * size)
    for index in range(count):
        yield np.ascontiguousarray(picture[index * 29:, index * 31:][:size, :size])


def save_compact(path, size=64):
    torch.manual_seed(0)
    config = {'widths': [16, 16], 'full': 8}
    save_checkpoint(path, create('compact', **config),
                    ModelSpec('compact', config, input_size=size))
    return path


@pytest.mark.parametrize('name, precision', CANDIDATES)
def test_every_runtime_gives_the_labels_of_torch(model, name, precision, monkeypatch):
    monkeypatch.setattr(quantise, 'FRAMES', 4)
    graph = graph_of(model)
    runtime, _ = select(graph, model, runtime=name, precision=precision)
    reference, _ = select(graph, model, runtime='torch', precision='f32')
    assert (runtime.name, runtime.precision, runtime.threads) == (name, precision, 2)
    for frame in frames(256):
        prepared = prepare(frame, 256)
        labels, probability = runtime(prepared)
        expected_labels, expected_probability = reference(prepared)
        assert set(np.unique(expected_labels)) == {0, 1, 2}
        assert np.mean(labels == expected_labels) >= 0.999
        tolerance = 1 if precision == 'f32' else 16
        difference = np.abs(probability.astype(int) - expected_probability)
        assert difference.max() <= tolerance


@pytest.fixture(scope='module')
def shipped_cache(tmp_path_factory):
    """Return where the shipped model is exported once: it takes some ten seconds."""
    return tmp_path_factory.mktemp('shipped')


@pytest.mark.parametrize('name, precision', CANDIDATES)
def test_every_runtime_gives_the_shipped_model_s_masks(name, precision, shipped_cache,
                                                       monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(shipped_cache))
    model = models_dir() / 'realtime.safetensors'
    if not model.is_file():
        pytest.skip('no shipped model in this checkout yet')
    from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator
    graph = graph_of(model)
    runtime, _ = select(graph, model, runtime=name, precision=precision)
    reference, _ = select(graph, model, runtime='torch', precision='f32')
    simulator = iter(FluoroscopySimulator(seed=5))
    for _ in range(3):
        prepared = prepare(next(simulator).image, graph.spec.input_size,
                           graph.spec.normalisation)
        labels = runtime(prepared)[0].copy()
        expected = reference(prepared)[0]
        assert np.count_nonzero(expected) > 100
        assert np.mean(labels == expected) >= 0.999


def test_the_probability_is_that_of_any_instrument(model):
    runtime, _ = select(graph_of(model), model, runtime='openvino', precision='f32')
    prepared = prepare(line_picture(256), 256)
    labels, probability = runtime(prepared)
    grey = (prepared.image.astype(np.float32) - prepared.low) / (prepared.high - prepared.low)
    with torch.inference_mode():
        logits = LineNet()(torch.from_numpy(np.clip(grey, -0.5, 1.5))[None, None])
    expected = 255 * (1 - torch.softmax(logits, dim=1)[0, 0].numpy())
    assert np.abs(probability - expected).max() <= 1
    assert np.mean(labels == logits.argmax(dim=1)[0].numpy()) > 0.9999


def test_a_runtime_does_not_touch_its_input_nor_depend_on_the_call_before(model):
    runtime, _ = select(graph_of(model), model, runtime='openvino')
    first, second = (prepare(frame, 256) for frame in frames(256, 2))
    image = first.image.copy()
    labels = runtime(first)[0].copy()
    runtime(second)
    assert np.array_equal(runtime(first)[0], labels)
    assert np.array_equal(first.image, image)


def test_auto_measures_every_candidate_and_takes_the_fastest_that_agrees(model):
    runtime, measurements = select(graph_of(model), model)
    assert {m.runtime for m in measurements} >= {'openvino', 'onnxruntime'}
    assert all(m.median_ms > 0 and m.agreement > 0.99 for m in measurements)
    fitting = [m for m in measurements if not m.note]
    best = min(fitting, key=lambda m: m.median_ms)
    assert (runtime.name, runtime.precision) == (best.runtime, best.precision)


@pytest.mark.parametrize('arguments, message', [
    ({'runtime': 'tensorrt'}, "'tensorrt' is not known; known are auto, openvino"),
    ({'precision': 'int4'}, "'int4' is not known"),
    ({'runtime': 'onnxruntime', 'precision': 'bf16'}, "cannot compute in 'bf16'"),
    ({'runtime': 'onnxruntime', 'precision': 'int8'}, "cannot compute in 'int8'"),
    ({'threads': 0}, 'at least 1')])
def test_what_is_not_to_be_had_is_refused(model, arguments, message):
    with pytest.raises(FedefmError, match=message):
        select(graph_of(model), model, **arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has CUDA')
def test_cuda_is_refused_with_the_reason_where_there_is_none(model):
    with pytest.raises(FedefmError, match='finds no CUDA device'):
        select(graph_of(model), model, runtime='cuda')


def test_a_second_start_takes_the_graph_from_the_cache(model):
    graph = graph_of(model)
    entry, = cache_folder().iterdir()
    written = entry.stat().st_mtime_ns
    again = graph_of(model)
    assert again.onnx == graph.onnx and again.spec == graph.spec
    assert np.array_equal(again.reference, graph.reference)
    assert entry.stat().st_mtime_ns == written
    assert entry.name.startswith(graph.checkpoint_sha256)


def test_int8_is_made_once_and_only_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(quantise, 'FRAMES', 4)
    model = save_compact(tmp_path / 'compact.safetensors')
    graph = graph_of(model)
    _, measurements = select(graph, model)
    assert 'int8' not in {each.precision for each in measurements}
    assert len(list(cache_folder().iterdir())) == 1
    runtime, _ = select(graph, model, precision='int8', runtime='openvino')
    assert runtime.precision == 'int8'
    entry, = cache_folder().glob('*.int8.graph')
    made = entry.read_bytes()
    assert b'QuantizeLinear' in made and b'QuantizeLinear' not in graph.onnx
    select(graph, model, precision='int8', runtime='openvino')
    assert entry.read_bytes() == made
    assert Graph.from_bytes(made).checkpoint_sha256 == graph.checkpoint_sha256


def test_a_network_with_windows_of_attention_is_made_int8(tmp_path, monkeypatch):
    monkeypatch.setattr(quantise, 'FRAMES', 4)
    torch.manual_seed(0)
    config = {'width': 32, 'depths': [2, 2], 'heads': [2, 4]}
    path = tmp_path / 'swin.safetensors'
    save_checkpoint(path, create('swin_unet', **config),
                    ModelSpec('swin_unet', config, input_size=64))
    _, (measured,) = select(graph_of(path), path, runtime='openvino', precision='int8')
    assert measured.agreement > 0.95


def test_another_checkpoint_of_the_same_name_has_a_graph_of_its_own(model):
    first = graph_of(model)
    save_line_model(model, swapped=True)
    second = graph_of(model)
    assert first.checkpoint_sha256 != second.checkpoint_sha256
    assert not np.array_equal(first.reference, second.reference)


@pytest.mark.parametrize('damage', [
    lambda data: data[:100], lambda data: b'', lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    lambda data: data.replace(b'graph 1', b'graph 0'), lambda data: data[:5000]],
    ids=['short', 'empty', 'bit flipped', 'other version', 'cut'])
def test_a_damaged_cache_entry_is_made_anew(model, damage, caplog):
    graph_of(model)
    entry, = cache_folder().iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        graph_of(model)
    assert 'exported anew' in caplog.text
    Graph.from_bytes(entry.read_bytes())


def test_a_cache_entry_of_another_checkpoint_is_not_believed(model, tmp_path, caplog):
    graph_of(model)
    entry, = cache_folder().iterdir()
    other = graph_of(save_line_model(tmp_path / 'other.safetensors', swapped=True))
    entry.write_bytes(other.to_bytes())
    with caplog.at_level(logging.WARNING):
        assert graph_of(model).checkpoint_sha256 != other.checkpoint_sha256
    assert 'another checkpoint' in caplog.text


def test_a_cache_that_cannot_be_written_is_only_a_warning(model, cache, caplog):
    cache.write_text('a file where a folder should be')
    with caplog.at_level(logging.WARNING):
        runtime, _ = select(graph_of(model), model, runtime='openvino')
    assert runtime.name == 'openvino'
    assert 'cannot be kept' in caplog.text


def test_segmenting_imports_no_torch_not_even_for_the_first_export(tmp_path):
    model = save_compact(tmp_path / 'compact.safetensors')
    for _ in range(2):
        run_python(f"""
            import sys
            from fedefm_ros.segmentation.engine import SegmentationEngine
            import numpy
            engine = SegmentationEngine.open({str(model)!r})
            engine.infer(numpy.zeros((64, 64), numpy.uint8))
            assert engine.info.runtime in ('openvino', 'onnxruntime')
            assert 'torch' not in sys.modules
        """)
    assert len(list(cache_folder().iterdir())) == 1


def test_what_is_wrong_with_a_model_is_said_where_another_process_exports_it(tmp_path):
    model = save_compact(tmp_path / 'compact.safetensors')
    data = bytearray(model.read_bytes())
    data[-4:] = np.float32('nan').tobytes()
    model.write_bytes(data)
    told = run_python(f"""
        from fedefm_ros.errors import FedefmError
        from fedefm_ros.segmentation.runtimes import graph_of
        try:
            graph_of({str(model)!r})
        except FedefmError as error:
            print(error)
    """)
    assert 'not finite' in told and str(model) in told


def test_a_model_of_other_labels_is_refused(tmp_path):
    path = tmp_path / 'kinds.safetensors'
    save_checkpoint(path, LineNet(channels=4), ModelSpec(
        'lines', {'channels': 4}, ('human', 'animal', 'phantom', 'simulation'), 64))
    with pytest.raises(FedefmError, match='is a model of human, animal, phantom, simulation'):
        graph_of(path)


def test_a_model_with_other_outputs_than_labels_is_refused(tmp_path):
    path = save_line_model(tmp_path / 'four.safetensors', 64, channels=4)
    with pytest.raises(FedefmError, match=r'gives \(1, 4, 64, 64\)'):
        graph_of(path)


def test_weights_that_overflow_are_refused(tmp_path):
    network = LineNet()
    with torch.no_grad():
        network.compare.weight.fill_(3e38)
    path = tmp_path / 'huge.safetensors'
    save_checkpoint(path, network, ModelSpec('lines', input_size=64))
    with pytest.raises(FedefmError, match='not finite for an ordinary picture'):
        graph_of(path)


def test_weights_that_see_nothing_are_refused(tmp_path):
    network = LineNet()
    with torch.no_grad():
        network.compare.weight.zero_()
    path = tmp_path / 'blind.safetensors'
    save_checkpoint(path, network, ModelSpec('lines', input_size=64))
    for arguments in ({}, {'runtime': 'openvino', 'precision': 'f32'}):
        with pytest.raises(FedefmError, match='weights see nothing'):
            select(graph_of(path), path, **arguments)
