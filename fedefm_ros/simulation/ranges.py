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
What random numbers a simulation draws: the types of the values in config/simulation/*.yaml.

A range whose ends are equal is a constant and takes nothing from the random stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


def happens(rng: np.random.Generator, chance: float) -> bool:
    """Return true with a chance."""
    return rng.random() < chance if 0.0 < chance < 1.0 else chance > 0.0


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, all alike likely."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """Return one of them."""
        return rng.uniform(self.low, self.high) if self.high > self.low else self.low


class LogRange(Range):
    """Positive numbers between two ends, alike likely by their logarithm."""

    def draw(self, rng: np.random.Generator) -> float:
        """Return one of them."""
        if self.high == self.low:
            return self.low
        return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))


@dataclass(frozen=True)
class Count:
    """Whole numbers between two ends, both included."""

    low: int
    high: int

    def draw(self, rng: np.random.Generator) -> int:
        """Return one of them."""
        return int(rng.integers(self.low, self.high + 1)) if self.high > self.low else self.low


class Weights:
    """Names or numbers, each with how often it comes."""

    def __init__(self, weights: Mapping):
        """
        Keep a table.

        :param weights: value -> weight, which need not add up to 1.
        """
        self.values = tuple(weights)
        total = np.array(tuple(weights.values()), float)
        self._shares = total / total.sum()

    def draw(self, rng: np.random.Generator):
        """Return one of them."""
        if len(self.values) == 1:
            return self.values[0]
        return self.values[rng.choice(len(self.values), p=self._shares)]


class Mixture:
    """Ranges, each with how often it comes."""

    def __init__(self, parts: list[tuple[float, Range]]):
        """
        Keep the parts.

        :param parts: shares, which need not add up to 1, and ranges.
        """
        self.ranges = tuple(one for _, one in parts)
        shares = np.array([share for share, _ in parts], float)
        # An even choice is another call to numpy than a weighed one, and another number.
        self._shares = None if (shares == shares[0]).all() else shares / shares.sum()

    def draw(self, rng: np.random.Generator) -> np.float64:
        """Return a number of one of the ranges."""
        return rng.choice([one.draw(rng) for one in self.ranges], p=self._shares)
