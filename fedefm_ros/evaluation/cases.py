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

"""Frames with what is known of them, wherever they come from; one at a time."""

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.truth import bag_truth
from fedefm_ros.evaluation.truth import open_truth
from fedefm_ros.evaluation.truth import Truth
from fedefm_ros.imaging.bag import BagSource
from fedefm_ros.imaging.bag_files import is_bag
from fedefm_ros.imaging.bag_topics import pixel_spacing_mm
from fedefm_ros.imaging.folder import visible_files
from fedefm_ros.imaging.source import DEFAULT_RATE
from fedefm_ros.imaging.source import is_simulator
from fedefm_ros.imaging.source import open_source
from fedefm_ros.imaging.stills import kind_of
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.config import SceneConfig

import numpy as np

#: Seed of the test frames; training and validation use others.
TEST_SEED = 777_000
_INSTRUMENTS = (labels.CATHETER, labels.GUIDEWIRE)


@dataclass(frozen=True)
class Case:
    """One frame to be scored."""

    name: str
    image: np.ndarray
    """(H, W) uint8 or uint16."""
    instruments: tuple[Instrument, ...] | None
    """The true ones; None where they are not known."""
    mask: np.ndarray | None
    """(H, W) uint8 labels; None where only centrelines are known, or nothing."""
    spacing_mm: tuple[float, float] | None = None
    sequence: str = ''
    """What it is counted with in the table of sequences."""
    index: int = 0
    """Its number in the sequence."""
    time: float = 0.0
    """Seconds in the sequence."""
    stamp: int | None = None
    """Nanoseconds; of a bag only."""
    alone: bool = True
    """It does not follow the frame before: no temporal measures."""
    classes: tuple[int, ...] = _INSTRUMENTS
    """What the truth can mark."""
    file: str = ''
    """Its file's name, where it has one of its own."""

    @property
    def has_truth(self) -> bool:
        """Return whether there is anything to score against."""
        return self.mask is not None or self.instruments is not None


@dataclass
class Cases:
    """The frames of an INPUT."""

    frames: Iterator[Case]
    total: int | None
    """How many there are, where that is known beforehand."""
    rate: float = DEFAULT_RATE
    truth: str = ''
    """What the truth is, for people; empty: there is none."""
    bag: BagSource | None = None
    """The bag that the frames come from."""
    close: Callable[[], None] = lambda: None


def open_cases(source: str, against: Path | None = None, simulated: int = 200,
               part: str = 'test', topic: str = '') -> Cases:
    """
    Open an INPUT with its truth.

    :param source: any INPUT, ``simulator:KIND``, or the root of a data set.
    :param against: ground truth beside it.
    :param simulated: how many frames of the simulator.
    :param part: of a data set that has parts.
    :param topic: of the images in a bag; by default found.
    :raises FedefmError: nothing there, damaged, or a layout that is not known.
    """
    path = Path(source).expanduser()
    if topic and not is_bag(path):
        raise FedefmError(f'{source} is no bag, so it has no topic {topic}')
    if is_simulator(source):
        kind = find(source.partition(':')[2] or 'human')
        return Cases(simulated_cases(kind, simulated), simulated, truth='what was simulated')
    if against is None:
        # Guide3D's own file knows more than the masks that are drawn from it.
        against = next((path / name for name in ('raw.json', 'b_spline.json')
                        if (path / name).is_file()), None)
    if against is None:
        data_set = _data_set(path, part)
        if data_set is not None:
            return data_set
    bag = BagSource(path, topic or None) if is_bag(path) else None
    near = bag.topic if bag else ''
    truth = open_truth(against, near) if against else None
    if truth and truth.names and path.is_dir() and bag is None:
        return Cases(_named(path, truth), len(truth.names), truth=truth.description)
    opened = bag or open_source(source)
    if bag and truth is None:
        truth = bag_truth(path, near)

    def close():
        opened.close()
        if truth:
            truth.close()
    return Cases(_sequence(opened, path, truth), opened.frame_count, opened.rate,
                 truth.description if truth else '', bag, close)


def simulated_cases(kind: SceneConfig | str, count: int,
                    seed: int = TEST_SEED) -> Iterator[Case]:
    """Yield frames of scenes that no training has seen, each of another patient."""
    from fedefm_ros.learning.simulated import FRAMES_PER_SCENE
    from fedefm_ros.learning.simulated import SimulatedFrames
    config = find(kind)
    kind = config.kind
    frames = SimulatedFrames(count * FRAMES_PER_SCENE, seed, shares={kind: 1.0},
                             configs=(config,))
    for index in range(count):
        image, truth = frames.frame(index * FRAMES_PER_SCENE)
        yield Case(f'{kind}_{index:04d}', image, truth.instruments, truth.mask,
                   sequence=kind, index=index)


