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

"""The closed loop in one process: robot, eyes, guard and steering together."""

from fedefm_ros.simulation.robot.robot import DriveLimits
from fedefm_ros.simulation.robot.trial import run_try
from fedefm_ros.simulation.robot.trial import true_eyes

import numpy as np

import pytest

pytest.importorskip('mujoco')


def test_by_the_truth_it_reaches_an_artery_within_the_force_limit():
    words = []
    done = run_try(1, 'LSA', true_eyes, rate=10.0, limit_seconds=40.0,
                   watch=lambda frame, seen, why: words.append(why))
    assert done.reached and done.vessel == 'LSA'
    assert words[-1] == 'there' and {'turning', 'pushing'} <= set(words)
    assert 0.0 < done.force_max < 0.5 and not done.stops
    assert np.linalg.norm(done.trace[-1] - done.way[-1]) < 30.0


def test_blind_it_does_not_move_and_gives_up():
    done = run_try(1, 'LSA', lambda frame: (), rate=10.0, limit_seconds=20.0, resumes=1)
    assert not done.reached
    assert done.stops == {'no instrument': 2}
    assert done.seconds < 3.0
    wire = done.last.truth.instruments[0]
    # Seen at a slant, it can only look shorter than it is.
    assert wire.length_mm < 1e3 * DriveLimits.shortest * 1.1
