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
Pieces that a network finds in simulated frames, straightened, and what each of them is.

What a judge (``segmentation.judge``) learns from: the same strips that the engine will show it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
import json
from pathlib import Path
from typing import NamedTuple

from fedefm_ros.backbones.spec import Normalisation
from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.imaging.frame import GroundTruth
from fedefm_ros.learning.piece_truth import along_strip, answers, tips_from, walls_along
from fedefm_ros.learning.simulated import FRAMES_PER_SCENE, SimulatedFrames
from fedefm_ros.segmentation.ends import LAYERS as END_LAYERS, VIEW, views_of_pieces
from fedefm_ros.segmentation.geometry import analyse
from fedefm_ros.segmentation.overviews import LAYERS, overviews, SIDE
from fedefm_ros.segmentation.postprocess import remove_specks, SpeckParameters
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.relations import lines_of, POINTS
from fedefm_ros.segmentation.runtimes.runtime import Runtime
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, HALF, LENGTH, strips
from fedefm_ros.simulation.config import SceneConfig

import numpy as np

#: How often each kind of scene comes: human ones hold most of what is no instrument.
SHARES = {'human': 0.31, 'animal': 0.23, 'phantom': 0.23, 'simulation': 0.23}
#: Frames of a file: an interrupted collection takes those of the last one again.
FRAMES_PER_FILE = 400

_SOURCE = 'collection.json'
_PICTURES = ('strips', 'overviews', 'ends')
_KNOWN = ('parts', 'tips', 'walls', 'facts', 'answers', 'lengths', 'confidences')
_KEYS = _PICTURES + _KNOWN
# What an earlier version did not collect: the frame of a file that each piece is of, and its line.
_OF_FRAMES = ('numbers', 'lines')


@dataclass(frozen=True)
class Collection:
    """Where pieces come from; a folder holds those of one."""

    seed: int
    models: tuple[str, ...]
    """Ids of the models that take turns."""
    precision: str
    runtime: str
    scenes: tuple[str, ...] = ()
    """Kinds with settings that are not as by default: kind and hash of the settings."""
    images: str = ''
    """Hash of the images and masks that were looked at in place of simulated frames."""
    backbone: str = 'compact'
    config: dict = field(default_factory=dict)
    size: int = 512
    """Side of the models' input, and of the frames, in pixels."""

    def shows_frames_of(self, other: Collection) -> bool:
        """Return whether some frames of both are the same."""
        mine, theirs = ((one.images or one.seed) for one in (self, other))
        return mine == theirs

    @property
    def made_for(self) -> dict:
        """Return what a judge of these pieces says of the models it is for."""
        return {'backbone': self.backbone, 'config': self.config, 'input_size': self.size}


def simulated(collection: Collection, configs: tuple[SceneConfig, ...] = ()) -> SimulatedFrames:
    """Return the simulated frames of a collection."""
    return SimulatedFrames(1, collection.seed, size=collection.size, shares=SHARES,
                           configs=configs)


class MaskedImages:
    """Images with masks as frames; true centrelines are those that geometry finds in the masks."""

    def __init__(self, images: Sequence[tuple[np.ndarray, np.ndarray]]):
        """Take pairs of image and mask, (S, S) uint8."""
        self._images = images

    def frame(self, number: int) -> tuple[np.ndarray, GroundTruth]:
        """Return an image and its truth."""
        image, mask = self._images[number]
        return image, GroundTruth(mask, analyse(mask).instruments)


