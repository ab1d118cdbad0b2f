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

"""What the segmentation node remembers of the frame before, and what makes it forget."""

from fedefm_ros.labels import GUIDEWIRE
from fedefm_ros.nodes.declaration import Parameters
from fedefm_ros.nodes.parameters import SEGMENTATION
from fedefm_ros.nodes.segmentation_stages import SegmentationStages
from fedefm_ros.segmentation.engine import RawSegmentation
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.pipeline import Job

import numpy as np

import pytest

import rclpy
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter as RosParameter

from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image

SECOND = 1_000_000_000


class Engine:
    """Finds one wire in everything, and writes down what it was told of the frame before."""

    def __init__(self):
        self.told = []

    def instruments(self, raw, spacing_mm=None, *, previous=(), elapsed=None):
        self.told.append((previous, elapsed))
        line = np.stack([np.linspace(4.0, 20.0, 9), np.full(9, 8.0)], axis=1)
        return (Instrument(GUIDEWIRE, line),)


class Frames:
    """The stages of a node, given one frame after the other."""

    def __init__(self, node):
        self.node = node
        self.engine = Engine()
        self.stages = SegmentationStages(node, Parameters(node, SEGMENTATION), self.engine)

    def remembered(self, seconds, shape=(48, 64), model_id='one'):
        """Finish a frame; return the seconds since the one it is said to follow, None: none."""
        image, mask = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        self.stages.finish(Job(round(seconds * SECOND), Image(), 0), image,
                           RawSegmentation(mask, mask, model_id, 0.0, 0.0, image), 0.0)
        previous, elapsed = self.engine.told[-1]
        return elapsed if previous else None


@pytest.fixture
def frames():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LifecycleNode('segmentation', context=context)
    made = Frames(node)
    yield made
    made.stages.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_frame_follows_the_one_before_by_as_long_as_the_stamps_say(frames):
    assert frames.remembered(10.0) is None
    assert frames.remembered(10.066) == pytest.approx(0.066)
    assert frames.remembered(10.266) == pytest.approx(0.2)  # two of 15 Hz were skipped
    assert frames.remembered(10.7) == pytest.approx(0.434)


def test_nothing_is_remembered_over_a_gap_nor_backward_nor_of_the_same_moment(frames):
    frames.remembered(10.0)
    assert frames.remembered(10.5) is None
    assert frames.remembered(10.4) is None
    assert frames.remembered(10.4) is None
    assert frames.remembered(10.5) == pytest.approx(0.1)


def test_nothing_is_remembered_of_another_size_or_model(frames):
    frames.remembered(10.0)
    assert frames.remembered(10.1, shape=(64, 48)) is None
    assert frames.remembered(10.2, shape=(64, 48)) == pytest.approx(0.1)
    assert frames.remembered(10.3, shape=(64, 48), model_id='two') is None
    assert frames.remembered(10.4, shape=(64, 48), model_id='two') == pytest.approx(0.1)


def camera(focal):
    info = CameraInfo(width=64, height=48)
    info.k[0], info.k[4] = focal, focal
    return info


def test_nothing_is_remembered_of_another_pixel_spacing(frames):
    frames.remembered(10.0)
    frames.node.set_parameters([RosParameter('source_isocenter_mm', value=700.0)])
    frames.stages.camera_info = camera(1000.0)
    assert frames.remembered(10.1) is None  # now it is known
    frames.stages.camera_info = camera(1000.2)
    assert frames.remembered(10.2) == pytest.approx(0.1)  # an encoder trembles
    frames.stages.camera_info = camera(1400.0)
    assert frames.remembered(10.3) is None  # another magnification
    assert frames.remembered(10.4) == pytest.approx(0.1)
    frames.node.set_parameters([RosParameter('pixel_spacing_mm', value=0.25)])
    assert frames.remembered(10.5) is None
    frames.node.set_parameters([RosParameter('pixel_spacing_mm', value=0.25)])
    assert frames.remembered(10.6) == pytest.approx(0.1)
