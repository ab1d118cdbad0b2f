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

"""A picture like fluoroscopy on which runtimes are compared and timed."""

import cv2

import numpy as np


def line_picture(size: int) -> np.ndarray:
    """
    Return (size, size) uint8: soft background, noise, three dark curves of 2 to 7 pixels.

    The same on every machine: graphs carry a network's answer to it.
    """
    rng = np.random.default_rng(20260101)
    coarse = rng.uniform(70, 210, (6, 6)).astype(np.float32)
    grey = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    along = np.linspace(0.0, 1.0, 64)
    for width, shade, phase in ((7, 0.45, 0.3), (4, 0.5, 2.1), (2, 0.55, 4.0)):
        x = 0.5 + 0.38 * np.sin(3.0 * along + phase)
        y = along * 0.9 * np.cos(0.4 * phase) ** 2
        points = np.stack([x, y], axis=1) * size * 16
        line = np.ones((size, size), np.float32)
        cv2.polylines(line, [points.astype(np.int32)], False, shade,
                      max(1, round(width * size / 512)), cv2.LINE_AA, shift=4)
        grey *= cv2.GaussianBlur(line, (0, 0), 0.8)
    grey += rng.normal(0.0, 6.0, grey.shape).astype(np.float32)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)
