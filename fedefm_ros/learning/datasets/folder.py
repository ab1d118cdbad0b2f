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
A plain folder: ``ROOT/images/...`` and ``ROOT/masks/...`` with pictures of the same names.

Pictures may lie in sub-folders (the same in both), each of which is then a patient or sequence.
``./run simulate --format folder`` writes this layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.datasets import reading
from fedefm_ros.learning.datasets.frames import Entry, FrameSet
from fedefm_ros.learning.datasets.grouping import groups_by_name


def read(root: Path, groups: str | None = None,
         values: Mapping[int | str, int] = reading.OWN_VALUES) -> FrameSet:
    """
    Open a folder.

    :param groups: regular expression whose first group names the patient or sequence in a
        picture's path below ``images`` (without suffix); None: its sub-folder, or where it has
        none its name without the frame's number, see ``groups_by_name``.
    :param values: grey value, palette index or '#rrggbb' in the masks -> our label.
    :raises FedefmError: a folder or mask is missing.
    """
    images, masks = root / 'images', root / 'masks'
    found = [(image.relative_to(images).with_suffix(''), image)
             for image in reading.image_files(images)]
    by_name = groups_by_name([place.as_posix() for place, _ in found
                              if groups is not None or len(place.parts) == 1], groups)
    entries = []
    for place, image in found:
        mask = next((path for suffix in ('.png', '.npy', *reading.IMAGE_SUFFIXES)
                     if (path := masks / place.with_name(place.name + suffix)).is_file()), None)
        if mask is None:
            raise FedefmError(f'{masks / place}.png: no such file; {image} needs it as its mask')
        name = place.as_posix()
        group = by_name.groups.get(name)
        read_mask = partial(reading.label_array, mask) if mask.suffix == '.npy' \
            else partial(reading.label_picture, mask, values=values)
        entries.append(Entry(name, place.parent.as_posix(), image, read_mask) if group is None
                       else Entry(name, group, image, read_mask, by_name.clear))
    return FrameSet(str(root), entries)
