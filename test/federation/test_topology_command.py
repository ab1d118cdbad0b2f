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

import json
from pathlib import Path

from fedefm_ros.cli import app

import pytest

from typer.testing import CliRunner

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'topologies.md'


def run(*arguments):
    return CliRunner().invoke(app, ['topology', *map(str, arguments)])


def test_the_page_says_what_the_command_says():
    if not PAGE.is_file():
        pytest.skip('no docs beside these tests')
    done = run('gaia', '--topologies', 'star,matcha,mst,ring,complete', '--markdown')
    table = [line for line in done.stdout.splitlines() if line.startswith('| ')]
    assert done.exit_code == 0 and len(table) == 6
    page = PAGE.read_text(encoding='utf-8')
    for line in table:
        assert line in page


def test_figures_are_written_for_programs(tmp_path):
    done = run('gaia', '--topologies', 'ring', '--stops', 2, '--json', tmp_path / 'out.json')
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / 'out.json').read_text())
    row, = figures['rows']
    assert (row['network'], row['silos'], row['topology'], row['transfers']) == (
        'gaia', 11, 'ring', 11)
    assert row['cycle_ms'] == pytest.approx(row['published_ms'], abs=6e-5)
    assert row['trips_ms'] > row['cycle_ms']


def test_other_sizes_are_not_compared_with_the_published_ones(tmp_path):
    done = run('--topologies', 'star,ring', '--megabytes', 177.6, '--json', tmp_path / 'out.json')
    assert 'published' not in done.stdout
    star, ring = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert (star['cycle_ms'], ring['cycle_ms']) == pytest.approx((3122, 1473), abs=1)


@pytest.mark.parametrize('arguments, message', [
    (('mars',), 'no network mars'), (('--topologies', 'torus'), "unknown topology 'torus'"),
    (('--budget', 2, '--topologies', 'matcha'), 'communication budget of 2')])
def test_what_is_unknown_is_refused_in_one_line(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 1
    assert f'error: {message}' in done.output or f'error: a {message}' in done.output
