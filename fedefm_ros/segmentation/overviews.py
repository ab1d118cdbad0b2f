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

"""
Overviews: the whole picture, small, with what was found in it and the one piece it is about.

What ``strips`` cannot show: where in the anatomy a line lies, where it comes from, and what else
is like it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.preprocess import Prepared

import numpy as np

#: Rows and columns of an overview.
SIDE = 64
#: Grey level (0: not of the image), probability, 'is guidewire', and the piece.
LAYERS = 4

# Bits of a fraction of a pixel that OpenCV draws with.
_SHIFT = 4


def overviews(prepared: Prepared, mask: np.ndarray, probability: np.ndarray,
              pieces: Sequence[Instrument]) -> np.ndarray:
    """
    Return the picture as a whole for each piece, (N, LAYERS, SIDE, SIDE) uint8.

    :param prepared: the network's input, (S, S) uint8 and its grey range.
    :param mask: uint8 of ``labels`` values, of the square's pixels at least those of the image.
    :param probability: uint8 of any instrument, likewise, 255 = sure.
    :param pieces: instruments in pixels of the mask.
    """
    found = np.zeros((len(pieces), LAYERS, SIDE, SIDE), np.uint8)
    box = prepared.box
    height, width = (max(1, round(SIDE * part / box.size))
                     for part in (box.inner_height, box.inner_width))
    wire = np.where(mask == labels.GUIDEWIRE, np.uint8(255), np.uint8(0))
    gain = 254.0 / max(prepared.high - prepared.low, 1.0)
    levels = np.clip(1.0 + (np.arange(256) - prepared.low) * gain, 1.0, 255.0).astype(np.uint8)
    for layer, image in enumerate((prepared.image, probability, wire)):
        small = cv2.resize(image[:box.inner_height, :box.inner_width], (width, height),
                           interpolation=cv2.INTER_AREA)
        found[:, layer, :height, :width] = cv2.LUT(small, levels) if layer == 0 else small
    scale = SIDE / box.size
    for overview, piece in zip(found, pieces):
        # Pixels' middles lie at whole numbers in both.
        points = (piece.centerline + 0.5) * scale - 0.5
        cv2.polylines(overview[-1], [np.rint(points * 2 ** _SHIFT).astype(np.int32)], False, 255,
                      shift=_SHIFT)
    return found
