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
Draws frames with what was found in them, in a thread of its own, and only while somebody looks.

Image, mask and instruments of one frame meet by their stamp. Where a newer frame is complete
before the painter is free, the older one is not painted at all: nothing queues.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
import threading

import cv2

from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.overlay import draw_overlay

import numpy as np

_WAITING = 6
"""Frames that may wait for their mask or their instruments."""


@dataclass(frozen=True)
class Parts:
    """What there is of one frame."""

    stamp: int
    """Nanoseconds."""
    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    instruments: tuple[Instrument, ...] | None = None
    age: float = 0.0
    """Seconds from the stamp to the mask's arrival."""


@dataclass(frozen=True)
class Picture:
    """A painted frame."""

    stamp: int
    jpeg: bytes
    masked: bool
    """Whether a mask is drawn; an image alone is shown where none comes."""
    size: tuple[int, int]
    """Width and height of the frame, which may be larger than the picture."""
    age: float


class Joiner:
    """Brings the parts of frames together."""

    def __init__(self):
        """Start with none."""
        self._frames: OrderedDict[int, Parts] = OrderedDict()

    def add(self, stamp: int, **part: object) -> Parts | None:
        """
        Add parts of a frame; return a frame that can be painted now, the newest.

        That is one with everything, or one whose instruments were left out because the next
        mask was there first.
        """
        frame = replace(self._frames.get(stamp, Parts(stamp)), **part)
        self._frames[stamp] = frame
        while len(self._frames) > _WAITING:
            self._frames.popitem(last=False)
        if frame.image is None:
            return None
        if frame.mask is not None and frame.instruments is not None:
            return self._pop(stamp)
        if frame.mask is not None:
            older = [each for each in self._frames.values()
                     if each.stamp < stamp and each.mask is not None and each.image is not None]
            return self._pop(older[-1].stamp) if older else None
        return None

    def _pop(self, stamp: int) -> Parts:
        frame = self._frames[stamp]
        for key in [key for key in self._frames if key <= stamp]:
            del self._frames[key]
        return frame


class Painter:
    """Paints the newest frame offered and hands the picture on."""

    def __init__(self, deliver: Callable[[Picture], None],
                 settings: Callable[[str], float]):
        """
        Start the thread.

        :param deliver: gets each picture, in the painter's thread.
        :param settings: value of ``picture_side`` (pixels) and ``picture_quality`` (1 to 100).
        """
        self._deliver = deliver
        self._settings = settings
        self._changed = threading.Condition()
        self._next: Parts | None = None
        self._stopping = False
        self.skipped = 0
        """Frames that a newer one displaced."""
        self.failure = ''
        """What the newest frame could not be painted for; empty: it was."""
        self._thread = threading.Thread(target=self._run, name='painter', daemon=True)
        self._thread.start()

    def offer(self, frame: Parts) -> None:
        """Paint this next, in place of what waits."""
        with self._changed:
            self.skipped += self._next is not None
            self._next = frame
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next is not None or self._stopping)
                if self._stopping:
                    return
                frame, self._next = self._next, None
            try:
                picture = paint(frame, int(self._settings('picture_side')),
                                int(self._settings('picture_quality')))
            except Exception as error:  # one bad frame must not end the live picture
                self.failure = f'{type(error).__name__}: {error}'
                continue
            self.failure = ''
            self._deliver(picture)


def paint(frame: Parts, side: int, quality: int) -> Picture:
    """
    Draw a frame as JPEG.

    :param frame: with an image; a mask of another size is left out.
    :param side: longest side of the picture in pixels.
    :param quality: of the JPEG, 1 to 100.
    """
    image = frame.image
    height, width = image.shape
    mask = frame.mask if frame.mask is not None and frame.mask.shape == image.shape else None
    instruments = frame.instruments or ()
    scale = min(1.0, side / max(height, width))
    if scale < 1.0:
        shape = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
        if mask is not None:
            mask = cv2.resize(mask, shape, interpolation=cv2.INTER_NEAREST)
        # Pixel centres: the middle of the first pixel stays the origin.
        instruments = tuple(replace(each, centerline=(each.centerline + 0.5) * scale - 0.5)
                            for each in instruments)
    drawn = draw_overlay(
        image, mask if mask is not None else np.zeros(image.shape, np.uint8), instruments)
    done, data = cv2.imencode('.jpg', cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR),
                              [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f'an image of {image.shape} cannot be coded as JPEG')
    return Picture(frame.stamp, data.tobytes(), mask is not None, (width, height), frame.age)
