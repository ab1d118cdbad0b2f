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

"""`federate` before it starts anything; what it starts is in test/system."""

from fedefm_ros.commands.federate import _STEPS
from fedefm_ros.commands.federate import _steps
from fedefm_ros.commands.federate import federate
from fedefm_ros.errors import FedefmError

import pytest


@pytest.mark.parametrize('task', _STEPS)
def test_every_number_of_stations_has_laps_that_fit(task):
    for count in range(2, 17):
        steps = _steps(task, [f'station_{k}' for k in range(count)], 'ring', {})
        assert steps['laps'] == min(_STEPS[task]['laps'], 257 // count)
        assert steps == {**_STEPS[task], 'laps': steps['laps']}


@pytest.mark.parametrize('given, told', [
    ({'stations': 7, 'laps': 40}, 'laps is 40 with 7 stations.* 256 .*36 or less'),
    ({'topology': 'star'}, "topology 'star'"), ({'task': 'other'}, "task 'other'")])
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path, given, told):
    with pytest.raises(FedefmError, match=told):
        federate(**given, out=tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
