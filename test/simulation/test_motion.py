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

"""What moves in sequences: it shows in the picture, and the truth goes with it."""

from itertools import islice

from fedefm_ros import labels
from fedefm_ros.simulation import placing
from fedefm_ros.simulation.bolus import Bolus
from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.config import read
from fedefm_ros.simulation.curves import integrate
from fedefm_ros.simulation.devices import Device
from fedefm_ros.simulation.devices import draw_attenuation
from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator
from fedefm_ros.simulation.scene import Pose
from fedefm_ros.simulation.scene import Scene

import numpy as np

import pytest

SHAFT, SHAPE = 60, 30


def device(heading=0.3, kind=labels.CATHETER):
    """Return a straight shaft with a quarter circle at its end."""
    curvature = np.concatenate([np.zeros(SHAFT), np.full(SHAPE, np.pi / 2 / SHAPE)])
    return Device(kind, integrate(np.zeros(2), heading, curvature), 3.0, 0.4, 0.3, 5.0, 1.0,
                  shaped=SHAPE)


def with_wire(catheter):
    """Return a wire that goes 40 pixels straight on from a catheter's tip."""
    step = catheter.points[-1] - catheter.points[-4]
    free = integrate(catheter.points[-1], np.arctan2(*step[::-1]), np.zeros(40))
    return Device(labels.GUIDEWIRE, np.vstack([catheter.points, free[1:]]), 1.0, 1.0, 0.3, 5.0,
                  1.0, hidden_until=len(catheter.points) - 1)


def settings(tmp_path, motions, kind='human'):
    path = tmp_path / 'own.yaml'
    path.write_text(f'kind: {kind}\nmotions: {motions}\n')
    return read(path)


def test_a_device_drawn_back_keeps_its_shape_and_its_path():
    whole = device()
    back = placing.drawn_back(whole, 25.0)
    assert len(back.points) == len(whole.points) - 25
    assert back.points[:SHAFT - 24] == pytest.approx(whole.points[:SHAFT - 24])
    for one in (whole, back):
        shape = one.points[-SHAPE:]
        assert np.hypot(*(shape[-1] - shape[0])) == pytest.approx(
            np.hypot(*(whole.points[-1] - whole.points[-SHAPE])))
    along = np.array([np.cos(0.3), np.sin(0.3)])
    assert back.points[-1] == pytest.approx(whole.points[-1] - 25 * along)


def test_a_device_is_not_drawn_out_of_the_picture():
    assert len(placing.drawn_back(device(), 1e4).points) > SHAPE + 2


@pytest.mark.parametrize('angle', [0.0, 0.7, np.pi / 2, 2.5, np.pi])
def test_a_turned_tip_keeps_its_extent_along_the_axis_and_the_cosine_across(angle):
    whole = device(heading=0.0)
    turned = placing.turned(whole, angle)
    before, after = (one.points[-1] - whole.points[SHAFT] for one in (whole, turned))
    assert after[0] == pytest.approx(before[0], abs=0.2)
    assert after[1] == pytest.approx(np.cos(angle) * before[1], abs=0.2)
    assert turned.points[:SHAFT] == pytest.approx(whole.points[:SHAFT])
    steps = np.linalg.norm(np.diff(turned.points, axis=0), axis=1)
    assert steps == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize('angle', [0.7, 1.2, np.pi])
def test_a_turned_tip_is_darker_where_it_looks_shorter(angle):
    flat, turned = (placing.turned(device(), one) for one in (0.0, angle))
    assert flat.thickness == pytest.approx(1.0, abs=0.02)
    # What the beam meets in all is what it met before, but for what is left out at a sharp bend.
    assert turned.thickness.sum() == pytest.approx(SHAPE, rel=0.05)
    again = placing.turned(turned, 0.0)
    assert again.thickness == pytest.approx(turned.thickness, abs=0.05)

    drawn = []
    for one in (flat, turned):
        beam = np.zeros((180, 180), np.float32)
        draw_attenuation(one.moved(one.points + 70), beam)
        drawn.append(beam)
    before, after = drawn
    assert after.sum() == pytest.approx(before.sum(), rel=0.05)
    assert (after.max() > 1.2 * before.max()) == (angle < 3)


