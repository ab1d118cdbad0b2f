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

"""Random smooth fields and soft shapes, the stuff that anatomy is made of; all float32."""

from collections.abc import Iterator

import cv2

import numpy as np

#: Pixels between extrema below which enlarging a smaller field would show.
_COARSEST_PERIOD = 12.0
#: Pixels: the grid on which it is looked up what is near, and the height of a part.
_CELL, _STRIP = 8, 32


def noise_field(rng: np.random.Generator, shape: tuple[int, int], period: float,
                octaves: int = 1, persistence: float = 0.5) -> np.ndarray:
    """
    Return a smooth random field.

    :param shape: (height, width).
    :param period: typical distance between extrema of the coarsest octave, in pixels.
    :returns: (H, W) float32, mean about 0, standard deviation about 1.
    """
    height, width = shape
    if period >= 2 * _COARSEST_PERIOD and min(shape) >= 16:
        # Nothing in it is finer than a few pixels of a smaller field: make that one.
        finest = period / 2 ** (octaves - 1)
        factor = int(min(finest / _COARSEST_PERIOD, min(shape) // 8))
        if factor >= 2:
            small = noise_field(rng, (-(-height // factor), -(-width // factor)),
                                period / factor, octaves, persistence)
            return cv2.resize(small, None, fx=factor, fy=factor,
                              interpolation=cv2.INTER_CUBIC)[:height, :width]
    total = np.zeros(shape, np.float32)
    weight, norm = 1.0, 0.0
    for _ in range(octaves):
        rows, cols = int(height / period) + 4, int(width / period) + 4
        coarse = rng.standard_normal((rows, cols), dtype=np.float32)
        scale = period
        fine = cv2.resize(coarse, (int(cols * scale) + 1, int(rows * scale) + 1),
                          interpolation=cv2.INTER_CUBIC)
        y, x = (int(rng.integers(0, max(1, n - m + 1))) for n, m in
                ((fine.shape[0], height), (fine.shape[1], width)))
        total += weight * fine[y:y + height, x:x + width]
        norm += weight**2
        weight *= persistence
        period = max(period / 2.0, 1.0)
    return total / np.float32(np.sqrt(norm) * 0.8)


def coordinates(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of every pixel, two (H, W) float32 arrays."""
    return tuple(np.meshgrid(np.arange(shape[1], dtype=np.float32),
                             np.arange(shape[0], dtype=np.float32)))


def soft_step(distance: np.ndarray, softness: float) -> np.ndarray:
    """Return 0 far outside, 1 far inside of a border; ``distance`` is positive inside, pixels."""
    step = distance / (2.0 * max(softness, 0.5))
    step += 0.5
    return np.clip(step, 0.0, 1.0, out=step)


class WavyLine:
    """A long, bowed, slightly wavy line."""

    def __init__(self, rng: np.random.Generator, angle: float, through: tuple[float, float],
                 bow: float, wobble: float):
        """
        Draw where its waves are.

        :param angle: direction of the line, radians.
        :param through: a point on it, x and y in pixels.
        :param bow: curvature in 1/pixel.
        :param wobble: height of the waves in pixels.
        """
        self._cos, self._sin = np.cos(angle), np.sin(angle)
        self._through = through
        self._bow = bow
        self._wobble = wobble
        if wobble:
            self._pitch = np.float32(2 * np.pi / rng.uniform(90, 260))
            self._phase = rng.uniform(0, 6)

    def along(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the way along the line, see ``distance``."""
        x, y = x - self._through[0], y[:, None] - self._through[1]
        return x * self._cos + y * self._sin

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """
        Return the approximate signed distance to it in pixels.

        :param x: of the columns, (W,).
        :param y: of the rows, (H,).
        :returns: (H, W) float64.
        """
        # In place: whole images of temporaries cost more than the sums.
        along = self.along(x, y)
        distance = (y[:, None] - self._through[1]) * self._cos - (x - self._through[0]) * self._sin
        line = np.square(along)
        line *= 0.5 * self._bow
        if self._wobble:
            wave = along * self._pitch
            wave += self._phase
            np.sin(wave, out=wave)
            wave *= self._wobble
            line += wave
        distance -= line
        along *= self._bow
        np.square(along, out=along)
        along += 1.0
        distance /= np.sqrt(along, out=along)
        return distance

    def parts_near(self, shape: tuple[int, int], reach: float) -> Iterator[tuple[slice, slice]]:
        """
        Yield rows and columns of parts of an image that hold all pixels within reach of it.

        No two parts overlap. What is drawn around a line takes a quarter of the time in them.
        """
        height, width = shape
        grid = (np.arange(0, size + _CELL, _CELL, dtype=np.float32) for size in (width, height))
        # A cell's corner is nearer than a cell, and distances change by less than 1.5 a pixel.
        near = np.abs(self.distance(*grid)) <= reach + 1.5 * _CELL
        for top in range(0, height, _STRIP):
            cells = near[top // _CELL:(top + _STRIP) // _CELL + 1].any(axis=0).nonzero()[0]
            if len(cells):
                yield (slice(top, min(top + _STRIP, height)),
                       slice(max(_CELL * (cells[0] - 1), 0), _CELL * (cells[-1] + 1)))


def blobs(rng: np.random.Generator, shape: tuple[int, int], period: float,
          share: float, softness: float) -> np.ndarray:
    """Return soft-edged random regions that cover about a share (0 to 1), (H, W) in 0..1."""
    field = noise_field(rng, shape, period, octaves=2, persistence=0.4)
    level = np.quantile(field[::8, ::8], 1.0 - share)
    slope = max(float(np.std(field)) * 2.5 / period, 1e-4)
    return soft_step((field - level) / slope, softness)
