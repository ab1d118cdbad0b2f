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

"""How fast models are asked for: the cap, slow lines, silence."""

from couriers import answer
from couriers import CHUNK
from couriers import offer

from fedefm_ros.federation.station.inbox import Inbox

import pytest

SECOND_BYTES = 4 << 20
PAYLOAD = bytes(range(256)) * (40 * CHUNK // 256)


class Line:
    """Carries a chunk in so many seconds, one after the other, by a clock that it moves on."""

    def __init__(self, outbox, manifest, seconds=0.0):
        self.now, self.seconds = 0.0, seconds
        self.outbox, self.manifest = outbox, manifest
        self.asked = []
        self.most = 0
        #: What is asked for is not answered.
        self.cut = False

    def ask(self, station, sha256, index):
        self.asked.append(index)
        self.most = max(self.most, len(self.asked))

    def run(self, inbox, until):
        """Let time pass; return the seconds."""
        began = self.now
        while True:
            complete, failed = inbox.pump()
            if until(complete, failed):
                return self.now - began
            self.now += max(self.seconds, 0.01)
            if self.asked and not self.cut:
                index = self.asked.pop(0)
                data, sha256 = answer(self.outbox, self.manifest, index)
                inbox.chunk(self.manifest.sender, self.manifest.sha256, index, data, sha256)
            assert self.now < 1000.0


@pytest.fixture
def sent(tmp_path):
    return offer(tmp_path / 'out', PAYLOAD)


def begin(folder, line, bandwidth=0):
    inbox = Inbox(folder / 'in', line, 5.0, bandwidth, lambda: line.now)
    inbox.expect('it', line.manifest)
    return inbox


def complete(complete, failed):
    assert not failed
    return bool(complete)


def test_the_bandwidth_is_kept_once_the_burst_is_used_up(tmp_path):
    outbox, manifest = offer(tmp_path / 'out', bytes(160 * CHUNK))  # 10 MiB, 4 of them at once
    line = Line(outbox, manifest)
    inbox = begin(tmp_path, line, bandwidth=SECOND_BYTES // 4)
    took = line.run(inbox, complete)
    assert took >= (160 * CHUNK - SECOND_BYTES) / (SECOND_BYTES // 4) - 0.2


def test_a_quick_line_is_asked_for_much_and_a_slow_one_for_little(tmp_path, sent):
    quick = Line(*sent)
    quick.run(begin(tmp_path / 'quick', quick), complete)
    assert quick.most == Inbox.MOST_CHUNKS
    slow = Line(*sent, seconds=0.6)
    slow.run(begin(tmp_path / 'slow', slow), complete)
    assert slow.most == Inbox.FIRST_CHUNKS


def test_a_piece_that_waits_behind_others_is_not_asked_for_again(tmp_path, sent):
    # Two at a time, four seconds each: the second comes after eight, later than the timeout.
    line = Line(*sent, seconds=4.0)
    line.run(begin(tmp_path, line), complete)
    assert line.most <= Inbox.FIRST_CHUNKS and not line.asked


def test_a_silent_peer_costs_its_own_model(tmp_path, sent):
    line = Line(*sent)
    line.cut = True
    told = []
    line.run(begin(tmp_path, line), lambda complete, failed: told.extend(failed) or failed)
    (key, refused), = told
    assert key == 'it' and refused.reason == 'unreachable'
    assert list((tmp_path / 'in').iterdir()) == []
