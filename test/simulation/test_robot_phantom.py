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

"""The simulated phantom: its vessels, its ways and its walls."""

from fedefm_ros.errors import FedefmError
from fedefm_ros.simulation.robot.phantom import Phantom
from fedefm_ros.simulation.robot.phantom import STEP
from fedefm_ros.simulation.robot.phantom import TARGETS
from fedefm_ros.simulation.robot.walls import DistanceField
from fedefm_ros.simulation.robot.walls import wall_forces
from fedefm_ros.simulation.robot.walls import WallLaw

import numpy as np

import pytest


@pytest.fixture(scope='module')
def phantom():
    return Phantom(3)


@pytest.fixture(scope='module')
def field(phantom):
    return DistanceField(phantom)


def test_equal_seeds_give_equal_phantoms_and_others_do_not():
    one, same, other = (Phantom(seed).vessels['LCCA'].points for seed in (5, 5, 6))
    assert np.array_equal(one, same)
    assert one.shape != other.shape or not np.allclose(one, other)


def test_arteries_leave_the_arch_in_the_order_of_anatomy(phantom):
    # From the descending aorta on the right: subclavian, carotid, brachiocephalic trunk.
    ostia = [phantom.vessels[name].points[phantom.vessels[name].ostium, 0]
             for name in ('LSA', 'LCCA', 'BCT')]
    assert ostia[0] > ostia[1] + 0.005 > ostia[2] + 0.010


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('target', TARGETS)
def test_a_way_leads_through_the_lumen_into_its_artery(seed, target):
    phantom = Phantom(seed)
    way = phantom.route(target)
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    assert np.allclose(steps, STEP, rtol=0.05)
    assert np.linalg.norm(way[0] - phantom.entry) < 0.002
    assert phantom.locate(way[0])[0] == 'aorta'
    assert phantom.reached(way[-1], target)
    assert not phantom.reached(way[0], target)
    distance, _ = DistanceField(phantom).at(way)
    assert distance.min() > 0.002


def test_an_unknown_target_is_refused(phantom):
    with pytest.raises(FedefmError, match='LVA.*known: LSA'):
        phantom.route('LVA')


def test_the_field_tells_distances_to_a_straight_tube(phantom, field):
    aorta = phantom.vessels['aorta']
    low = np.argmin(np.abs(aorta.points[:, 1] - 0.050))
    centre, radius = aorta.points[low], aorta.radii[low]
    for offset in (0.2, 0.5, 0.8, 1.1):
        off = centre + np.array([0.0, 0.0, offset * radius])
        distance, inward = field.at(off[None])
        assert distance[0] == pytest.approx(radius * (1.0 - offset), abs=7e-4)
        assert inward[0] @ [0.0, 0.0, -1.0] > 0.95


def test_the_wall_pushes_back_and_resists_sliding():
    law = WallLaw()
    inward = np.array([[1.0, 0.0, 0.0]] * 3)
    sliding = np.array([[0.0, 0.02, 0.0]] * 3)
    forces, normal = wall_forces(law, np.array([0.002, 0.0, -0.001]), inward, sliding, 0.0005)
    assert normal[0] == 0.0 and not forces[0].any()
    assert 0.0 < normal[1] < normal[2] == pytest.approx(law.stiffness * 0.0015)
    assert np.allclose(forces[1:, 0], normal[1:])
    # Against the motion, and at most Coulomb's share.
    assert (forces[1:, 1] < 0.0).all()
    assert (np.abs(forces[1:, 1]) <= law.friction * normal[1:]).all()


def test_the_wall_never_pulls():
    away = np.array([[5.0, 0.0, 0.0]])
    _, normal = wall_forces(WallLaw(), np.array([0.0]), np.array([[1.0, 0.0, 0.0]]), away, 0.0005)
    assert normal[0] == 0.0
