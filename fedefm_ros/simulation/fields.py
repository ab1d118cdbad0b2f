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

import cv2

import numpy as np

#: Pixels between extrema below which enlarging a smaller field would show.
_COARSEST_PERIOD = 12.0


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


def wavy_distance(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, angle: float,
                  through: tuple[float, float], bow: float, wobble: float) -> np.ndarray:
    """
    Return the approximate signed distance to a long, bowed, slightly wavy line, (H, W) float64.

    :param x: of every pixel, as ``coordinates`` returns them.
    :param angle: direction of the line, radians.
    :param through: a point on it, x and y in pixels.
    :param bow: curvature in 1/pixel.
    :param wobble: height of the waves in pixels.
    """
    # Row and column first, and in place: whole images of temporaries cost more than the sums.
    x, y = x[:1] - through[0], y[:, :1] - through[1]
    along = x * np.cos(angle) + y * np.sin(angle)
    distance = y * np.cos(angle) - x * np.sin(angle)
    line = np.square(along)
    line *= 0.5 * bow
    if wobble:
        period = rng.uniform(90, 260)
        wave = along * np.float32(2 * np.pi / period)
        wave += rng.uniform(0, 6)
        np.sin(wave, out=wave)
        wave *= wobble
        line += wave
    distance -= line
    along *= bow
    np.square(along, out=along)
    along += 1.0
    distance /= np.sqrt(along, out=along)
    return distance


def blobs(rng: np.random.Generator, shape: tuple[int, int], period: float,
          share: float, softness: float) -> np.ndarray:
    """Return soft-edged random regions that cover about a share (0 to 1), (H, W) in 0..1."""
    field = noise_field(rng, shape, period, octaves=2, persistence=0.4)
    level = np.quantile(field[::8, ::8], 1.0 - share)
    slope = max(float(np.std(field)) * 2.5 / period, 1e-4)
    return soft_step((field - level) / slope, softness)
