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

"""Masks and instruments in a bag, found by the stamp of the image that they belong to."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
import math
import os
from pathlib import Path
from typing import Any
from typing import NamedTuple

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag_reader import open_bag
from fedefm_ros.imaging.bag_types import INSTRUMENTS
from fedefm_ros.imaging.messages import compressed_to_array
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.imaging.source import ClosingSource
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

#: Messages that are kept because their stamp was not asked for yet.
WINDOW = 64
#: Messages of diagnostics to look at for what a station runs: it says so each second.
_DIAGNOSTICS = 100


@dataclass(frozen=True)
class Stamped:
    """A message of a bag."""

    message: Any
    recorded: int
    """When it was recorded, nanoseconds."""


class StampedTopic(ClosingSource):
    """
    One topic of a bag, to be asked for stamps in about the order in which they come.

    Reads ahead only as far as it must; memory does not grow with the bag.
    """

    def __init__(self, path: Path, topic: str):
        """
        Open the bag.

        :param topic: the whole name.
        :raises FedefmError: no bag, or no such topic.
        """
        self.topic = topic
        self._path = path
        self._stack = ExitStack()
        self._reader = self._stack.enter_context(open_bag(path))
        if topic not in self._reader.topics:
            self.close()
            raise FedefmError(f'{path}: no topic {topic} in this bag; it has '
                              f'{", ".join(sorted(self._reader.topics))}')
        self._messages = iter(self._reader.messages([topic]))
        self._waiting: OrderedDict[int, Stamped] = OrderedDict()

    def close(self) -> None:
        """Close the bag; may be called twice."""
        self._stack.close()

    def at(self, stamp: int) -> Stamped | None:
        """Return the message of a stamp in nanoseconds, or None; a message is given once."""
        later = sum(other > stamp for other in self._waiting)
        while stamp not in self._waiting and later < WINDOW // 2:
            stored = next(self._messages, None)
            if stored is None:
                break
            message = self._reader.decode(stored)
            time = message.header.stamp
            found = time.sec * 10**9 + time.nanosec
            self._waiting[found] = Stamped(message, stored.time)
            later += found > stamp
            while len(self._waiting) > WINDOW:
                self._waiting.popitem(last=False)
        return self._waiting.pop(stamp, None)

    def mask(self, stamp: int) -> tuple[np.ndarray, int] | None:
        """Return the mask of a stamp, (H, W) uint8 labels, and when it was recorded."""
        found = self.at(stamp)
        if found is None:
            return None
        decode = image_to_array if hasattr(found.message, 'encoding') else compressed_to_array
        try:
            mask = decode(found.message)
        except FedefmError as error:
            raise FedefmError(f'{self._path}: {self.topic} at {stamp}: {error}') from None
        if mask.dtype != np.uint8 or mask.max(initial=0) > 2:
            raise FedefmError(f'{self._path}: {self.topic} at {stamp}: a mask is mono8 with 0, 1 '
                              f'and 2, this one is {mask.dtype} up to {mask.max(initial=0)}')
        return mask, found.recorded

    def instruments(self, stamp: int) -> tuple[tuple[Instrument, ...], float] | None:
        """Return the instruments of a stamp and the seconds that finding them took."""
        found = self.at(stamp)
        if found is None:
            return None
        return (tuple(_instrument(entry) for entry in found.message.instruments
                      if len(entry.centerline_px) >= 2), float(found.message.processing_time))


def topic_ending(path: Path, *endings: str, near: str = '') -> str | None:
    """
    Return the first topic of a bag with one of these endings, or None.

    :param near: of several with the same ending, one of the same station as this topic.
    """
    with open_bag(path) as reader:
        return next((name for ending in endings for name in _nearest(reader.topics, near)
                     if f'/{name}'.endswith(f'/{ending}')), None)


def _nearest(names, near):
    """Return names sorted by how much of their beginning they share with another."""
    return sorted(names, key=lambda name: (
        -len(os.path.commonprefix([name.split('/'), near.split('/')])), name))


class RecordedEngine(NamedTuple):
    """How a recorded station ran a model."""

    runtime: str
    precision: str
    min_confidence: float | None
    """None in recordings of older versions."""
    judge_id: str
    """'none' without a judge, as in recordings of older versions."""


def recorded_engine(path: Path, model_id: str, near: str = '') -> RecordedEngine | None:
    """
    Return how a recorded station ran a model, None where it did not.

    :param near: of several stations, that of this topic.
    """
    with open_bag(path) as reader:
        topics = [name for name, info in reader.topics.items()
                  if info.topic.msgtype == 'diagnostic_msgs/msg/DiagnosticArray']
        found = {}
        for stored in islice(reader.messages(topics), _DIAGNOSTICS) if topics else ():
            for status in reader.decode(stored).status:
                values = {pair.key: pair.value for pair in status.values}
                if values.get('model_id') == model_id and {'runtime', 'precision'} <= set(values):
                    found['/' + status.name] = RecordedEngine(
                        values['runtime'], values['precision'],
                        _share(values.get('min_confidence', '')),
                        values.get('judge_id', 'none'))
    return found[_nearest(found, near)[0]] if found else None


def _share(text: str) -> float | None:
    """Return a number from 0 to below 1, None where the text is none."""
    try:
        return float(text) if 0.0 <= float(text) < 1.0 else None
    except ValueError:
        return None


def pixel_spacing_mm(path: Path, near: str = '') -> tuple[float, float] | None:
    """
    Return the pixel pitch at the patient (row, column), None where the bag does not tell.

    What a station's instruments were measured with; a camera_info alone does not tell it.

    :param near: of several stations, that of this topic.
    """
    with open_bag(path) as reader:
        for name in _nearest(reader.topics, near):
            if reader.topics[name].topic.msgtype != INSTRUMENTS:
                continue
            for stored in islice(reader.messages([name]), 1):
                message = reader.decode(stored)
                found = float(message.pixel_spacing_y_mm), float(message.pixel_spacing_x_mm)
                if all(math.isfinite(each) and each > 0 for each in found):
                    return found
    return None


def recording_times(path: Path, topic: str) -> dict[int, int]:
    """
    Return when each message was recorded by its stamp, both in nanoseconds.

    16 bytes and some a frame: the images themselves are not kept.
    """
    with open_bag(path) as reader:
        times = {}
        for stored in reader.messages([topic]):
            stamp = reader.decode(stored).header.stamp
            times[stamp.sec * 10**9 + stamp.nanosec or stored.time] = stored.time
        return times


def _instrument(entry):
    points = np.array([(point.x, point.y) for point in entry.centerline_px], np.float64)
    return Instrument(int(entry.kind), points, float(entry.confidence), bool(entry.tip_visible),
                      float(entry.length_mm))
