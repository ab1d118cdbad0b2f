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

"""The desk: choices come from lists, commands run one at a time, rollback is checked."""

import asyncio
import subprocess
import sys
import threading

from fedefm_ros.console.desk import Desk
from fedefm_ros.console.network import NetworkView
from fedefm_ros.console.outcome import Outcome
from fedefm_ros.console.recording import Recording
from fedefm_ros.console.shelf import Loaded, ModelHistory, models, Shelf, sources
from fedefm_ros.console.view import Diagnosis, StationView
from fedefm_ros.errors import FedefmError

import pytest

SETTINGS = {'deadline': 0.2, 'trace_seconds': 5.0}


class Commands:
    """Takes commands down; answers a load with the model that it was told to have."""

    def __init__(self):
        self.loaded, self.model_id = [], 'one'

    def load_model(self, path):
        self.loaded.append(path)
        return Outcome(True, f'{self.model_id} on torch', self.model_id)


@pytest.fixture
def desk(tmp_path):
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models' / 'mine.safetensors').write_bytes(b'x')
    (tmp_path / 'secret').write_text('s')
    return Desk('here', StationView(), NetworkView(), Commands(),
                Recording(str(tmp_path / 'bags'), 'here'), models(str(tmp_path / 'models')),
                sources(''), SETTINGS.__getitem__)


def test_shipped_models_stand_for_themselves_and_files_for_their_paths(desk, tmp_path):
    assert desk.models.names() == ['realtime', 'mine.safetensors']
    desk.load('realtime')
    desk.load('mine.safetensors')
    assert desk.controls.loaded == ['realtime', str(tmp_path / 'models' / 'mine.safetensors')]


@pytest.mark.parametrize('name', ['../secret', '/etc/passwd', 'models/../mine.safetensors', '',
                                  'mine.safetensors/', '.', '..', 'secret', 'mine', None])
def test_a_name_that_is_not_on_the_list_reaches_no_file(desk, name):
    with pytest.raises(FedefmError, match='not on the list'):
        desk.load(name)
    assert desk.controls.loaded == []


def test_hidden_files_other_suffixes_and_missing_folders_are_not_offered(tmp_path):
    for name in ('.hidden.safetensors', 'notes.txt', 'a.safetensors'):
        (tmp_path / name).write_bytes(b'')
    (tmp_path / 'folder.safetensors').mkdir()
    assert Shelf((), str(tmp_path), '.safetensors').names() == ['a.safetensors']
    assert Shelf(('x',), str(tmp_path / 'gone'), '').names() == ['x']


def test_sources_are_simulators_files_and_folders(tmp_path):
    (tmp_path / 'run.dcm').write_bytes(b'')
    (tmp_path / 'frames').mkdir()
    shelf = sources(str(tmp_path))
    assert shelf.names()[0] == 'simulator' and shelf.names()[-2:] == ['frames', 'run.dcm']
    assert shelf.value('frames') == str(tmp_path / 'frames')


def test_the_history_goes_back_and_forth():
    history = ModelHistory()
    for path, identity in (('/a', '1'), ('/a', '1'), ('', ''), ('/b', '2')):
        history.saw(path, identity)
    assert (history.current, history.previous) == (Loaded('/b', '2'), Loaded('/a', '1'))
    history.saw('/a', '1')
    assert (history.current, history.previous) == (Loaded('/a', '1'), None)


def see(desk, path, identity):
    desk.view.diagnosis('segmentation: model', Diagnosis(
        0, '', {'model': path, 'model_id': identity}))
    desk.look()


def test_rollback_loads_the_model_before_and_tells_if_its_file_has_changed(desk):
    assert not desk.roll_back().done
    see(desk, '/models/a', 'one')
    see(desk, '/models/b', 'two')
    assert desk.roll_back().done and desk.controls.loaded == ['/models/a']
    desk.controls.model_id = 'three'
    outcome = desk.roll_back()
    assert not outcome.done and 'three runs now, not one' in outcome.text


