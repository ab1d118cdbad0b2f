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

"""A set of images with masks that are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.datasets import reading
from fedefm_ros.learning.datasets.split import split_groups

import numpy as np


@dataclass(frozen=True)
class Entry:
    """One image and how to get its mask."""

    name: str
    """Unique in its set; for messages and pictures."""
    group: str
    """The patient, or the sequence; frames of one group never end up in two parts of a split."""
    image: Path
    read_mask: Callable[[tuple[int, int]], np.ndarray]
    """From the image's shape (H, W) to its mask, (H, W) uint8 of ``labels`` values."""
    clear: bool = True
    """False where the group is no more than a guess; such a set is not divided."""


class FrameSet(Sequence):
    """Images and masks; item i is (image, mask), both (H, W), uint8 (or uint16) and uint8."""

    def __init__(self, name: str, entries: Sequence[Entry],
                 classes: Sequence[int] = (labels.CATHETER, labels.GUIDEWIRE)):
        """
        Hold the entries, sorted by name.

        :param classes: what the masks can hold beside the background. A set that marks only one
            of the instruments says nothing about the other.
        """
        self.name = name
        self.entries = tuple(sorted(entries, key=lambda entry: entry.name))
        self.classes = tuple(classes)
        if not self.entries:
            raise FedefmError(f'{name}: holds no image')

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one image and its mask; raises FedefmError that names the file."""
        entry = self.entries[index]
        image = reading.grey_image(entry.image)
        return image, entry.read_mask(image.shape)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield all images with their masks."""
        return (self[index] for index in range(len(self)))

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the patients or sequences, sorted."""
        return tuple(sorted({entry.group for entry in self.entries}))

    def split(self, shares: dict[str, float], seed: int) -> dict[str, FrameSet]:
        """
        Return named parts that share no patient or sequence.

        :param shares: part -> its share of the groups.
        :raises FedefmError: too few groups, or names that do not show which images belong
            together.
        """
        unclear = [entry.name for entry in self.entries if not entry.clear]
        if unclear and len(self.groups) > 1:
            raise FedefmError(
                f'{self.name}: cannot be divided into {", ".join(shares)}: names such as '
                f'{", ".join(unclear[:3])} do not show which images are of one patient or '
                'sequence, and frames of one could come into several parts. Say '
                "how names tell the patient or sequence, by the layout's option groups, a regular "
                "expression such as groups: '^([^_]+)_'; or, in the layout folder, put the images "
                "of each into a sub-folder. If every image is of another patient: groups: '(.+)'")
        try:
            parts = split_groups(self.groups, shares, seed)
        except FedefmError as error:
            raise FedefmError(f'{self.name}: {error}') from error
        return {part: FrameSet(f'{self.name} [{part}]',
                               [e for e in self.entries if e.group in members], self.classes)
                for part, members in parts.items()}
