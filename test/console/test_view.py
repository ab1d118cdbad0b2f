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

"""The station's view: what comes in is what a snapshot says, and when frames count as coming."""

import math

from fedefm_ros.console.history import History
from fedefm_ros.console.network import NetworkView, Peer, StationStatus
from fedefm_ros.console.view import Diagnosis, StationView

import pytest


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def view(clock):
    return StationView(clock)


def test_nothing_is_known_at_first(view):
    snapshot = view.snapshot()
    assert snapshot.mask_age is None and snapshot.image_age is None
    assert not snapshot.flowing and math.isnan(snapshot.latency_ms)


def test_masks_make_rate_latency_and_age(view, clock):
    for _ in range(50):
        clock.now += 0.1
        view.mask(0.02, (640, 512))
    clock.now += 0.3
    snapshot = view.snapshot()
    assert snapshot.mask_age == pytest.approx(0.3)
    assert snapshot.latency_ms == pytest.approx(20.0)
    assert 9.0 < snapshot.rate <= 10.0 and snapshot.size == (640, 512)


def test_frames_come_while_images_do(view, clock):
    view.image()
    assert view.snapshot().flowing
    clock.now += 1.5
    assert not view.snapshot().flowing


def test_a_procedure_that_is_said_to_run_needs_masks_also_without_images(view, clock):
    view.procedure(True)
    clock.now += 60.0
    assert view.snapshot().flowing


def test_a_paused_source_is_believed_at_once_until_a_new_image_comes(view, clock):
    view.procedure(True)
    view.image()
    clock.now += 0.1
    view.procedure(False)
    assert not view.snapshot().flowing
    clock.now += 0.1
    view.image()
    assert view.snapshot().flowing


def test_without_camera_and_procedure_the_segmentation_is_believed(view, clock):
    view.diagnosis('segmentation: frames', Diagnosis(0, '', {'rate_in': '14.9'}))
    assert view.snapshot().flowing
    clock.now += 5.0
    assert not view.snapshot().flowing


def test_the_trace_ends_after_its_seconds(view, clock):
    for step in range(20):
        clock.now += 0.5
        view.instruments('id', 0.01, 1, (0.1, step / 20))
    tips = view.snapshot(trace=2.0).tips
    assert [tip.y for tip in tips] == [15 / 20, 16 / 20, 17 / 20, 18 / 20, 19 / 20]


def test_refusals_and_skips_of_the_last_seconds_are_counted_from_totals(view, clock):
    for second in range(8):
        view.diagnosis('segmentation: frames', Diagnosis(0, '', {
            'skipped': str(100 + 5 * second), 'missed': '0', 'refused': str(2 * second)}))
        for _ in range(15):
            view.mask(0.02, (8, 8))
        view.snapshot()
        clock.now += 1.0
    snapshot = view.snapshot()
    assert snapshot.refused_lately == pytest.approx(10, abs=2)
    assert snapshot.skipped_share == pytest.approx(0.25, abs=0.02)


def test_what_a_node_counted_before_the_console_came_is_no_news():
    history = History()
    history.counters(refused=500)
    history.close(0.0)
    history.counters(refused=500)
    history.close(1.0)
    assert history.seconds()[-1].refused == 0


def test_a_node_that_started_anew_counts_from_nothing():
    history = History()
    history.close(0.0)
    for now, refused in ((1.0, 7), (2.0, 2)):
        history.counters(refused=refused)
        history.close(now)
    assert [second.refused for second in history.seconds()] == [0, 2]


def test_the_federation_knows_neighbours_that_say_nothing_themselves(clock):
    network = NetworkView(clock)
    network.status(StationStatus('north', 2, 4, (Peer('south', 1.0, 0.8),), refused=3))
    clock.now += 2.0
    seen = network.snapshot()
    assert seen.names() == ['north', 'south']
    assert seen.links() == [('north', 'south', 0.8)]
    north = seen.stations['north']
    assert north.age == 2.0 and north.phase_name == 'distilling'
    assert north.refused_lately == 0, 'refused before the console came'
    network.status(StationStatus('north', 2, 4, refused=5))
    assert network.snapshot().stations['north'].refused_lately == 2
    clock.now += 60.0
    network.status(StationStatus('north', 3, 0, refused=5))
    assert network.snapshot().stations['north'].refused_lately == 0
