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

"""Where ground truth comes from: a label file, a folder of masks, topics of a bag."""

import json
from pathlib import Path
import re
from typing import Protocol

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.labels import read_labels
from fedefm_ros.imaging.bag_files import is_bag
from fedefm_ros.imaging.bag_topics import StampedTopic
from fedefm_ros.imaging.bag_topics import topic_ending
from fedefm_ros.imaging.folder import visible_files
from fedefm_ros.learning.datasets import reading
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

Known = tuple[tuple[Instrument, ...] | None, np.ndarray | None]
"""Instruments and mask of a frame, each None where it is not known."""

_MASK_SUFFIXES = ('.png', '.npy', '.tif', '.tiff', '.bmp')


class Truth(Protocol):
    """Ground truth of the frames of one INPUT."""

    description: str
    names: tuple[str, ...]
    """Files that are labelled by name; empty where frames are told by number or stamp."""

    def of(self, name: str, index: int, stamp: int | None,
           shape: tuple[int, int]) -> Known | None:
        """
        Return what is known of a frame, None where nothing is.

        :param name: its file's name, empty where it has none.
        :param index: its number in the sequence.
        :param stamp: its time in nanoseconds, of a bag.
        :param shape: height and width.
        """
        ...

    def close(self) -> None:
        """Close files."""
        ...


class FileTruth:
    """A file of ``evaluation.labels``."""

    def __init__(self, path: Path):
        """Read the file."""
        self.description = f'labels of {path.name}'
        self._labels = read_labels(path)
        self.names = tuple(sorted(name for name in self._labels if not name.isdigit()))
        self._by_number = {int(name): label for name, label in self._labels.items()
                           if name.isdigit()}
        # Names with their folder, and without it where that is unambiguous.
        self._by_stem: dict[str, list] = {}
        for name in self.names:
            self._by_stem.setdefault(Path(name).stem, []).append(self._labels[name])

    def of(self, name: str, index: int, stamp: int | None,
           shape: tuple[int, int]) -> Known | None:
        """Return what is known of a frame: by its name, else by its number."""
        label = self._labels.get(name)
        if label is None and name:
            same = self._by_stem.get(Path(name).stem, ())
            label = same[0] if len(same) == 1 else None
        if label is None:
            label = self._by_number.get(index)
        if label is None:
            return None
        return label.instruments_in(shape), label.draw(shape) if label.draw else None

    def close(self) -> None:
        """Do nothing."""


class MaskFolderTruth:
    """
    A folder of masks: pictures or arrays of 0, 1 and 2.

    A mask belongs to the image of the same name without suffix, else to the frame whose number
    its name is. `./run segment` numbers its masks, whatever the images are called: of its folders
    the number counts alone, and ``instruments.jsonl`` tells which image has which.
    """

    def __init__(self, folder: Path):
        """Find the masks, in the folder or in masks/ in it."""
        masks = folder / 'masks' if (folder / 'masks').is_dir() else folder
        self.description = f'masks of {masks.name}'
        self.names = ()
        lines = (masks.parent if masks.name == 'masks' else folder) / 'instruments.jsonl'
        self.lines = SegmentLines(lines) if lines.is_file() else None
        self._files = {path.stem: path for path in visible_files(masks)
                       if path.suffix.lower() in _MASK_SUFFIXES}
        if not self._files:
            raise FedefmError(f'{masks}: holds no masks ({", ".join(_MASK_SUFFIXES)})')
        self._numbers = {int(stem): path for stem, path in self._files.items()
                         if re.fullmatch(r'\d+', stem)}

    def of(self, name: str, index: int, stamp: int | None,
           shape: tuple[int, int]) -> Known | None:
        """Return the mask of a frame; the instruments are not known."""
        if self.lines:
            path = self._numbers.get(self.lines.number(name, index))
        else:
            path = self._files.get(Path(name).stem) if name else None
            path = path or self._numbers.get(index)
        if path is None:
            return None
        read = reading.label_array if path.suffix == '.npy' else reading.label_picture
        return None, read(path, shape)

    def close(self) -> None:
        """Do nothing."""


