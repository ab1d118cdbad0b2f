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

"""X-ray of the simulated robot: the truth is where the projection says, and shows in the image."""

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.datasets import aioz
from fedefm_ros.simulation.robot.camera import Projection
from fedefm_ros.simulation.robot.camera import RobotCamera
from fedefm_ros.simulation.robot.recording import RunRecorder
from fedefm_ros.simulation.robot.robot import EndovascularRobot

import numpy as np

import pytest

pytest.importorskip('mujoco')
SIZE = 256


@pytest.fixture(scope='module')
def robot():
    """Return a robot with its wire in the arch."""
    made = EndovascularRobot(1)
    for _ in range(25):
        made.step(1 / 15, 0.04, 0.5)
    return made


@pytest.fixture(scope='module')
def camera(robot):
    return RobotCamera(robot.phantom, robot.wire, seed=2, size=SIZE, field=robot.field)


@pytest.fixture(scope='module')
def frame(robot, camera):
    return camera.frame(robot.state)


def test_the_isocentre_is_in_the_middle_and_nearer_is_larger():
    view = Projection(512)
    points = np.array([[0.0, 0.0, 0.0], [0.0267, 0.0, 0.0], [0.0267, 0.0, -0.05]])
    pixels = view.pixels(points)
    assert np.allclose(pixels[0], 255.5)
    assert pixels[1, 0] - 255.5 == pytest.approx(0.0267 / view.spacing, rel=1e-6)
    assert pixels[2, 0] > pixels[1, 0]


def test_rays_come_back_to_their_pixels():
    view = Projection(128, (5.0, -3.0))
    rays = view.rays(4, np.array([-0.02, 0.0, 0.03]))
    pixels = view.pixels(rays.reshape(-1, 3)).reshape(3, 32, 32, 2)
    x, y = np.meshgrid(np.arange(1.5, 128, 4), np.arange(1.5, 128, 4))
    assert np.allclose(pixels, np.stack([x, y], axis=-1), atol=1e-9)


def test_truth_agrees_with_the_projection_of_the_wire(robot, camera, frame):
    wire = next(one for one in frame.truth.instruments if one.kind == labels.GUIDEWIRE)
    nodes = camera.projection.pixels(robot.state.nodes)
    assert np.linalg.norm(wire.tip - nodes[-1]) < 0.5
    for node in nodes:
        assert np.linalg.norm(wire.centerline - node, axis=1).min() < 1.5
    x, y = np.rint(wire.centerline).astype(int).T
    assert (frame.truth.mask[y, x] > 0).mean() > 0.98
    assert wire.length_mm == pytest.approx(1e3 * robot.state.inserted, rel=0.15)


def test_introducer_and_wire_are_labelled_apart(frame):
    kinds = [one.kind for one in frame.truth.instruments]
    assert kinds == [labels.GUIDEWIRE, labels.CATHETER]
    wire, introducer = frame.truth.instruments
    assert np.linalg.norm(introducer.tip - wire.centerline[0]) < 3.0
    assert set(np.unique(frame.truth.mask)) == {0, 1, 2}


def test_the_wire_is_darker_than_what_is_beside_it(frame):
    image = frame.image.astype(float)
    wire = frame.truth.mask == labels.GUIDEWIRE
    near = np.zeros_like(wire)
    for shift in (-6, 6):
        near |= np.roll(wire, shift, axis=0) | np.roll(wire, shift, axis=1)
    near &= frame.truth.mask == 0
    assert image[wire].mean() < image[near].mean() - 0.3 * image[near].std()


def test_equal_seeds_give_equal_images(robot, frame):
    again = RobotCamera(robot.phantom, robot.wire, seed=2, size=SIZE, field=robot.field)
    other = RobotCamera(robot.phantom, robot.wire, seed=3, size=SIZE, field=robot.field)
    assert np.array_equal(again.frame(robot.state).image, frame.image)
    assert not np.array_equal(other.frame(robot.state).image, frame.image)


def test_every_artery_is_in_view(robot):
    for seed in range(6):
        camera = RobotCamera(robot.phantom, seed=seed, size=128, field=robot.field)
        for target in ('LSA', 'LCCA', 'RCCA'):
            way = camera.route(target)
            assert np.allclose(np.linalg.norm(np.diff(way, axis=0), axis=1), 1.0, atol=0.05)
            assert ((way[:len(way) // 2] > 0) & (way[:len(way) // 2] < 128)).all()


def test_a_size_out_of_range_is_refused():
    with pytest.raises(FedefmError, match='64 to 4096'):
        Projection(32)


def test_a_recorded_run_reads_back_as_an_aioz_data_set(tmp_path, robot, camera):
    recorder = RunRecorder(tmp_path, seed=1, every=2)
    frames = [camera.frame(robot.state) for _ in range(4)]
    for one in frames:
        recorder.add(one)
    assert recorder.written == 2
    found = aioz.read(tmp_path)
    assert len(found) == 2 and len(found.groups) == 1
    masks = [mask for _, mask in found]
    assert all(np.array_equal(mask, frames[0].truth.mask) for mask in masks)
    with pytest.raises(FedefmError, match='every is 0'):
        RunRecorder(tmp_path, seed=1, every=0)
