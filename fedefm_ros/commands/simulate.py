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

"""`simulate`: write simulated fluoroscopy with its ground truth."""

from enum import Enum
import os
from pathlib import Path
import shutil
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer

#: On the contact sheet, at most.
_PICTURES = 12
_RATE = 15.0
# Stamp of a bag's first frame in nanoseconds: of no real procedure, the same in every run.
_FIRST_STAMP = 10**18
# Seeds from here on: no training run and no kind shares its patients and devices with another.
_FIRST_SEED = 10_000_000


class Kind(str, Enum):
    """What lies on the table."""

    human = 'human'
    animal = 'animal'
    phantom = 'phantom'
    simulation = 'simulation'
    every = 'all'


class Format(str, Enum):
    """What is written."""

    aioz = 'aioz'
    folder = 'folder'
    video = 'video'
    bag = 'bag'


def simulate(
    out: Annotated[Path, typer.Option('-o', '--out', help='Folder that is made.')],
    kind: Annotated[Kind, typer.Option(help='Scene; all: each of the four.')] = Kind.every,
    frames: Annotated[int, typer.Option(min=1, help='Frames of each kind.')] = 40,
    size: Annotated[int, typer.Option(min=64, max=4096, help='Side of a frame in pixels.')] = 512,
    seed: Annotated[int, typer.Option(min=0, help='Equal seeds give equal files.')] = 0,
    layout: Annotated[Format, typer.Option(
        '--format', help='aioz: {domain}_{train,test}/{images,masks} and centerlines.json; '
        'folder: images, masks and centerlines.json; video: one MP4 a kind and its centrelines; '
        'bag: one ROS 2 bag (MCAP) a kind with its ground truth.')] = Format.folder,
    test_share: Annotated[float, typer.Option(
        min=0.0, max=0.9, help='Share of the patients in the test folders (aioz only).')] = 0.2,
    config: Annotated[Path | None, typer.Option(
        help='YAML file that decides the pictures; config/simulation/*.yaml are the default '
             'ones. It names the kind.')] = None,
    json_file: output.JsonOption = None,
):
    """
    Write simulated fluoroscopy with ground truth.

    Pictures come as in training: four frames of a patient with other devices and another dose
    each. A video or a bag is a procedure instead: breath, heart beat, devices that are advanced.
    In the aioz layout the kinds are its domains (human: real, simulation: sim), and the masks of
    sim and real mark any instrument alike; centerlines.json in each of its folders tells them
    apart. A bag has the topics of `convert`, which writes other bags. DIR also gets overview.png,
    a contact sheet; it appears when all is written.
    """
    from fedefm_ros.commands.pictures import write_sheet
    from fedefm_ros.memory import keep_freed_memory
    from fedefm_ros.simulation.anatomy import KINDS
    from fedefm_ros.simulation.config import find, read

    configs = [find(name) for name in (KINDS if kind is Kind.every else (kind.value,))]
    if config:
        own = read(config)
        if kind.value not in (own.kind, Kind.every.value):
            raise FedefmError(f'{config} is of kind {own.kind}; leave out --kind {kind.value}')
        configs = [own]
    kinds = [each.kind for each in configs]
    out = out.resolve()  # a link to an empty folder is that folder
    _check_free(out)
    if layout is Format.video and size % 2:
        raise FedefmError(f'--size {size}: a video needs an even size')
    part = out.with_name(f'.{out.name}.part')
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    tiles = _Tiles(frames * len(kinds))
    started = time.perf_counter()
    keep_freed_memory()
    patients = set()
    try:
        writer = _writer(layout, part, kinds, frames, size, seed, test_share)
        with output.progress('simulating', frames * len(kinds)) as advance:
            for done, sample in enumerate(_samples(layout, configs, frames, size, seed), 1):
                writer.add(sample)
                tiles.add(sample)
                patients.add(sample.patient_name)
                advance(done, sample.kind)
        writer.close()
        write_sheet(tiles.chosen, part / 'overview.png')
        os.replace(part, out)
    except OSError as error:
        raise FedefmError(f'{out}: cannot be written: {error.strerror or error}') from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    seconds = time.perf_counter() - started
    total = frames * len(kinds)
    output.table(f'{out} ({layout.value})', ['what', 'value'], [
        ['frames', total], ['patients', len(patients)],
        ['frames per second, all included', total / seconds],
        ['picture', str(out / 'overview.png')]])
    output.write_json({
        'folder': out, 'format': layout.value, 'kinds': kinds, 'frames': total,
        'patients': len(patients), 'size': size, 'seed': seed,
        'fps': total / seconds, 'pictures': [out / 'overview.png']}, json_file)


