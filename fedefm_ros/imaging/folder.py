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

"""Still images: a folder of them as a sequence, or a single one."""

from collections.abc import Iterator
import logging
import mmap
from pathlib import Path
import re

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.source import ClosingSource, DEFAULT_RATE
from fedefm_ros.imaging.stills import decode_still, kind_of, still_size

import numpy as np

_log = logging.getLogger(__name__)


def natural_key(path: Path) -> tuple:
    """Return a sort key by which img2 comes before img10, and 'a' before its copy 'a (1)'."""
    def parts(text: str) -> list:
        return [(int(part), '') if part.isdecimal() else (-1, part)
                for part in re.split(r'(\d+)', text.casefold()) if part]

    return parts(path.stem), parts(path.suffix), path.name


def visible_files(folder: Path) -> list[Path]:
    """Return a folder's files without the hidden ones, in natural order."""
    try:
        return sorted((path for path in folder.iterdir()
                       if path.is_file() and not path.name.startswith('.')), key=natural_key)
    except OSError as error:
        raise FedefmError(f'{folder}: cannot be read: {error.strerror or error}') from None


def note_ignored(folder: Path, paths: list[Path], expected: str) -> None:
    """Log which files of a folder are left aside."""
    if paths:
        names = ', '.join(path.name for path in paths[:5]) + (', ...' if len(paths) > 5 else '')
        _log.info('%s: ignored %d files that are no %s: %s', folder, len(paths), expected, names)


class ImageSource(ClosingSource):
    """
    The PNG, JPEG, TIFF or BMP images of a folder in natural order, or a single image.

    Colour is turned to grey: X-ray stills are often stored as colour JPEG. Depth stays as stored
    (uint8 or uint16). All sizes must be equal; headers are read at once, pixels one by one.
    """

    def __init__(self, path: Path | str, rate: float = DEFAULT_RATE):
        """
        Find and check the images.

        :param rate: frames per second, for images tell none.
        :raises FedefmError: no images, unequal sizes, a damaged header; the text names the file.
        """
        path = Path(path)
        self._paths = _image_files(path) if path.is_dir() else [path]
        self.name = path.name
        self.rate = rate
        self.carm = CArm()
        self.frame_count: int | None = len(self._paths)
        self._size = self._size_of(self._paths[0])
        for other in self._paths[1:]:
            size = self._size_of(other)
            if size != self._size:
                raise FedefmError(
                    f'{other}: {size[0]} x {size[1]} pixels, but {self._paths[0].name} has '
                    f'{self._size[0]} x {self._size[1]}; a sequence has one size')

    def __iter__(self) -> Iterator[Frame]:
        """Yield the images."""
        dtype = None
        for index, path in enumerate(self._paths):
            image = _read(path, decode_still)
            if dtype is not None and image.dtype != dtype:
                raise FedefmError(f'{path}: {image.dtype} pixels, but {self._paths[0].name} has '
                                  f'{dtype}; a sequence has one depth')
            dtype = image.dtype
            yield Frame(image, index, index / self.rate, name=path.name)

    @staticmethod
    def _size_of(path: Path) -> tuple[int, int]:
        return _read(path, still_size)


def _image_files(folder: Path) -> list[Path]:
    """Return a folder's images, told by content; other files are noted and left."""
    images, ignored = [], []
    for path in visible_files(folder):
        with open(path, 'rb') as file:
            (images if kind_of(file.read(8)) else ignored).append(path)
    note_ignored(folder, ignored, 'images')
    if not images:
        raise FedefmError(f'{folder}: no PNG, JPEG, TIFF or BMP images directly in this folder')
    return images


def _read(path: Path, use) -> tuple[int, int] | np.ndarray:
    """Return ``use(bytes, name)`` of a file, mapped so that only what is touched is read."""
    try:
        with open(path, 'rb') as file:
            if not path.stat().st_size:
                raise FedefmError(f'{path}: the file is empty')
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return use(data, str(path))
    except OSError as error:
        raise FedefmError(f'{path}: cannot be read: {error.strerror or error}') from None
