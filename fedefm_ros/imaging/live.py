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

"""Live devices through OpenCV: frame grabbers (Video4Linux) and network streams."""

from collections.abc import Iterator
import logging
import os
from pathlib import Path
import threading
import time

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.source import ClosingSource, DEFAULT_RATE, usable_rate
from fedefm_ros.imaging.stills import check_size, to_grey

import numpy as np

_log = logging.getLogger(__name__)
# Losses are told here; FFmpeg would add a line for each attempt, on stderr.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before the first attempt to reconnect, and at most; doubled after each one."""
OPEN_TIMEOUT, READ_TIMEOUT = 10.0, 3.0
"""Seconds for a network stream to open, and to send the next frame before it counts as lost."""


class LiveSource(ClosingSource):
    """
    Frames of a device as they arrive, for ever; colour is turned to grey.

    A frame's time is when it was read, by the monotonic clock. After a loss the device is opened
    again with growing pauses until it is back; ``connected`` tells how it stands meanwhile.
    ``close`` may be called from another thread and ends an iteration that waits.
    """

    def __init__(self, device: str, rate: float | None = None):
        """
        Open the device.

        :param device: number, /dev/videoN, or URL (rtsp, rtmp, http, https, udp, tcp).
        :param rate: frames per second to ask the device for; its own choice where None.
        :raises FedefmError: it does not exist or does not answer.
        """
        self.name = f'/dev/video{device}' if device.isdecimal() else device
        self._target: int | str = int(device) if device.isdecimal() else device
        self._asked_rate = rate
        self._closed = threading.Event()
        self._lock = threading.Lock()  # a capture must not be released while it reads
        self._start: float | None = None
        self._index = 0
        self._check_exists()
        self._capture: cv2.VideoCapture | None = self._open()
        if self._capture is None:
            raise FedefmError(f'{self.name}: the device does not answer; is it switched on, '
                              'connected, and not in use by another program?')
        self.rate = usable_rate(self._capture.get(cv2.CAP_PROP_FPS)) or rate or DEFAULT_RATE
        self.carm = CArm()
        self.frame_count = None

    @property
    def connected(self) -> bool:
        """Return whether the device is open."""
        return self._capture is not None

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the source is closed; a second iteration goes on."""
        while not self._closed.is_set():
            image = self._read()
            if image is None:
                self._reconnect()
                continue
            now = time.monotonic()
            self._start = now if self._start is None else self._start
            self._index += 1
            yield Frame(to_grey(image), self._index - 1, now - self._start)

    def close(self) -> None:
        """Free the device, once a read that is under way has ended."""
        self._closed.set()
        self._replace(None)

    def _read(self) -> np.ndarray | None:
        """Return the next image; None where there is none."""
        with self._lock:
            try:
                good, image = self._capture.read() if self._capture else (False, None)
            except cv2.error:
                return None
            return image if good else None

    def _reconnect(self) -> None:
        """Open the device again, however long it takes."""
        if self._closed.is_set():
            return
        _log.warning('%s: lost after %d frames; reconnecting', self.name, self._index)
        self._replace(None)
        pause = FIRST_PAUSE
        while not self._closed.wait(pause):
            capture = self._open()
            if capture is not None:
                self._replace(capture)
                _log.warning('%s: back', self.name)
                return
            pause = min(2 * pause, LONGEST_PAUSE)

    def _replace(self, capture: cv2.VideoCapture | None) -> None:
        """Release the device and use another one, or none once closed."""
        with self._lock:
            if self._capture is not None:
                self._capture.release()
            self._capture = capture
            if self._closed.is_set() and capture is not None:
                capture.release()
                self._capture = None

    def _check_exists(self) -> None:
        """Raise FedefmError where a local device is not there."""
        if not self.name.startswith('/dev/') or Path(self.name).exists():
            return
        there = ', '.join(sorted(str(path) for path in Path('/dev').glob('video*'))) or 'none'
        raise FedefmError(f'{self.name}: no such device; video devices here: {there}')

    def _open(self) -> cv2.VideoCapture | None:
        """Return an open capture; None where the device does not answer."""
        parameters = []
        if '://' in self.name:
            parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPEN_TIMEOUT * 1000),
                          cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READ_TIMEOUT * 1000)]
        try:
            capture = cv2.VideoCapture(self._target, cv2.CAP_ANY, parameters)
        except cv2.error:
            return None
        if not capture.isOpened():
            return None
        # A frame grabber's queue would only add delay; backends that cannot say no.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if self._asked_rate:
            capture.set(cv2.CAP_PROP_FPS, self._asked_rate)
        check_size(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
                   int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), self.name)
        return capture
