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

"""What `segment` leaves behind: masks, instruments, an overlay video, a contact sheet."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.windowing import to_8_bit
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.overlay import draw_overlay

import numpy as np

_TILES = 12
_COLUMNS = 4
_TILE_SIDE = 384
# MPEG-4 part 2: what OpenCV's wheels can write everywhere (their FFmpeg has no H.264 encoder).
_CODEC = 'mp4v'
_LEAST_VIDEO_SIDE = 16


class Results:
    """
    A folder of results that is whole after every frame.

    All methods raise FedefmError where the folder cannot be written or the disk is full.
    """

    def __init__(self, folder: Path, rate: float, overwrite: bool = False):
        """
        Make the folder.

        :param rate: frames per second of the video.
        :param overwrite: replace the results of an earlier run instead of refusing to mix.
        """
        self.folder = folder
        self.masks = folder / 'masks'
        self.instruments = folder / 'instruments.jsonl'
        self.video = folder / 'overlay.mp4'
        self.sheet = folder / 'overlay.png'
        self.frames = 0
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None
        self._video_size = (0, 0)
        self._tiles: list[np.ndarray] = []
        self._stride = 1
        try:
            old = sorted(self.masks.glob('*.png')) if folder.exists() else []
            if old and not overwrite:
                raise FedefmError(f'{folder} already holds {len(old)} masks; choose another '
                                  'folder or give --overwrite')
            self.masks.mkdir(parents=True, exist_ok=True)
            for path in old:
                path.unlink()
            self._lines = self.instruments.open('w', encoding='utf-8')
        except OSError as error:
            raise _unwritable(folder, error) from error

    def __enter__(self) -> Results:
        """Return itself."""
        return self

    def __exit__(self, kind, *_) -> None:
        """Finish; an error on the way here is the one to report."""
        try:
            self.close()
        except FedefmError:
            if kind is None:
                raise

    def add(self, frame: Frame, mask: np.ndarray | None, instruments: tuple[Instrument, ...],
            facts: dict) -> None:
        """
        Write one frame.

        :param mask: (H, W) uint8; None where the frame was refused: its number has no file then.
        :param facts: more entries for its line in ``instruments.jsonl``.
        """
        height, width = frame.image.shape
        line = {'frame': self.frames, 'name': frame.name, 'time': frame.time, 'width': width,
                'height': height, **facts,
                'instruments': [_as_json(entry) for entry in instruments]}
        try:
            if mask is not None:
                _write_png(self.masks / f'{self.frames:06d}.png', mask)
            self._lines.write(json.dumps(line) + '\n')
            self._lines.flush()
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        text = f'{self.frames}' if mask is not None else f'{self.frames}: no mask'
        drawn = mask if mask is not None else np.zeros((height, width), np.uint8)
        overlay = draw_overlay(to_8_bit(frame.image), drawn, instruments, text)
        self._add_to_video(overlay)
        self._add_to_sheet(overlay)
        self.frames += 1

    def close(self) -> None:
        """Complete the video and write the contact sheet; may be called twice."""
        if self._lines.closed:
            return
        try:
            self._lines.close()
            if self._writer is not None:
                self._writer.release()
                self._check_video()
            if self._tiles:
                _write_png(self.sheet, self._contact_sheet())
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def _add_to_video(self, overlay: np.ndarray) -> None:
        if self._writer is None:
            height, width = overlay.shape[:2]
            # The codec wants even sides.
            self._video_size = tuple(max(_LEAST_VIDEO_SIDE, side + side % 2)
                                     for side in (width, height))
            self._writer = cv2.VideoWriter(str(self.video), cv2.VideoWriter_fourcc(*_CODEC),
                                           self._rate, self._video_size)
            if not self._writer.isOpened():
                raise FedefmError(f'{self.video} cannot be written as MPEG-4 video of '
                                  f'{self._video_size[0]} x {self._video_size[1]}')
        self._writer.write(_fitted(overlay, *self._video_size)[..., ::-1])

    def _check_video(self) -> None:
        """Raise FedefmError unless the video can be read; the writer itself reports nothing."""
        reader = cv2.VideoCapture(str(self.video))
        whole = reader.isOpened() and reader.get(cv2.CAP_PROP_FRAME_COUNT) == self.frames
        reader.release()
        if not whole:
            raise FedefmError(f'{self.video} could not be written whole; is the disk full?')

    def _add_to_sheet(self, overlay: np.ndarray) -> None:
        """Keep evenly spread pictures without knowing how many frames will come."""
        if self.frames % self._stride:
            return
        self._tiles.append(_fitted(overlay, _TILE_SIDE, _TILE_SIDE))
        if len(self._tiles) == 2 * _TILES:
            self._tiles = self._tiles[::2]
            self._stride *= 2

    def _contact_sheet(self) -> np.ndarray:
        count = min(_TILES, len(self._tiles))
        chosen = [self._tiles[i] for i in np.linspace(0, len(self._tiles) - 1, count).astype(int)]
        columns = min(_COLUMNS, count)
        chosen += [np.zeros_like(chosen[0])] * (-count % columns)
        rows = [np.hstack(chosen[i:i + columns]) for i in range(0, len(chosen), columns)]
        return np.vstack(rows)[..., ::-1]


def _as_json(instrument: Instrument) -> dict:
    def number(value, digits):
        return round(float(value), digits) if math.isfinite(value) else None
    return {
        'kind': labels.NAMES[instrument.kind],
        'confidence': number(instrument.confidence, 4),
        'tip': [number(value, 2) for value in instrument.tip],
        'tip_visible': bool(instrument.tip_visible),
        'heading_rad': number(instrument.heading, 4),
        'length_px': number(instrument.length_px, 2),
        'length_mm': number(instrument.length_mm, 2),
        'centerline': [[number(x, 2), number(y, 2)] for x, y in instrument.centerline]}


def _fitted(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a picture shrunk or enlarged to fit, centred on black."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    if abs(scale - 1) < 0.1 and width >= picture.shape[1] and height >= picture.shape[0]:
        inner = picture  # a row or column more to make it even
    else:
        inner = cv2.resize(picture, (max(1, round(picture.shape[1] * scale)),
                                     max(1, round(picture.shape[0] * scale))),
                           interpolation=cv2.INTER_AREA)
    across, down = width - inner.shape[1], height - inner.shape[0]
    return cv2.copyMakeBorder(inner, down // 2, down - down // 2, across // 2,
                              across - across // 2, cv2.BORDER_CONSTANT)


def _write_png(path: Path, picture: np.ndarray) -> None:
    # cv2.imwrite would not say why it failed.
    path.write_bytes(cv2.imencode('.png', picture)[1].tobytes())


def _unwritable(folder: Path, error: OSError) -> FedefmError:
    return FedefmError(f'{error.filename or folder}: cannot be written: '
                       f'{error.strerror or error}')
