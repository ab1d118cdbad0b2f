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

from concurrent.futures import ThreadPoolExecutor
import threading
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.pipeline import Gaps, Pipeline
from fedefm_ros.segmentation.recent import Recent

import pytest

MS = 1_000_000


class Stages:
    """Records what is published; ``go`` lets one inference after the other through."""

    def __init__(self, held=False):
        self.held = held
        self.go = threading.Semaphore(0)
        self.inferring = threading.Semaphore(0)
        self.published = []
        self.finished = []
        self.during_publication = None

    def prepare(self, job):
        if job.message == 'bad':
            raise FedefmError('encoding 13 is not supported')
        return job.message

    def infer(self, job, image):
        self.inferring.release()
        if self.held:
            assert self.go.acquire(timeout=10)
        if image == 'defect':
            raise ZeroDivisionError('oops')
        return image

    def deliver(self, job, image, result, started):
        def publish():
            self.published.append((job.stamp, result))
            if self.during_publication:
                self.during_publication()
        return publish

    def finish(self, job, image, result, started):
        if image == 'odd':
            raise ValueError('no way round this loop')
        return lambda: self.finished.append(job.stamp)


def eventually(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'it did not happen'
        time.sleep(0.002)


@pytest.fixture
def make():
    pipelines = []

    def build(stages, **options):
        pipelines.append(Pipeline(stages, **options))
        return pipelines[-1]
    yield build
    for pipeline in pipelines:
        assert pipeline.stop()


def test_each_frame_is_published_once_in_order_and_then_finished(make):
    stages = Stages()
    pipeline = make(stages)
    pipeline.open()
    for index in range(20):
        assert pipeline.offer(index * MS, index)
        eventually(lambda: len(stages.finished) == index + 1)
    assert stages.published == [(index * MS, index) for index in range(20)]
    assert pipeline.counts.published == pipeline.counts.received == 20


def test_the_newest_frame_wins_and_the_others_are_counted(make):
    stages = Stages(held=True)
    pipeline = make(stages)
    pipeline.open()
    pipeline.offer(0, 'first')
    stages.inferring.acquire()
    for index in range(1, 6):
        pipeline.offer(index, index)
    assert (pipeline.counts.skipped, pipeline.pending) == (4, 2)
    stages.go.release(2)
    eventually(lambda: pipeline.pending == 0)
    assert stages.published == [(0, 'first'), (5, 5)]
    assert pipeline.counts.skipped == 4


def test_nothing_is_taken_before_it_opens_or_after_it_closed(make):
    stages = Stages()
    pipeline = make(stages)
    assert not pipeline.offer(1, 'early')
    pipeline.open()
    pipeline.close()
    assert not pipeline.offer(2, 'late')
    assert pipeline.counts.received == 0


def test_closing_does_not_wait_for_an_inference_whose_mask_is_then_not_published(make):
    stages = Stages(held=True)
    pipeline = make(stages)
    pipeline.open()
    pipeline.offer(1, 'running')
    stages.inferring.acquire()
    pipeline.offer(2, 'waiting')
    pipeline.close()  # would hang if it waited: nobody has let the inference through
    assert pipeline.counts.skipped == 1
    stages.go.release()
    eventually(lambda: pipeline.pending == 0)
    assert (stages.published, stages.finished, pipeline.counts.skipped) == ([], [], 2)


def test_a_frame_of_an_earlier_session_is_not_published_in_a_later_one(make):
    stages = Stages(held=True)
    pipeline = make(stages)
    pipeline.open()
    pipeline.offer(1, 'old')
    stages.inferring.acquire()
    pipeline.close()
    pipeline.open()
    pipeline.offer(2, 'new')
    stages.go.release(2)
    eventually(lambda: pipeline.pending == 0)
    assert stages.published == [(2, 'new')]


def test_closing_waits_for_a_publication_that_is_under_way(make):
    stages = Stages()
    publishing, may_end = threading.Event(), threading.Event()

    def hold():
        publishing.set()
        assert may_end.wait(10)
    stages.during_publication = hold
    pipeline = make(stages)
    pipeline.open()
    pipeline.offer(1, 'frame')
    assert publishing.wait(10)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(pipeline.close)
        assert not closing.done()
        may_end.set()
        closing.result(10)
    assert stages.published and pipeline.counts.published == 1


@pytest.mark.parametrize('stamp, word', [(1000 * MS, 'same stamp'), (999 * MS, '1.0 ms older'),
                                         (0, 'older')])
def test_a_stamp_that_is_not_newer_is_refused(make, stamp, word):
    told = []
    pipeline = make(Stages(), on_refusal=told.append)
    pipeline.open()
    pipeline.offer(1000 * MS, 'a')
    assert not pipeline.offer(stamp, 'b')
    assert word in told[0] and word in pipeline.counts.last_refusal
    assert (pipeline.counts.refused, pipeline.counts.out_of_order) == (1, 1)


def test_stamps_that_go_far_back_start_a_new_sequence(make):
    told = []
    stages = Stages()
    pipeline = make(stages, on_restart=told.append)
    pipeline.open()
    for stamp in (5000 * MS, 0, 40 * MS):
        assert pipeline.offer(stamp, stamp)
        eventually(lambda: pipeline.pending == 0)
    assert told == [5.0]
    assert [stamp for stamp, _ in stages.published] == [5000 * MS, 0, 40 * MS]
    assert pipeline.counts.restarts == 1


def test_the_next_mask_does_not_wait_for_the_instruments_which_may_be_displaced(make):
    stages = Stages()
    may_finish, finishing, finish = threading.Semaphore(0), threading.Semaphore(0), stages.finish

    def slow(*arguments):
        finishing.release()
        assert may_finish.acquire(timeout=10)
        return finish(*arguments)
    stages.finish = slow
    pipeline = make(stages)
    pipeline.open()
    for stamp in range(4):
        pipeline.offer(stamp, stamp)
        eventually(lambda: pipeline.pending == 0)
        if stamp == 0:
            assert finishing.acquire(timeout=10)
    assert [stamp for stamp, _ in stages.published] == [0, 1, 2, 3]
    assert pipeline.counts.unfinished == 2
    may_finish.release(2)
    eventually(lambda: stages.finished == [0, 3])


def test_bad_input_and_defects_are_counted_and_the_next_frame_goes_through(make):
    stages = Stages()
    told = []
    pipeline = make(stages, on_refusal=told.append)
    pipeline.open()
    for stamp, message in enumerate(('bad', 'defect', 'odd', 'good')):
        pipeline.offer(stamp, message)
        eventually(lambda: pipeline.pending == 0 and (len(told) == stamp + 1 or stamp == 3))
    eventually(lambda: stages.finished == [3])
    counts = pipeline.counts
    assert [stamp for stamp, _ in stages.published] == [2, 3]
    assert (counts.received, counts.published, counts.refused, counts.faults) == (4, 2, 2, 2)
    assert told[0] == 'encoding 13 is not supported' and told[1] == 'ZeroDivisionError: oops'
    assert told[2] == 'no instruments: ValueError: no way round this loop'


def test_an_error_while_publishing_does_not_end_the_worker(make):
    stages = Stages()
    stages.during_publication = lambda: 1 // 0
    pipeline = make(stages)
    pipeline.open()
    pipeline.offer(1, 'a')
    eventually(lambda: pipeline.counts.faults == 1)
    stages.during_publication = None
    pipeline.offer(2, 'b')
    eventually(lambda: pipeline.counts.published == 1)


def test_no_frame_is_lost_from_the_count_when_it_opens_and_closes_under_load(make):
    stages = Stages()
    pipeline = make(stages)
    stamp = 0
    for _ in range(200):
        pipeline.open()
        for _ in range(10):
            stamp += 1
            pipeline.offer(stamp, 'bad' if stamp % 7 == 0 else stamp)
        pipeline.close()
    eventually(lambda: pipeline.pending == 0)
    counts = pipeline.counts
    assert counts.received == 2000 == counts.published + counts.skipped + counts.refused
    assert counts.published == len(stages.published)
    assert [s for s, _ in stages.published] == sorted(s for s, _ in stages.published)


def test_stopping_ends_the_thread():
    before = threading.active_count()
    pipeline = Pipeline(Stages())
    assert threading.active_count() == before + 2
    assert pipeline.stop() and threading.active_count() == before


def test_recent_values_are_forgotten_after_their_time():
    now = [100.0]
    recent = Recent(5.0, clock=lambda: now[0])
    for index in range(200):
        now[0] += 0.1
        recent.add(index)
    assert recent.rate() == pytest.approx(10.0, abs=0.3)
    assert recent.percentile(0.5) == pytest.approx(175, abs=2)
    assert recent.percentile(0.99) == pytest.approx(199, abs=1)
    now[0] += 60
    assert recent.rate() == 0.0 and recent.percentile(0.5) != recent.percentile(0.5)


def test_gaps_in_the_senders_numbers_are_counted_and_a_new_sender_is_none():
    gaps = Gaps()
    assert [gaps.see(number) for number in (7, 8, 11, 12, 1, 2, 4, None, Gaps.UNKNOWN, 5)] == \
        [0, 0, 2, 0, 0, 0, 1, 0, 0, 0]
    gaps.restart()
    assert (gaps.see(90), gaps.missed) == (0, 3)
