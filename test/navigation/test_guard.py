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

"""What may be acted on: every fault zeroes the drive at once, a lasting one stops for good."""

import math

from fedefm_ros import labels
from fedefm_ros.navigation.guard import Guard
from fedefm_ros.navigation.guard import GuardParameters
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

import pytest

PERIOD = 0.1
PARAMETERS = GuardParameters(frame_period=PERIOD, max_age=0.25, min_confidence=0.5,
                             max_jump_px=40.0, force_limit=0.5, patience=0.35)


def wire(tip=(100.0, 100.0), **fields):
    """Return a wire that comes from below and ends at a tip."""
    y = np.linspace(300.0, tip[1], 50)
    line = np.stack([np.full(50, float(tip[0])), y], axis=1)
    return Instrument(**{'kind': labels.GUIDEWIRE, 'centerline': line, **fields})


class Pictures:
    """Feeds a guard one result a period."""

    def __init__(self, parameters=PARAMETERS):
        self.guard = Guard(parameters)
        self.guard.resume()
        self.count = 0

    def see(self, *instruments, age=0.05, stamp=None, driving=True, force=0.0):
        self.count += 1
        now = self.count * PERIOD
        if force is not None:
            self.guard.feel(force)
        return self.guard.see(now, now if stamp is None else stamp, age, instruments, driving)

    def moving(self):
        """Return a wire that advances from picture to picture."""
        return wire((100.0, 100.0 - self.count))


@pytest.fixture
def pictures():
    made = Pictures()
    for _ in range(3):
        assert made.see(made.moving()) is not None
    return made


FAULTS = {
    'stale': (lambda p: p.see(p.moving(), age=0.3), 'old'),
    'from the future': (lambda p: p.see(p.moving(), age=-0.5), 'old'),
    'repeated stamp': (lambda p: p.see(p.moving(), stamp=3 * PERIOD), 'stamps'),
    'nothing found': (lambda p: p.see(), 'no instrument'),
    'unsure': (lambda p: p.see(wire((100.0, 100.0 - p.count), confidence=0.3)), 'confidence'),
    'no confidence': (lambda p: p.see(wire(confidence=math.nan)), 'confidence'),
    'tip out of view': (lambda p: p.see(wire(tip_visible=False)), 'view'),
    'tip elsewhere': (lambda p: p.see(wire((300.0, 50.0))), 'lost'),
    'frozen': (lambda p: p.see(wire((100.0, 98.0))), 'frozen'),
    'not a number': (lambda p: p.see(wire(centerline=np.full((20, 2), np.nan))), 'no instrument'),
    'one point': (lambda p: p.see(wire(centerline=np.zeros((1, 2)))), 'no instrument'),
    'no points': (lambda p: p.see(wire(centerline=np.zeros(0))), 'no instrument'),
}


@pytest.mark.parametrize('what', FAULTS)
def test_a_fault_zeroes_at_once_and_stops_when_it_lasts(pictures, what):
    feed, word = FAULTS[what]
    guard = pictures.guard
    assert feed(pictures) is None
    assert word in guard.fault and not guard.stopped
    for _ in range(5):
        assert feed(pictures) is None
    assert word in guard.stopped
    # What comes right by itself does not go on by itself.
    assert pictures.see(pictures.moving()) is None
    assert word in guard.stopped
    guard.resume()
    assert pictures.see(pictures.moving()) is not None


@pytest.mark.parametrize('what', FAULTS)
def test_a_fault_that_passes_does_not_stop(pictures, what):
    feed, _ = FAULTS[what]
    assert feed(pictures) is None
    assert pictures.see(pictures.moving()) is not None
    assert not pictures.guard.stopped


def test_a_picture_that_stands_still_while_the_drive_does_is_no_fault(pictures):
    for _ in range(6):
        assert pictures.see(wire(), driving=False) is not None


def test_silence_zeroes_after_two_periods_and_stops_when_it_lasts(pictures):
    guard = pictures.guard
    last = 3 * PERIOD
    assert guard.tick(last + 1.9 * PERIOD)
    assert not guard.tick(last + 2.1 * PERIOD)
    assert 'no result' in guard.fault and not guard.stopped
    assert not guard.tick(last + 4.0 * PERIOD)
    assert 'no result' in guard.stopped


