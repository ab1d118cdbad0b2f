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

"""Image topics of bags as frames: ROS 2 (sqlite3 and MCAP) and ROS 1, read without ROS."""

from collections.abc import Iterator
from dataclasses import dataclass
import heapq
from itertools import islice
import logging
from pathlib import Path
from statistics import median
from typing import Any

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag_reader import BagReader, open_bag
from fedefm_ros.imaging.bag_types import COMPRESSED_IMAGE, IMAGE
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.messages import compressed_to_array, image_to_array
from fedefm_ros.imaging.source import ClosingSource, DEFAULT_RATE, usable_rate

import numpy as np

_log = logging.getLogger(__name__)

#: Messages that may wait for one with an older stamp.
_WINDOW = 8
#: Nanoseconds; a stamp that is older than one before it by more begins a sequence anew.
_NEW_SEQUENCE = 10**9
#: What a station takes in; masks, overlays and truth are other stations' pictures of it.
_RAW = ('image_raw', 'image_raw/compressed')
_DERIVED = ('mask', 'overlay', 'overlay/compressed', 'mask/compressed')
_REMEDIES = {
    'bayer': 'it is a raw colour mosaic: demosaic it first (image_proc debayers)',
    '32': 'its grey range is unknown: scale it to mono8 or mono16 first',
    '64': 'its grey range is unknown: scale it to mono8 or mono16 first',
    'yuv': 'convert it to mono8 first (cv_bridge does)'}


@dataclass(frozen=True)
class StampedImage:
    """An image message, decoded."""

    stamp: int
    """Of its header, nanoseconds; when it was recorded where that is not set."""
    image: np.ndarray
    """(H, W) uint8 or uint16."""
    message: Any


class BagSource(ClosingSource):
    """
    One image topic of a bag; a frame's time is its header's stamp.

    The topic is the first that ends in ``image_raw`` (or ``image_raw/compressed``), else the
    first image topic that can be used and is no mask or overlay: a recorded session holds these
    as well. Messages whose stamps are slightly out of order are put in order.
    """

    def __init__(self, path: Path | str, topic: str | None = None):
        """
        Open the bag and find its images.

        :param topic: read this one.
        :raises FedefmError: not a bag, damaged, or no images in it.
        """
        self.path = Path(path)
        self.name = self.path.name
        self.carm = CArm()
        with open_bag(self.path) as reader:
            self.topic = choose_topic(reader, topic)
            self.losses = tuple(reader.losses)
            """What of the bag is lost, for people."""
            count = reader.topics[self.topic].count
            self.frame_count: int | None = count or None
            times = [each.stamp / 1e9 for each in islice(
                stamped_images(reader, self.topic, decode=False), 50)]
        if not times:
            raise FedefmError(f'{path}: topic {self.topic} has no messages')
        for loss in self.losses:
            _log.warning('%s', loss)
        steps = [after - before for before, after in zip(times, times[1:]) if after > before]
        self.rate = (usable_rate(1.0 / median(steps)) if steps else None) or DEFAULT_RATE

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames."""
        for index, (_, frame) in enumerate(self.stamped()):
            yield frame if frame.index == index else Frame(frame.image, index, frame.time)

    def stamped(self) -> Iterator[tuple[int, Frame]]:
        """Yield (stamp in nanoseconds, frame)."""
        with open_bag(self.path) as reader:
            start = None
            for index, each in enumerate(stamped_images(reader, self.topic)):
                start = each.stamp if start is None else start
                yield each.stamp, Frame(each.image, index, (each.stamp - start) / 1e9)


def stamped_images(reader: BagReader, topic: str, decode: bool = True) -> Iterator[StampedImage]:
    """
    Yield the images of a topic, sorted by stamp within a few messages.

    :param decode: False leaves ``image`` empty.
    :raises FedefmError: a message is no usable image; the text says which.
    """
    return _in_order(_images(reader, topic, decode), reader.path, topic)


def _images(reader, topic, decode):
    for index, stored in enumerate(reader.messages([topic])):
        message = reader.decode(stored)
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        image = np.empty((0, 0), np.uint8)
        if decode:
            try:
                image = _decoded(message)
            except FedefmError as error:
                raise FedefmError(
                    f'{reader.path}: message {index} of {topic}: {error}') from None
        yield StampedImage(stamp or stored.time, image, message)


def _in_order(images, path, topic):
    """Sort within the window; a stamp that goes back by more is told."""
    waiting, latest, late = [], 0, 0

    def rest():
        return (heapq.heappop(waiting)[2] for _ in range(len(waiting)))

    try:
        for number, each in enumerate(images):
            if waiting and each.stamp < max(waiting)[0] - _NEW_SEQUENCE:
                late += 1
                yield from rest()
            heapq.heappush(waiting, (each.stamp, number, each))
            if len(waiting) > _WINDOW:
                each = heapq.heappop(waiting)[2]
                late += each.stamp < latest
                latest = each.stamp
                yield each
    except FedefmError:
        yield from rest()  # these are before the one that is refused
        raise
    yield from rest()
    if late:
        _log.warning('%s: the stamps of %s go back %d times by more than %d messages',
                     path, topic, late, _WINDOW)


def _decoded(message):
    if not hasattr(message, 'encoding'):
        return compressed_to_array(message)
    try:
        return image_to_array(message)
    except FedefmError as error:
        remedy = next((text for start, text in _REMEDIES.items()
                       if message.encoding.lower().startswith(start)), None)
        if remedy is None:
            raise
        raise FedefmError(f'{error} ({remedy})') from None


def choose_topic(reader: BagReader, asked: str | None) -> str:
    """
    Return the topic with the images.

    :param asked: this one; None: the one that looks most like a raw image.
    :raises FedefmError: there is none.
    """
    images = [name for name, info in reader.topics.items()
              if info.topic.msgtype in (IMAGE, COMPRESSED_IMAGE)]
    if asked is not None:
        images = [name for name in images if name.strip('/') == asked.strip('/')]
    if not images:
        found = ', '.join(sorted(reader.topics)) or 'no topics'
        raise FedefmError(f'{reader.path}: no {asked or "image topic"} in this bag '
                          f'(it has {found})')
    images.sort(key=lambda name: (not name.endswith(_RAW), name.endswith(_DERIVED)))
    if len(images) == 1 or images[0].endswith(_RAW):
        return images[0]
    return next((name for name in images if _usable(reader, name)), images[0])


def _usable(reader: BagReader, name: str) -> bool:
    """Return whether the first message of a topic can be decoded."""
    first = next(reader.messages([name]), None)
    try:
        return first is not None and _decoded(reader.decode(first)) is not None
    except FedefmError:
        return False
