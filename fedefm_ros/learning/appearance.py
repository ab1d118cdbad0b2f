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

"""What lies along a line, as another X-ray machine might show it."""

from collections.abc import Sequence

import cv2

from fedefm_ros.segmentation.strips import MEAN_GREY

import numpy as np


def by_another_machine(rng: np.random.Generator, views: Sequence[np.ndarray],
                       steps: Sequence[float]) -> list[np.ndarray]:
    """
    Return views of the same line as another machine might show them.

    Less sharp or sharper, of other contrast and gamma, with coarser grain, and with a line that
    is darker in one place than in another: a simulator draws each of these in its own way, and
    instruments that it never drew need not look like that (domain randomisation, Tobin et al.,
    IROS 2017).

    :param views: (rows, columns) float32 each, in grey levels of about ``MEAN_GREY``; the line
        goes along the columns.
    :param steps: pixels from row to row of each; from column to column it is one.
    :returns: views of the same shapes; levels may lie below 0 and above 255.
    """
    blur, smoothed = rng.uniform(0.3, 1.6), rng.uniform(-0.5, 1.0)
    heights = 2.0 ** rng.uniform(-1.0, 0.5, 6).astype(np.float32)
    contrast, power = 2.0 ** rng.uniform(-0.5, 0.25), 2.0 ** rng.uniform(-0.6, 0.6)
    grain, coarse = rng.uniform(0.0, 5.0), rng.uniform(0.5, 1.5)
    found = []
    for view, step in zip(views, steps):
        # As wide in pixels at each step; smoothed by less than nothing is sharper.
        smooth = cv2.GaussianBlur(view, (0, 0), blur, sigmaY=blur / step)
        shown = view + smoothed * (smooth - view)
        along = cv2.resize(heights[None], view.shape[::-1])
        shown = np.clip(MEAN_GREY + (shown - shown.mean()) * along, 1.0, 255.0)
        shown = 255.0 * cv2.pow(shown / 255.0, power)
        shown -= shown.mean()
        shown *= contrast * view.std() / max(float(shown.std()), 1.0)
        speckles = cv2.GaussianBlur(rng.standard_normal(view.shape, np.float32), (0, 0), coarse,
                                    sigmaY=coarse / step)
        shown += MEAN_GREY + grain / max(float(speckles.std()), 1e-3) * speckles
        found.append(shown)
    return found


def by_another_network(rng: np.random.Generator, probability: np.ndarray) -> np.ndarray:
    """Return probabilities, uint8, as a surer or less sure network has them; 0 and 255 stay."""
    power = 2.0 ** rng.uniform(-1.0, 1.0)
    return np.rint(255.0 * (np.arange(256) / 255.0) ** power).astype(np.uint8)[probability]


def magnified(rng: np.random.Generator, layers: np.ndarray) -> tuple[np.ndarray, float]:
    """
    Return layers of a strip as of a thicker line, and how many times as thick it is, 1 to 1.5.

    An image that was enlarged, by a machine or to the network's size, is less sharp for the width
    of its instruments.

    :param layers: (N, rows, columns) uint8; the line is in the middle row.
    """
    times = rng.uniform(1.0, 1.5)
    rows, columns = layers.shape[1:]
    across = np.float32([[1, 0, 0], [0, 1 / times, (rows - 1) / 2 * (1 - 1 / times)]])
    return np.stack([cv2.warpAffine(layer, across, (columns, rows),
                                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
                     for layer in layers]), times