def test_a_command_at_a_time_and_its_end_told_to_all(desk):
    began, go_on = threading.Event(), threading.Event()

    def slow():
        began.set()
        go_on.wait(10)
        return Outcome(True, 'slow is done')

    async def play():
        first = asyncio.create_task(desk.command('something slow', slow))
        await asyncio.to_thread(began.wait, 10)
        assert desk.busy == 'something slow'
        second = await desk.command('another', lambda: Outcome(True, ''))
        assert not second.done and 'something slow is still under way' in second.text
        go_on.set()
        assert (await first).done and desk.busy == ''
        assert desk.told[1].text == 'slow is done'
        refused = await desk.command('loading', desk.load, '../secret')
        assert not refused.done and 'not on the list' in refused.text
        assert (await desk.command('again', lambda: Outcome(True, 'free'))).done
    asyncio.run(play())


def test_a_defect_of_the_console_is_an_alarm_and_no_picture_counts_as_fresh(desk):
    async def play():
        looking = asyncio.create_task(desk.keep_looking())
        await asyncio.sleep(0)
        assert desk.board.entries() == []
        desk.setting = {}.__getitem__
        while not desk.board.entries():
            await asyncio.sleep(0.01)
        looking.cancel()
    asyncio.run(asyncio.wait_for(play(), 10))
    entry, = desk.board.entries()
    assert 'defect' in entry.condition.title and 'trace_seconds' in entry.condition.text
    assert desk.snapshot.flowing and desk.snapshot.mask_age is None


def test_a_recording_that_ends_by_itself_is_told_once(tmp_path):
    (tmp_path / 'full').mkdir()
    recording = Recording(str(tmp_path / 'full'), 'nobody')
    recording.bag = tmp_path / 'full' / 'bag'
    recording._log.write_text('recording\nerror: the disk is full\n')
    recording._process = subprocess.Popen([sys.executable, '-c', 'raise SystemExit(1)'])
    recording._process.wait(30)
    ended = recording.ended()
    assert not ended.done and ended.text.endswith('by itself: the disk is full')
    assert recording.ended() is None and not recording.running


def lost_recording(desk, tmp_path):
    """Let a recording end whose drive was pulled: neither log nor figures are there."""
    recording = desk.recording
    recording.bag = tmp_path / 'pulled' / 'bag'
    recording._process = subprocess.Popen([sys.executable, '-c', 'raise SystemExit(1)'])
    recording._process.wait(30)
    return recording


def test_a_recording_whose_drive_was_pulled_is_told_and_the_console_looks_on(desk, tmp_path):
    async def play():
        looking = asyncio.create_task(desk.keep_looking())
        lost_recording(desk, tmp_path)
        while desk.told is None:
            await asyncio.sleep(0.01)
        before = desk.snapshot
        while desk.snapshot is before:
            assert not looking.done()
            await asyncio.sleep(0.01)
        looking.cancel()
    asyncio.run(asyncio.wait_for(play(), 10))
    outcome = desk.told[1]
    assert not outcome.done and 'cannot be read' in outcome.text
    assert desk.board.entries() == []


@pytest.mark.parametrize('figures', ['', '{', '{}', '[]'])
def test_a_recording_without_readable_figures_is_not_done(desk, tmp_path, figures):
    recording = lost_recording(desk, tmp_path)
    recording.bag.parent.mkdir()
    recording._figures.write_text(figures)
    assert not recording._told(0).done
    outcome = asyncio.run(desk.command('record', recording.stop))
    assert not outcome.done and 'cannot be read' in outcome.text and desk.busy == ''


def test_whatever_a_recording_dies_of_does_not_end_the_alarms(desk):
    def broken():
        raise RuntimeError('no such thing')
    desk.recording.ended = broken

    async def play():
        looking = asyncio.create_task(desk.keep_looking())
        while not desk.board.entries():
            assert not looking.done()
            await asyncio.sleep(0.01)
        looking.cancel()
    asyncio.run(asyncio.wait_for(play(), 10))
    assert 'no such thing' in desk.board.entries()[0].condition.text


def test_a_picture_that_cannot_be_drawn_is_an_alarm_while_that_lasts(desk):
    desk.picture_failure = lambda: 'ValueError: no such image'
    desk.look()
    entry, = desk.board.entries()
    assert entry.loud and 'no such image' in entry.condition.text
    desk.picture_failure = lambda: ''
    desk.look()
    assert not desk.board.entries()[0].active


def test_a_recording_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / 'file').write_text('')
    outcome = Recording(str(tmp_path / 'file' / 'bags'), 'here').start()
    assert not outcome.done and 'cannot record' in outcome.text
    assert not Recording(str(tmp_path), 'here').stop().done
