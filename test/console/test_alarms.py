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

"""Alarms are raised for what an operator has to know, and kept until they were seen."""

from dataclasses import replace

from fedefm_ros.console.alarms import ALARM, AlarmBoard, Condition, conditions, WARNING
from fedefm_ros.console.network import Network, StationStatus
from fedefm_ros.console.view import Diagnosis, Snapshot

import pytest

FINE = Snapshot(
    now=100.0, running=60.0, image_age=0.02, mask_age=0.03, procedure=True, flowing=True,
    rate=30.0, latency_ms=20.0, states={'segmentation': 'active', 'fluoroscopy': 'active'},
    heard={'segmentation': 0.5, 'fluoroscopy': 0.4},
    diagnoses={'segmentation: frames': Diagnosis(0, '30.0 of 30.0 Hz'),
               'segmentation: transport': Diagnosis(0, 'suitable')})


def found(snapshot, deadline=0.2, network=None):
    return {condition.key: condition for condition in conditions(snapshot, deadline, network)}


def test_a_station_that_works_raises_nothing():
    assert found(FINE) == {}


@pytest.mark.parametrize('change, key, level, word', [
    ({'mask_age': 0.4}, 'stale', ALARM, '0.4 s ago'),
    ({'mask_age': None}, 'stale', ALARM, 'never a mask'),
    ({'latency_ms': 350.0}, 'late', ALARM, '350 ms old'),
    ({'states': {'segmentation': 'inactive'}}, 'inactive', ALARM, 'inactive'),
    ({'heard': {'segmentation': 5.0}}, 'gone segmentation', ALARM, '5 s'),
    ({'heard': {'segmentation': 0.1, 'fluoroscopy': 4.0}}, 'gone fluoroscopy', ALARM, '4 s'),
    ({'heard': {}}, 'gone segmentation', ALARM, 'not said a word'),
    ({'refused_lately': 3}, 'refused', ALARM, '3 in the last seconds'),
    ({'skipped_share': 0.4}, 'degraded', WARNING, '40 %'),
])
def test_what_is_wrong_is_named(change, key, level, word):
    condition = found(replace(FINE, **change))[key]
    assert condition.level == level and word in condition.text


def test_why_a_frame_was_refused_is_told():
    frames = Diagnosis(1, 'refused', {'last_refusal': 'encoding bayer is not supported'})
    snapshot = replace(FINE, refused_lately=1, diagnoses={'segmentation: frames': frames})
    assert 'encoding bayer' in found(snapshot)['refused'].text


def test_a_pause_is_no_alarm_though_no_mask_comes_and_the_node_warns():
    silent = {'segmentation: frames': Diagnosis(1, 'no frame for 9 s')}
    assert found(replace(FINE, flowing=False, procedure=False, mask_age=9.0,
                         diagnoses=silent)) == {}


def test_a_subsystem_that_warns_or_fails_is_told_in_its_own_words():
    diagnoses = {'segmentation: transport': Diagnosis(1, 'default transports lose it'),
                 'fluoroscopy: source': Diagnosis(2, 'no frames; cable')}
    told = found(replace(FINE, diagnoses=diagnoses))
    assert told['diagnosis segmentation: transport'].level == WARNING
    assert told['diagnosis fluoroscopy: source'].level == ALARM
    assert told['diagnosis fluoroscopy: source'].text == 'no frames; cable'


def test_what_a_node_said_before_it_went_is_not_repeated():
    diagnoses = {'fluoroscopy: source': Diagnosis(2, 'no frames')}
    told = found(replace(FINE, heard={'segmentation': 0.1, 'fluoroscopy': 9.0},
                         diagnoses=diagnoses))
    assert set(told) == {'gone fluoroscopy'}


def test_a_refused_model_is_a_warning():
    network = Network({'north': StationStatus('north', 3, 0, refused=2, refused_lately=1,
                                              last_refusal='bad signature')})
    told = found(FINE, network=network)['federation refused north']
    assert (told.level, told.text) == (WARNING, 'bad signature')


def test_a_node_is_not_gone_while_it_carries_out_a_command():
    configuring = replace(FINE, flowing=False, heard={'segmentation': 40.0, 'fluoroscopy': 0.1})
    assert conditions(configuring, 0.2, busy='configure segmentation') == []
    assert 'gone segmentation' in {each.key for each in conditions(
        configuring, 0.2, busy='configure fluoroscopy')}


def test_before_frames_come_a_node_may_be_silent_while_it_loads_a_model():
    loading = replace(FINE, flowing=False, heard={'segmentation': 12.0, 'fluoroscopy': 0.1})
    assert found(loading) == {}


STALE = Condition('stale', ALARM, 'Mask is stale', '0.4 s')
SLOW = Condition('degraded', WARNING, 'Degraded', '20 %')


def test_an_alarm_stays_after_its_cause_until_it_is_acknowledged():
    board = AlarmBoard()
    board.update([STALE], 1.0)
    assert board.entries()[0].loud
    board.update([], 2.0)
    entry, = board.entries()
    assert not entry.active and entry.ended == 2.0 and not entry.loud
    assert board.acknowledge() == 1 and board.entries() == []
    assert [what for _, what, _ in board.log] == ['ended', 'began']


def test_an_acknowledged_alarm_is_quiet_while_it_lasts_and_goes_with_its_cause():
    board = AlarmBoard()
    board.update([STALE], 1.0)
    board.acknowledge()
    entry, = board.entries()
    assert entry.active and entry.acknowledged and not entry.loud
    board.update([], 2.0)
    assert board.entries() == []
    board.update([STALE], 3.0)
    assert board.entries()[0].loud


def test_an_alarm_that_comes_and_goes_is_one_line_with_a_count():
    board = AlarmBoard()
    for moment in range(3):
        board.update([STALE], 2.0 * moment)
        board.update([], 2.0 * moment + 1.0)
    entry, = board.entries()
    assert entry.times == 3


def test_an_acknowledged_warning_that_becomes_an_alarm_is_loud_again():
    board = AlarmBoard()
    board.update([SLOW], 1.0)
    board.acknowledge()
    board.update([replace(SLOW, level=ALARM)], 2.0)
    entry, = board.entries()
    assert entry.loud and entry.since == 2.0
    assert [(what, condition.level) for _, what, condition in board.log] == [
        ('began', ALARM), ('began', WARNING)]
    # An acknowledged alarm that stays one is not raised anew.
    board.acknowledge()
    board.update([replace(SLOW, level=ALARM, text='more')], 3.0)
    assert not board.entries()[0].loud and len(board.log) == 2


def test_the_newest_words_of_an_alarm_are_shown_and_its_start_kept():
    board = AlarmBoard()
    board.update([STALE], 1.0)
    board.update([replace(STALE, text='0.9 s')], 1.5)
    entry, = board.entries()
    assert entry.condition.text == '0.9 s' and entry.since == 1.0
    assert len(board.log) == 1


def test_the_most_urgent_comes_first():
    board = AlarmBoard()
    board.update([SLOW], 1.0)
    board.update([SLOW, STALE], 2.0)
    assert [entry.condition.key for entry in board.entries()] == ['stale', 'degraded']
    board.update([SLOW], 3.0)
    assert [entry.condition.key for entry in board.entries()] == ['degraded', 'stale']
