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

"""Frames with their truth, wherever they come from: simulated, or real ones that were labelled."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedefm_ros.evaluation.labels import read_centerlines
from fedefm_ros.imaging.source import open_source
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

#: Seed of the test frames; training and validation use others.
TEST_SEED = 777_000


@dataclass(frozen=True)
class Case:
    """One frame to be scored."""

    name: str
    image: np.ndarray
    """(H, W) uint8 or uint16."""
    instruments: tuple[Instrument, ...]
    mask: np.ndarray | None
    """(H, W) uint8 labels; None where only centrelines are known."""
    spacing_mm: tuple[float, float] | None = None


def simulated_cases(kind: str, count: int, seed: int = TEST_SEED) -> Iterator[Case]:
    """Yield frames of scenes that no training has seen, each of another patient."""
    from fedefm_ros.learning.simulated import SAMPLES_PER_SCENE
    from fedefm_ros.learning.simulated import SimulatedFrames
    frames = SimulatedFrames(count * SAMPLES_PER_SCENE, seed, shares={kind: 1.0})
    for index in range(count):
        image, truth = frames.frame(index * SAMPLES_PER_SCENE)
        yield Case(f'{kind}_{index:04d}', image, truth.instruments, truth.mask)


def labelled_cases(source: Path, labels_path: Path) -> Iterator[Case]:
    """
    Yield the labelled frames of a sequence, or of a folder of images.

    :param source: any INPUT; in the label file, a name of digits is a frame's number in it, any
        other is a file in the folder.
    """
    truth = read_centerlines(labels_path)
    numbers = {int(name): found for name, found in truth.items() if name.isdigit()}
    if numbers:
        with open_source(str(source)) as frames:
            for frame in frames:
                if frame.index in numbers:
                    yield Case(f'{source.name}#{frame.index}', frame.image, numbers[frame.index],
                               None, frames.carm.patient_spacing_mm)
                if frame.index >= max(numbers):
                    break
    for name in sorted(set(truth) - {str(number) for number in numbers}):
        with open_source(str(source / name)) as frames:
            frame = next(iter(frames))
            yield Case(name, frame.image, truth[name], None, frames.carm.patient_spacing_mm)
