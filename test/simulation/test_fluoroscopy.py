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

"""The simulator as a frame source, and its ground truth."""

from itertools import islice

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.simulation.anatomy import KINDS
from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator
from fedefm_ros.simulation.scene import Pose
from fedefm_ros.simulation.scene import Scene

import numpy as np
import pytest


@pytest.mark.parametrize('kind', KINDS)
def test_frames_come_with_truth_that_fits_them(kind):
    frames = list(islice(FluoroscopySimulator(kind, 256, 15.0, seed=4), 3))
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[2].time == pytest.approx(2 / 15)
    for frame in frames:
        assert frame.image.shape == frame.truth.mask.shape == (256, 256)
        assert frame.image.dtype == frame.truth.mask.dtype == np.uint8
        assert set(np.unique(frame.truth.mask)) <= {0, 1, 2}
        assert frame.image.std() > 2.0
        for instrument in frame.truth.instruments:
            x, y = np.rint(instrument.centerline).astype(int).T
            covered = frame.truth.mask[y.clip(0, 255), x.clip(0, 255)]
            # A catheter may cross over a wire, and the other way round not.
            assert (covered > 0).mean() > 0.95
            assert np.isfinite(instrument.length_mm)


def test_equal_seeds_give_equal_frames_and_others_do_not():
    def third(seed):
        return list(islice(FluoroscopySimulator('human', 128, 15.0, seed), 3))[2].image
    assert np.array_equal(third(7), third(7))
    assert not np.array_equal(third(7), third(8))


def test_a_source_can_be_iterated_again():
    source = FluoroscopySimulator('phantom', 128, seed=1)
    assert np.array_equal(next(iter(source)).image, next(iter(source)).image)


def test_instruments_are_darker_than_what_is_beside_them():
    darker = []
    for seed in range(12):
        frame = next(iter(FluoroscopySimulator('phantom', 256, seed=seed)))
        mask = frame.truth.mask
        if (mask == labels.CATHETER).sum() < 50:
            continue
        ring = np.zeros_like(mask, bool)
        for shift in (-12, 12):
            ring |= np.roll(mask > 0, shift, axis=0) | np.roll(mask > 0, shift, axis=1)
        ring &= mask == 0
        darker.append(frame.image[mask == labels.CATHETER].mean() < frame.image[ring].mean())
    assert len(darker) > 6 and np.mean(darker) > 0.8


def test_a_wire_that_is_drawn_back_is_shorter():
    scene = next(s for s in (Scene('human', np.random.default_rng(seed), 256, 0.5, 1)
                             for seed in range(50)) if len(s.devices) == 2)
    detector = scene.detector(np.random.default_rng(0))
    wire = scene.devices[1]
    free = len(wire.points) - wire.hidden_until
    whole = scene.render(detector)[1].mask
    back = scene.render(detector, Pose(advance_px=(0.0, 0.9 * free)))[1].mask
    assert (back == labels.GUIDEWIRE).sum() <= (whole == labels.GUIDEWIRE).sum()


@pytest.mark.parametrize('arguments, said', [
    ({'kind': 'robot'}, 'kind'), ({'size': 3}, 'size'), ({'rate': 0.0}, 'rate')])
def test_what_cannot_be_is_refused(arguments, said):
    with pytest.raises(FedefmError, match=said):
        FluoroscopySimulator(**arguments)
