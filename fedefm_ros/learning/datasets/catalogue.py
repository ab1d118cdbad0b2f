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

"""The segmentation layouts by name."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.datasets.frames import FrameSet

#: Layout -> module with ``read(root, ...)``.
LAYOUTS = {
    'aioz': 'fedefm_ros.learning.datasets.aioz',
    'cathaction': 'fedefm_ros.learning.datasets.cathaction',
    'folder': 'fedefm_ros.learning.datasets.folder',
    'guide3d': 'fedefm_ros.learning.datasets.guide3d',
}


def open_dataset(layout: str, root: str | Path, **options) -> FrameSet:
    """
    Open images and masks that lie in a known layout.

    :param layout: a name of ``LAYOUTS``.
    :param options: those of the layout's ``read``.
    :raises FedefmError: layout, folder or option is not known, or the data are not as expected.
    """
    if layout not in LAYOUTS:
        raise FedefmError(f'layout {layout!r} is not known; known are {", ".join(LAYOUTS)}')
    root = Path(root)
    if not root.is_dir():
        raise FedefmError(f'{root}: no such folder')
    read = importlib.import_module(LAYOUTS[layout]).read
    try:
        inspect.signature(read).bind(root, **options)
    except TypeError as error:
        raise FedefmError(f'layout {layout!r}: {error}; it takes '
                          f'{", ".join(list(inspect.signature(read).parameters)[1:])}') from error
    return read(root, **options)
