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

"""Contact sheets: what a station saw and what it made of it."""

from pathlib import Path

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.windowing import to_8_bit
from fedefm_ros.segmentation.overlay import draw_overlay

import numpy as np

_TILE = 480
_COLUMNS = 4


def write_sheet(samples, path: Path) -> list[Path]:
    """
    Write pairs of picture and overlay; return the files.

    :param samples: objects with ``image``, ``mask`` and ``instruments``.
    """
    tiles = []
    for sample in samples:
        grey = to_8_bit(sample.image)
        tiles += [_tile(np.repeat(grey[..., None], 3, axis=2)),
                  _tile(draw_overlay(grey, sample.mask, sample.instruments))]
    if not tiles:
        return []
    while len(tiles) % _COLUMNS:
        tiles.append(np.zeros_like(tiles[0]))
    sheet = np.vstack([np.hstack(tiles[i:i + _COLUMNS])
                       for i in range(0, len(tiles), _COLUMNS)])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise FedefmError(f'{path} cannot be written')
    return [path]


def _tile(picture):
    """Return a picture fitted into a square tile, with black bars where it is not square."""
    height, width = picture.shape[:2]
    scale = _TILE / max(height, width)
    small = cv2.resize(picture, (max(1, round(width * scale)), max(1, round(height * scale))),
                       interpolation=cv2.INTER_AREA)
    tile = np.zeros((_TILE, _TILE, 3), np.uint8)
    tile[:small.shape[0], :small.shape[1]] = small
    return tile
