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

"""Ground truth that people drew: centrelines in a JSON file."""

import json
from pathlib import Path

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np


def read_centerlines(path: Path) -> dict[str, tuple[Instrument, ...]]:
    """
    Return the instruments of each labelled frame.

    The file holds ``{"frames": {NAME: {"catheter": [[x, y], ...], "guidewire": [...]}}}`` with
    points in pixels, entry first and tip last (no points: none of that kind); NAME is a file
    name, or a frame's number in a sequence.

    Raises FedefmError that names the file and what is wrong.
    """
    try:
        frames = json.loads(path.read_text(encoding='utf-8'))['frames']
        return {name: tuple(_instrument(kind, points)
                            for kind, points in entry.items() if points)
                for name, entry in frames.items()}
    except OSError as error:
        raise FedefmError(f'{path} cannot be read: {error.strerror}') from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FedefmError(f'{path} is not a centreline file ({error!r}); expected '
                          '{"frames": {NAME: {"catheter": [[x, y], ...]}}}') from error


def _instrument(kind, points):
    points = np.asarray(points, float)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 \
            or not np.isfinite(points).all():
        raise ValueError(f'a centreline of shape {points.shape}, not (2 or more, 2)')
    return Instrument(labels.NAMES.index(kind), points)
