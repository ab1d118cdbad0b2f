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

"""Plots and the graph of stations as SVG text, made once for all browsers."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
import math

from fedefm_ros.console.network import Network

import networkx as nx

_WIDTH, _HEIGHT = 320, 96
_TOP, _BOTTOM = 30, 90
_GRAPH_WIDTH, _GRAPH_HEIGHT = 640, 420


@dataclass(frozen=True)
class Line:
    """One line of a plot; NaN leaves a gap."""

    name: str
    values: Sequence[float]


def plot(title: str, unit: str, lines: Sequence[Line], limit: float | None = None) -> str:
    """
    Return a plot of the last minutes with the newest values as text.

    The first line is solid, the second dashed, so that they differ without colour.

    :param limit: drawn as a dotted line, for example a deadline.
    """
    finite = [value for line in lines for value in line.values if math.isfinite(value)]
    top = max([*finite, limit or 0.0, 1.0]) * 1.1
    parts = []
    if limit is not None:
        height = _y(limit, top)
        parts.append(f'<line class="limit" x1="0" x2="{_WIDTH}" y1="{height}" y2="{height}"/>')
    for number, line in enumerate(lines):
        parts += [f'<polyline class="line line-{number}" points="{points}"/>'
                  for points in _stretches(line.values, top)]
    newest = '  '.join(f'{line.name} {_figure(line.values)}'.strip() for line in lines)
    label = f'{title}: {newest} {unit}'
    return (f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'aria-label="{escape(label)}">'
            f'<text class="title" x="4" y="13">{escape(title)}</text>'
            f'<text class="newest" x="{_WIDTH - 4}" y="13">{escape(newest)} {escape(unit)}</text>'
            f'<text class="scale" x="4" y="{_TOP - 3}">{_short(top)}</text>'
            f'<line class="base" x1="0" x2="{_WIDTH}" y1="{_BOTTOM}" y2="{_BOTTOM}"/>'
            f'{"".join(parts)}</svg>')


def _stretches(values: Sequence[float], top: float) -> list[str]:
    """Return the points of each stretch without a gap."""
    # Always two minutes wide: what is new comes in at the right.
    step = _WIDTH / 119.0
    start = _WIDTH - step * (len(values) - 1)
    stretches: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if math.isfinite(value):
            stretches[-1].append(f'{start + index * step:.1f},{_y(value, top)}')
        elif stretches[-1]:
            stretches.append([])
    return [' '.join(points if len(points) > 1 else points * 2)
            for points in stretches if points]


def _y(value: float, top: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * min(value / top, 1.0), 1)


def _figure(values: Sequence[float]) -> str:
    return _short(values[-1]) if values and math.isfinite(values[-1]) else '-'


def _short(value: float) -> str:
    return f'{value:.0f}' if value >= 100 else f'{value:.1f}' if value >= 1 else f'{value:.2g}'


def graph(network: Network, own: str) -> str:
    """
    Return the stations and who listens to whom.

    An arrow leads from a teacher to the station that weighs it; its width and the figure beside
    it are the EMD weight. A station's shape tells its phase, its second line names it.
    """
    directed = nx.DiGraph()
    directed.add_nodes_from(network.names())
    for name, peer, weight in network.links():
        directed.add_edge(peer, name, weight=weight)
    places = _places(list(directed))
    arrows = ''.join(_arrow(places[a], places[b], data['weight'])
                     for a, b, data in directed.edges(data=True))
    stations = ''.join(_station(name, places[name], network, name == own) for name in directed)
    return (f'<svg class="graph" viewBox="0 0 {_GRAPH_WIDTH} {_GRAPH_HEIGHT}" role="img" '
            f'aria-label="{len(directed)} stations and the weights of their teachers">'
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="14" '
            'markerHeight="14" markerUnits="userSpaceOnUse" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z"/></marker></defs>{arrows}{stations}</svg>')


def _places(names: list[str]) -> dict[str, tuple[float, float]]:
    """Return where each station is drawn: around an ellipse."""
    round_about = nx.circular_layout(names) if len(names) > 1 else {n: (0.0, 0.0) for n in names}
    return {name: (_GRAPH_WIDTH / 2 + 0.36 * _GRAPH_WIDTH * x,
                   _GRAPH_HEIGHT / 2 - 14 + 0.34 * _GRAPH_HEIGHT * y)
            for name, (x, y) in round_about.items()}


def _arrow(start: tuple[float, float], end: tuple[float, float], weight: float) -> str:
    """Return an arc from one station to another, bent so that both directions show."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    ux, uy = dx / length, dy / length
    x1, y1, x2, y2 = (start[0] + 34 * ux, start[1] + 34 * uy, end[0] - 36 * ux, end[1] - 36 * uy)
    bend = 0.14 * length
    cx, cy = (x1 + x2) / 2 - bend * uy, (y1 + y2) / 2 + bend * ux
    known = math.isfinite(weight)
    width = 1.0 + 4.0 * max(0.0, weight) if known else 1.0
    tx, ty = (x1 + x2) / 4 + cx / 2 - 9 * uy, (y1 + y2) / 4 + cy / 2 + 9 * ux + 5
    text = f'<text class="weight" x="{tx:.0f}" y="{ty:.0f}">{weight:.2f}</text>' if known else ''
    return (f'<path class="arrow{"" if known else " unknown"}" stroke-width="{width:.1f}" '
            f'marker-end="url(#tip)" d="M{x1:.0f},{y1:.0f} Q{cx:.0f},{cy:.0f} {x2:.0f},{y2:.0f}"/>'
            f'{text}')


_SHAPES = (
    '<circle r="24"/>',  # idle
    '<rect x="-22" y="-22" width="44" height="44" rx="4"/>',  # local training
    '<rect x="-22" y="-22" width="44" height="44" rx="4" transform="rotate(45)"/>',  # a visitor
    '<path d="M-26,-14 L8,-14 L8,-24 L28,0 L8,24 L8,14 L-26,14 z"/>',  # transfer
    '<path d="M0,-27 L26,20 L-26,20 z"/>',  # distilling
    '<path d="M-13,-24 L13,-24 L27,0 L13,24 L-13,24 L-27,0 z"/>',  # gate
    '<path d="M-20,-24 h14 v48 h-14 z M6,-24 h14 v48 h-14 z"/>',  # paused
)


def _station(name: str, place: tuple[float, float], network: Network, own: bool) -> str:
    status = network.stations.get(name)
    shape = _SHAPES[min(status.phase, len(_SHAPES) - 1)] if status else _SHAPES[0]
    phase = status.phase_name if status else 'says nothing'
    kind = 'station' + (' own' if own else '') + ('' if status else ' silent')
    return (f'<g class="{kind}" transform="translate({place[0]:.0f},{place[1]:.0f})">'
            f'<title>{escape(name)}</title>'
            f'<g class="shape">{shape}</g>'
            f'<text class="name" y="47">{escape(_fitting(name))}</text>'
            f'<text class="phase" y="67">{escape(phase)}</text></g>')


def _fitting(name: str, most: int = 20) -> str:
    """Return a name that does not run out of the picture; hovering shows all of it."""
    return name if len(name) <= most else name[:most - 1] + '\u2026'
