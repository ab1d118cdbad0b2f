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

"""What a console writes into the picture: names, numbers, a side's letter, a frame."""

from dataclasses import dataclass

import cv2

from fedefm_ros.simulation.ranges import happens
from fedefm_ros.simulation.settings import Text

import numpy as np

#: Height of FONT_HERSHEY_SIMPLEX's capitals at a scale of 1, pixels.
_FONT_PX = 21.0


@dataclass(frozen=True)
class Overlay:
    """Writing that stays where it is from frame to frame."""

    cover: np.ndarray
    """(H, W) float32, 0 where the picture shows, 1 where the writing does."""
    grey: int
    """Of the writing, 0 to 255."""

    def over(self, image: np.ndarray) -> np.ndarray:
        """Return the writing over a frame (H, W) uint8."""
        return np.rint(image + self.cover * (self.grey - image.astype(np.float32))) \
            .astype(np.uint8)


def random_overlay(rng: np.random.Generator, ranges: Text,
                   shape: tuple[int, int]) -> Overlay | None:
    """
    Return random writing, or None, by its chance.

    Its random numbers are its own: the picture below is that of the same seed without it.

    :param shape: (height, width) of the picture.
    """
    if not ranges.chance:
        return None
    own, = rng.spawn(1)
    if not happens(own, ranges.chance):
        return None
    cover = np.zeros(shape, np.uint8)
    height = ranges.height_px.draw(own) * shape[0] / 512.0
    _write(own, cover, ranges.lines.draw(own), height)
    if happens(own, ranges.frame):
        _frame(own, cover, height)
    grey = int(own.choice((255, 255, 0, own.integers(120, 256))))
    return Overlay(cover.astype(np.float32) / 255.0, grey)


def _write(rng, cover, lines, height):
    """Write lines of text into the corners, at most one of each sort."""
    scale, thick = height / _FONT_PX, max(1, int(round(height / 10.0)))
    used = [0, 0, 0, 0]
    for line in rng.permutation(len(_LINES))[:lines]:
        corner = int(rng.integers(4))
        text = _LINES[line](rng)
        width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)[0][0]
        down = (1.0 + 1.7 * used[corner]) * height
        used[corner] += 1
        x = 0.7 * height if corner % 2 == 0 else cover.shape[1] - 0.7 * height - width
        y = 0.7 * height + down if corner < 2 else cover.shape[0] - down
        cv2.putText(cover, text, (int(x), int(y)), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick,
                    cv2.LINE_AA)


def _frame(rng, cover, height):
    """Draw a line around the picture, or only its corners."""
    size, inset = np.array(cover.shape[::-1]), int(rng.uniform(0.1, 0.6) * height)
    whole = rng.random() < 0.5
    for corner in np.array([(0, 0), (1, 0), (0, 1), (1, 1)]):
        start = corner * (size - 1) + (1 - 2 * corner) * inset
        for axis in (0, 1):
            end = start.copy()
            reach = size[axis] - 1 - 2 * inset if whole else 2.0 * height
            end[axis] += (1 - 2 * corner[axis]) * int(reach)
            cv2.line(cover, start.tolist(), end.tolist(), 255, 1)


def _letters(rng, count):
    return ''.join(rng.choice(list('ABCDEFGHIKLMNOPRSTUVWZ'), count))


def _name(rng):
    return f'{_letters(rng, rng.integers(3, 10))}, {_letters(rng, 1)}'


def _date(rng):
    return f'{rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.{rng.integers(1990, 2030)}'


def _angles(rng):
    return f'{rng.choice(("LAO", "RAO"))} {rng.integers(0, 60)}  ' \
        f'{rng.choice(("CRA", "CAU"))} {rng.integers(0, 40)}'


_LINES = (
    _name, _date, _angles,
    lambda rng: f'ID {rng.integers(10**4, 10**8)}',
    lambda rng: f'{rng.integers(55, 125)} kV  {rng.integers(2, 900)} mA',
    lambda rng: f'{rng.integers(1, 30)}/{rng.integers(30, 200)}',
    lambda rng: f'FOV {rng.integers(11, 30)} cm',
    lambda rng: str(rng.choice(('R', 'L'))))
