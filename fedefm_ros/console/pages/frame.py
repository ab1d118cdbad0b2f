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

"""What all pages have: links, alarms, the operator's switches, shortcuts, and how commands run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
import time

from fedefm_ros.console.alarms import ALARM, Entry
from fedefm_ros.console.desk import Desk
from fedefm_ros.console.outcome import Outcome

from nicegui import ui

REFRESH = 0.25
"""Seconds between two updates of what a page says; pictures come on their own way."""
PAGES = (('Live', '/', '1'), ('Station', '/station', '2'), ('Federation', '/federation', '3'))
_SHAPES = {ALARM: '\u2b23', 'warning': '\u25b2', 'ended': '\u25cb'}
_SHORTCUTS = (
    ('1 2 3', 'Live, Station, Federation'), ('a', 'acknowledge the alarms'),
    ('space', 'pause or go on with the source (Live, Station)'),
    ('r', 'start or stop recording (Live, Station)'), ('t', 'trace of the tip on or off (Live)'),
    ('d', 'dim: red light for a dark room, and back'), ('s', 'sound of the alarms on or off'),
    ('?', 'this list'), ('Esc', 'close what is open'), ('Tab, Enter', 'reach and press'))


def button(text: str, act: Callable | None = None, *, key: str = '', kind: str = '',
           name: str = '', script: str = '') -> ui.button:
    """
    Return a button large enough for a finger.

    :param key: pressing it presses the button.
    :param kind: ``primary`` or ``danger``.
    :param name: what a screen reader says where the text alone would not do.
    :param script: JavaScript to run in the browser in place of a command.
    """
    made = ui.button(text, on_click=act, color=None).props('no-caps unelevated')
    made.classes(f'btn {kind}')
    if key:
        made.props(f'data-key="{key}" aria-keyshortcuts="{key}"')
    if name:
        made.props(f'aria-label="{name}"')
    if script:
        made.on('click', js_handler=f'() => {script}')
    return made


@contextmanager
def frame(desk: Desk, current: str) -> Iterator[Callable[[Callable[[], None]], None]]:
    """
    Build what is around a page; yields the function that takes what to refresh.

    :param current: the page's name in ``PAGES``.
    """
    ui.add_head_html('<link rel="stylesheet" href="/console/console.css">'
                     '<script defer src="/console/page.js"></script>')
    ui.page_title(f'{current} - {desk.station}')
    refreshed: list[Callable[[], None]] = []
    with ui.element('header').classes('top'):
        ui.label(desk.station).classes('station-name')
        with ui.element('nav').props('aria-label="Pages"'):
            for name, address, key in PAGES:
                link = ui.link(name, address).props(f'data-key="{key}" aria-keyshortcuts="{key}"')
                link.classes('page-link' + (' current' if name == current else ''))
                if name == current:
                    link.props('aria-current="page"')
        lamps = ui.html('').classes('lamps')
        with ui.element('div').classes('switches'):
            button('Dim', key='d', script='fedefm.toggle("red")', name='Dim red light'
                   ).props('data-switch="red"')
            button('Sound off', key='s', script='fedefm.toggle("sound")', name='Sound of alarms'
                   ).props('data-switch="sound"')
            shortcuts = _shortcuts()
            button('?', shortcuts.open, key='?', name='Shortcuts').classes('round')
    with ui.element('section').classes('alarms').props('aria-label="Alarms"'):
        board = ui.html('').classes('board')
        acknowledge = button('Acknowledge', desk.board.acknowledge, key='a', kind='primary')
    spoken = ui.label('').classes('spoken').props('role="alert"')

    def refresh():
        entries = desk.board.entries()
        lamps.set_content(_lamps(desk))
        board.set_content(''.join(_entry(entry, desk.snapshot.now) for entry in entries))
        acknowledge.set_visibility(any(not entry.acknowledged for entry in entries))
        spoken.set_text('; '.join(entry.condition.title for entry in entries if entry.active))
        for update in refreshed:
            update()
    with ui.element('main').classes(f'page page-{current.lower()}'):
        yield refreshed.append
    refresh()
    ui.timer(REFRESH, refresh, immediate=False)


def _shortcuts() -> ui.dialog:
    with ui.dialog() as dialog, ui.card().classes('card'):
        ui.label('Shortcuts').classes('card-title')
        rows = ''.join(f'<tr><th><kbd>{escape(keys)}</kbd></th><td>{escape(text)}</td></tr>'
                       for keys, text in _SHORTCUTS)
        ui.html(f'<table class="shortcuts">{rows}</table>')
        button('Close', dialog.close)
    return dialog


def _lamps(desk: Desk) -> str:
    snapshot = desk.snapshot
    procedure = {True: 'procedure runs', False: 'no procedure', None: 'procedure unknown'}[
        snapshot.procedure]
    told = [('on' if snapshot.procedure else 'off', procedure)]
    if desk.recording.running:
        told.append(('rec', f'recording {desk.recording.seconds:.0f} s'))
    if desk.busy:
        told.append(('busy', desk.busy))
    return ''.join(f'<span class="lamp {kind}"><i></i>{escape(text)}</span>'
                   for kind, text in told)


def _entry(entry: Entry, now: float) -> str:
    condition = entry.condition
    state = condition.level if entry.active else 'ended'
    age = now - entry.since if entry.active else now - entry.ended
    when = f'for {age:.0f} s' if entry.active else f'over since {age:.0f} s'
    if entry.times > 1:
        when += f', {entry.times} times'
    word = {'alarm': 'ALARM', 'warning': 'WARNING', 'ended': 'WAS'}[state]
    text = f'<span>{escape(condition.text)}</span> ' if entry.active else ''
    return (f'<div class="entry {state}{" loud" if entry.loud else ""}">'
            f'<span class="shape" aria-hidden="true">{_SHAPES[state]}</span>'
            f'<b>{word}: {escape(condition.title)}</b> {text}<small>{when}</small></div>')


def commanding(desk: Desk, what: str, do: Callable[..., Outcome],
               arguments: Callable[[], tuple] = tuple, confirm: str = '') -> Callable:
    """
    Return a handler that carries a command out and says what came of it.

    :param what: for people.
    :param arguments: asked when the button is pressed.
    :param confirm: asked first while frames come; empty: never.
    """
    async def handler():
        given = arguments()
        if confirm and desk.snapshot.flowing and not await _agreed(confirm):
            return
        outcome = await desk.command(what, do, *given)
        # ROS words come from the network: text, never markup.
        ui.notify(outcome.text, type='positive' if outcome.done else 'negative',
                  position='bottom', timeout=6000 if outcome.done else 15000,
                  close_button='Close', html=False)
    return handler


async def _agreed(question: str) -> bool:
    with ui.dialog() as dialog, ui.card().classes('card'):
        ui.label('Frames are coming').classes('card-title')
        ui.label(question)
        with ui.row().classes('buttons'):
            button('Yes, do it', lambda: dialog.submit(True), kind='danger')
            button('No', lambda: dialog.submit(False)).props('autofocus')
    answer = await dialog
    dialog.delete()
    return bool(answer)


def latest(desk: Desk) -> str:
    """Return what came of the latest command, for all browsers."""
    if desk.busy:
        return f'{desk.busy} ...'
    if desk.told is None:
        return 'no command yet'
    at, outcome = desk.told
    return f'{time.strftime("%H:%M:%S", time.localtime(at))} ' \
        f'{"done" if outcome.done else "FAILED"}: {outcome.text}'