def test_without_a_force_it_stands_and_stops_when_that_lasts(pictures):
    guard = pictures.guard
    for _ in range(3):
        assert pictures.see(pictures.moving(), force=None) is not None
    assert pictures.see(pictures.moving(), force=None) is None
    assert 'no force for' in guard.fault and not guard.stopped
    assert pictures.see(pictures.moving()) is not None
    for _ in range(8):
        pictures.see(pictures.moving(), force=None)
    assert 'no force for' in guard.stopped
    guard.resume()
    assert pictures.see(pictures.moving(), force=None) is None and 'no force for' in guard.fault
    assert pictures.see(pictures.moving()) is not None


def test_silence_of_the_force_is_noticed_between_results(pictures):
    assert pictures.see(pictures.moving(), force=None) is not None
    assert pictures.guard.tick(5.9 * PERIOD)
    assert pictures.see(pictures.moving(), force=None) is not None
    assert pictures.see(pictures.moving(), force=None) is not None
    assert not pictures.guard.tick(6.1 * PERIOD) and 'no force for' in pictures.guard.fault


def test_before_the_first_force_nothing_moves():
    pictures = Pictures()
    for _ in range(10):
        assert pictures.see(pictures.moving(), force=None) is None
    assert pictures.guard.stopped == 'no force yet'
    assert not pictures.guard.tick(pictures.count * PERIOD)


@pytest.mark.parametrize('gap', [0.7, 1.5, 2.5, 4.5])
def test_a_frozen_picture_stops_however_slowly_it_repeats(gap):
    """Between slow results the silence is a fault as well; it must not hide the other."""
    guard = Guard(GuardParameters(frame_period=PERIOD, patience=15.0 * PERIOD))
    driving, drives, due = False, 0, 0.0
    guard.resume()
    for now in np.arange(0.0, 60.0 * PERIOD, 0.25 * PERIOD):
        guard.feel(0.0)
        if now >= due:
            due += gap * PERIOD
            driving = guard.see(now, now, 0.05, (wire(),), driving) is not None
            drives += driving
        elif not guard.tick(now):
            driving = False
    assert guard.stopped and drives == 1


@pytest.mark.parametrize('fault', FAULTS)
def test_by_default_every_fault_is_a_stop_until_somebody_says_to_go_on(fault):
    pictures = Pictures(GuardParameters(frame_period=PERIOD, min_confidence=0.5, max_jump_px=40.0))
    for _ in range(3):
        assert pictures.see(pictures.moving()) is not None
    begin, word = FAULTS[fault]
    assert begin(pictures) is None and word in pictures.guard.stopped
    # All is well again, and still it does not move.
    for _ in range(5):
        assert pictures.see(pictures.moving()) is None and not pictures.guard.tick(
            pictures.count * PERIOD)
    pictures.guard.resume()
    assert pictures.see(pictures.moving()) is not None


def test_by_default_silence_of_two_periods_is_a_stop():
    pictures = Pictures(GuardParameters(frame_period=PERIOD))
    pictures.see(pictures.moving())
    assert pictures.guard.tick(2.9 * PERIOD)
    assert not pictures.guard.tick(3.1 * PERIOD) and 'no result' in pictures.guard.stopped


@pytest.mark.parametrize('force', [0.51, math.nan, math.inf])
def test_force_over_its_limit_stops_at_once(pictures, force):
    pictures.guard.feel(0.49)
    assert pictures.see(pictures.moving()) is not None
    pictures.guard.feel(force)
    assert 'contact force' in pictures.guard.stopped
    assert pictures.see(pictures.moving()) is None
    # It does not go on by itself, either.
    pictures.guard.feel(0.0)
    assert pictures.see(pictures.moving()) is None


def test_nothing_moves_before_it_is_told_to():
    guard = Guard(PARAMETERS)
    assert guard.see(0.1, 0.1, 0.0, (wire(),), False) is None
    assert guard.stopped == 'not started' and not guard.tick(0.1)
    guard.resume()
    guard.feel(0.0)
    assert guard.see(0.2, 0.2, 0.0, (wire(),), False) is not None


def test_the_same_wire_is_followed_beside_a_longer_one():
    pictures = Pictures()
    assert pictures.see(wire((100.0, 200.0))).tip[0] == 100.0
    other = wire((130.0, 50.0))
    assert pictures.see(other, wire((100.0, 198.0))).tip[0] == 100.0


def test_a_wire_taken_for_a_catheter_is_followed_but_not_begun_with():
    pictures = Pictures()
    assert pictures.see(wire(kind=labels.CATHETER)) is None
    assert pictures.see(wire()) is not None
    assert pictures.see(wire((100.0, 97.0), kind=labels.CATHETER)) is not None
