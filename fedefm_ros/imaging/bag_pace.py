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

"""The time of a bag that is being replayed."""

from collections.abc import Callable
import math
import time


class Pace:
    """Runs at a rate, stands still while paused, and can be set; nanoseconds of the bag."""

    def __init__(self, begin: int, rate: float = 1.0, paused: bool = False,
                 clock: Callable[[], float] = time.monotonic):
        """
        Start at a time of the bag.

        :param rate: seconds of the bag a second.
        :param clock: seconds of this machine.
        """
        self._rate = rate
        self._clock = clock
        self._paused = paused
        self._base = begin
        self._since = clock()

    @property
    def paused(self) -> bool:
        """Return whether time stands still."""
        return self._paused

    @property
    def now(self) -> int:
        """Return the time of the bag."""
        if self._paused:
            return self._base
        return self._base + round((self._clock() - self._since) * self._rate * 1e9)

    def jump(self, now: int) -> None:
        """Go on from a time of the bag."""
        self._base, self._since = now, self._clock()

    def pause(self, paused: bool) -> None:
        """Stand still or go on."""
        self.jump(self.now)
        self._paused = paused

    def seconds_until(self, then: int) -> float:
        """Return how long to wait here for a time of the bag; infinity while paused."""
        if self._paused:
            return math.inf
        return (then - self.now) / 1e9 / self._rate
