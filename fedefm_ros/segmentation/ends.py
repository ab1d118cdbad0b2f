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

"""The surroundings of a line's ends, turned so that the line comes from the left."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.preprocess import Prepared
from fedefm_ros.segmentation.strips import directions_of
from fedefm_ros.segmentation.strips import stretched

import numpy as np

#: Pixels before and beyond an end, and to each side.
BEFORE, BEYOND, ASIDE = 32, 31, 16
#: Grey level and probability.
LAYERS = 2
#: Rows and columns of a view.
VIEW = (2 * ASIDE + 1, BEFORE + BEYOND + 1)

_AHEAD = np.arange(-BEFORE, BEYOND + 1, dtype=np.float32)[None]
_ASIDE = np.arange(-ASIDE, ASIDE + 1, dtype=np.float32)[:, None]


def views(prepared: Prepared, probability: np.ndarray,
          places: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """
    Return what lies around ends, (N, LAYERS, *VIEW) uint8.

    :param prepared: the network's input and its grey range.
    :param probability: uint8 of any instrument, of the input's size.
    :param places: of each where it is, (2,) pixels, and how the line goes on, (2,) of length 1.
    """
    found = np.zeros((len(places), LAYERS, *VIEW), np.uint8)
    layers = cv2.merge([prepared.image, probability])
    for view, (end, ahead) in zip(found, places):
        (x, y), (right, down) = end.astype(np.float32), ahead.astype(np.float32)
        seen = cv2.remap(layers, x + _AHEAD * right - _ASIDE * down,
                         y + _AHEAD * down + _ASIDE * right, cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_REPLICATE)
        grey, view[1] = cv2.split(seen)
        mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
        view[0] = stretched(grey, mean, deviation, prepared)
    return found


def views_of_pieces(prepared: Prepared, probability: np.ndarray,
                    pieces: Sequence[Instrument]) -> np.ndarray:
    """Return what lies around each piece's first and last point, (N, 2, LAYERS, *VIEW) uint8."""
    lines = [piece.centerline for piece in pieces]
    places = [place for line in lines
              for place in zip((line[0], line[-1]), directions_of(line))]
    return views(prepared, probability, places).reshape(-1, 2, LAYERS, *VIEW)