class SegmentLines:
    """The ``instruments.jsonl`` that `./run segment` wrote; a line is read when it is needed."""

    def __init__(self, path: Path):
        """Find the frames' lines."""
        self._path = path
        self._lines: dict[int, tuple[int, int]] = {}  # frame -> line, where it starts
        self._numbers: dict[str, int] = {}
        with path.open('rb') as file:
            start = 0
            for line, text in enumerate(file):
                number, name = self._read(line, text, lambda entry: (
                    int(entry['frame']), str(entry.get('name', ''))))
                self._lines[number] = line, start
                start += len(text)
                if name:
                    self._numbers[name] = number
                    self._numbers.setdefault(Path(name).stem, number)

    def number(self, name: str, index: int) -> int | None:
        """Return a frame's number: by its file's name where the lines have names, else index."""
        if not name or not self._numbers:
            return index
        name = Path(name).name
        return self._numbers.get(name, self._numbers.get(Path(name).stem))

    def instruments(self, name: str, index: int) -> tuple[Instrument, ...] | None:
        """Return what was found in a frame, None where it has no line."""
        number = self.number(name, index)
        if number not in self._lines:
            return None
        line, start = self._lines[number]
        with self._path.open('rb') as file:
            file.seek(start)
            return self._read(line, file.readline(), lambda entry: tuple(
                Instrument(labels.NAMES.index(found['kind']),
                           np.asarray(found['centerline'], float).reshape(-1, 2),
                           float(found['confidence']), bool(found['tip_visible']))
                for found in entry['instruments']))

    def _read(self, line, text, use):
        try:
            return use(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FedefmError(f'{self._path}: line {line + 1} is no line of `segment` '
                              f'({error!r})') from error


class BagTruth:
    """The topics ``ground_truth/mask`` and ``ground_truth/instruments`` of a bag, by stamp."""

    def __init__(self, path: Path, mask: str | None, instruments: str | None):
        """Open the bag; topics are whole names."""
        self.description = f'ground truth in the bag {path.name}'
        self.names = ()
        self._mask = StampedTopic(path, mask) if mask else None
        self._instruments = StampedTopic(path, instruments) if instruments else None

    def of(self, name: str, index: int, stamp: int | None,
           shape: tuple[int, int]) -> Known | None:
        """Return what the bag has for a stamp."""
        if stamp is None:
            return None
        mask = self._mask.mask(stamp) if self._mask else None
        instruments = self._instruments.instruments(stamp) if self._instruments else None
        if mask is None and instruments is None:
            return None
        return (instruments[0] if instruments else None), (np.array(mask[0]) if mask else None)

    def close(self) -> None:
        """Close the bag."""
        for topic in (self._mask, self._instruments):
            if topic:
                topic.close()


def bag_truth(path: Path, near: str = '') -> BagTruth | None:
    """
    Return the truth in a bag, None where it has no such topics.

    :param near: of several stations, that of this topic.
    """
    mask = topic_ending(path, 'ground_truth/mask', near=near)
    instruments = topic_ending(path, 'ground_truth/instruments', near=near)
    return BagTruth(path, mask, instruments) if mask or instruments else None


def open_truth(path: Path, near: str = '') -> Truth:
    """
    Open what ``--against`` names.

    :param near: of several stations in a bag, that of this topic.
    :raises FedefmError: it is nothing of the kind; the text names it and says why.
    """
    if not path.exists():
        raise FedefmError(f'{path}: no such file or folder; ground truth is a label file (our '
                          'JSON, Guide3D JSON, CVAT XML), a folder of masks or a bag')
    if not is_bag(path):
        if path.is_file():
            return FileTruth(path)
        return MaskFolderTruth(path)
    found = bag_truth(path, near)
    if found is None:
        raise FedefmError(f'{path}: this bag has neither ground_truth/mask nor '
                          'ground_truth/instruments')
    return found