def _check_free(out):
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise FedefmError(f'{out}: is there already; choose another folder or remove it')
        if os.path.ismount(out):
            raise FedefmError(f'{out}: is a mount point; name a folder in it')
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FedefmError(f'{out}: cannot be written: {error.strerror or error}') from error


def _writer(layout, folder, kinds, frames, size, seed, test_share):
    from fedefm_ros.learning.datasets import writing
    from fedefm_ros.learning.datasets.split import split_groups
    from fedefm_ros.learning.simulated import FRAMES_PER_SCENE
    if layout is Format.folder:
        return writing.FolderWriter(folder)
    if layout is Format.video:
        return writing.VideoWriter(folder, _RATE)
    if layout is Format.bag:
        return _Bags(folder, size)
    test = set()
    for kind in kinds:
        names = [f'{kind}-{number:05d}' for number in range(-(-frames // FRAMES_PER_SCENE))]
        if test_share and len(names) > 1:
            test |= split_groups(names, {'train': 1 - test_share, 'test': test_share},
                                 seed)['test']
    return writing.AiozWriter(folder, frozenset(test), centerlines=True)


def _samples(layout, configs, frames, size, seed):
    """Yield the frames of all kinds."""
    from fedefm_ros.learning.datasets.writing import Sample
    from fedefm_ros.learning.simulated import FRAMES_PER_SCENE, SimulatedFrames
    from fedefm_ros.simulation.anatomy import KINDS
    from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator
    for config in configs:
        kind = config.kind
        own_seed = _FIRST_SEED + len(KINDS) * seed + KINDS.index(kind)
        if layout in (Format.video, Format.bag):
            simulator = FluoroscopySimulator(config, size, _RATE, own_seed)
            per_patient = max(1, int(simulator.scene_seconds * _RATE))
            for number, frame in zip(range(frames), simulator):
                yield Sample(kind, *divmod(number, per_patient), frame.image, frame.truth)
            continue
        simulated = SimulatedFrames(frames, own_seed, size=size, shares={kind: 1.0},
                                    configs=(config,))
        for number in range(frames):
            image, truth = simulated.frame(number)
            yield Sample(kind, *divmod(number, FRAMES_PER_SCENE), image, truth)


class _Bags:
    """``DIR/KIND``, bags of procedures as `convert simulator:KIND` makes them."""

    def __init__(self, folder, size):
        from fedefm_ros.commands.convert_outputs import BagOutput, Item
        from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator
        self._folder = folder
        self._carm = FluoroscopySimulator(size=size).carm
        self._output, self._item = BagOutput, Item
        self._bags = {}

    def add(self, sample):
        kind = sample.kind
        if kind not in self._bags:
            self._bags[kind] = (self._output(self._folder / kind, kind, 'mcap', 'station',
                                             compressed=False), [0])
        bag, count = self._bags[kind]
        bag.add(self._item(_FIRST_STAMP + round(count[0] / _RATE * 1e9), sample.image,
                           sample.truth.mask, sample.truth.instruments, carm=self._carm))
        count[0] += 1

    def close(self):
        for bag, _ in self._bags.values():
            bag.close()


class _Tiles:
    """Evenly spread samples for the contact sheet."""

    def __init__(self, total):
        count = min(_PICTURES, total)
        self._wanted = {round(i * (total - 1) / max(count - 1, 1)) for i in range(count)}
        self._seen = 0
        self.chosen = []

    def add(self, sample):
        if self._seen in self._wanted:
            self.chosen.append(_Tile(sample))
        self._seen += 1


class _Tile:
    """What a contact sheet takes."""

    def __init__(self, sample):
        self.image = sample.image
        self.mask = sample.truth.mask
        self.instruments = sample.truth.instruments