def test_no_tip_points_at_the_detector_without_end():
    assert placing.turned(device(), np.pi / 2).thickness.max() <= 3.0


def test_a_shape_that_is_partly_drawn_in_keeps_its_darkness():
    scene = scene_with_both()
    scene.devices = [placing.turned(one, 1.2) for one in scene.devices]
    cut = scene._place(Pose(advance_px=(5, 0)))[0]
    whole = scene.devices[0]
    assert len(cut.thickness) == cut.shaped == whole.shaped - 5
    assert cut.thickness == pytest.approx(whole.thickness[:-5])


def test_a_wire_comes_out_of_its_catheter_wherever_that_is():
    catheter = device()
    wire = with_wire(catheter)
    moved = placing.turned(placing.drawn_back(catheter, 20), 2.0)
    follows = placing.through(wire, catheter, moved.points)
    tip = follows.hidden_until
    assert follows.points[tip] == pytest.approx(moved.points[-1])
    assert len(follows.points) - tip == len(wire.points) - wire.hidden_until
    out, on = follows.points[tip + 3] - follows.points[tip], moved.points[-1] - moved.points[-4]
    assert out @ on / np.hypot(*out) / np.hypot(*on) == pytest.approx(1.0, abs=1e-6)


def scene_with_both(size=160, margin=0):
    """Return a scene with a catheter whose tip bends a good deal, and a wire."""
    rng = np.random.default_rng(4)
    scene = Scene('phantom', rng, size, 0.6, 1, margin)
    for _ in range(1000):
        scene.redraw_devices(rng, 1)
        inside = ((scene.tips > 15) & (scene.tips < size - 15)).all()
        if len(scene.devices) == 2 and inside:
            catheter = scene.devices[0]
            turned = placing.turned(catheter, np.pi)
            if np.hypot(*(turned.points[-1] - catheter.points[-1])) > 20:
                return scene
    raise AssertionError('no scene with both devices')


@pytest.mark.parametrize('pose', [Pose(retracted_px=20.0), Pose(turn=2.5),
                                  Pose(retracted_px=15.0, turn=1.0, beat=0.5)])
def test_labels_lie_on_what_is_drawn(pose):
    scene = scene_with_both()
    still, moved = (scene.render(scene.detector(np.random.default_rng(0)), one)
                    for one in (Pose(), pose))
    assert (still[1].mask != moved[1].mask).any()
    # Where a device was and is no longer, the picture is lighter; where it came, darker.
    change = moved[0].astype(float) - still[0]
    gone = (still[1].mask > 0) & (moved[1].mask == 0)
    come = (still[1].mask == 0) & (moved[1].mask > 0)
    assert change[gone].mean() > change[come].mean() + 5
    for instrument in moved[1].instruments:
        x, y = np.rint(instrument.centerline).astype(int).T.clip(0, scene.size - 1)
        assert (moved[1].mask[y, x] > 0).mean() > 0.95


def test_a_table_that_moves_takes_all_but_the_collimator_along():
    scene = scene_with_both(margin=24)
    truth, moved = (scene.render(scene.detector(np.random.default_rng(0)), Pose(table_px=by))[1]
                    for by in ((0.0, 0.0), (20.0, -12.0)))
    field = scene._chain.field >= 0.25
    expected = np.roll(truth.mask, (-12, 20), axis=(0, 1))
    both = field & np.roll(field, (-12, 20), axis=(0, 1))
    both[-12:], both[:, :20] = False, False
    assert (moved.mask == expected)[both].mean() > 0.999
    assert not moved.mask[~field].any()


