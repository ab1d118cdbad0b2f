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

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import threading
import time

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging import live
from fedefm_ros.imaging.live import LiveSource
from fedefm_ros.imaging.source import open_source

import numpy as np

import pytest


class Camera:
    """A network camera: motion JPEG over HTTP on this machine, which can go and come back."""

    def __init__(self):
        self.port = 0
        self.stopping = threading.Event()
        self.stalled = threading.Event()

    @property
    def url(self):
        return f'http://127.0.0.1:{self.port}/stream'

    @contextmanager
    def switched_on(self, level):
        """Serve frames of one grey level at about 50 Hz, always on the same port."""
        self.stopping.clear()
        jpeg = cv2.imencode('.jpg', np.full((48, 64), level, np.uint8))[1].tobytes()
        camera = self

        class Handler(BaseHTTPRequestHandler):

            def do_GET(self):
                self.send_response(200)
                self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=frame')
                self.end_headers()
                try:
                    while not camera.stopping.wait(0.02):
                        if camera.stalled.is_set():
                            continue
                        self.wfile.write(b'--frame\r\nContent-Type: image/jpeg\r\nContent-Length: '
                                         + b'%d\r\n\r\n%s\r\n' % (len(jpeg), jpeg))
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(('127.0.0.1', self.port), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
        thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture
def camera():
    return Camera()


def read(frames, count):
    """Read up to a number of frames, fewer where the source is closed."""
    return [frame for frame, _ in zip(frames, range(count))]


def test_a_stream_gives_grey_frames_with_rising_times(camera):
    with camera.switched_on(90), LiveSource(camera.url) as source:
        frames = iter(source)
        first = [next(frames) for _ in range(10)]
        assert source.connected and source.frame_count is None and source.name == camera.url
    assert first[0].time == 0.0 and first[0].image.shape == (48, 64)
    assert [frame.index for frame in first] == list(range(10))
    assert all(a.time < b.time for a, b in zip(first, first[1:]))
    assert all(abs(float(frame.image.mean()) - 90) < 3 for frame in first)


def test_frames_go_on_after_the_device_was_gone(camera, caplog):
    with camera.switched_on(90):
        source = LiveSource(camera.url)
        frames = iter(source)
        before = next(frames)
    received = []
    worker = threading.Thread(
        target=lambda: received.extend(frame for frame, _ in zip(frames, range(2000))))
    worker.start()
    deadline = time.monotonic() + 20
    while 'lost' not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker.is_alive() and 'lost' in caplog.text
    with camera.switched_on(200):
        while time.monotonic() < deadline:
            if received and float(received[-1].image.mean()) > 190:
                break
            time.sleep(0.01)
        source.close()
        worker.join(10)
    assert not worker.is_alive()
    last = received[-1]
    assert abs(float(last.image.mean()) - 200) < 3
    assert last.index == len(received) and last.time > before.time
    assert 'back' in caplog.text


def test_a_stream_that_falls_silent_is_opened_again(camera, caplog, monkeypatch):
    monkeypatch.setattr(live, 'READ_TIMEOUT', 0.5)
    monkeypatch.setattr(live, 'OPEN_TIMEOUT', 0.5)
    with camera.switched_on(90), LiveSource(camera.url) as source:
        frames = iter(source)
        next(frames)
        camera.stalled.set()
        worker = threading.Thread(target=lambda: read(frames, 2000))
        worker.start()
        deadline = time.monotonic() + 20
        while 'lost' not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        camera.stalled.clear()
        while 'back' not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        source.close()
        worker.join(10)
        assert not worker.is_alive() and 'back' in caplog.text


def test_closing_ends_an_iteration_that_waits_for_the_device(camera, caplog):
    with camera.switched_on(90):
        source = LiveSource(camera.url)
        frames = iter(source)
        next(frames)
    worker = threading.Thread(target=lambda: list(frames))
    worker.start()
    deadline = time.monotonic() + 20
    while 'lost' not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    source.close()
    worker.join(10)
    assert not worker.is_alive() and not source.connected
    source.close()
    assert list(source) == []


def test_iterating_again_goes_on_counting(camera):
    with camera.switched_on(90), LiveSource(camera.url) as source:
        first = next(iter(source))
        second = next(iter(source))
        assert (first.index, second.index) == (0, 1) and second.time > first.time


@pytest.mark.parametrize('text', ['97', '/dev/video97'])
def test_a_device_that_does_not_exist_is_named_with_those_that_do(text):
    with pytest.raises(FedefmError, match=r'/dev/video97: no such device; video devices here: '):
        open_source(text)


def test_a_stream_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(live, 'OPEN_TIMEOUT', 2.0)
    for url in ('http://127.0.0.1:9/stream', 'rtsp://127.0.0.1:9/stream'):
        with pytest.raises(FedefmError, match=f'{url}: the device does not answer'):
            open_source(url)
