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

import threading
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.nodes.read_ahead import ReadAhead

import numpy as np

import pytest


class Source:
    """Yields numbered frames; ``fails_at`` raises there, each time it is iterated."""

    name = 'numbers'
    rate = 15.0
    carm = CArm()

    def __init__(self, count, fails_at=(), error=FedefmError('frame 2 is damaged')):
        self.frame_count = count
        self.fails_at = list(fails_at)
        self.error = error
        self.closed = threading.Event()
        self.yielded = 0

    def __iter__(self):
        for index in range(self.frame_count):
            if self.fails_at and index == self.fails_at[0]:
                self.fails_at.pop(0)
                raise self.error
            self.yielded += 1
            yield Frame(np.full((4, 4), index, np.uint8), index, index / self.rate)

    def close(self):
        self.closed.set()


def eventually(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'it did not happen'
        time.sleep(0.002)


def number(frame):
    return int(frame.image[0, 0])


@pytest.fixture
def read():
    readers = []

    def start(source, depth=3, prepare=number, **options):
        readers.append(ReadAhead(source, prepare, depth, **options))
        return readers[-1]
    yield start
    for reader in readers:
        assert reader.stop(10.0)


def test_frames_come_in_order_and_no_more_are_read_than_there_is_room_for(read):
    source = Source(10)
    reader = read(source)
    eventually(lambda: reader.waiting == 3)
    assert source.yielded <= 4
    taken = []
    while not reader.ended:
        item = reader.take()
        if item is not None:
            taken.append(item)
    assert taken == list(range(10)) and reader.take() is None
    assert source.closed.wait(10)


def test_a_live_source_never_waits_and_its_newest_frame_is_kept(read):
    reader = read(Source(10), depth=1, newest=True)
    eventually(lambda: reader._done)
    assert (reader.take(), reader.take()) == (9, None)


def test_a_failing_file_ends_with_its_failure(read):
    told = []
    reader = read(Source(5, fails_at=[2]), failed=told.append)
    eventually(lambda: reader._done)
    assert [reader.take(), reader.take(), reader.take()] == [0, 1, None]
    assert reader.ended and (reader.failures, reader.last_failure) == (1, 'frame 2 is damaged')
    assert told == ['frame 2 is damaged']


def test_what_has_no_end_is_tried_again(read):
    reader = read(Source(4, fails_at=[2, 0]), depth=9, again=True, pause=lambda: 0.001)
    eventually(lambda: reader._done)
    assert [reader.take() for _ in range(6)] == [0, 1, 0, 1, 2, 3]
    assert reader.failures == 2


def test_a_defect_is_reported_and_does_not_end_the_node(read):
    reader = read(Source(3, fails_at=[1], error=ZeroDivisionError('oops')))
    eventually(lambda: reader._done)
    assert reader.last_failure == 'numbers: ZeroDivisionError: oops'


def test_stopping_ends_a_thread_that_waits_for_room_and_one_that_waits_to_try_again():
    full, lost = Source(100), Source(1, fails_at=[0])
    first = ReadAhead(full, number, 1)
    second = ReadAhead(lost, number, 1, again=True, pause=lambda: 60.0)
    eventually(lambda: first.waiting and second.failures)
    assert first.stop(10.0) and second.stop(10.0)
    assert full.closed.is_set() and lost.closed.is_set()
