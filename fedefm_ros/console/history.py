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

"""What a station did in each of the last seconds, for the plots."""

from collections import deque
from dataclasses import dataclass
import math


@dataclass(frozen=True)
class Second:
    """Figures of one second; NaN where there was nothing to measure."""

    at: float
    """Monotonic seconds."""
    rate: float
    """Masks a second."""
    latency_ms: float
    """Median from the image's stamp to the mask's arrival."""
    latency_ms_p99: float
    skipped: float
    """Frames that the segmentation skipped, or that were lost on the way to it."""
    refused: float


class History:
    """Collects masks and counters, closes a ``Second`` a second."""

    def __init__(self, seconds: int = 120):
        """Start empty; keeps so many seconds."""
        self._seconds: deque[Second] = deque(maxlen=seconds)
        self._latencies: list[float] = []
        self._counters: dict[str, int] = {}
        self._closed: dict[str, int] = {}
        self._since: float | None = None

    def mask(self, latency_ms: float) -> None:
        """Take in one mask."""
        self._latencies.append(latency_ms)

    def counters(self, **totals: int) -> None:
        """Take in totals since the node's start; a smaller one is a node that started anew."""
        for name, total in totals.items():
            if name not in self._counters or total < self._counters[name]:
                self._closed[name] = total if name not in self._counters else 0
            self._counters[name] = total

    def close(self, now: float) -> None:
        """End a second if it is over; call this several times a second."""
        if self._since is None:
            self._since = now
        if now - self._since < 1.0:
            return
        values, span = sorted(self._latencies), now - self._since
        more = {name: max(0, total - self._closed.get(name, total))
                for name, total in self._counters.items()}
        self._seconds.append(Second(
            at=now, rate=len(values) / span, latency_ms=_share(values, 0.5),
            latency_ms_p99=_share(values, 0.99),
            skipped=more.get('skipped', 0) + more.get('missed', 0),
            refused=more.get('refused', 0)))
        self._latencies, self._since = [], now
        self._closed = dict(self._counters)

    def seconds(self) -> tuple[Second, ...]:
        """Return what is kept, oldest first."""
        return tuple(self._seconds)


def _share(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else math.nan
