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

"""A station's day as a picture: procedures, what the federation did when, the masks' latency."""

from pathlib import Path

_COLOURS = {'idle': '#e6e6e6', 'local': '#8dd3c7', 'overseas': '#80b1d3', 'transfer': '#fdb462',
            'distil': '#b3de69', 'gate': '#bc80bd', 'paused': '#ffffff'}


def draw_day(watch, path: Path) -> Path:
    """
    Draw what was seen of a day and return the file.

    :param watch: a demo_day.Watch.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    figure = Figure(figsize=(10, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    bars, dots = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 1))
    names = list(watch.phases)
    for place, name in enumerate(names):
        changes = [*watch.phases[name], (watch.now, '')]
        for (begin, phase), (end, _) in zip(changes, changes[1:]):
            bars.barh(place, end - begin, left=begin, height=0.7, edgecolor='#808080',
                      linewidth=0.4, color=_COLOURS.get(phase, '#ffffff'))
    for axis in (bars, dots):
        for begin, end in watch.procedures:
            axis.axvspan(begin, end, color='#d62728', alpha=0.12, linewidth=0)
    bars.set_yticks(range(len(names)), names)
    bars.invert_yaxis()
    bars.set_title('red: a procedure at the first station; there its federation stands still '
                   '(paused)', fontsize=9)
    bars.legend(handles=[Patch(facecolor=colour, edgecolor='#808080', label=phase)
                         for phase, colour in _COLOURS.items()], fontsize=7, ncols=7,
                loc='upper center', bbox_to_anchor=(0.5, -0.02))
    dots.plot(*zip(*watch.masks), '.', markersize=2, color='#1f77b4')
    dots.set_ylim(bottom=0)
    dots.set_ylabel('image -> mask, ms')
    dots.set_xlabel('seconds')
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
