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

"""One HTML file that needs nothing else: figures, plots and pictures are inside it."""

import base64
import math
from pathlib import Path

from fedefm_ros.evaluation.measures import CONSISTENCY
from fedefm_ros.evaluation.summary import Summary
from fedefm_ros.files import write_atomically

_TEMPLATE = 'report.html.j2'
#: A p value below this is called significant.
SIGNIFICANT = 0.05
#: Sequences in the table; more are in the CSV only.
_MOST_SEQUENCES = 40
_OF_SEQUENCES = (
    'classes.catheter.dice', 'classes.guidewire.dice', 'union.cldice', 'union.precision_3px',
    'union.recall_3px', 'tip_error_px.median', 'false_instruments_per_frame',
    'temporal.flicker', 'temporal.overlap')


def write_report(path: Path, facts: dict, summary: Summary, plots: list[tuple[str, bytes]],
                 galleries: list[tuple[str, list[tuple[str, bytes]]]]) -> Path:
    """
    Write the report.

    :param facts: ``title``, ``input``, ``truth`` (empty: none), ``frames``, ``scored``,
        ``made`` (by what), ``notes`` (list of sentences) and ``files`` (names beside it).
    :param plots: captions and PNG files.
    :param galleries: contestant, and captions and JPEG files of its worst frames.
    :raises OSError: it cannot be written.
    """
    from jinja2 import Environment
    from jinja2 import FileSystemLoader
    from jinja2 import StrictUndefined
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(figure=_figure, interval=_interval, at=_at)
    keys = {measure.key for measure in summary.measures}
    text = environment.get_template(_TEMPLATE).render(
        facts=facts, contestants=summary.contestants, comparisons=summary.comparisons,
        measures=summary.measures, consistency={measure.key for measure in CONSISTENCY},
        truth_temporal=summary.truth_temporal, units=summary.units, significant=SIGNIFICANT,
        of_sequences=[m for m in summary.measures if m.key in _OF_SEQUENCES and m.key in keys],
        most_sequences=_MOST_SEQUENCES,
        plots=[(caption, _embedded('png', data)) for caption, data in plots],
        galleries=[(name, [(caption, _embedded('jpeg', data)) for caption, data in pictures])
                   for name, pictures in galleries])
    write_atomically(path, text.encode('utf-8'))
    return path


def _embedded(kind, data):
    return f'data:image/{kind};base64,{base64.b64encode(data).decode("ascii")}'


def _figure(value):
    """Return a number as people read it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return '\u2013'
    if isinstance(value, float):
        if math.isinf(value):
            return '\u221e'
        return f'{value:.3g}' if abs(value) < 100 else f'{value:.0f}'
    return str(value)


def _interval(pair):
    low, high = pair
    return '' if math.isnan(low) else f'{_figure(low)} to {_figure(high)}'


def _at(tree, key):
    for name in key.split('.'):
        tree = tree.get(name, {}) if isinstance(tree, dict) else {}
    return tree if not isinstance(tree, dict) else None
