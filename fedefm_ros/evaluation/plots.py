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

"""Plots of an outcome as PNG files in memory."""

from io import BytesIO

from fedefm_ros.evaluation.measures import values
from fedefm_ros.evaluation.rows import TOLERANCES
from fedefm_ros.evaluation.run import Outcome

import numpy as np

#: Okabe and Ito's colours, which stay apart for colour-blind readers.
_COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
_MOST_POINTS = 2000
_MOST_LETTERS = 32


def plots_of(outcome: Outcome) -> list[tuple[str, bytes]]:
    """Return (caption, PNG) of every plot that the figures allow."""
    made = [_over_frames(outcome, 'instrument_dice', 'Dice, any instrument',
                         'Dice of any instrument, frame by frame'),
            _tips(outcome), _centerlines(outcome),
            *(_over_frames(outcome, f'tip_jitter_{name}_px', 'px',
                           f'Jitter of the {name} tip, frame by frame')
              for name in ('catheter', 'guidewire')),
            _over_frames(outcome, 'temporal_iou', 'IoU', 'Overlap with the frame before'),
            _histogram(outcome, 'latency_ms', 'Latency as recorded: image to mask'),
            _histogram(outcome, 'work_ms', 'Work on a frame: image to instruments')]
    return [each for each in made if each]


def _over_frames(outcome, column, axis, caption):
    lines = [record.table.column(column) for record in outcome.records]
    if not any(np.isfinite(line).any() for line in lines):
        return None

    def draw(axes):
        for record, line, colour in zip(outcome.records, lines, _COLOURS * len(lines)):
            step = -(-len(line) // _MOST_POINTS)
            axes.plot(np.arange(len(line))[::step], np.where(np.isfinite(line), line,
                                                             np.nan)[::step],
                      '.-' if len(line) < 200 else '-', linewidth=1, markersize=4, color=colour,
                      label=_short(record.name))
        axes.set(xlabel='frame', ylabel=axis)
    return _plot(caption, draw, len(lines) > 1, wide=True)


def _tips(outcome):
    errors = [np.sort(record.table.tips[1]) for record in outcome.records]
    if not any(len(each) for each in errors):
        return None

    def draw(axes):
        for record, each, colour in zip(outcome.records, errors, _COLOURS * len(errors)):
            if len(each):
                axes.step(np.append(each[np.isfinite(each)], 50.0),
                          np.append(np.arange(1, np.isfinite(each).sum() + 1),
                                    np.isfinite(each).sum()) / len(each),
                          where='post', color=colour, label=_short(record.name))
        axes.set(xlabel='tip error, px', ylabel='share of true tips', xlim=(0, 20), ylim=(0, 1))
    return _plot('Share of true tips found within a distance (missed ones never)', draw,
                 len(errors) > 1)


def _centerlines(outcome):
    found = [values(record.table) for record in outcome.records]
    if not any(np.isfinite(each['union.recall_3px']) for each in found):
        return None

    def draw(axes):
        for record, each, colour in zip(outcome.records, found, _COLOURS * len(found)):
            for side, style in (('precision', '-o'), ('recall', '--s')):
                axes.plot(TOLERANCES, [each[f'union.{side}_{t}px'] for t in TOLERANCES], style,
                          color=colour, label=f'{_short(record.name)} {side}')
        axes.set(xlabel='tolerance, px', ylabel='share of the centreline', ylim=(0, 1.02),
                 xticks=TOLERANCES)
    return _plot('Centreline precision and recall', draw, legend=True)


def _histogram(outcome, column, caption):
    found = [(record, line[np.isfinite(line)]) for record in outcome.records
             if np.isfinite(line := record.table.column(column)).any()]
    if not found:
        return None

    def draw(axes):
        top = max(np.percentile(line, 99.5) for _, line in found)
        for (record, line), colour in zip(found, _COLOURS * len(found)):
            axes.hist(np.minimum(line, top), bins=50, histtype='step', linewidth=1.5,
                      color=colour, label=_short(record.name))
        axes.set(xlabel='ms (the last bin holds all above)', ylabel='frames')
    return _plot(caption, draw, len(found) > 1)


def _short(name):
    """Return a name that leaves room for the lines."""
    return name if len(name) <= _MOST_LETTERS else \
        f'{name[:_MOST_LETTERS // 2]}\u2026{name[-_MOST_LETTERS // 2:]}'


def _plot(caption, draw, legend, wide=False):
    from matplotlib.figure import Figure
    figure = Figure(figsize=(9.0 if wide else 4.4, 2.6), dpi=110, layout='constrained')
    axes = figure.add_subplot()
    draw(axes)
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    if legend:
        axes.legend(fontsize=8)
    buffer = BytesIO()
    figure.savefig(buffer, format='png')
    return caption, buffer.getvalue()
