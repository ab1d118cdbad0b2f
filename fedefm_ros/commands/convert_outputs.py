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

"""What `convert` writes: a bag, a folder of images, a video, AIOZ's layout of a data set."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag_messages import Encoder
from fedefm_ros.imaging.bag_storage import Topic
from fedefm_ros.imaging.bag_types import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, INSTRUMENTS
from fedefm_ros.imaging.bag_writer import BagWriter
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.windowing import to_8_bit
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.overlay import draw_overlay

import numpy as np

#: AIOZ's data sets; those with two classes know the catheter only.
DOMAINS = ('phantom', 'animal', 'sim')
_BINARY = ('sim',)
# MPEG-4 part 2: what OpenCV's wheels can write everywhere (their FFmpeg has no H.264 encoder).
_CODEC = 'mp4v'


#: What is known of a frame, and what a station found in it: the topics' namespaces in a bag.
TRUTH, FOUND = 'ground_truth', 'segmentation'


@dataclass(frozen=True)
class Item:
    """One frame on its way."""

    stamp: int
    """Nanoseconds."""
    image: np.ndarray
    """(H, W) uint8 or uint16."""
    mask: np.ndarray | None = None
    """(H, W) uint8 labels; None where it is not known."""
    instruments: tuple[Instrument, ...] | None = None
    """None where they are not known."""
    origin: str = TRUTH
    """Where mask and instruments are from, ``TRUTH`` or ``FOUND``."""
    carm: CArm = CArm()


class Output(Protocol):
    """Takes frames in order; writes at a place that becomes OUTPUT when all is done."""

    def add(self, item: Item) -> None:
        """Write a frame."""

    def close(self) -> None:
        """Complete the output."""


class BagOutput:
    """A bag with a station's topics: images, camera, and the truth or what a station found."""

    def __init__(self, path: Path, name: str, storage: str, namespace: str, compressed: bool):
        """Begin a bag; ``name`` is what its files are called after."""
        self._writer = BagWriter(path, storage, name=name, flush_seconds=5.0)
        self._station = '/' + namespace.strip('/') if namespace.strip('/') else ''
        self._compressed = compressed
        self._encoder = Encoder('c_arm')

    def add(self, item: Item) -> None:
        """Write the messages of a frame; they are recorded at its stamp."""
        make, height, width = self._encoder, *item.image.shape
        if self._compressed:
            self._write('fluoroscopy/image_raw/compressed', COMPRESSED_IMAGE, item,
                        make.compressed(item.stamp, item.image))
        else:
            self._write('fluoroscopy/image_raw', IMAGE, item, make.image(item.stamp, item.image))
        self._write('fluoroscopy/camera_info', CAMERA_INFO, item,
                    make.camera_info(item.stamp, item.carm, width, height))
        if item.mask is not None:
            self._write(f'{item.origin}/mask', IMAGE, item, make.image(item.stamp, item.mask))
        if item.instruments is not None:
            self._write(f'{item.origin}/instruments', INSTRUMENTS, item, make.instruments(
                item.stamp, item.image.shape, item.instruments, item.carm.patient_spacing_mm))

    def close(self) -> None:
        """Complete the bag."""
        self._writer.close()

    def _write(self, name, msgtype, item, data):
        topic = f'{self._station}/{name}'
        if not self._writer.has(topic):
            self._writer.add_topic(Topic(topic, msgtype))
        self._writer.write(topic, item.stamp, data)


class FolderOutput:
    """images/000000.png, masks/000000.png and frames.csv, which has the stamps."""

    def __init__(self, path: Path):
        """Make the folders."""
        self._path = path
        self._number = 0
        _make(path / 'images')
        self._rows = [('file', 'stamp_ns', 'mask')]

    def add(self, item: Item) -> None:
        """Write a frame."""
        name = f'{self._number:06d}.png'
        _write_png(self._path / 'images' / name, item.image)
        if item.mask is not None:
            _make(self._path / 'masks')
            _write_png(self._path / 'masks' / name, item.mask)
        self._rows.append((name, item.stamp, int(item.mask is not None)))
        self._number += 1

    def close(self) -> None:
        """Write the table."""
        with open(self._path / 'frames.csv', 'w', newline='', encoding='utf-8') as file:
            csv.writer(file).writerows(self._rows)


