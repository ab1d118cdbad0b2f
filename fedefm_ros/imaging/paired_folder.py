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

"""Data sets of images and masks in folders: AIOZ's endovascular set, CathAction and alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.folder import visible_files
from fedefm_ros.imaging.frame import Frame, GroundTruth
from fedefm_ros.imaging.source import ClosingSource, DEFAULT_RATE
from fedefm_ros.imaging.stills import decode_still
from fedefm_ros.learning.datasets.reading import plain_mask

_MASKS = ('masks', 'labels')


def is_paired_folder(path: Path) -> bool:
    """Return whether a folder has images/ and masks/ (or labels/) in it."""
    return (path / 'images').is_dir() and _masks_of(path) is not None


class PairedFolderSource(ClosingSource):
    """
    Images with a mask each; the truth has masks only, its instruments are not known.

    ``images/NAME.*`` goes with ``masks/NAME.npy``, ``masks/NAME_mask.png`` or ``masks/NAME.png``.
    Values (of a palette picture its indices) up to 2 are labels; of 0 and one larger value that is
    the catheter, and anything else is refused.
    """

    def __init__(self, path: Path | str, rate: float = DEFAULT_RATE):
        """
        Find the pairs.

        :raises FedefmError: no images, or one without a mask.
        """
        path = Path(path)
        self.name = path.name
        self.rate = rate
        self.carm = CArm()
        masks = {file.name: file for file in visible_files(_masks_of(path))}
        self._pairs = []
        for image in visible_files(path / 'images'):
            names = (f'{image.stem}.npy', f'{image.stem}_mask.png', f'{image.stem}.png')
            mask = next((masks[name] for name in names if name in masks), None)
            if mask is None:
                raise FedefmError(f'{image}: has no mask; expected one of {", ".join(names)} in '
                                  f'{_masks_of(path)}')
            self._pairs.append((image, mask))
        if not self._pairs:
            raise FedefmError(f'{path / "images"}: holds no images')
        self.frame_count: int | None = len(self._pairs)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the images with their masks; sizes may differ from frame to frame."""
        for index, (path, mask_path) in enumerate(self._pairs):
            image = decode_still(_bytes(path), str(path))
            mask = plain_mask(mask_path, image.shape)
            yield Frame(image, index, index / self.rate, GroundTruth(mask, ()), path.name)


def _masks_of(path: Path) -> Path | None:
    return next((path / name for name in _MASKS if (path / name).is_dir()), None)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FedefmError(f'{path}: cannot be read: {error.strerror or error}') from None
