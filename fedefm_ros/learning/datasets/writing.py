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

"""Writers of frames with ground truth: AIOZ's layout, a plain folder, videos."""

from __future__ import annotations

from dataclasses import dataclass
import io
import json
from pathlib import Path

import cv2

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.frame import GroundTruth
from fedefm_ros.learning.datasets.aioz import mask_path

import numpy as np

#: Kind of simulated scene -> domain of AIOZ's set.
AIOZ_DOMAINS = {'phantom': 'phantom', 'animal': 'animal', 'simulation': 'sim', 'human': 'real'}
# What OpenCV's wheels can write everywhere.
_CODEC = 'mp4v'


@dataclass(frozen=True)
class Sample:
    """A frame to write."""

    kind: str
    patient: int
    """Number of the patient, phantom or scene; of one kind."""
    number: int
    """Of the frame, among those of the patient."""
    image: np.ndarray
    """(H, W) uint8."""
    truth: GroundTruth

    @property
    def patient_name(self) -> str:
        """Return 'human-00012', by which frames are grouped."""
        return f'{self.kind}-{self.patient:05d}'

    @property
    def name(self) -> str:
        """Return 'human-00012-3'; loaders find the patient by leaving out the last number."""
        return f'{self.patient_name}-{self.number}'


class AiozWriter:
    """
    ``ROOT/{domain}_{train,test}/{images,masks}``, as ``aioz.read`` reads it.

    The domains sim and real hold one class; there any instrument is marked, since a wire in the
    image that the mask calls background would teach to overlook it. What such masks lose, and
    tips, are in ``centerlines.json`` beside them, which no loader of that layout looks at.
    """

    def __init__(self, root: Path, test_patients: frozenset[str], centerlines: bool = False):
        """
        Write into a folder.

        :param test_patients: names of the patients whose frames are for testing.
        :param centerlines: write the centrelines, too, when it is closed.
        """
        self._root = root
        self._test = test_patients
        self._centerlines = centerlines
        self._curves: dict[Path, _Curves] = {}

    def add(self, sample: Sample) -> None:
        """Write one frame; raises FedefmError."""
        domain = AIOZ_DOMAINS[sample.kind]
        part = 'test' if sample.patient_name in self._test else 'train'
        folder = self._root / f'{domain}_{part}'
        image = folder / 'images' / f'{sample.name}.png'
        mask = mask_path(folder / 'masks', image, domain)
        if domain == 'real':
            _write(image, _png(sample.image))
        else:  # these have three channels
            _write(image, _png(np.repeat(sample.image[..., None], 3, axis=2)))
        if mask.suffix == '.npy':
            buffer = io.BytesIO()
            np.save(buffer, sample.truth.mask)
            _write(mask, buffer.getvalue())
        else:
            _write(mask, _png(np.where(sample.truth.mask > 0, 255, 0).astype(np.uint8)))
        if self._centerlines:
            self._curves.setdefault(folder, _Curves()).add(image.name, sample.truth)

    def close(self) -> None:
        """Write the centrelines where they are asked for."""
        for folder, curves in self._curves.items():
            curves.write(folder / 'centerlines.json')


class FolderWriter:
    """``ROOT/images``, ``ROOT/masks`` (0, 1, 2) and ``ROOT/centerlines.json``."""

    def __init__(self, root: Path):
        """Write into a folder."""
        self._root = root
        self._curves = _Curves()

    def add(self, sample: Sample) -> None:
        """Write one frame; raises FedefmError."""
        name = f'{sample.name}.png'
        _write(self._root / 'images' / name, _png(sample.image))
        _write(self._root / 'masks' / name, _png(sample.truth.mask))
        self._curves.add(name, sample.truth)

    def close(self) -> None:
        """Write the centrelines."""
        self._curves.write(self._root / 'centerlines.json')


class VideoWriter:
    """``ROOT/KIND.mp4`` and ``ROOT/KIND.json`` with the centrelines by frame number."""

    def __init__(self, root: Path, rate: float):
        """Write into a folder; rate in frames per second."""
        self._root = root
        self._rate = rate
        self._open: dict[str, tuple[cv2.VideoWriter, _Curves, list[int]]] = {}

    def add(self, sample: Sample) -> None:
        """Append one frame to its kind's video; raises FedefmError."""
        if sample.kind not in self._open:
            path = self._root / f'{sample.kind}.mp4'
            height, width = sample.image.shape
            _make_folder(self._root)
            video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*_CODEC), self._rate,
                                    (width, height), isColor=False)
            if not video.isOpened():
                raise FedefmError(f'{path}: cannot be written as a video of {width} x {height}; '
                                  'both must be even')
            self._open[sample.kind] = (video, _Curves(), [0])
        video, curves, count = self._open[sample.kind]
        video.write(sample.image)
        curves.add(str(count[0]), sample.truth)
        count[0] += 1

    def close(self) -> None:
        """Complete the videos; raises FedefmError where one is not whole."""
        for kind, (video, curves, (count,)) in self._open.items():
            path = self._root / f'{kind}.mp4'
            video.release()
            reader = cv2.VideoCapture(str(path))
            found = reader.get(cv2.CAP_PROP_FRAME_COUNT)  # the writer itself reports nothing
            reader.release()
            if found != count:
                raise FedefmError(f'{path}: could not be written whole; is the disk full?')
            curves.write(path.with_suffix('.json'))


class _Curves:
    """Centrelines in the form that ``evaluation.labels.read_centerlines`` reads."""

    def __init__(self):
        self._frames: dict[str, dict] = {}
        self._tips: dict[str, dict] = {}
        self._others: dict[str, list] = {}

    def add(self, name, truth):
        entry = {labels.NAMES[kind]: [] for kind in (labels.CATHETER, labels.GUIDEWIRE)}
        tips, others = {}, []
        for instrument in sorted(truth.instruments, key=lambda one: -one.length_px):
            points = np.round(instrument.centerline, 2).tolist()
            kind, visible = labels.NAMES[instrument.kind], bool(instrument.tip_visible)
            if entry[kind]:
                others.append({'kind': kind, 'points': points, 'tip_visible': visible})
            else:
                entry[kind], tips[kind] = points, visible
        self._frames[name], self._tips[name] = entry, tips
        if others:
            self._others[name] = others

    def write(self, path):
        # One curve a kind is what the form holds; the further ones stand apart.
        _write(path, (json.dumps({'frames': self._frames, 'tip_visible': self._tips,
                                  'others': self._others}) + '\n').encode())


def _png(picture: np.ndarray) -> bytes:
    return cv2.imencode('.png', picture)[1].tobytes()


def _write(path: Path, data: bytes) -> None:
    _make_folder(path.parent)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise FedefmError(f'{path}: cannot be written: {error.strerror or error}') from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FedefmError(f'{folder}: cannot be made: {error.strerror or error}') from error
