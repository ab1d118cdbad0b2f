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

"""Page *Live*: the picture, whether it is to be trusted, and how the station keeps up."""

from html import escape
import math
import time

from fedefm_ros.console import charts
from fedefm_ros.console.charts import Line
from fedefm_ros.console.desk import Desk
from fedefm_ros.console.pages.frame import button
from fedefm_ros.console.pages.frame import commanding
from fedefm_ros.console.pages.frame import frame
from fedefm_ros.console.pages.frame import latest

from nicegui import ui


def page(desk: Desk) -> None:
    """Build the page for one browser."""
    with frame(desk, 'Live') as on_refresh:
        # The script needs the elements; it looks for them until they are there.
        ui.add_head_html('<script defer src="/console/live.js"></script>')
        with ui.element('section').classes('picture-column'):
            with ui.element('div').classes('picture-box').props('id=picture-box'):
                ui.element('canvas').props(
                    'id=picture width=512 height=512 role=img '
                    'aria-label="Fluoroscopy with catheter, guidewire and tip"')
                ui.element('div').props('id=verdict aria-hidden=true')
            with ui.element('div').classes('buttons'):
                pause_button(desk, on_refresh)
                record_button(desk, on_refresh)
                button('Trace on', key='t', script='fedefm.toggle("trace")',
                       name='Trace of the tip').props('data-switch="trace"')
            ui.html(_LEGEND).classes('legend')
        with ui.element('section').classes('side'):
            figures = ui.html('').classes('figures')
            plots = ui.html('').classes('plots')
            ui.label('Log of alarms').classes('card-title')
            log = ui.html('').classes('log')
    drawn = [None]

    def refresh():
        snapshot = desk.snapshot
        figures.set_content(_figures(desk))
        newest = snapshot.seconds[-1].at if snapshot.seconds else 0.0
        if newest != drawn[0]:
            drawn[0] = newest
            plots.set_content(_plots(desk))
        log.set_content(_log(desk))
    on_refresh(refresh)
    refresh()


_LEGEND = ('<span class="kind catheter"><i></i>catheter</span>'
           '<span class="kind guidewire"><i></i>guidewire</span>'
           '<span class="kind tip"><i></i>tip, stroke shows where it points</span>'
           '<span class="kind trace"><i></i>where the tip was</span><span id="shown"></span>')


def pause_button(desk: Desk, on_refresh) -> None:
    """Add the button that holds the source or lets it go on."""
    made = button('Pause', commanding(
        desk, 'pausing or starting the source', desk.controls.pause,
        lambda: (not desk.paused,)), key=' ', name='Pause or start the source')

    def refresh():
        made.set_text('Start' if desk.paused else 'Pause')
        made.set_enabled(desk.snapshot.states.get('fluoroscopy') == 'active' and not desk.busy)
    on_refresh(refresh)


def record_button(desk: Desk, on_refresh) -> None:
    """Add the button that starts and stops a recording."""
    made = button('Record', commanding(desk, 'recording', desk.record), key='r', kind='record',
                  name='Start or stop recording')

    def refresh():
        recording = desk.recording.running
        made.set_text(f'\u25a0 Stop recording ({desk.recording.megabytes:.0f} MB)'
                      if recording else '\u25cf Record')
        made.classes(add='recording' if recording else None,
                     remove=None if recording else 'recording')
        made.set_enabled(not desk.busy)
    on_refresh(refresh)


def _figures(desk: Desk) -> str:
    snapshot = desk.snapshot
    lost = sum(int(snapshot.value('segmentation: frames', name, '0') or 0)
               for name in ('skipped', 'missed'))
    rows = (
        ('latency', f'{_number(snapshot.latency_ms)} ms', 'median, image to mask, 5\u00a0s'),
        ('p99', f'{_number(snapshot.latency_ms_p99)} ms', '99 of 100 are faster'),
        ('masks', f'{snapshot.rate:.1f} /s', f'of {_rate_in(snapshot)} images /s'),
        ('skipped', str(lost), 'frames since it was configured'),
        ('refused', snapshot.value('segmentation: frames', 'refused', '-'), 'frames'),
        ('instruments', str(snapshot.instruments), 'in the newest frame'))
    tiles = ''.join(f'<div class="tile"><span>{name}</span><b>{escape(value)}</b>'
                    f'<small>{escape(note)}</small></div>' for name, value, note in rows)
    model, where = describe_model(desk)
    return (f'<div class="tiles">{tiles}</div>'
            f'<p class="model">Model <b>{escape(model)}</b> {escape(where)}</p>'
            f'<p class="latest">{escape(latest(desk))}</p>')


def describe_model(desk: Desk) -> tuple[str, str]:
    """Return name and id of the model that runs, and on what it runs."""
    snapshot, subsystem = desk.snapshot, 'segmentation: model'
    path = snapshot.value(subsystem, 'model')
    identity = snapshot.value(subsystem, 'model_id') or snapshot.model_id
    if not identity:
        return 'none', 'is loaded'
    name = path.rpartition('/')[2].removesuffix('.safetensors')
    return f'{name} {identity}', \
        f'on {snapshot.value(subsystem, "runtime", "?")} ' \
        f'{snapshot.value(subsystem, "precision")}, ' \
        f'{snapshot.value(subsystem, "threads", "?")} threads'


def _rate_in(snapshot) -> str:
    return snapshot.value('segmentation: frames', 'rate_in', '-')


def _number(value: float) -> str:
    return f'{value:.1f}' if math.isfinite(value) else '-'


def _plots(desk: Desk) -> str:
    seconds = desk.snapshot.seconds

    def values(name):
        return [getattr(second, name) for second in seconds]
    return charts.plot(
        'latency', 'ms', (Line('', values('latency_ms')), Line('p99', values('latency_ms_p99'))),
        limit=1e3 * desk.setting('deadline')) + charts.plot(
        'masks', '/s', (Line('', values('rate')),)) + charts.plot(
        'frames not segmented', '/s',
        (Line('skipped', values('skipped')), Line('refused', values('refused'))))


def _log(desk: Desk) -> str:
    rows = ''.join(
        f'<li class="{condition.level}">{time.strftime("%H:%M:%S", time.localtime(at))} '
        f'{what}: <b>{escape(condition.title)}</b> {escape(condition.text)}</li>'
        for at, what, condition in list(desk.board.log)[:12])
    return f'<ol>{rows}</ol>' if rows else '<p>nothing so far</p>'
