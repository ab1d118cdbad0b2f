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

"""Which part of a frame shows anything: the field between the collimator's blades."""

import cv2

from fedefm_ros.segmentation.grey import eight_bits

import numpy as np

# The search runs on a frame of about this size: blades are large.
_SEARCH_SIZE = 128
# Grey levels (of 256) within which neighbours count as flat; quantum noise makes more.
_FLAT = 2
# Standard deviation, in grey levels, of all that one blade covers.
_UNIFORM = 1.5
# Least difference, in grey levels, from a blade to the field beside it.
_STEP = 5.0
# A blade covers at least this share of the frame.
_LEAST_SHARE = 0.003


def find_field(image: np.ndarray) -> np.ndarray | None:
    """
    Return where the frame is not flat, as it is behind a collimator's blades.

    Blades with soft or noisy shadows are not found; then the image's edge alone counts.

    :param image: (H, W) uint8, or uint16 of which a camera may leave the upper bits empty.
    :returns: (H, W) bool, True inside the field, or None where the whole frame is field.
    """
    height, width = image.shape
    factor = max(1, round(max(height, width) / _SEARCH_SIZE))
    # Every n-th pixel, not means of n: the noise that tells tissue from lead must stay.
    small = np.ascontiguousarray(image[factor // 2::factor, factor // 2::factor])
    if small.size == 0:
        return None
    small = eight_bits(small)
    kernel = np.ones((3, 3), np.uint8)
    span = cv2.dilate(small, kernel) - cv2.erode(small, kernel)
    flat = (span <= _FLAT).view(np.uint8)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    at_border = np.zeros(count, bool)
    for side in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        at_border[side] = True
    blades = at_border & (stats[:, cv2.CC_STAT_AREA] >= _LEAST_SHARE * small.size)
    blades[0] = False
    for index in np.flatnonzero(blades):
        blades[index] = _is_blade(small, pieces == index, kernel)
    if not blades.any():
        return None
    # The edge itself is not flat: one cell for the window above, one for a soft edge.
    blocked = cv2.dilate(blades[pieces].view(np.uint8), kernel, iterations=2)
    if blocked.all():
        return None
    return cv2.resize(1 - blocked, (width, height), interpolation=cv2.INTER_NEAREST).view(bool)


def _is_blade(small: np.ndarray, region: np.ndarray, kernel: np.ndarray) -> bool:
    """Return whether a flat region is lead and not merely smooth tissue."""
    values = small[region]
    # Smooth tissue changes from place to place, lead does not ...
    if values.std() > _UNIFORM:
        return False
    # ... and it goes over into what is beside it, where a blade ends in a step.
    solid = region.view(np.uint8)
    ring = cv2.dilate(solid, kernel, iterations=4) > cv2.dilate(solid, kernel, iterations=2)
    step = np.abs(small[ring].astype(np.float32) - values.mean()) >= _STEP
    return bool(ring.any()) and step.mean() >= 0.7