def collect(folder: Path, collection: Collection, runtimes: Sequence[Runtime], frames: int,
            source: SimulatedFrames | MaskedImages,
            normalisation: Normalisation = Normalisation(),
            report: Callable[[int, int], None] = lambda frames, pieces: None) -> None:
    """
    Write the pieces of frames into a folder; what it has of them already stays.

    :param runtimes: the models, compiled.
    :param source: what the collection says.
    :param report: told how many frames are done and how many pieces there are.
    :raises FedefmError: the folder holds another collection, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _keep_to(folder / _SOURCE, collection)
        pieces = 0
        for first in range(0, frames, FRAMES_PER_FILE):
            last = min(first + FRAMES_PER_FILE, frames)
            path = folder / f'{first:07d}-{last:07d}.safetensors'
            there = max(folder.glob(f'{first:07d}-*.safetensors'), default=None)
            if there is None or there < path:
                data = _file_of(source, range(first, last), runtimes, collection.size,
                                normalisation)
                if there is not None:  # the last file of a shorter collection
                    there.unlink()
                write_atomically(path, data)
                there = path
            pieces += len(_read(there)[2]['answers'])
            report(last, pieces)
    except OSError as error:
        raise FedefmError(f'{error.filename or folder}: {error.strerror or error}') from error


def _keep_to(path: Path, collection: Collection) -> None:
    if path.exists() and collection_of(path.parent) != collection:
        raise FedefmError(f'{path.parent} holds pieces of another collection ({path}); take '
                          'another folder')
    write_atomically(path, json.dumps(asdict(collection), indent=1).encode())


def collection_from(values: dict) -> Collection:
    """Return what JSON tells of a collection; TypeError, ValueError or KeyError where none."""
    return Collection(**{**values, 'models': tuple(values['models']),
                         'scenes': tuple(values['scenes'])})


def collection_of(folder: Path) -> Collection:
    """Return where the pieces of a folder come from; raises FedefmError where it has none."""
    path = folder / _SOURCE
    try:
        return collection_from(json.loads(path.read_text()))
    except OSError as error:
        raise FedefmError(f'{path}: {error.strerror or error}; ./run judge collect makes such a '
                          'folder') from error
    except (ValueError, TypeError, KeyError) as error:
        raise FedefmError(f'{path} is damaged: {error!r}') from error


def _file_of(source: SimulatedFrames | MaskedImages, numbers: range, runtimes: Sequence[Runtime],
             size: int, normalisation: Normalisation) -> bytes:
    from safetensors.numpy import save
    found: dict[str, list] = {key: [] for key in _KEYS + _OF_FRAMES}
    for number in numbers:
        image, truth = source.frame(number)
        if image.shape != (size, size):
            raise FedefmError(f'image {number} is {image.shape[1]} x {image.shape[0]}, the models '
                              f'see {size} x {size}')
        # Each model sees frames of each scene.
        runtime = runtimes[(number // FRAMES_PER_SCENE + number) % len(runtimes)]
        prepared = prepare(image, size, normalisation)
        mask, probability = (array.copy() for array in runtime(prepared))
        mask = remove_specks(mask, probability, SpeckParameters(min_confidence=0.0))
        pieces = analyse(mask, probability, quick=True).instruments
        seen, facts = strips(prepared, mask, probability, pieces)
        found['strips'] += list(seen)
        found['overviews'] += list(overviews(prepared, mask, probability, pieces))
        found['ends'] += list(views_of_pieces(prepared, probability, pieces))
        found['facts'] += list(facts)
        found['numbers'] += [number - numbers.start] * len(pieces)
        found['lines'] += list(lines_of(pieces))
        for piece, (answer, part) in zip(pieces, answers(pieces, truth)):
            found['answers'].append(answer)
            found['parts'].append(along_strip(piece, part))
            found['tips'].append(tips_from(piece, truth))
            found['walls'].append(walls_along(piece, part, truth.mask))
        found['lengths'] += [piece.length_px for piece in pieces]
        found['confidences'] += [piece.confidence for piece in pieces]
    if not found['facts']:
        raise FedefmError(f'nothing was found in frames {numbers.start} to {numbers.stop}: the '
                          'models see nothing')
    kinds = {'answers': np.uint8, 'parts': np.uint8, 'numbers': np.int32, **dict.fromkeys(
        ('tips', 'walls', 'lengths', 'confidences'), np.float32)}
    arrays = {key: np.array(values, kinds.get(key)) for key, values in found.items()}
    return save(arrays, {'frames': str(len(numbers))})


class Piece(NamedTuple):
    """What is to be seen of a piece, and what it is."""

    strip: np.ndarray
    overview: np.ndarray
    ends: np.ndarray
    facts: np.ndarray
    answer: int
    part: np.ndarray
    """(LENGTH,) uint8: what each column of the strip is."""
    tips: np.ndarray
    """(2, 2) float32, see ``tips_from``."""
    walls: np.ndarray
    """(LENGTH, 2) float32, see ``walls_along``."""


class Pieces(Sequence):
    """
    Pieces of one or more folders; their pictures stay on the disk.

    ``numbers`` are those of their frames, -1 where an earlier version collected them: it did not
    keep ``lines``, either.
    """

    def __init__(self, folders: Sequence[Path]):
        """Open the files; raises FedefmError where there are none or one is damaged."""
        self._files = []
        self.frames = 0
        known: dict[str, list[np.ndarray]] = {key: [] for key in _KNOWN + _OF_FRAMES}
        for folder in folders:
            paths = sorted(folder.glob('*.safetensors'))
            if not paths:
                raise FedefmError(f'{folder} holds no pieces; ./run judge collect makes them')
            for path in paths:
                frames, pictures, more = _read(path)
                more['numbers'] = np.where(more['numbers'] < 0, -1, more['numbers'] + self.frames)
                self.frames += frames
                self._files.append(pictures)
                for key, values in more.items():
                    known[key].append(values)
        self._starts = np.cumsum([0, *(len(part) for part in known['facts'])])
        (self.parts, self.tips, self.walls, self.facts, self.answers, self.lengths,
         self.confidences, self.numbers, self.lines) = (
             np.concatenate(known[key]) for key in _KNOWN + _OF_FRAMES)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.answers)

    def __getitem__(self, index: int) -> Piece:
        """Return one."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        file = int(np.searchsorted(self._starts, index, 'right')) - 1
        place = int(index - self._starts[file])
        pictures = (pictures[place:place + 1][0] for pictures in self._files[file])
        return Piece(*pictures, self.facts[index], int(self.answers[index]), self.parts[index],
                     self.tips[index], self.walls[index])