def test_a_bolus_comes_runs_on_and_washes_out():
    ranges = find('human').motions.bolus
    root = np.array([20.0, 64.0]), 0.0
    bolus = Bolus(ranges, np.random.default_rng(1), 128, 1.0, 0.3, root)
    times = np.arange(0.0, 14.0, 0.1)
    frames = np.stack([bolus.at(time) for time in times])
    whole = frames.sum(axis=(1, 2))
    assert whole[0] == 0 and whole.argmax() > 5 and whole[-1] < 0.1 * whole.max()
    first = times[(frames > 0.02).argmax(axis=0)]
    seen = (frames > 0.02).any(axis=0)
    y, x = np.nonzero(seen)
    distance = np.hypot(x - 20, y - 64)
    near, far = (first[y[part], x[part]].mean()
                 for part in (distance < 20, distance > np.quantile(distance, 0.9)))
    assert near < far
    assert frames.max() <= ranges.strength.high * 3


def test_labels_do_not_change_by_contrast_agent(tmp_path):
    bolus = settings(tmp_path, '{bolus: {chance: 1, start_s: [0, 0], rise_s: [0.2, 0.2]}}')
    plain, injected = (list(islice(FluoroscopySimulator(kind, 128, 4.0, 5), 4))
                       for kind in ('human', bolus))
    assert all(np.array_equal(a.truth.mask, b.truth.mask) for a, b in zip(plain, injected))
    assert np.array_equal(plain[0].image, injected[0].image)
    assert not np.array_equal(plain[3].image, injected[3].image)


@pytest.mark.parametrize('name', ['retraction', 'rotation', 'table', 'bolus'])
def test_each_manoeuvre_is_chosen_by_its_chance(tmp_path, name):
    def frames(chance):
        config = settings(tmp_path, f'{{{name}: {{chance: {chance}}}}}')
        return list(islice(FluoroscopySimulator(config, 96, 2.0, 3), 4))
    off, on, default = frames(0.0), frames(1.0), list(islice(
        FluoroscopySimulator('human', 96, 2.0, 3), 4))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(off, default))
    assert any(not np.array_equal(a.image, b.image) for a, b in zip(off, on))


def test_a_sequence_with_all_of_it_has_truth_in_every_frame(tmp_path):
    every = settings(tmp_path, '{retraction: {chance: 1}, rotation: {chance: 1}, table: {chance: '
                     '1}, bolus: {chance: 1}}', 'animal')
    for frame in islice(FluoroscopySimulator(every, 128, 3.0, 2, scene_seconds=2.0), 12):
        for instrument in frame.truth.instruments:
            x, y = np.rint(instrument.centerline).astype(int).T.clip(0, 127)
            assert (frame.truth.mask[y, x] > 0).mean() > 0.9


def test_a_device_that_leaves_the_picture_and_comes_back_is_several_instruments():
    scene = scene_with_both()
    arch = integrate(np.array([20.0, scene.size + 4.0]), -np.pi / 2,
                     np.r_[np.zeros(120), np.full(100, np.pi / 100), np.zeros(110)])
    low = arch - (0, arch[:, 1].min() + 30)  # its top is above the picture, its tip is in it
    scene.devices = [Device(labels.CATHETER, low, 3.0, 0.4, 0.5, 5.0, 1.0)]
    truth = scene.render(scene.detector(np.random.default_rng(0)))[1]
    up, down = truth.instruments
    assert not up.tip_visible and down.tip_visible
    assert down.tip == pytest.approx(low[-1], abs=1.0)
    assert up.centerline[0, 1] > up.centerline[-1, 1] and up.tip[1] < 20
    assert down.centerline[0, 1] < 20
    for instrument in truth.instruments:
        x, y = np.rint(instrument.centerline).astype(int).T.clip(0, scene.size - 1)
        assert (truth.mask[y, x] > 0).all()
