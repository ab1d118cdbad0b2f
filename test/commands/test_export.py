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

"""An exported model, run by ONNX Runtime alone."""

import json

from fedefm_ros.backbones.spec import Normalisation
from fedefm_ros.cli import app
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.runtimes.picture import line_picture

import numpy as np

import pytest

from typer.testing import CliRunner

pytestmark = pytest.mark.usefixtures('use_cache')


def test_the_exported_graph_gives_the_engine_s_labels(tmp_path, model):
    onnxruntime = pytest.importorskip('onnxruntime')
    target, told = tmp_path / 'model.onnx', tmp_path / 'told.json'
    done = CliRunner().invoke(app, ['export', str(model), '-o', str(target), '--json', str(told)])
    assert done.exit_code == 0, done.output
    size = json.loads(told.read_text())['input_size']
    picture = line_picture(size)
    seen = prepare(picture, size, Normalisation())
    session = onnxruntime.InferenceSession(target)
    labels, probability = session.run(None, {
        'image': seen.image[None, None],
        'grey': np.array([1, -seen.low], np.float32) / np.float32(seen.high - seen.low)})
    assert labels.shape == probability.shape == (1, 1, size, size)
    raw = SegmentationEngine.open(model, 'torch', precision='f32', judge='none').infer(picture)
    assert np.count_nonzero(raw.mask) > 100
    found = raw.mask > 0
    assert np.array_equal(labels[0, 0][found], raw.mask[found])
    assert np.abs(probability[0, 0].astype(int) - raw.probability).max() <= 1


def test_what_cannot_be_read_or_written_is_told(tmp_path, model):
    for arguments, reason in ((['nothing', '-o', 'x.onnx'], 'neither a file nor shipped'),
                              ([str(model), '-o', str(tmp_path)], 'cannot be written')):
        done = CliRunner().invoke(app, ['export', *arguments])
        assert done.exit_code == 1 and 'Traceback' not in done.output
        assert reason in ' '.join((done.output + done.stderr).split())