class Some(Sequence):
    """Some of the pieces."""

    def __init__(self, pieces: Pieces, numbers: np.ndarray):
        """Take the numbers of those that are meant."""
        self._pieces, self._numbers = pieces, numbers

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._numbers)

    def __getitem__(self, index: int) -> Piece:
        """Return one."""
        return self._pieces[int(self._numbers[index])]


def _read(path: Path):
    """Return frames, pictures (not read yet) and the other arrays of a file; FedefmError."""
    from safetensors import safe_open, SafetensorError
    try:
        file = safe_open(path, 'numpy')
        frames = int((file.metadata() or {})['frames'])
        missing = set(_KEYS) - set(file.keys())
        if missing:
            raise FedefmError(f'{path} has no {", ".join(sorted(missing))}: it was collected by '
                              f'another version; collect all of {path.parent} anew')
        pictures = [file.get_slice(key) for key in _PICTURES]
        more = {key: file.get_tensor(key) for key in _KNOWN}
        count = len(more['answers'])
        more |= ({key: file.get_tensor(key) for key in _OF_FRAMES}
                 if set(_OF_FRAMES) <= set(file.keys()) else
                 {'numbers': np.full(count, -1, np.int32),
                  'lines': np.full((count, POINTS, 2), np.nan, np.float32)})
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise FedefmError(f'{path} is damaged: {error}; remove it to collect it anew') from error
    shapes = {'strips': [count, CHANNELS, 2 * HALF + 1, LENGTH],
              'overviews': [count, LAYERS, SIDE, SIDE], 'ends': [count, 2, END_LAYERS, *VIEW],
              'parts': [count, LENGTH], 'tips': [count, 2, 2], 'walls': [count, LENGTH, 2],
              'facts': [count, FACTS], 'numbers': [count], 'lines': [count, POINTS, 2],
              **{key: [count] for key in _KNOWN[4:]}}
    found = {**{key: seen.get_shape() for key, seen in zip(_PICTURES, pictures)},
             **{key: list(more[key].shape) for key in more}}
    numbers, lines = more['numbers'], more['lines']
    known = (numbers >= 0).any() or np.isfinite(lines).any()
    if known and not (numbers.dtype == np.int32 and lines.dtype == np.float32
                      and (numbers >= 0).all() and (numbers < frames).all()
                      and np.isfinite(lines).all()):
        raise FedefmError(f'{path} is damaged: its pieces are of no frames; remove it to collect '
                          'it anew')
    if found != shapes or any(seen.get_dtype() != 'U8' for seen in pictures):
        raise FedefmError(f'{path} holds {found}, expected {shapes}: it was collected by another '
                          'version')
    return frames, pictures, more
