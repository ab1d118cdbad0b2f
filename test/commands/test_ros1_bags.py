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

"""Every command that takes a bag takes one of ROS 1; `replay` is in test/system/test_replay.py."""

import json

import cv2

from fedefm_ros.cli import app
from fedefm_ros.imaging.bag import BagSource
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.runtimes.picture import line_picture

import numpy as np

import pytest

from ros1_bag import write_ros1_bag

from typer.testing import CliRunner

START = 1_500_000_000_000_000_000
COUNT = 4
RUNTIME = ('--runtime', 'torch', '--precision', 'f32')

pytestmark = pytest.mark.usefixtures('use_cache')


@pytest.fixture(scope='module')
def images():
    picture = line_picture(200)
    return [np.ascontiguousarray(picture[i * 3:][:160, :160]) for i in range(COUNT)]


@pytest.fixture(scope='module')
def masks(images, model):
    """Return what the model finds."""
    engine = SegmentationEngine.open(model, runtime='torch', precision='f32')
    return [engine.infer(image).mask for image in images]


@pytest.fixture(scope='module')
def bag(tmp_path_factory, images, masks):
    """Return a session of ROS 1: images, the station's masks but the last, and the truth."""
    return write_ros1_bag(tmp_path_factory.mktemp('ros1') / 'old.bag', {
        '/lab/fluoroscopy/image_raw': images,
        '/lab/segmentation/mask': [*masks[:-1], None],
        '/lab/ground_truth/mask': masks}, START)


def run(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output


def test_it_is_evaluated_live_and_offline(bag, model, tmp_path):
    run('evaluate', bag, '--model', model, '--recorded', *RUNTIME, '--resamples', 20,
        '--json', tmp_path / 'figures.json')
    figures = json.loads((tmp_path / 'figures.json').read_text())
    offline, live = figures['models']
    assert figures['truth'] == 'ground truth in the bag old.bag'
    assert (offline['frames_answered'], live['frames_answered']) == (COUNT, COUNT - 1)
    assert figures['comparisons'][0]['identical_masks'] == COUNT - 1
    assert offline['classes']['catheter']['dice'] == live['classes']['catheter']['dice'] == 1.0


def test_it_is_segmented(bag, model, masks, tmp_path):
    run('segment', bag, '-o', tmp_path / 'out', '--model', model, *RUNTIME)
    for number, mask in enumerate(masks):
        found = cv2.imread(str(tmp_path / 'out' / 'masks' / f'{number:06d}.png'), -1)
        assert np.array_equal(found, mask)


def test_it_becomes_a_bag_of_ros_2_and_a_folder_with_stamps_and_truth(
        bag, images, masks, tmp_path):
    run('convert', bag, tmp_path / 'new', '--to', 'bag')
    run('convert', tmp_path / 'new', tmp_path / 'folder')
    stamps = [START + number * 100_000_000 for number in range(COUNT)]
    found = list(BagSource(tmp_path / 'new').stamped())
    assert [stamp for stamp, _ in found] == stamps
    assert all(np.array_equal(frame.image, image)
               for (_, frame), image in zip(found, images, strict=True))
    lines = (tmp_path / 'folder' / 'frames.csv').read_text().splitlines()[1:]
    assert lines == [f'{number:06d}.png,{stamp},1' for number, stamp in enumerate(stamps)]
    for number, mask in enumerate(masks):
        kept = cv2.imread(str(tmp_path / 'folder' / 'masks' / f'{number:06d}.png'), -1)
        assert np.array_equal(kept, mask)
