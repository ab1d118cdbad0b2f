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

"""Pictures: parts of one frame meet, nothing queues, nobody is drawn for who does not look."""

import asyncio
import json
import threading

import cv2

from fedefm_ros import labels
from fedefm_ros.console.hub import FrameHub, stream, UNDER_WAY
from fedefm_ros.console.painter import Joiner, paint, Painter, Parts, Picture
from fedefm_ros.console.view import Snapshot
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

import pytest

IMAGE = np.full((96, 128), 120, np.uint8)
SETTINGS = {'picture_side': 1024, 'picture_quality': 90}


def wire():
    line = np.array([(10.0, 20.0), (60.0, 20.0), (100.0, 50.0)])
    return Instrument(kind=labels.GUIDEWIRE, confidence=0.9, tip_visible=True,
                      length_mm=float('nan'), centerline=line)


def mask():
    drawn = np.zeros_like(IMAGE)
    cv2.line(drawn, (10, 20), (60, 20), labels.GUIDEWIRE, 5)
    return drawn


def decoded(picture):
    return cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize('order', [('image', 'mask', 'instruments'),
                                   ('instruments', 'mask', 'image'),
                                   ('mask', 'image', 'instruments')])
def test_parts_meet_in_whatever_order_they_come(order):
    parts = {'image': IMAGE, 'mask': mask(), 'instruments': (wire(),)}
    joiner = Joiner()
    made = [joiner.add(7, **{name: parts[name]}) for name in order]
    assert made[:2] == [None, None]
    assert made[2].stamp == 7 and made[2].mask is parts['mask']


def test_parts_of_different_frames_never_meet():
    joiner = Joiner()
    joiner.add(1, image=IMAGE)
    joiner.add(2, mask=mask())
    assert joiner.add(3, instruments=()) is None


def test_a_frame_whose_instruments_never_come_is_shown_with_the_next_mask():
    joiner = Joiner()
    joiner.add(1, image=IMAGE)
    joiner.add(1, mask=mask())
    joiner.add(2, image=IMAGE)
    shown = joiner.add(2, mask=mask())
    assert shown.stamp == 1 and shown.instruments is None
    assert joiner.add(1, instruments=()) is None


def test_frames_that_never_get_complete_are_forgotten():
    joiner = Joiner()
    for stamp in range(1000):
        joiner.add(stamp, image=IMAGE)
    assert len(joiner._frames) < 10


def test_mask_and_wire_are_drawn_and_the_rest_stays_grey():
    picture = paint(Parts(5, IMAGE, mask(), (wire(),), 0.02), 1024, 95)
    drawn = decoded(picture).astype(int)
    assert picture.masked and picture.size == (128, 96) and drawn.shape == (96, 128, 3)
    # Orange: red well above blue (OpenCV's order is blue, green, red).
    assert drawn[20, 30, 2] - drawn[20, 30, 0] > 40
    assert abs(drawn[80, 10] - 120).max() < 12


def test_a_large_frame_is_drawn_small_with_its_lines_in_place():
    large = np.full((2000, 3000), 120, np.uint8)
    line = np.array([(300.0, 1500.0), (2400.0, 1500.0)])
    found = Instrument(kind=labels.CATHETER, confidence=0.9, tip_visible=False,
                       length_mm=float('nan'), centerline=line)
    picture = paint(Parts(1, large, np.zeros_like(large), (found,)), 600, 95)
    drawn = decoded(picture).astype(int)
    assert drawn.shape[:2] == (400, 600) and picture.size == (3000, 2000)
    assert abs(drawn[300, 200] - 120).max() > 40 and abs(drawn[200, 200] - 120).max() < 12


def test_a_deep_image_and_a_mask_of_another_size_do_not_stop_the_picture():
    deep = np.full((64, 64), 40000, np.uint16)
    assert decoded(paint(Parts(1, deep, None, None), 512, 80)).shape == (64, 64, 3)
    assert not paint(Parts(1, IMAGE, np.ones((4, 4), np.uint8)), 512, 80).masked


