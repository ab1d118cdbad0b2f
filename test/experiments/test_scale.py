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

"""`bench scale`: memory stays while silos grow, unless all weights are kept in it."""

import json

from fedefm_ros.cli import app

import pytest

from typer.testing import CliRunner


def grown(tmp_path, *options):
    """Return by how many models the peak memory of 8 silos is above that of 4, and the rows."""
    done = CliRunner().invoke(app, ['bench', 'scale', '--silos', '4', '--silos', '8', '--rounds',
                                    '2', *options, '--json', str(tmp_path / 'scale.json')])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / 'scale.json').read_text())['rows']
    small, large = (row['peak_memory_mb'] - row['base_memory_mb'] for row in rows)
    return (large - small) / rows[0]['model_mb'], rows


def test_memory_does_not_grow_with_the_silos(tmp_path):
    models, rows = grown(tmp_path)
    assert [row['silos'] for row in rows] == [4, 8]
    assert all(row['seconds_per_round'] > 0 for row in rows)
    assert models < 2
    # Each silo's weights before and after its turn: what the store on disk spares.
    kept, _ = grown(tmp_path, '--in-memory')
    assert kept > 4


@pytest.mark.parametrize('silos', ['1', 'many'])
def test_silos_that_cannot_be_are_refused(silos):
    assert CliRunner().invoke(app, ['bench', 'scale', '--silos', silos]).exit_code == 2
