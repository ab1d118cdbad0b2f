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

"""
The segmentation node's machinery without ROS: one-slot queues, worker threads, counts, gate.

A frame goes ``offer`` (by the caller's thread, never waits) -> slot (the newest wins) -> first
worker: ``prepare``, ``infer``, ``deliver`` -> slot -> second worker: ``finish``. The next frame's
mask does not wait for this frame's instruments. Each offered frame ends as exactly one of
published, skipped or refused, so ``received == published + skipped + refused + pending``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
import logging
import threading
import time
from typing import Any, Protocol

from fedefm_ros.errors import FedefmError

_log = logging.getLogger(__name__)

REWIND_NS = 1_000_000_000
"""A stamp that is older than the latest by more than this starts a new sequence."""


@dataclass(frozen=True)
class Job:
    """One accepted frame on its way through the worker."""

    stamp: int
    """Nanoseconds, by the sender's clock."""
    message: Any
    session: int
    """Between which ``open`` and ``close`` it came."""


@dataclass(frozen=True)
class Counts:
    """Frames since the pipeline was made."""

    received: int = 0
    published: int = 0
    skipped: int = 0
    """Displaced by a newer one, or still unfinished when the pipeline was closed."""
    refused: int = 0
    """Not to be segmented; ``last_refusal`` says why the latest was not."""
    out_of_order: int = 0
    """Of those refused: stamp not newer than the one before."""
    restarts: int = 0
    """Times the stamps went back by more than a second: a bag that loops, another sequence."""
    unfinished: int = 0
    """Of those published: without instruments, which would have come later than the next ones."""
    faults: int = 0
    """Of those refused or published without instruments: defects, not bad input."""
    last_refusal: str = ''


class Stages(Protocol):
    """What is done with a frame: ``finish`` in the second worker's thread, else in the first's."""

    def prepare(self, job: Job) -> Any:
        """Return the image; FedefmError where it cannot or should not be segmented."""
        ...

    def infer(self, job: Job, image: Any) -> Any:
        """Return the segmentation of an image."""
        ...

    def deliver(self, job: Job, image: Any, result: Any, started: float) -> Callable[[], None]:
        """Return the call that publishes the mask; the pipeline makes it unless closed."""
        ...

    def finish(self, job: Job, image: Any, result: Any,
               started: float) -> Callable[[], None] | None:
        """Do what may follow the mask; return the call that publishes it, if any."""
        ...


class _Worker:
    """A thread behind a slot for one item, where the newest wins."""

    def __init__(self, handle: Callable[[Any], None], name: str):
        self._handle = handle
        self._changed = threading.Condition()
        self._item: Any | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Any | None) -> Any | None:
        """Replace what waits, None: by nothing; return it."""
        with self._changed:
            displaced, self._item = self._item, item
            self._changed.notify()
        return displaced

    def ask_to_stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self, patience: float) -> bool:
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._item is not None or self._stopping)
                if self._stopping:
                    return
                item, self._item = self._item, None
            self._handle(item)


