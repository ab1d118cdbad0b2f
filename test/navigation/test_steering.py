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

"""What steering does about what it sees."""

from fedefm_ros.errors import FedefmError
from fedefm_ros.navigation.steering import headings
from fedefm_ros.navigation.steering import Steering
from fedefm_ros.navigation.steering import SteeringParameters
from fedefm_ros.navigation.steering import STOP
from fedefm_ros.navigation.way import way_from_text
from fedefm_ros.navigation.way import way_to_text

import numpy as np

import pytest

UP = np.array([(200.0, 500.0), (200.0, 100.0)])
P = SteeringParameters()


def wire(tip, bend_deg=0.0, shaft_deg=-90.0):
    """Return a wire whose last 45 px are bent against its shaft; degrees from +x towards +y."""
    def ahead(degrees):
        return np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    bend = np.asarray(tip, float) - 45.0 * ahead(shaft_deg + bend_deg)
    start = bend - 150.0 * ahead(shaft_deg)
    return np.vstack([np.linspace(start, bend, 75, endpoint=False), np.linspace(bend, tip, 23)])


def test_headings_tell_tip_and_shaft_apart():
    tip, shaft = headings(wire((200.0, 300.0), bend_deg=40.0))
    assert np.rad2deg(tip) == pytest.approx(-50.0, abs=3.0)
    assert np.rad2deg(shaft) == pytest.approx(-90.0, abs=3.0)


def test_a_short_piece_has_one_heading():
    tip, shaft = headings(wire((200.0, 300.0))[-12:])
    assert tip == shaft == pytest.approx(-np.pi / 2)


def test_it_pushes_where_the_tip_points_along_the_way():
    command, word = Steering(UP).command(0.0, wire((203.0, 300.0)))
    assert word == 'pushing'
    assert command.insertion == P.insertion_speed and command.rotation == 0.0


def test_it_turns_without_pushing_where_the_tip_points_elsewhere():
    command, word = Steering(UP).command(0.0, wire((200.0, 300.0), bend_deg=60.0))
    assert word == 'turning'
    assert command.insertion == 0.0 and abs(command.rotation) == P.rotation_speed


def test_it_takes_the_best_there_is_after_turning_in_vain():
    steering = Steering(UP)
    words = [steering.command(0.1 * index, wire((200.0, 300.0), bend_deg=60.0))[1]
             for index in range(60)]
    assert words[0] == 'turning' and words[-1] == 'pushing'


def test_it_draws_back_out_of_a_wrong_branch_until_the_way_lies_ahead():
    bend = np.array([(200.0, 500.0), (200.0, 300.0), (100.0, 300.0)])
    steering = Steering(bend)
    # Gone straight on where the way turns left.
    words = []
    for index in range(4):
        command, word = steering.command(0.1 * index, wire((200.0, 240.0)))
        words.append(word)
    # One picture may be wrong; not two.
    assert words[0] != words[2] == word == 'the way is behind' and command.insertion < 0.0
    command, word = steering.command(0.4, wire((200.0, 330.0), bend_deg=-40.0))
    assert word == 'pushing' and command.insertion > 0.0


def test_pushing_without_progress_draws_back_and_turns():
    steering = Steering(UP)
    words = [steering.command(0.1 * index, wire((200.0, 300.0)))[1] for index in range(30)]
    assert words[:10] == ['pushing'] * 10
    assert 'stuck' in words and 'drawing back' in words
    assert words.index('stuck') * 0.1 == pytest.approx(P.stuck_seconds, abs=0.25)


@pytest.mark.parametrize('pause', [0.5, 20.0, 600.0])
def test_a_stop_is_no_time_in_which_it_turned_or_got_stuck(pause):
    """Else the tip may point anywhere after it, and it draws back at once."""
    turning = Steering(UP)
    turning.command(0.0, wire((200.0, 300.0), bend_deg=-100.0))
    # Moved meanwhile, by whoever looked.
    words = [turning.command(pause + 0.1 * index, wire((200.0, 290.0), bend_deg=-100.0))[1]
             for index in range(20)]
    assert words == ['turning'] * 20
    pushing = Steering(UP)
    for now in (0.0, pause):
        assert pushing.command(now, wire((200.0, 300.0)))[1] == 'pushing'


def test_it_eases_off_before_the_force_limit():
    command, _ = Steering(UP).command(0.0, wire((200.0, 300.0)), force_share=0.8)
    assert command.insertion < 0.0


def test_it_stands_when_it_is_there():
    assert Steering(UP).command(0.0, wire((202.0, 105.0))) == (STOP, 'there')


@pytest.mark.parametrize('way', [[], [(1.0, 2.0)], [(1.0, 2.0), (np.nan, 3.0)]])
def test_a_way_that_is_none_is_refused(way):
    with pytest.raises(FedefmError, match='two or more finite points'):
        Steering(np.array(way, float).reshape(-1, 2))


def test_ways_survive_as_text():
    way = np.array([(1.25, 300.0), (17.0, -4.5)])
    assert np.allclose(way_from_text(way_to_text(way)), way, atol=0.051)
    assert way_from_text('').shape == (0, 2)


@pytest.mark.parametrize('text', ['1,2 3', '1,2,3 4', 'a,b', '1,nan', '1,2 3,inf'])
def test_text_that_is_no_way_is_refused(text):
    with pytest.raises(FedefmError, match='is not a way'):
        way_from_text(text)
