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
The segmentation part of CathAction (airvlab/cathaction).

``ROOT/{train,test}/images/*.jpg`` and ``labels/*.png``, catheter and guidewire as separate
classes. The authors document neither the pixel values nor how an image's name and its label's
correspond (their example has image1.jpg and mask1.png), so both are parameters with the plainest
reading as default.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.datasets import reading
from fedefm_ros.learning.datasets.frames import Entry, FrameSet
from fedefm_ros.learning.datasets.grouping import groups_by_name

PARTS = ('train', 'test')


def read(root: Path, part: str = 'train', groups: str | None = None,
         values: Mapping[int | str, int] = reading.OWN_VALUES) -> FrameSet:
    """
    Open one part of the set.

    A label belongs to the image of the same name, or of the same name once a leading 'image' or
    'mask' is gone.

    :param groups: as in ``aioz.read``: the video that a file name tells of.
    :param values: grey value, palette index or '#rrggbb' in the labels -> our label.
    :raises FedefmError: a folder or label is missing.
    """
    if part not in PARTS:
        raise FedefmError(f'{root}: part {part!r} is not known; known are {", ".join(PARTS)}')
    folder = root / part
    files = reading.image_files(folder / 'labels')
    masks = {_key(mask): mask for mask in files} | {mask.stem: mask for mask in files}
    images = reading.image_files(folder / 'images')
    grouping = groups_by_name([image.stem for image in images], groups)
    entries = []
    for image in images:
        mask = masks.get(image.stem) or masks.get(_key(image))
        if mask is None:
            raise FedefmError(f'{folder / "labels"}: has no label of {image.name} '
                              f'({image.stem}.png)')
        entries.append(Entry(image.stem, grouping.groups[image.stem], image,
                             partial(reading.label_picture, mask, values=values),
                             grouping.clear))
    return FrameSet(f'{root} {part}', entries)


def _key(path: Path) -> str:
    for prefix in ('image', 'mask'):
        if path.stem.startswith(prefix) and path.stem != prefix:
            return path.stem.removeprefix(prefix)
    return path.stem
