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

"""The report of `evaluate` as a reader opens it: a real browser without a network."""

from pathlib import Path

from fedefm_ros.cli import app
from fedefm_ros.commands.convert import convert

import pytest

from typer.testing import CliRunner


@pytest.fixture(scope='module')
def report(models, tmp_path_factory):
    """Return the report of two models with long names on a bag with its truth."""
    folder = tmp_path_factory.mktemp('report')
    convert('simulator:phantom', folder / 'bag', frames=24, size=256, seed=3, rate=2.0)
    long = folder / ('a_model_with_a_name_that_tells_how_it_was_trained_and_on_what_' * 2
                     + '.safetensors')
    long.write_bytes(Path(models['swapped']).read_bytes())
    done = CliRunner().invoke(app, list(map(str, (
        'evaluate', folder / 'bag', '--model', models['lines'], '--model', long, '--runtime',
        'openvino', '--precision', 'f32', '--resamples', 20, '-o', folder / 'out'))))
    assert done.exit_code == 0, done.output
    return folder / 'out' / 'report.html'


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [1200, 420])
def test_it_is_whole_and_asks_for_nothing_else(browser, report, scheme, width):
    context = browser.new_context(viewport={'width': width, 'height': 900}, offline=True,
                                  color_scheme=scheme)
    page, asked, errors = context.new_page(), [], []
    page.on('request', lambda request: asked.append(request.url))
    page.on('console', lambda message: errors.append(message.text))
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.goto(report.as_uri())
    page.wait_for_load_state('load')
    assert [url for url in asked if not url.startswith('data:')] == [report.as_uri()]
    assert errors == []
    images = page.evaluate('[...document.images].map(i => [i.naturalWidth, i.clientWidth])')
    assert len(images) >= 8 and all(natural > 50 and shown > 50 for natural, shown in images)
    # Nothing runs out of the page; wide tables scroll within it.
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    tables = page.evaluate(
        '[...document.querySelectorAll(`.scroll`)].map(e => e.scrollWidth - e.clientWidth)')
    assert width < 1200 or max(tables) == 0, 'two contestants have room'
    text = page.inner_text('body')
    for heading in ('Results', 'As published', 'Plots', 'Worst frames', 'What the measures are'):
        assert heading in text
    assert 'against lines' in text and 'nan' not in text.split()
    ink, paper = page.evaluate(
        '(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))')
    assert abs(brightness(ink) - brightness(paper)) > 150, 'text is told from its ground'
    for name in page.evaluate('[...document.links].map(a => a.getAttribute(`href`))'):
        assert (report.parent / name).stat().st_size
    context.close()


def brightness(colour):
    """Return the mean of rgb(r, g, b)."""
    values = [float(part) for part in colour[colour.index('(') + 1:-1].split(',')[:3]]
    return sum(values) / 3
