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

"""Every architecture in the segmentation node: loaded while it runs, and answering."""

from fedefm_ros.backbones import ModelSpec, save_checkpoint
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.srv import LoadModel
from fedefm_ros.station import SEGMENTATION

from harness import stamp_of, wait_until

import pytest

from wire_networks import TINY, trained, wire_picture


@pytest.fixture(scope='module')
def node(harness, models):
    """Return the harness with an active node."""
    harness.start_active(SEGMENTATION, model=models['lines'], runtime='openvino', precision='f32')
    return harness


@pytest.mark.parametrize('name', TINY)
def test_an_architecture_is_loaded_into_the_running_node_and_answers(node, name, tmp_path):
    path = tmp_path / f'{name}.safetensors'
    network, _ = trained(name)
    model_id = save_checkpoint(path, network, ModelSpec(name, TINY[name], input_size=64))
    response = node.call(LoadModel, 'segmentation/load_model', LoadModel.Request(path=str(path)))
    assert response.success, response.message
    assert response.model_id == model_id
    image = wire_picture(seed=5)
    mask = node.node.segmented(image)
    assert mask.shape == image.shape and mask.max() <= 2
    stamp = node.node.stamps()[-1]
    found = wait_until(lambda: [m for m in node.node.got('segmentation/instruments')
                                if stamp_of(m) == stamp], 'instruments')[0]
    assert found.model_id == model_id
    wait_until(lambda: node.status('segmentation: model')[2].get('model_id') == model_id,
               'the diagnostics of the model')
    assert image_to_array(node.node.got('segmentation/mask')[-1]).shape == image.shape
