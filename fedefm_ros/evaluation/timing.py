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

"""Summaries of durations."""

from collections.abc import Sequence

import numpy as np


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Return median, 95th and 99th percentile and maximum in milliseconds; NaN of nothing."""
    if not len(seconds):
        return dict.fromkeys(('p50', 'p95', 'p99', 'max'), float('nan'))
    values = 1e3 * np.asarray(seconds)
    p50, p95, p99 = (float(v) for v in np.percentile(values, (50, 95, 99)))
    return {'p50': p50, 'p95': p95, 'p99': p99, 'max': float(values.max())}
