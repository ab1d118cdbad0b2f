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

"""Grey levels: DICOM windows and look-up tables, and 16 bits to 8 for a display."""

import numpy as np


def apply_window(values: np.ndarray, center: float, width: float,
                 function: str = 'LINEAR') -> np.ndarray:
    """
    Return values mapped by a window to 0 to 1 (DICOM PS3.3 C.11.2.1.2).

    :param values: any shape, numbers.
    :param center: of the window, in the unit of the values.
    :param width: of the window; at least 1 for LINEAR, above 0 otherwise.
    :param function: LINEAR, LINEAR_EXACT or SIGMOID; anything else counts as LINEAR.
    :return: float64 of the same shape.
    """
    values = np.asarray(values, np.float64)
    if function == 'SIGMOID':
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700)))
    if function == 'LINEAR_EXACT':
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width <= 1.0:  # the formula would divide by nothing: a step
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def apply_lut(values: np.ndarray, first: int, entries: np.ndarray) -> np.ndarray:
    """
    Return ``entries[values - first]``; values outside take the first or last entry.

    :param values: any shape, integers.
    :param first: value that the first entry stands for.
    :param entries: (N,) numbers, N >= 1.
    :return: same shape as ``values``, type of ``entries``.
    """
    index = np.asarray(values).astype(np.int64) - first
    return entries[np.clip(index, 0, len(entries) - 1)]


def to_8_bit(image: np.ndarray, low: float | None = None,
             high: float | None = None) -> np.ndarray:
    """
    Return an image as uint8 for a display; 8-bit images come back as they are.

    :param image: (H, W) uint8 or uint16.
    :param low: value that becomes 0; where None, the 0.1 % darkest pixels do.
    :param high: value that becomes 255; where None, the 0.1 % brightest pixels do.
    :return: (H, W) uint8.
    """
    if image.dtype == np.uint8:
        return image
    if low is None or high is None:
        # Every fourth pixel of every fourth row is enough for a percentile.
        darkest, brightest = np.percentile(image[::4, ::4], (0.1, 99.9))
        low = darkest if low is None else low
        high = brightest if high is None else high
    table = (np.arange(2**16) - low) * (255.0 / max(high - low, 1.0))
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)[image]