def test_the_painter_skips_what_it_has_no_time_for_and_survives_a_bad_frame():
    done, hold = [], threading.Event()
    arrived = threading.Event()

    def deliver(picture):
        done.append(picture.stamp)
        arrived.set()
        hold.wait(10)
    painter = Painter(deliver, SETTINGS.__getitem__)
    painter.offer(Parts(1, IMAGE))
    assert arrived.wait(10)
    for stamp in range(2, 50):
        painter.offer(Parts(stamp, IMAGE))
    arrived.clear()
    hold.set()
    assert arrived.wait(10)
    assert done == [1, 49] and painter.skipped == 47
    painter.offer(Parts(50, np.zeros((0, 0), np.uint8)))
    while not painter.failure:
        assert painter._thread.is_alive()
    arrived.clear()
    painter.offer(Parts(51, IMAGE))
    assert arrived.wait(10) and done[-1] == 51 and not painter.failure
    painter.close()
    assert not painter._thread.is_alive()


class Socket:
    """One end of a websocket, as Starlette has it; the browser's end is played by the test."""

    def __init__(self):
        self.sent, self.answers = [], asyncio.Queue()

    async def send_text(self, text):
        self.sent.append(json.loads(text))

    async def send_bytes(self, data):
        self.sent.append(data)

    async def receive(self):
        return await self.answers.get()

    @property
    def pictures(self):
        return [data for data in self.sent if isinstance(data, bytes)]


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def picture(stamp):
    return Picture(stamp, b'jpeg of %d' % stamp, True, (8, 8), 0.02)


@pytest.mark.skipif(not hasattr(asyncio, 'timeout'), reason='Python 3.10 has no asyncio.timeout')
def test_a_browser_that_does_not_answer_gets_no_more_and_then_the_newest():
    async def play():
        hub, socket = FrameHub(), Socket()
        hub.attach(asyncio.get_running_loop())
        serving = asyncio.create_task(stream(
            socket, hub, lambda: Snapshot(1.0, 1.0, flowing=True, mask_age=0.5), lambda: 0.2))
        await until(lambda: hub.readers == 1)
        for stamp in range(1, 30):
            before = len(socket.pictures)
            hub.publish(picture(stamp))
            if before < UNDER_WAY:
                await until(lambda: len(socket.pictures) > before)
        await until(lambda: isinstance(socket.sent[-1], dict))
        assert len(socket.pictures) == UNDER_WAY
        assert socket.sent[-1]['stale'] and socket.sent[-1]['mask_age'] == 0.5
        socket.answers.put_nowait({'type': 'websocket.receive', 'text': 'shown'})
        await until(lambda: len(socket.pictures) > UNDER_WAY)
        last = socket.pictures[-1]
        length = int.from_bytes(last[:4], 'big')
        assert last[4 + length:] == b'jpeg of 29'
        assert json.loads(last[4:4 + length])['masked'] is True
        socket.answers.put_nowait({'type': 'websocket.disconnect'})
        await serving
        assert hub.readers == 0
    asyncio.run(play())


@pytest.mark.skipif(not hasattr(asyncio, 'timeout'), reason='Python 3.10 has no asyncio.timeout')
def test_a_slow_browser_does_not_hold_up_a_fast_one():
    async def play():
        hub, slow, fast = FrameHub(), Socket(), Socket()
        hub.attach(asyncio.get_running_loop())
        tasks = [asyncio.create_task(stream(socket, hub, lambda: Snapshot(1.0, 1.0), lambda: 0.2))
                 for socket in (slow, fast)]
        await until(lambda: hub.readers == 2)
        for stamp in range(1, 21):
            hub.publish(picture(stamp))
            await until(lambda: len(fast.pictures) == stamp)
            fast.answers.put_nowait({'type': 'websocket.receive', 'text': 'shown'})
        assert len(slow.pictures) == UNDER_WAY
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    asyncio.run(play())
