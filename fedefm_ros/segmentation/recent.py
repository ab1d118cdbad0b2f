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

"""Rates and percentiles of what happened in the last seconds."""

from collections.abc import Callable
import threading
import time


class Recent:
    """Values of the last seconds, for rates and percentiles; may be fed by any thread."""

    def __init__(self, seconds: float = 5.0, clock: Callable[[], float] = time.monotonic):
        """Start empty."""
        self._seconds = seconds
        self._clock = clock
        self._start = clock()
        self._entries: list[tuple[float, float]] = []
        self._lock = threading.Lock()

    def add(self, value: float = 0.0) -> None:
        """Add a value that counts from now on."""
        now = self._clock()
        with self._lock:
            self._entries.append((now, value))
            if len(self._entries) > 64 and self._entries[len(self._entries) // 2][0] < (
                    now - self._seconds):
                self._entries = [e for e in self._entries if e[0] >= now - self._seconds]

    def clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._entries.clear()
            self._start = self._clock()

    def values(self) -> list[float]:
        """Return the values of the last seconds, sorted."""
        since = self._clock() - self._seconds
        with self._lock:
            return sorted(value for at, value in self._entries if at >= since)

    def span(self) -> float:
        """Return over how many seconds the values were gathered."""
        return min(self._seconds, self._clock() - self._start)

    def rate(self) -> float:
        """Return how many values a second there were."""
        span = self.span()
        return len(self.values()) / span if span > 0 else 0.0

    def percentile(self, share: float) -> float:
        """Return the value below which a share (0 to 1) of the values lies; NaN without any."""
        values = self.values()
        return values[min(len(values) - 1, int(share * len(values)))] if values else float('nan')
