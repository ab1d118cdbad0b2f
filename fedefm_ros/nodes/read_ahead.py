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

"""Reads a frame source in a thread, so that a frame is ready when it is due. Without ROS."""

from collections import deque
from collections.abc import Callable
import logging
import threading
from typing import Any

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.source import FrameSource

_log = logging.getLogger(__name__)


class ReadAhead:
    """
    A bounded queue of prepared frames, filled by a thread that owns the source.

    A source that fails is counted; where ``again`` says so it is iterated anew after a pause,
    for ever, else that is the end.
    """

    def __init__(self, source: FrameSource, prepare: Callable[[Frame], Any], depth: int, *,
                 newest: bool = False, again: bool = False,
                 pause: Callable[[], float] = lambda: 1.0,
                 arrived: Callable[[], None] = lambda: None,
                 failed: Callable[[str], None] = lambda text: None):
        """
        Start reading.

        :param prepare: makes of a frame what ``take`` returns; called in the thread.
        :param depth: of the queue.
        :param newest: a full queue drops its oldest frame instead of making the source wait.
        :param pause: seconds before another try.
        :param arrived: told in the thread when there is something to take.
        :param failed: told in the thread why the source failed.
        """
        self._source = source
        self._prepare = prepare
        self._depth = depth
        self._newest = newest
        self._again = again
        self._pause = pause
        self._arrived = arrived
        self._failed = failed
        self._queue: deque = deque()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._done = False
        self.failures = 0
        self.last_failure = ''
        self._thread = threading.Thread(target=self._run, name='read_ahead', daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Return whether everything has been taken and nothing more will come."""
        with self._changed:
            return self._done and not self._queue

    @property
    def waiting(self) -> int:
        """Return how many frames are ready."""
        return len(self._queue)

    def take(self) -> Any | None:
        """Return the next prepared frame at once; None where there is none."""
        with self._changed:
            item = self._queue.popleft() if self._queue else None
            self._changed.notify_all()
            return item

    def clear(self) -> None:
        """Drop the frames that are ready."""
        with self._changed:
            self._queue.clear()
            self._changed.notify_all()

    def stop(self, patience: float = 2.0) -> bool:
        """End the thread, which closes the source; False if it is still at its last frame."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if hasattr(self._source, 'connected'):
            # A device that is lost waits in its iteration until it is closed.
            self._source.close()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._read_once() and self._again:
                if self._stopping.wait(self._pause()):
                    break
        finally:
            with self._changed:
                self._done = True
            self._source.close()
            self._arrived()

    def _read_once(self) -> bool:
        """Iterate the source; return whether it failed."""
        try:
            for frame in self._source:
                if not self._put(self._prepare(frame)):
                    return False
            return False
        except FedefmError as error:
            text = str(error)
        except Exception as error:  # a defect; the node has to live on and say so
            _log.exception('%s cannot be read', self._source.name)
            text = f'{self._source.name}: {type(error).__name__}: {error}'
        self.failures += 1
        self.last_failure = text
        self._failed(text)
        return True

    def _put(self, item: Any) -> bool:
        """Queue a frame, once there is room; False when it is time to stop."""
        with self._changed:
            while not self._newest and len(self._queue) >= self._depth:
                if self._stopping.is_set():
                    return False
                self._changed.wait()
            while self._newest and len(self._queue) >= self._depth:
                self._queue.popleft()
            self._queue.append(item)
        self._arrived()
        return not self._stopping.is_set()
