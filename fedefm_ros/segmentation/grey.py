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

"""The grey levels that a network sees: one definition for training and for the robot."""

from fedefm_ros.backbones.spec import Normalisation

import numpy as np


def grey_range(image: np.ndarray,
               normalisation: Normalisation = Normalisation()) -> tuple[float, float]:
    """
    Return the grey levels that are shown to the network as 0 and 1.

    They are two percentiles (1st and 99th) of the middle of the image, where the collimator's
    blades, burned-in text and black borders seldom reach.

    :param image: (H, W) uint8 or uint16.
    :returns: low and high in the image's own units; high - low is at least 4 levels of uint8 or
        64 of uint16.
    """
    height, width = image.shape
    top, left = int(height * normalisation.margin), int(width * normalisation.margin)
    step = max(1, min(height, width) // 128)
    # A radix sort of the 9,000 values takes a tenth of np.percentile's time.
    values = np.sort(image[top:height - top:step, left:width - left:step], axis=None,
                     kind='stable')
    low, high = (_percentile(values, percent) for percent in (
        normalisation.low_percentile, normalisation.high_percentile))
    # Cameras of 10 or 12 bits often leave the upper bits of a mono16 image empty.
    least = 64.0 if image.dtype == np.uint16 else 4.0
    if high - low < least:
        middle_grey = 0.5 * (low + high)
        low, high = middle_grey - 0.5 * least, middle_grey + 0.5 * least
    return low, high


def to_network(image: np.ndarray, low: float, high: float,
               normalisation: Normalisation = Normalisation()) -> np.ndarray:
    """Return the grey levels as float32 with low at 0 and high at 1, clipped to -0.5 .. 1.5."""
    scaled = (image.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, normalisation.clip_low, normalisation.clip_high)


def eight_bits(image: np.ndarray) -> np.ndarray:
    """
    Return an image's upper eight bits, of those that its camera fills: 8, 10, 12, 14 or 16.

    :param image: (H, W) uint8, which comes back as it is, or uint16.
    """
    if image.dtype == np.uint8:
        return image
    used = int(image.max(initial=0)).bit_length()
    return (image >> max(0, used + used % 2 - 8)).astype(np.uint8)


def _percentile(values: np.ndarray, percent: float) -> float:
    """Return a percentile of sorted values, linear between them as np.percentile."""
    position = percent / 100.0 * (len(values) - 1)
    below = int(position)
    above = min(below + 1, len(values) - 1)
    share = position - below
    return (1.0 - share) * float(values[below]) + share * float(values[above])
