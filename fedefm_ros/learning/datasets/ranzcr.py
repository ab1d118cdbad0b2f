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
RANZCR CLiP (Kaggle): chest radiographs, eleven labels of catheter and line positions.

``ROOT/train.csv`` with StudyInstanceUID, the eleven columns below and PatientID, and
``ROOT/train/UID.jpg``. Several labels may hold for one image.
"""

from __future__ import annotations

from collections.abc import Sequence
import csv
from dataclasses import dataclass
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.datasets import reading
from fedefm_ros.learning.datasets.split import split_groups

import numpy as np

CLASSES = (
    'ETT - Abnormal', 'ETT - Borderline', 'ETT - Normal',
    'NGT - Abnormal', 'NGT - Borderline', 'NGT - Incompletely Imaged', 'NGT - Normal',
    'CVC - Abnormal', 'CVC - Borderline', 'CVC - Normal', 'Swan Ganz Catheter Present')


@dataclass(frozen=True)
class Radiograph:
    """One image and what is true of it."""

    name: str
    patient: str
    image: Path
    truth: tuple[int, ...]
    """0 or 1 for each of ``CLASSES``."""


class RadiographSet(Sequence):
    """Radiographs; item i is (image (H, W) uint8 or uint16, truth (11,) float32)."""

    def __init__(self, name: str, entries: Sequence[Radiograph]):
        """Hold the entries, sorted by name."""
        self.name = name
        self.entries = tuple(sorted(entries, key=lambda entry: entry.name))
        if not self.entries:
            raise FedefmError(f'{name}: holds no image')

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one image and its labels; raises FedefmError that names the file."""
        entry = self.entries[index]
        return reading.grey_image(entry.image), np.array(entry.truth, np.float32)

    def split(self, shares: dict[str, float], seed: int) -> dict[str, RadiographSet]:
        """Return named parts that share no patient; raises FedefmError if there are too few."""
        parts = split_groups({entry.patient for entry in self.entries}, shares, seed)
        return {part: RadiographSet(f'{self.name} [{part}]',
                                    [e for e in self.entries if e.patient in members])
                for part, members in parts.items()}


def read(root: Path) -> RadiographSet:
    """
    Open the labelled images.

    :raises FedefmError: train.csv is missing, has other columns, or a value that is not 0 or 1;
        an image of it is not there. It names the line.
    """
    path = root / 'train.csv'
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise FedefmError(f'{path}: cannot be read: {error.strerror or error}') from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FedefmError(f'{path}: is no CSV that can be read: {error}') from error
    missing = {'StudyInstanceUID', 'PatientID', *CLASSES} - set(rows[0] if rows else ())
    if missing:
        raise FedefmError(f'{path}: lacks {"rows" if not rows else "the columns"} '
                          f'{", ".join(sorted(missing))}')
    return RadiographSet(str(root), [_radiograph(path, root, number, row)
                                     for number, row in enumerate(rows, 2)])


def _radiograph(path, root, line, row):
    values = tuple(row[name] for name in CLASSES)
    if not set(values) <= {'0', '1'}:
        name = next(name for name in CLASSES if row[name] not in ('0', '1'))
        raise FedefmError(f'{path}: line {line}: {name} is {row[name]!r}; 0 or 1 was expected')
    uid, patient = row['StudyInstanceUID'], row['PatientID']
    # The name becomes a path: one with separators could lead anywhere.
    if not uid or not patient or '/' in uid or '\\' in uid:
        raise FedefmError(f'{path}: line {line}: {uid!r} of patient {patient!r} is no name of a '
                          'study and its patient')
    image = root / 'train' / f'{uid}.jpg'
    if not image.is_file():
        raise FedefmError(f'{image}: no such file; line {line} of {path} names it')
    return Radiograph(uid, patient, image, tuple(int(value) for value in values))
