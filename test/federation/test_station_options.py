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

"""Trips have as many stops as a manifest may count, and no more."""

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.options import MemberOptions
from fedefm_ros.federation.station.options import most_laps
from fedefm_ros.federation.trust.limits import Limits

import pytest


def options(count, **values):
    names = tuple(f'station_{number}' for number in range(count))
    return MemberOptions(names, names[0], **values)


@pytest.mark.parametrize('topology', ['ring', 'complete'])
@pytest.mark.parametrize('count, stops, laps', [
    (2, 0, 128), (3, 0, 85), (6, 0, 42), (7, 0, 36), (16, 0, 16), (7, 2, 85), (7, 99, 36),
    (257, 0, 1)])
def test_the_longest_trip_comes_home_with_a_hop_that_is_taken(count, stops, laps, topology):
    assert most_laps(count, stops) == laps
    made = options(count, stops=stops, laps=laps, topology=topology)
    # A manifest of its way home has as many stops behind it as the trip has.
    length = len(made.route('station_0', 0))
    assert length <= Limits.max_hop < length + length // laps + 1


@pytest.mark.parametrize('count, stops, laps, told', [
    (7, 0, 40, 'laps is 40 with 7 stations: a trip would make 279 stops, at most 256 are '
     'allowed; set laps to 36 or less'),
    (3, 0, 86, 'set laps to 85 or less'), (7, 2, 86, 'set laps to 85 or less'),
    (258, 0, 1, 'or stops to fewer stations')])
def test_a_trip_that_would_be_refused_on_its_way_is_refused_at_once(count, stops, laps, told):
    with pytest.raises(FedefmError, match=told):
        options(count, stops=stops, laps=laps)
