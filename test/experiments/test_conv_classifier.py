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

"""The small convolutional network of the foundation task."""

from fedefm_ros.errors import FedefmError
from fedefm_ros.experiments.conv_classifier import ConvClassifier
from fedefm_ros.federation.weights import norm_keys
from fedefm_ros.federation.weights import state_bytes
from fedefm_ros.federation.weights import state_of

import pytest

import torch


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    return ConvClassifier(5, (8, 16, 24)).eval()


def test_logits_and_dense_features_have_their_shapes(network):
    images = torch.randn(2, 1, 32, 48)
    logits, dense = network.logits_and_features(images)
    assert logits.shape == (2, 5) and dense.shape == (2, 24, 4, 6)
    assert torch.equal(network(images), logits)
    assert torch.equal(network.features(images)[-1], dense)


def test_a_thing_in_one_place_changes_the_logits_wherever_it_is(network):
    plain = torch.zeros(1, 1, 64, 64)
    shown = plain.repeat(2, 1, 1, 1)
    shown[0, 0, 20:24, 20:24] = 3.0
    shown[1, 0, 36:40, 44:48] = 3.0
    logits = network(shown)
    assert (logits[0] - network(plain)[0]).abs().max() > 0.01
    assert torch.allclose(logits[0], logits[1], atol=1e-4)


def test_norms_are_found_and_have_no_running_statistics(network):
    kept = norm_keys(network)
    assert len(kept) == 6 and kept < set(state_of(network))
    assert all(value.is_floating_point() for value in state_of(network).values())


def test_default_network_is_small():
    assert state_bytes(state_of(ConvClassifier())) < 150_000


@pytest.mark.parametrize('shape', [(2, 3, 32, 32), (2, 1, 36, 32), (1, 32, 32)])
def test_images_that_do_not_fit_are_refused(network, shape):
    with pytest.raises(FedefmError, match='expected'):
        network(torch.zeros(shape))


@pytest.mark.parametrize('widths', [(8, 16), (8, 16, 20), (0, 8, 8)])
def test_widths_that_do_not_fit_are_refused(widths):
    with pytest.raises(FedefmError, match='multiples of 8'):
        ConvClassifier(5, widths)
