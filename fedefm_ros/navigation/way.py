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

"""A way as text, for parameters and command lines."""

from fedefm_ros.errors import FedefmError

import numpy as np


def way_from_text(text: str) -> np.ndarray:
    """
    Return the points of 'x,y x,y ...' in pixels, (N, 2); none where the text is empty.

    :raises FedefmError: not pairs of finite numbers.
    """
    try:
        points = np.array([[float(number) for number in pair.split(',')]
                           for pair in text.split()], float).reshape(-1, 2)
    except ValueError:
        points = np.full((1, 2), np.nan)
    if not np.isfinite(points).all():
        raise FedefmError(f'{text!r} is not a way: expected "x,y x,y ..." in pixels')
    return points


def way_to_text(way: np.ndarray) -> str:
    """Return points (N, 2) as ``way_from_text`` reads them, to a tenth of a pixel."""
    return ' '.join(f'{x:.1f},{y:.1f}' for x, y in way)
