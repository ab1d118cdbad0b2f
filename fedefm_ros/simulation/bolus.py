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

"""A bolus of contrast agent: it runs down a vessel tree, darkens it and washes out."""

from fedefm_ros.simulation.clutter import filled, vessel_branches
from fedefm_ros.simulation.settings import Bolus as Ranges

import numpy as np


class Bolus:
    """One injection."""

    def __init__(self, ranges: Ranges, rng: np.random.Generator, size: int, scale: float,
                 spacing_mm: float, root: tuple[np.ndarray, float] | None = None):
        """
        Draw the vessels and the injection.

        :param size: width and height of the layer in pixels.
        :param scale: pixels for one of an image of 512.
        :param spacing_mm: pixel pitch.
        :param root: where it enters, (2,) in pixels, and its heading; None draws them.
        """
        shape = (size, size)
        amount = np.zeros(shape, np.float32)
        way = np.zeros(shape, np.float32)
        width, strength = ranges.width * scale, ranges.strength.draw(rng)
        for branch in vessel_branches(rng, shape, width, root):
            for tube, value in filled(branch, shape, width, strength):
                amount[tube.rows, tube.cols] += value
                way[tube.rows, tube.cols] += value * (branch.from_root + tube.arc)
        self._shape = shape
        self._where = np.flatnonzero(amount)
        self._amount = amount.ravel()[self._where]
        speed = ranges.flow_mm_s.draw(rng) / spacing_mm
        self._arrival = way.ravel()[self._where] / self._amount / speed + ranges.start_s.draw(rng)
        self._rise = ranges.rise_s.draw(rng)

    def at(self, seconds: float) -> np.ndarray:
        """
        Return the line integrals at a time of the sequence, (H, W) float32.

        At each place a gamma variate, which is what an indicator's concentration follows: rising
        for ``rise_s``, falling three to four times as long.
        """
        layer = np.zeros(self._shape, np.float32)
        time = np.maximum((seconds - self._arrival) / self._rise, 0.0)
        layer.ravel()[self._where] = self._amount * (time * np.exp(1.0 - time)) ** 2
        return layer
