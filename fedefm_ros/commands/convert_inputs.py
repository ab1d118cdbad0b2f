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

"""What `convert` reads: any INPUT, a bag with its masks, or a data set, as one kind of item."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from fedefm_ros.commands.convert_outputs import FOUND, Item, TRUTH
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag import BagSource
from fedefm_ros.imaging.bag_files import is_bag
from fedefm_ros.imaging.bag_topics import StampedTopic, topic_ending
from fedefm_ros.imaging.paired_folder import is_paired_folder, PairedFolderSource
from fedefm_ros.imaging.source import DEFAULT_RATE, FrameSource, open_source


def open_input(text: str, *, rate: float | None, size: int | None, seed: int,
               topic: str | None) -> FrameSource:
    """
    Open what is to be converted.

    :param rate: frames per second instead of the input's own.
    :param topic: of the images, for bags.
    """
    path = Path(text).expanduser()
    if is_paired_folder(path):
        return PairedFolderSource(path, rate or DEFAULT_RATE)
    if not is_bag(path):
        if topic:
            raise FedefmError(f'{text} is no bag, so it has no topic {topic}')
        return open_source(text, rate=rate, size=size, seed=seed)
    if rate:
        raise FedefmError('a bag has its own stamps; --rate is for other inputs')
    return BagSource(path, topic)


def items(source: FrameSource, text: str, start: int, mask_topic: str | None) -> Iterator[Item]:
    """
    Yield the frames.

    :param start: stamp of the first frame, nanoseconds; bags keep their own.
    :param mask_topic: of a bag; by default its ground truth, else what a station found.
    """
    if isinstance(source, BagSource):
        yield from _bag_items(source, Path(text).expanduser(), mask_topic)
        return
    known = not isinstance(source, PairedFolderSource)
    for frame in source:
        stamp = start + round(frame.time * 1e9)
        if frame.truth is None:
            yield Item(stamp, frame.image, carm=source.carm)
        else:
            yield Item(stamp, frame.image, frame.truth.mask,
                       frame.truth.instruments if known else None, carm=source.carm)


def _bag_items(source, path, mask_topic):
    with ExitStack() as stack:
        masks, instruments, origin = _companions(path, mask_topic, source.topic)
        masks = masks and stack.enter_context(StampedTopic(path, masks))
        instruments = instruments and stack.enter_context(StampedTopic(path, instruments))
        for stamp, frame in source.stamped():
            mask = masks and masks.mask(stamp)
            found = instruments and instruments.instruments(stamp)
            yield Item(stamp, frame.image, mask[0] if mask else None,
                       found[0] if found else None, origin, source.carm)


def _companions(path, mask_topic, images):
    """Return the images' topics of masks and instruments, None where none is, and the origin."""
    if mask_topic:
        return mask_topic, None, TRUTH if f'/{TRUTH}/' in f'/{mask_topic}' else FOUND
    for origin in (TRUTH, FOUND):
        found = [topic_ending(path, f'{origin}/{what}', near=images)
                 for what in ('mask', 'instruments')]
        if any(found):
            return *found, origin
    return None, None, TRUTH
