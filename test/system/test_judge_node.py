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

"""The segmentation node with a judge of pieces."""

from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.runtimes import graph_of
from fedefm_ros.srv import LoadModel
from fedefm_ros.station import SEGMENTATION

from harness import wait_until

from judges import save_judge_by_length

from linenet import save_line_model

import pytest


@pytest.fixture(scope='module')
def judge(tmp_path_factory):
    return save_judge_by_length(tmp_path_factory.mktemp('judge') / 'judge.safetensors', 5000,
                                size=128, limit=0.5)


@pytest.fixture(scope='module')
def node(harness, models, judge):
    harness.process = harness.start_active(
        SEGMENTATION, model=models['lines'], judge=judge, runtime='openvino', precision='f32')
    return harness


def test_a_judged_mask_is_published_and_what_was_done_is_told(node, judge, picture):
    """This judge says of every piece that it is nothing."""
    assert not node.node.segmented(picture).any()
    values = wait_until(lambda: node.status('segmentation: model')[2], 'diagnostics')
    assert values['judge_id'] == Judge(judge).model_id
    assert float(values['min_confidence']) == 0.5
    frames = wait_until(lambda: int(node.status('segmentation: frames')[2].get(
        'pieces_taken_out', 0)) and node.status('segmentation: frames')[2], 'its count')
    assert (frames['pieces_renamed'], frames['pieces_unjudged']) == ('0', '0')


def test_a_swap_keeps_the_judge_and_one_that_it_does_not_fit_is_refused(
        node, models, picture, tmp_path):
    def load(path):
        return node.call(LoadModel, 'segmentation/load_model', LoadModel.Request(path=str(path)))

    answer = load(models['swapped'])
    assert answer.success and ', judge ' in answer.message and 'none' not in answer.message
    assert not node.node.segmented(picture).any()
    large = save_line_model(tmp_path / 'large.safetensors', 256)
    graph_of(large)  # into the cache that the node reads: it does not know this architecture
    answer = load(large)
    assert not answer.success and 'judges pieces of 128 x 128' in answer.message
    assert not node.node.segmented(picture).any()
