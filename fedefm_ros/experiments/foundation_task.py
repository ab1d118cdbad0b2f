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
The foundation task: which source of X-ray data an image is from.

A class is a source: what lies in the beam (three sub-kinds of each of human, animal, phantom and
simulation) as one room's acquisition shows it; 12 files in config/experiments/sources say what
each is. The paper's 'unseen label corpus' is about sources of data, and its released classifier
has one output a source. Three kinds of room are each shared by a human, an animal and a phantom
source, so the room alone leaves three or four sources to tell by what lies in the beam. Devices
are in the images as in any others; they do not make the class.

Two other choices were tried before and given up, centrally, before any federated result: kinds
times what is visible, and sub-kinds with acquisitions as wide as in config/simulation. A small
network had about a third of either right after 600 steps, rising slowly: any two sources then look
alike too often, and a fair share of the images shows nothing that differs.

Images are rendered by fedefm_ros.simulation, 96 pixels wide over the source's whole field of 10
to 15 cm, and shrunk. Training and test images show different patients, a patient is in one image.
All is made from a seed, number by number, and cached; the cache's name hashes the recipe, the
sources and the simulator's code.
"""

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.paths import config_dir
from fedefm_ros.simulation.config import read
from fedefm_ros.simulation.config import SceneConfig
from fedefm_ros.simulation.scene import Scene

import numpy as np

from safetensors import SafetensorError
from safetensors.numpy import load
from safetensors.numpy import save

#: Names of the sources, 'kind, sub-kind', in the order of the class numbers.
CLASSES = ('human, thorax', 'human, abdomen', 'human, head',
           'animal, thorax', 'animal, abdomen', 'animal, angiography',
           'phantom, tubes', 'phantom, vessels', 'phantom, rig',
           'simulation, vessels', 'simulation, spine', 'simulation, shaded')

_RENDERED = 96
#: Pixels in a row that the sources' pixel pitch is for.
_WHOLE = 512


@dataclass(frozen=True)
class FoundationRecipe:
    """What decides every pixel of the data."""

    #: Training and test images of each class.
    train: int = 200
    test: int = 40
    #: Side of the images in pixels.
    size: int = 48
    seed: int = 2025

    def __post_init__(self):
        if min(self.train, self.test) < 1 or not 16 <= self.size <= _RENDERED or self.size % 8:
            raise FedefmError(f'{self}: expected one or more images, and a size that is a '
                              f'multiple of 8 from 16 to {_RENDERED}')


@dataclass(frozen=True)
class FoundationData:
    """Images (M, S, S) uint8 and classes (M,) int64 of both splits."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def foundation_data(recipe: FoundationRecipe, cache: Path | None = None,
                    progress: Callable[[int, int], None] | None = None) -> FoundationData:
    """
    Return the data of a recipe, from the cache or made (about 20 ms an image) and cached.

    :param cache: folder; default: fedefm_ros in the user's cache folder.
    :param progress: called with the images made and how many there will be.
    """
    folder = cache or default_cache()
    path = folder / f'foundation-{_fingerprint(recipe)}.safetensors'
    names = FoundationData.__dataclass_fields__
    if path.is_file():
        try:
            return FoundationData(**load(path.read_bytes()))
        except (SafetensorError, TypeError, OSError):
            pass  # damaged: it is made again
    total, done, arrays = (recipe.train + recipe.test) * len(CLASSES), 0, {}
    for split, count in enumerate((recipe.train, recipe.test)):
        images = np.zeros((count * len(CLASSES), recipe.size, recipe.size), np.uint8)
        for label, name in enumerate(CLASSES):
            config = source(name)
            for number in range(count):
                rng = np.random.default_rng((recipe.seed, split, label, number))
                images[label * count + number] = _image(config, rng, recipe.size)
                done += 1
                if progress:
                    progress(done, total)
        arrays[split] = images, np.repeat(np.arange(len(CLASSES)), count)
    data = dict(zip(names, (*arrays[0], *arrays[1])))
    write_atomically(path, save(data))
    return FoundationData(**data)


def default_cache() -> Path:
    """Return the user's cache folder for this package."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'fedefm_ros'


def source(name: str) -> SceneConfig:
    """Return what the images of one of CLASSES are drawn from."""
    return read(_sources() / f'{name.replace(", ", "-")}.yaml')


def _sources() -> Path:
    return config_dir() / 'experiments' / 'sources'


def _image(config, rng, size):
    """Return an image (size, size) uint8 of a new patient with new devices."""
    scene = Scene(config, rng, _RENDERED, config.spacing_mm.draw(rng) * _WHOLE / _RENDERED)
    image, _ = scene.render(scene.detector(rng))
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _fingerprint(recipe) -> str:
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    package = Path(__file__).resolve().parent.parent
    for path in [Path(__file__).resolve(), *sorted((package / 'simulation').glob('*.py')),
                 *sorted((config_dir() / 'simulation').glob('*.yaml')),
                 *sorted(_sources().glob('*.yaml'))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
