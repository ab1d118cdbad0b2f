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

"""Page *Federation*: who learns with whom, what has been sent, what was refused."""

from html import escape
import math
import time

from fedefm_ros.console import charts
from fedefm_ros.console.desk import Desk
from fedefm_ros.console.network import Network, StationStatus
from fedefm_ros.console.pages.frame import button
from fedefm_ros.console.pages.frame import commanding
from fedefm_ros.console.pages.frame import frame
from fedefm_ros.console.pages.frame import latest

from nicegui import ui

_COMMANDS = (('start_round', 'Start a round', 'primary', ''),
             ('pause', 'Pause', '', ''),
             ('rollback', 'Roll back', 'danger',
              'Go back to the model before while frames come?'))


def page(desk: Desk) -> None:
    """Build the page for one browser."""
    with frame(desk, 'Federation') as on_refresh:
        told = ui.label('').classes('latest').props('aria-live=polite')
        with ui.element('section').classes('card wide'):
            with ui.element('div').classes('buttons'):
                buttons = {command: button(text, commanding(
                    desk, text.lower(), desk.controls.federate, lambda command=command: (command,),
                    confirm=confirm), kind=kind, name=f'{text} (federation)')
                    for command, text, kind, confirm in _COMMANDS}
            offered = ui.label('').classes('note')
        with ui.element('section').classes('card'):
            ui.label('Stations, and the EMD weight each gives its teachers').classes('card-title')
            graph = ui.html('')
        with ui.element('section').classes('card'):
            ui.label('Stations').classes('card-title')
            stations = ui.html('').classes('scrolling')
            ui.label('Neighbours').classes('card-title')
            peers = ui.html('').classes('scrolling')
        with ui.element('section').classes('card wide'):
            ui.label('Models on offer').classes('card-title')
            announcements = ui.html('').classes('scrolling')

    def refresh():
        network = desk.network
        told.set_text(latest(desk))
        for command, made in buttons.items():
            made.set_enabled(command in network.commands and not desk.busy)
        offered.set_text('' if network.commands else 'This station has no federation node, or '
                         'it does not take commands now.')
        graph.set_content(charts.graph(network, desk.station.strip('/')) if network.names()
                          else '<p>No station has told of a federation yet.</p>')
        stations.set_content(_stations(network))
        peers.set_content(_peers(network))
        announcements.set_content(_announcements(network))
    on_refresh(refresh)
    refresh()


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]], empty: str) -> str:
    if not rows:
        return f'<p>{empty}</p>'
    head = ''.join(f'<th>{column}</th>' for column in columns)
    body = ''.join('<tr>' + ''.join(f'<td{_width(cell)}>{escape(cell)}</td>' for cell in row)
                   + '</tr>' for row in rows)
    return f'<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _width(cell: str) -> str:
    """Return the class that lets a sentence wrap; figures and names stay on one line."""
    return ' class="long"' if len(cell) > 32 else ''


def _stations(network: Network) -> str:
    return _table(
        ('station', 'round', 'phase', 'sent', 'received', 'score', 'refused', 'heard'),
        [(each.name, str(each.round_number), each.phase_name, _size(each.bytes_sent),
          _size(each.bytes_received), _scores(each),
          f'{each.refused}: {each.last_refusal}' if each.refused else '0', f'{each.age:.0f} s ago')
         for each in network.stations.values()], 'none has told its status')


def _scores(status: StationStatus) -> str:
    before, after = (f'{score:.3f}' if math.isfinite(score) else '-'
                     for score in (status.score_before, status.score_after))
    change = status.score_after - status.score_before
    sign = '' if not math.isfinite(change) else \
        ' \u25b2' if change > 0 else ' \u25bc' if change < 0 else ' ='
    return f'{before} \u2192 {after}{sign}'


def _peers(network: Network) -> str:
    return _table(('station', 'listens to', 'EMD weight', 'last heard'), [
        (station.name, peer.name, f'{peer.weight:.3f}' if math.isfinite(peer.weight) else 'none',
         f'{peer.age + station.age:.0f} s ago' if math.isfinite(peer.age) else 'never')
        for station in network.stations.values() for peer in station.peers],
        'none has told of neighbours')


def _announcements(network: Network) -> str:
    return _table(('when', 'round', 'owner', 'sender', 'purpose', 'size', 'SHA-256'), [
        (time.strftime('%H:%M:%S', time.localtime(each.at)), str(each.round_number), each.owner,
         each.sender, each.purpose, _size(each.size), each.sha256[:16])
        for each in network.announcements[:20]], 'none since this console started')


def _size(count: int) -> str:
    return f'{count / 1e6:.1f} MB' if count >= 100_000 else f'{count / 1e3:.1f} kB'
