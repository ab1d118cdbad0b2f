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

"""The bandwidth cap."""

from collections.abc import Callable
import time

from fedefm_ros.errors import FedefmError


class TokenBucket:
    """Lets through so many bytes a second, and a burst at once after a pause."""

    def __init__(self, bytes_per_second: float, burst: int,
                 clock: Callable[[], float] = time.monotonic):
        """
        Start with a full bucket.

        :param bytes_per_second: 0: no cap.
        :param burst: bytes; more than that at once is let through, but what follows waits.
        """
        if not bytes_per_second >= 0 or burst < 0:
            raise FedefmError(f'{bytes_per_second} bytes a second, burst {burst}; expected 0 or '
                              'more')
        self._rate, self._burst, self._clock = bytes_per_second, burst, clock
        self._tokens, self._then = float(burst), clock()

    def delay(self, n: int) -> float:
        """Take n bytes from the bucket and return how many seconds to wait before they may go."""
        if not self._rate:
            return 0.0
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._then) * self._rate)
        self._then = now
        self._tokens -= n
        return max(0.0, -self._tokens / self._rate)