class VideoOutput:
    """A video of the frames, with what is known drawn on it; lossy, for people."""

    def __init__(self, path: Path, rate: float):
        """Name the file; it is begun with the first frame."""
        self._path = path
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None
        self._frames = 0

    def add(self, item: Item) -> None:
        """Write a frame."""
        grey = to_8_bit(item.image)
        picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR) if item.mask is None else \
            cv2.cvtColor(draw_overlay(grey, item.mask, item.instruments or (), ''),
                         cv2.COLOR_RGB2BGR)
        # The codec wants even sides of 16 or more.
        height, width = (max(16, side + side % 2) for side in grey.shape)
        if self._writer is None:
            self._size = width, height
            self._writer = cv2.VideoWriter(
                str(self._path), cv2.VideoWriter_fourcc(*_CODEC), self._rate, self._size)
            if not self._writer.isOpened():
                raise FedefmError(f'{self._path} cannot be written as MPEG-4 video')
        if (width, height) != self._size:
            raise FedefmError(f'frame {self._frames} is {width} x {height}, the first was '
                              f'{self._size[0]} x {self._size[1]}; a video has one size')
        self._writer.write(cv2.copyMakeBorder(
            picture, 0, height - grey.shape[0], 0, width - grey.shape[1],
            cv2.BORDER_REPLICATE))
        self._frames += 1

    def close(self) -> None:
        """Complete the file; the writer itself reports no failure."""
        if self._writer is None:
            return
        self._writer.release()
        reader = cv2.VideoCapture(str(self._path))
        whole = reader.isOpened() and reader.get(cv2.CAP_PROP_FRAME_COUNT) == self._frames
        reader.release()
        if not whole:
            raise FedefmError(f'{self._path} could not be written whole; is the disk full?')


class AiozOutput:
    """
    DOMAIN_train and DOMAIN_test with images/ and masks/, as AIOZ's endovascular sets have them.

    phantom, animal: three-channel ``NAME.png`` and ``NAME.npy`` with 0, 1, 2; sim: ``NAME.png``
    and ``NAME_mask.png`` with 0 and 255. The last frames are the test part: neighbours in time
    look alike, and drawn at random they would be in both.
    """

    def __init__(self, path: Path, domain: str, test_share: float, frames: int):
        """Say how many frames will come."""
        self._path = path
        self._domain = domain
        self._first_test = frames - round(frames * test_share)
        self._number = 0
        self.without_mask = 0

    def add(self, item: Item) -> None:
        """Write a frame that has a mask."""
        part = 'test' if self._number >= self._first_test else 'train'
        name = f'{self._number:06d}'
        self._number += 1
        if item.mask is None:
            self.without_mask += 1
            return
        folder = self._path / f'{self._domain}_{part}'
        _make(folder / 'images')
        _make(folder / 'masks')
        _write_png(folder / 'images' / f'{name}.png',
                   cv2.cvtColor(to_8_bit(item.image), cv2.COLOR_GRAY2BGR))
        if self._domain in _BINARY:
            _write_png(folder / 'masks' / f'{name}_mask.png',
                       np.where(item.mask > labels.BACKGROUND, 255, 0).astype(np.uint8))
        else:
            np.save(folder / 'masks' / f'{name}.npy', item.mask)

    def close(self) -> None:
        """Refuse an empty data set."""
        if self.without_mask == self._number:
            raise FedefmError('there is no mask for any frame; a data set needs them')


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _write_png(path: Path, image: np.ndarray) -> None:
    good, data = cv2.imencode('.png', image)
    if not good:
        raise FedefmError(f'{path} cannot be written as PNG')
    path.write_bytes(data.tobytes())