class Pipeline:
    """Two workers in a row, and a gate in front of what they publish."""

    def __init__(self, stages: Stages, *, name: str = 'segmentation',
                 on_refusal: Callable[[str], None] = lambda text: None,
                 on_restart: Callable[[float], None] = lambda seconds: None):
        """
        Start the workers; the gate is closed.

        :param on_refusal: told why a frame was refused, from the thread that refused it.
        :param on_restart: told by how many seconds the stamps went back.
        """
        self._stages = stages
        self._on_refusal = on_refusal
        self._on_restart = on_restart
        self._counts = Counts()
        # Taken in this order where both are: the gate while something is published, the lock
        # while anything below it is looked at or changed.
        self._gate = threading.Lock()
        self._lock = threading.Lock()
        self._session = 0
        self._open = False
        self._latest_stamp: int | None = None
        self._finisher = _Worker(self._finish, f'{name}_finish')
        self._worker = _Worker(self._process, name)

    @property
    def counts(self) -> Counts:
        """Return a consistent copy of the counts."""
        return self._counts

    @property
    def pending(self) -> int:
        """Return how many frames are neither published, skipped nor refused yet: 0 to 2."""
        counts = self._counts
        return counts.received - counts.published - counts.skipped - counts.refused

    def open(self) -> None:  # noqa: A003
        """Take frames from now on; the first may have any stamp."""
        with self._gate, self._lock:
            self._session += 1
            self._open = True
            self._latest_stamp = None

    def close(self) -> None:
        """
        Take no more frames and publish nothing more once this has returned.

        Waits for a publication that is under way, never for an inference.
        """
        with self._gate, self._lock:
            self._open = False
            self._finisher.put(None)
            if self._worker.put(None) is not None:
                self._count(skipped=1)

    def stop(self, patience: float = 5.0) -> bool:
        """Close and end the workers after the frame they are at; False if that takes longer."""
        self.close()
        workers = (self._worker, self._finisher)
        for worker in workers:
            worker.ask_to_stop()
        ended = [worker.join(patience / 2) for worker in workers]
        return all(ended)

    def offer(self, stamp: int, message: Any) -> bool:
        """
        Hand a frame in; return whether it was accepted.

        :param stamp: nanoseconds.
        """
        with self._lock:
            if not self._open:
                return False
            self._count(received=1)
            refusal, back = self._check_order(stamp)
            if refusal is None:
                self._latest_stamp = stamp
                if self._worker.put(Job(stamp, message, self._session)) is not None:
                    self._count(skipped=1)
        if back is not None:
            self._on_restart(back)
        if refusal is not None:
            self._on_refusal(refusal)
        return refusal is None

    def _check_order(self, stamp: int) -> tuple[str | None, float | None]:
        """Return why a stamp is refused, and by how many seconds a new sequence goes back."""
        if self._latest_stamp is None or stamp > self._latest_stamp:
            return None, None
        behind = self._latest_stamp - stamp
        if behind > REWIND_NS:
            self._count(restarts=1)
            return None, behind * 1e-9
        refusal = ('the same stamp as the frame before; every frame needs its own'
                   if behind == 0 else
                   f'{behind * 1e-6:.1f} ms older than the frame before; send frames in order')
        self._count(refused=1, out_of_order=1, last_refusal=refusal)
        return refusal, None

    def _count(self, *, last_refusal: str | None = None, **more: int) -> None:
        """Add to counts; the lock is held."""
        changes: dict[str, Any] = {name: getattr(self._counts, name) + number
                                   for name, number in more.items()}
        if last_refusal is not None:
            changes['last_refusal'] = last_refusal
        self._counts = replace(self._counts, **changes)

    def _process(self, job: Job) -> None:
        """Take a frame to its mask."""
        started = time.monotonic()
        try:
            image = self._stages.prepare(job)
            result = self._stages.infer(job, image)
            if not self._publish(
                    job, self._stages.deliver(job, image, result, started), published=1):
                return
        except FedefmError as error:
            self._refuse(job, str(error))
            return
        except Exception as error:  # a defect; the station has to go on all the same
            _log.exception('a frame could not be segmented')
            self._refuse(job, f'{type(error).__name__}: {error}', faults=1)
            return
        if self._finisher.put((job, image, result, started)) is not None:
            with self._lock:
                self._count(unfinished=1)

    def _finish(self, masked: tuple) -> None:
        """Do what follows the mask."""
        job = masked[0]
        try:
            publish = self._stages.finish(*masked)
            if publish is not None:
                self._publish(job, publish)
        except Exception as error:
            _log.exception('no instruments for a frame whose mask has been published')
            with self._lock:
                self._count(faults=1)
            self._on_refusal(f'no instruments: {type(error).__name__}: {error}')

    def _publish(self, job: Job, publish: Callable[[], None], **count: int) -> bool:
        """Publish and count unless the frame's session is over; return whether it was not."""
        with self._gate:
            alive = self._open and self._session == job.session
            if alive:
                publish()
            with self._lock:
                if alive:
                    self._count(**count)
                elif count:
                    self._count(skipped=1)
        return alive

    def _refuse(self, job: Job, text: str, **count: int) -> None:
        with self._lock:
            self._count(refused=1, last_refusal=text, **count)
        self._on_refusal(text)


class Gaps:
    """Counts the frames that never came, by the sender's sequence numbers."""

    UNKNOWN = 2**64 - 1
    """Where the middleware has no numbers."""

    def __init__(self):
        """Start with nothing missed."""
        self.missed = 0
        self._latest: int | None = None

    def restart(self) -> None:
        """Expect any number next: nobody listened meanwhile."""
        self._latest = None

    def see(self, number: int | None) -> int:
        """Take in the number of a frame that came; return how many are missing before it."""
        if number is None or number == self.UNKNOWN:
            return 0
        # A smaller number is another sender's first.
        gap = number - self._latest - 1 if self._latest is not None else 0
        self._latest = number
        self.missed += max(gap, 0)
        return max(gap, 0)
