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
The endovascular set of AIOZ (endovascular-challenge, fl-endovascular, FedEFM's Downstream).

``ROOT/{phantom,animal,sim,real}_{train,test}/{images,masks}``. Four domains with three kinds of
mask: arrays of 0, 1, 2 (phantom, animal), NAME_mask.png of the catheter (sim), a picture of the
same name (real).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.datasets import reading
from fedefm_ros.learning.datasets.frames import Entry, FrameSet
from fedefm_ros.learning.datasets.grouping import groups_by_name

DOMAINS = ('phantom', 'animal', 'sim', 'real')
PARTS = ('train', 'test')

#: Only these tell catheter and guidewire apart; the others mark one thing, here the catheter.
_BOTH_CLASSES = ('phantom', 'animal')


def read(root: Path, part: str = 'train', domains: Sequence[str] | None = None,
         groups: str | None = None, above: int = 128) -> FrameSet:
    """
    Open one part of the set.

    :param part: ``train`` or ``test``.
    :param domains: which ones; None: all that are there.
    :param groups: regular expression whose first group names the sequence of a file name; None:
        the name without the frame's number, see ``groups_by_name``.
    :param above: grey value above which a pixel of a sim or real mask is the instrument. 128 is
        the rule of the UNet baseline; those of TransUNet and SwinUNet take 0 for sim.
    :raises FedefmError: a folder or mask is missing, or a domain is not known.
    """
    if part not in PARTS:
        raise FedefmError(f'{root}: part {part!r} is not known; known are {", ".join(PARTS)}')
    unknown = set(domains or ()) - set(DOMAINS)
    if unknown:
        raise FedefmError(f'{root}: domain {", ".join(sorted(unknown))} is not known; known are '
                          f'{", ".join(DOMAINS)}')
    chosen = list(domains or (d for d in DOMAINS if (root / f'{d}_{part}').is_dir()))
    if not chosen:
        raise FedefmError(f'{root}: has none of the folders '
                          f'{", ".join(f"{domain}_{part}" for domain in DOMAINS)}')
    entries = [entry for domain in chosen
               for entry in _entries(root / f'{domain}_{part}', domain, groups, above)]
    both = any(domain in _BOTH_CLASSES for domain in chosen)
    return FrameSet(f'{root} {part}', entries,
                    (labels.CATHETER, labels.GUIDEWIRE) if both else (labels.CATHETER,))


def _entries(folder, domain, groups, above):
    images = reading.image_files(folder / 'images')
    grouping = groups_by_name([image.stem for image in images], groups)
    for image in images:
        mask = mask_path(folder / 'masks', image, domain)
        if not mask.is_file():
            raise FedefmError(f'{mask}: no such file; {image} needs it as its mask')
        if domain in _BOTH_CLASSES:
            read_mask = partial(reading.label_array, mask)
        else:
            read_mask = partial(reading.binary_picture, mask, label=labels.CATHETER, above=above)
        yield Entry(f'{domain}/{image.stem}', f'{domain}/{grouping.groups[image.stem]}', image,
                    read_mask, grouping.clear)


def mask_path(folder: Path, image: Path, domain: str) -> Path:
    """Return where the mask of an image lies in a domain."""
    if domain in _BOTH_CLASSES:
        return folder / f'{image.stem}.npy'
    return folder / (f'{image.stem}_mask.png' if domain == 'sim' else image.name)