def labelled_cases(source: Path, labels_path: Path) -> Iterator[Case]:
    """Yield the labelled frames of a sequence, or of a folder of images."""
    return (case for case in open_cases(str(source), labels_path).frames if case.has_truth)


def _sequence(opened, path: Path, truth: Truth | None) -> Iterator[Case]:
    """Yield all frames of a source; those without truth are needed by what looks back."""
    is_bag = isinstance(opened, BagSource)
    stamped = opened.stamped() if is_bag else ((None, frame) for frame in opened)
    recorded = pixel_spacing_mm(path, opened.topic) if is_bag else None
    for stamp, frame in stamped:
        # Of a folder of DICOM files each has its own.
        spacing = recorded if is_bag else opened.carm.patient_spacing_mm
        case = Case(frame.name or f'{opened.name}#{frame.index}', frame.image, None, None,
                    spacing, opened.name, frame.index, frame.time, stamp, alone=False,
                    file=frame.name)
        if frame.truth is not None:
            yield replace(case, instruments=frame.truth.instruments, mask=frame.truth.mask)
        else:
            yield _with_truth(case, truth)


def _named(folder: Path, truth: Truth) -> Iterator[Case]:
    """Yield the labelled files of a folder; those in a folder of their own are a sequence."""
    places, found = {}, []
    for number, name in enumerate(truth.names):
        path = folder / name
        if not path.is_file():
            raise FedefmError(f'{path}: no such file; {truth.description} have it')
        if path.parent not in places:
            places[path.parent] = _image_places(path.parent)
        # Among all images of the folder: what was made of them counts the unlabelled, too.
        index = places[path.parent].get(path.name, number)
        found.append((Path(name).parent.as_posix(), index, name))
    for parent, index, name in sorted(found):
        with open_source(str(folder / name)) as frames:
            frame = next(iter(frames))
            together = parent != '.'
            yield _with_truth(
                Case(name, frame.image, None, None, frames.carm.patient_spacing_mm,
                     parent if together else folder.name, index, index / DEFAULT_RATE,
                     alone=not together, file=name), truth)


def _with_truth(case: Case, truth: Truth | None) -> Case:
    known = truth.of(case.file, case.index, case.stamp, case.image.shape) if truth else None
    if known is None:
        return case
    instruments, mask = known
    if mask is not None and mask.shape != case.image.shape:
        raise FedefmError(f'{case.name}: the image is {case.image.shape[1]} x '
                          f'{case.image.shape[0]}, its mask {mask.shape[1]} x {mask.shape[0]}')
    return replace(case, instruments=instruments, mask=mask)


def _image_places(folder):
    """Return name -> place of the images that an ``ImageSource`` yields, in its order."""
    places = {}
    for path in visible_files(folder):
        with open(path, 'rb') as file:
            if kind_of(file.read(8)):
                places[path.name] = len(places)
    return places


def _data_set(root: Path, part: str) -> Cases | None:
    """Return the frames of a data set in a known layout, None where the folder is none."""
    from fedefm_ros.learning.datasets import open_dataset
    from fedefm_ros.learning.datasets.aioz import DOMAINS
    if not root.is_dir():
        return None
    options = {}
    if any((root / f'{domain}_{part}').is_dir() for domain in DOMAINS):
        layout, options = 'aioz', {'part': part}
    elif (root / part / 'images').is_dir() and (root / part / 'labels').is_dir():
        layout, options = 'cathaction', {'part': part}
    elif (root / 'images').is_dir() and (root / 'masks').is_dir():
        layout = 'folder'
    else:
        return None
    frames = open_dataset(layout, root, **options)

    def cases():
        for index, (entry, (image, mask)) in enumerate(zip(frames.entries, frames)):
            yield Case(entry.name, image, None, mask, sequence=entry.group, index=index,
                       classes=frames.classes, file=entry.image.name)
    marked = '' if len(frames.classes) > 1 else \
        f', which mark the {labels.NAMES[frames.classes[0]]} only'
    return Cases(cases(), len(frames), truth=f'masks of the data set ({layout}{marked})')
