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

"""The foundation task's network."""

from fedefm_ros.backbones.vit_classifier import VitClassifier
from fedefm_ros.errors import FedefmError

import pytest

import torch


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    return VitClassifier(classes=5, width=16, depth=1, heads=2, stem=(8, 8), size=32).eval()


def test_logits_and_dense_features_have_their_shapes(network):
    images = torch.randn(3, 1, 32, 32)
    logits, features = network.logits_and_features(images)
    assert logits.shape == (3, 5) and features.shape == (3, 16, 4, 4)
    torch.testing.assert_close(network(images), logits)
    torch.testing.assert_close(network.features(images)[-1], features)


def test_other_sizes_work(network):
    assert network(torch.randn(1, 1, 64, 48)).shape == (1, 5)


def test_features_are_of_their_place(network):
    image = torch.zeros(1, 1, 32, 32)
    marked = image.clone()
    marked[..., :8, 24:] = 3.0
    change = (network.features(marked)[-1] - network.features(image)[-1]).norm(dim=1)[0]
    assert change.argmax() == 3


@pytest.mark.parametrize('shape', [(1, 3, 32, 32), (1, 1, 30, 32), (32, 32)])
def test_images_that_do_not_fit_are_refused(network, shape):
    with pytest.raises(FedefmError, match='multiples of 8'):
        network(torch.zeros(shape))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(FedefmError, match='multiple of heads'):
        VitClassifier(width=24, heads=5)
    with pytest.raises(FedefmError, match='multiple of 16'):
        VitClassifier(size=40)


def test_default_network_is_small_enough_to_ship():
    with torch.device('meta'):
        made = VitClassifier()
    assert 4 * sum(value.numel() for value in made.parameters()) < 25e6
