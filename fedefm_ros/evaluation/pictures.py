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

"""Pictures of an evaluation: the worst frames, and a video of all of them."""

import math
from pathlib import Path

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.windowing import to_8_bit
from fedefm_ros.segmentation.overlay import draw_overlay

import numpy as np

#: RGB of the true centrelines: bluish green, apart from both instruments for the colour-blind.
TRUTH_COLOUR = (0, 200, 130)
_SIDE = 512
_EVEN_TILES = 12
_COLUMNS = 4


def overlay(case, answer, text: str = '') -> np.ndarray:
    """Return a frame, (H, W, 3) RGB, with what was found and the true centrelines over it."""
    grey = to_8_bit(case.image)
    empty = answer is None
    picture = draw_overlay(grey, np.zeros_like(grey) if empty else answer.mask,
                           () if empty else answer.instruments, text or None)
    for instrument in case.instruments or ():
        points = np.rint(instrument.centerline * 16).astype(np.int32)
        cv2.polylines(picture, [points], False, TRUTH_COLOUR, 1, cv2.LINE_AA, 4)
    return picture


class Gallery:
    """
    The worst frames of one contestant and, spread evenly, some of all.

    What is worst: the lowest Dice of any instrument, where only centrelines are known their F1
    within 3 px, and without truth the smallest overlap with the frame before. False instruments
    make a frame worse, too. Neighbours are much alike: of one second only the worst is kept.
    """

    def __init__(self, contestant: int, count: int = 6):
        """
        Start at nothing.

        :param contestant: whose, by number.
        """
        self._contestant = contestant
        self._count = count
        self._worst: dict[tuple, tuple[float, int, str, bytes]] = {}
        self._seen = 0
        self._tiles: list[np.ndarray] = []
        self._stride = 1

    def __call__(self, case, shown) -> None:
        """Look at a frame; draws it only if it is kept."""
        answer, row = shown[self._contestant]
        badness = _badness(row)
        if not math.isnan(badness):
            self._consider(badness, case, answer, row)
        if self._seen % self._stride == 0:
            self._tiles.append(_fit(overlay(case, answer, case.name), _SIDE))
            if len(self._tiles) == 2 * _EVEN_TILES:
                self._tiles = self._tiles[::2]
                self._stride *= 2
        self._seen += 1

    @property
    def worst(self) -> list[tuple[str, bytes]]:
        """Return captions and JPEG files, the worst first."""
        return [(caption, data) for _, _, caption, data in sorted(
            self._worst.values(), reverse=True)]

    def _consider(self, badness, case, answer, row):
        """Keep a frame that is worse than what it would replace: that of its second, or any."""
        second = (case.sequence, self._seen if case.alone else int(case.time))
        rival = second
        if second not in self._worst:
            if len(self._worst) < self._count:
                rival = None
            else:
                rival = min(self._worst, key=lambda kept: self._worst[kept])
        if rival is not None:
            if badness <= self._worst[rival][0]:
                return
            del self._worst[rival]
        self._worst[second] = (badness, -self._seen, _caption(case, row),
                               _jpeg(_fit(overlay(case, answer), _SIDE)))

    def sheet(self) -> np.ndarray | None:
        """Return a contact sheet of frames spread over all, RGB; None of no frames."""
        if not self._tiles:
            return None
        count = min(_EVEN_TILES, len(self._tiles))
        tiles = [self._tiles[i] for i in np.linspace(0, len(self._tiles) - 1, count).astype(int)]
        columns = min(_COLUMNS, count)
        tiles += [np.zeros_like(tiles[0])] * (-count % columns)
        return np.vstack([np.hstack(tiles[i:i + columns])
                          for i in range(0, len(tiles), columns)])


class Video:
    """All frames with what was found over them, contestants side by side."""

    def __init__(self, path: Path, rate: float, names: list[str]):
        """
        Name the file; it is begun with the first frame.

        :param names: the contestants'.
        """
        self.path = path
        self._rate = rate
        self._names = names
        self._writer = None
        self._frames = 0

    def __call__(self, case, shown) -> None:
        """Add a frame."""
        tiles = [_fit(overlay(case, answer, f'{name}  {case.name}'), _SIDE)
                 for name, (answer, _) in zip(self._names, shown)]
        picture = np.hstack(tiles)
        if self._writer is None:
            # MPEG-4 part 2: what OpenCV's wheels can write everywhere.
            self._writer = cv2.VideoWriter(
                str(self.path), cv2.VideoWriter_fourcc(*'mp4v'), self._rate, picture.shape[1::-1])
            if not self._writer.isOpened():
                raise FedefmError(f'{self.path} cannot be written as MPEG-4 video')
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def close(self) -> Path | None:
        """Finish; return the file, None of no frames."""
        if self._writer is None:
            return None
        self._writer.release()
        reader = cv2.VideoCapture(str(self.path))
        whole = reader.isOpened() and reader.get(cv2.CAP_PROP_FRAME_COUNT) == self._frames
        reader.release()
        if not whole:  # the writer itself reports nothing
            raise FedefmError(f'{self.path} could not be written whole; is the disk full?')
        return self.path


def _badness(row):
    """Return how bad a frame is, 0 good; NaN where it cannot be told."""
    nan = float('nan')
    if row.get('missing'):
        return nan
    quality = row.get('instrument_dice', nan)
    if math.isnan(quality) and 'line_truth' in row:
        total = row['line_found'] + row['line_truth']
        quality = (row['line_precise_3px'] + row['line_recalled_3px']) / total if total else 1.0
    if math.isnan(quality):
        quality = 1.0 if 'line_truth' in row else row.get('temporal_iou', nan)
    return 1.0 - quality + 0.2 * row.get('false_instruments', 0.0)


def _caption(case, row):
    parts = [case.name]
    for key, text in (('catheter_dice', 'catheter Dice'), ('guidewire_dice', 'guidewire Dice'),
                      ('tip_error_px', 'tip error px'), ('false_instruments', 'false'),
                      ('temporal_iou', 'overlap with frame before')):
        value = row.get(key, float('nan'))
        if not math.isnan(value):
            parts.append(f'{text} {value:.2f}'.rstrip('0').rstrip('.') if math.isfinite(value)
                         else 'tip missed')
    return ', '.join(parts)


def _fit(picture, side):
    """Return a picture fitted into a square, centred on black."""
    height, width = picture.shape[:2]
    if (height, width) == (side, side):
        return picture
    scale = side / max(height, width)
    inner = cv2.resize(picture, (max(1, round(width * scale)), max(1, round(height * scale))),
                       interpolation=cv2.INTER_AREA)
    down, across = side - inner.shape[0], side - inner.shape[1]
    return cv2.copyMakeBorder(inner, down // 2, down - down // 2, across // 2,
                              across - across // 2, cv2.BORDER_CONSTANT)


def _jpeg(picture):
    return cv2.imencode('.jpg', picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
