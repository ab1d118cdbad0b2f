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

"""Pictures for people: the frame with mask, centrelines and tips drawn over it."""

import math

import cv2

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.grey import eight_bits
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

_SHIFT = 4
_WHITE = (255, 255, 255)


def draw_overlay(image: np.ndarray, mask: np.ndarray, instruments: tuple[Instrument, ...],
                 text: str | None = None, *, opacity: float = 0.4) -> np.ndarray:
    """
    Draw what was found over a frame.

    Parameters
    ----------
    image
        (H, W) uint8, or uint16 of which a camera may leave the upper bits empty.
    mask
        (H, W) uint8 of ``labels`` values.
    instruments
        Drawn as lines with a ring around a visible tip and a stroke where it points; the first,
        leading one has the larger ring.
    text
        One line in the top left corner.
    opacity
        Of the mask's colours, 0 to 1.

    Returns
    -------
    (H, W, 3) uint8, RGB.

    """
    if image.ndim != 2 or mask.shape != image.shape:
        raise FedefmError(f'found an image of shape {image.shape} and a mask of {mask.shape}; '
                          'the overlay needs a grey image and a mask of the same size')
    picture = _coloured(eight_bits(image), mask, opacity)
    size = max(1.0, max(image.shape) / 512.0)
    thin = max(1, int(round(size)))
    for rank, instrument in enumerate(instruments):
        colour = labels.COLOURS[instrument.kind]
        # Half way to white, or the line would drown in the mask of its own colour.
        _line(picture, instrument.centerline, tuple((value + 255) // 2 for value in colour), thin)
        if instrument.tip_visible:
            radius = (9.0 if rank == 0 else 6.0) * size
            _marker(picture, instrument, radius, thin)
    if text:
        scale = 0.45 * size
        for shift, colour in ((thin, (0, 0, 0)), (0, _WHITE)):
            place = (int(6 * size) + shift, int(16 * size) + shift)
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thin,
                        cv2.LINE_AA)
    return picture


def _coloured(grey: np.ndarray, mask: np.ndarray, opacity: float) -> np.ndarray:
    """Return the frame in RGB with the mask mixed in."""
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    left, top, width, height = cv2.boundingRect((mask > 0).view(np.uint8))
    if width == 0:
        return picture
    window = (slice(top, top + height), slice(left, left + width))
    table = np.zeros((256, 3), np.uint8)
    table[:len(labels.COLOURS)] = labels.COLOURS
    part = mask[window]
    colours = cv2.merge([cv2.LUT(part, table[:, channel].copy()) for channel in range(3)])
    mixed = cv2.addWeighted(picture[window], 1.0 - opacity, colours, opacity, 0.0)
    cv2.copyTo(mixed, (part > 0).view(np.uint8), picture[window])
    return picture


def _fixed(points: np.ndarray) -> np.ndarray:
    """Return points in OpenCV's fixed-point numbers, so that lines are drawn sub-pixel."""
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def _line(picture: np.ndarray, points: np.ndarray, colour: tuple[int, int, int],
          thickness: int) -> None:
    cv2.polylines(picture, [_fixed(points)], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _marker(picture: np.ndarray, instrument: Instrument, radius: float, thickness: int) -> None:
    """Draw a ring around the tip and a stroke from it in the direction of the heading."""
    colour = labels.COLOURS[instrument.kind]
    x, y = (int(value) for value in _fixed(instrument.tip))
    cv2.circle(picture, (x, y), int(radius * (1 << _SHIFT)), _WHITE, thickness + 2, cv2.LINE_AA,
               _SHIFT)
    cv2.circle(picture, (x, y), int(radius * (1 << _SHIFT)), colour, thickness, cv2.LINE_AA,
               _SHIFT)
    heading = np.array([math.cos(instrument.heading), math.sin(instrument.heading)])
    stroke = instrument.tip + np.outer([1.0, 2.5], heading) * radius
    _line(picture, stroke, _WHITE, thickness + 2)
    _line(picture, stroke, colour, thickness)
