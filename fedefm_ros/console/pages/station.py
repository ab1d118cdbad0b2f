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

"""Page *Station*: the nodes' lifecycle, the model, the source, the recording."""

from html import escape

from fedefm_ros.console.desk import Desk
from fedefm_ros.console.pages.frame import button
from fedefm_ros.console.pages.frame import commanding
from fedefm_ros.console.pages.frame import frame
from fedefm_ros.console.pages.frame import latest
from fedefm_ros.console.pages.live import describe_model
from fedefm_ros.console.pages.live import pause_button
from fedefm_ros.console.pages.live import record_button
from fedefm_ros.console.view import NODES

from nicegui import ui

TRANSITIONS = {'configure': 'unconfigured', 'activate': 'inactive', 'deactivate': 'active',
               'cleanup': 'inactive'}
"""What can be asked of a node, and in which state."""
_RATES = {0.0: "the source's own", 5.0: '5 Hz', 7.5: '7.5 Hz', 10.0: '10 Hz', 15.0: '15 Hz',
          25.0: '25 Hz', 30.0: '30 Hz'}
_LEVELS = ('\u25cf OK', '\u25b2 warning', '\u2b23 error')


def page(desk: Desk) -> None:
    """Build the page for one browser."""
    with frame(desk, 'Station') as on_refresh:
        told = ui.label('').classes('latest').props('aria-live=polite')
        fluoroscopy, segmentation = NODES
        with ui.element('div').classes('stack'):
            _node(desk, fluoroscopy, on_refresh)
            _source(desk, on_refresh)
        with ui.element('div').classes('stack'):
            _node(desk, segmentation, on_refresh)
            _recording(desk, on_refresh)
        _model(desk, on_refresh)
        with ui.element('section').classes('card wide'):
            ui.label('Diagnostics').classes('card-title')
            table = ui.html('').classes('diagnostics')

    def refresh():
        told.set_text(latest(desk))
        table.set_content(_diagnostics(desk))
    on_refresh(refresh)
    refresh()


def _node(desk: Desk, node: str, on_refresh) -> None:
    with ui.element('section').classes('card').props(f'aria-label="{node}"'):
        ui.label(node).classes('card-title')
        state = ui.label('').classes('state').props(f'data-state-of={node}')
        buttons = {}
        with ui.element('div').classes('buttons'):
            for transition in TRANSITIONS:
                stops = transition in ('deactivate', 'cleanup')
                buttons[transition] = button(
                    transition.capitalize(), commanding(
                        desk, f'{transition} {node}', desk.controls.change,
                        lambda node=node, transition=transition: (node, transition),
                        confirm=f'{transition.capitalize()} {node} all the same? '
                                'Masks will end.' if stops else ''),
                    kind='danger' if stops else '', name=f'{transition.capitalize()} {node}')

    def refresh():
        label = desk.snapshot.states.get(node)
        state.set_text({None: '\u2715 does not answer', 'active': '\u25cf active',
                        'inactive': '\u25d0 inactive', 'unconfigured': '\u25cb unconfigured'}.get(
                            label, f'\u2026 {label}'))
        for transition, made in buttons.items():
            made.set_enabled(label == TRANSITIONS[transition] and not desk.busy)
    on_refresh(refresh)


def _model(desk: Desk, on_refresh) -> None:
    with ui.element('section').classes('card').props('aria-label=Model'):
        ui.label('Model').classes('card-title')
        running = ui.label('').props('data-what=model')
        choice = ui.select(desk.models.names(), label='Model to load').props('outlined')
        choice.classes('choice')
        with ui.element('div').classes('buttons'):
            load = button('Load', commanding(
                desk, 'loading a model', desk.load, lambda: (choice.value,),
                confirm='Change the model while frames come? It happens between two frames.'),
                kind='primary', name='Load model')
            back = button('Roll back', commanding(
                desk, 'going back to the model before', desk.roll_back,
                confirm='Go back to the model before while frames come?'), name='Roll back model')
        before = ui.label('').classes('note')
        choice.on('popup-show', lambda: choice.set_options(desk.models.names(),
                                                           value=choice.value))

    def refresh():
        running.set_text(' '.join(describe_model(desk)))
        previous = desk.model_history.previous
        name = previous.path.rpartition('/')[2].removesuffix('.safetensors') if previous else ''
        before.set_text(f'before: {name} {previous.model_id}' if previous
                        else 'before: no other model ran since this console started')
        load.set_enabled(choice.value is not None and not desk.busy)
        back.set_enabled(previous is not None and not desk.busy)
    on_refresh(refresh)


def _source(desk: Desk, on_refresh) -> None:
    with ui.element('section').classes('card').props('aria-label=Source'):
        ui.label('Fluoroscopy source').classes('card-title')
        running = ui.label('').props('data-what=source')
        names = desk.sources.names()
        choice = ui.select(names, label='Source', value=names[0]).props('outlined')
        rate = ui.select(_RATES, label='Rate', value=0.0).props('outlined')
        for each in (choice, rate):
            each.classes('choice')
        loop = ui.switch('Start anew at the end', value=True).classes('switch')
        with ui.element('div').classes('buttons'):
            use = button('Use this source', commanding(
                desk, 'changing the source of fluoroscopy', desk.choose_source,
                lambda: (choice.value, rate.value, loop.value),
                confirm='Change the source while frames come? They will pause meanwhile.'),
                kind='primary')
            pause_button(desk, on_refresh)
        choice.on('popup-show', lambda: choice.set_options(desk.sources.names(),
                                                           value=choice.value))

    def refresh():
        source = desk.snapshot.diagnoses.get('fluoroscopy: source')
        running.set_text(f'{source.values.get("source", "").rpartition("/")[2]}: {source.message}'
                         if source else 'no fluoroscopy node of this package here')
        use.set_enabled(source is not None and not desk.busy)
    on_refresh(refresh)


def _recording(desk: Desk, on_refresh) -> None:
    with ui.element('section').classes('card').props('aria-label=Recording'):
        ui.label('Recording').classes('card-title')
        bag = ui.label('')
        record_button(desk, on_refresh)

    def refresh():
        recording = desk.recording
        bag.set_text(f'bag {recording.bag.name}, {recording.megabytes:.1f} MB' if recording.bag
                     else 'Images, masks, instruments and diagnostics go into a new bag.')
    on_refresh(refresh)


def _diagnostics(desk: Desk) -> str:
    snapshot = desk.snapshot
    rows = ''.join(
        f'<tr class="level-{min(each.level, 2)}"><th>{escape(name)}</th>'
        f'<td class="level">{_LEVELS[min(each.level, 2)]}</td><td>{escape(each.message)}</td>'
        f'<td>{snapshot.heard.get(name.partition(":")[0], 0.0):.0f} s ago</td></tr>'
        for name, each in sorted(snapshot.diagnoses.items()))
    return ('<table><thead><tr><th>subsystem</th><th>level</th><th>says</th><th>heard</th></tr>'
            f'</thead><tbody>{rows}</tbody></table>')
