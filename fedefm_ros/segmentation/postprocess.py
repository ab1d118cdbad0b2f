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

"""What a network marks beside the instruments: specks, and how they are taken out."""

from dataclasses import dataclass

import cv2

import numpy as np


@dataclass(frozen=True)
class SpeckParameters:
    """
    What is too small or too faint to be an instrument.

    Lengths are in pixels of a 512 x 512 image and grow with the longer side of the image, areas
    with its square.
    """

    min_area: float = 24.0
    """Connected foreground of fewer pixels goes."""
    min_extent: float = 8.0
    """Connected foreground whose bounding box has a shorter diagonal goes."""
    min_confidence: float | None = None
    """Connected foreground of a lower mean probability (0 to 1) goes; None: as the model's
    specification says, else none."""


def remove_specks(mask: np.ndarray, probability: np.ndarray | None = None,
                  parameters: SpeckParameters = SpeckParameters()) -> np.ndarray:
    """
    Take small or faint pieces out of a label mask.

    :param mask: (H, W) uint8 of ``labels`` values; both kinds count as one foreground.
    :param probability: foreground probability, uint8 0 to 255, (H, W) or a smaller map of the
        same image; looked at only where ``min_confidence`` is above 0.
    :param parameters: what goes.
    :returns: (H, W) uint8, the given mask itself where nothing had to go.
    """
    scale = max(1.0, max(mask.shape) / 512.0)
    binary = (mask > 0).view(np.uint8)
    left, top, width, height = cv2.boundingRect(binary)
    if width == 0:
        return mask
    window = (slice(top, top + height), slice(left, left + width))
    part = binary[window]
    edges = cv2.countNonZero(part[:, 1:] ^ part[:, :-1]) + cv2.countNonZero(part[1:] ^ part[:-1])
    if edges > 40.0 * max(mask.shape):
        # Noise: thousands of contours would take longer than labelling the whole image.
        doomed = _noise(part, parameters, scale)
    else:
        doomed = _specks(part, None if probability is None else
                         _window(probability, mask.shape, window), parameters, scale)
    if doomed is None:
        return mask
    result = mask.copy()
    result[window][doomed != 0] = 0
    return result


def _window(probability: np.ndarray, shape: tuple[int, int],
            window: tuple[slice, slice]) -> np.ndarray:
    """Return the part of the probability in a window of the full-size image."""
    if probability.shape != shape:
        probability = cv2.resize(probability, shape[::-1], interpolation=cv2.INTER_NEAREST)
    return probability[window]


def _specks(part: np.ndarray, probability: np.ndarray | None, parameters: SpeckParameters,
            scale: float) -> np.ndarray | None:
    """Return (H, W) uint8, set where a speck is, or None where there is none."""
    # Outlines are an order of magnitude faster than labelling each pixel.
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    faint_below = 255.0 * (parameters.min_confidence or 0.0)
    small_ones = []
    for contour in contours:
        x, y, width, height = cv2.boundingRect(contour)
        small = width * width + height * height < (parameters.min_extent * scale) ** 2
        # The outline of n pixels encloses at least n / 2 - 1 and is at least as long.
        if not small and len(contour) < 2.0 * parameters.min_area * scale ** 2:
            small = cv2.countNonZero(part[y:y + height, x:x + width]) \
                < parameters.min_area * scale ** 2
        if not small and probability is not None and faint_below > 0:
            box = (slice(y, y + height), slice(x, x + width))
            blob = np.zeros((height, width), np.uint8)
            cv2.drawContours(blob, [contour], 0, 255, cv2.FILLED, offset=(-x, -y))
            blob &= part[box] * np.uint8(255)
            small = cv2.mean(probability[box], blob)[0] < faint_below
        if small:
            small_ones.append(contour)
    if not small_ones:
        return None
    doomed = np.zeros_like(part)
    return cv2.drawContours(doomed, small_ones, -1, 1, cv2.FILLED)


def _noise(part: np.ndarray, parameters: SpeckParameters, scale: float) -> np.ndarray:
    """Return the specks of a mask with very many pieces."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
    extent = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    small = (stats[:, cv2.CC_STAT_AREA] < parameters.min_area * scale ** 2) \
        | (extent < parameters.min_extent * scale)
    small[0] = False
    return small[pieces].view(np.uint8)
