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
The foundation task: which kind of X-ray data an image is.

A class is what is in the beam (human, animal, phantom, simulation) and the imaging system that
took the picture (panel, intensifier, fluoroscopy): 12 sub-kinds. The paper's 'unseen label corpus'
is about sources of data, its released classifier has one output a source, and sources differ in
just these two things. The four kinds alone would leave a silo with one class or two. Kinds times
what is visible (nothing, a guidewire, a catheter) was tried first, centrally: at 64 pixels a small
network had 29 % of it after 800 steps, rising slowly when it was stopped; telling methods apart
would take more steps than two cores can make. The choice was made before any federated result on
it. Devices are in the images as in any others (most have one), they just do not make the class.

Images are rendered by fedefm_ros.simulation, 96 pixels wide, and shrunk. Training and test images
show different patients; a patient is seen by all three systems, with other devices each time. All
is made from a seed, number by number, and cached; the cache's name hashes the recipe and the
simulator's code.
"""

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
import hashlib
import json
import os
from pathlib import Path

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.paths import config_dir
from fedefm_ros.simulation.anatomy import KINDS
from fedefm_ros.simulation.detector import Detector
from fedefm_ros.simulation.detector import random_chain
from fedefm_ros.simulation.detector import XrayChain
from fedefm_ros.simulation.fields import coordinates
from fedefm_ros.simulation.fields import soft_step
from fedefm_ros.simulation.scene import Scene

import numpy as np

from safetensors import SafetensorError
from safetensors.numpy import load
from safetensors.numpy import save

#: Imaging systems, in the order of the classes of a kind.
SYSTEMS = ('panel', 'intensifier', 'fluoroscopy')
#: Names of the classes; class number = 3 * kind + system.
CLASSES = tuple(f'{kind}, {system}' for kind in KINDS for system in SYSTEMS)

_RENDERED = 96
_SPACING_MM = 0.4


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
    Return the data of a recipe, from the cache or made (about 15 ms an image) and cached.

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
        for kind in range(len(KINDS)):
            for number in range(count):
                for system, image in enumerate(_patient(recipe, split, kind, number)):
                    images[(kind * len(SYSTEMS) + system) * count + number] = image
                done += len(SYSTEMS)
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


def _patient(recipe, split, kind, number):
    """Yield an image of one patient by each system."""
    place = (recipe.seed, split, kind, number)
    scene = Scene(KINDS[kind], np.random.default_rng((*place, 0)), _RENDERED, _SPACING_MM)
    for system in SYSTEMS:
        rng = np.random.default_rng((*place, 1, SYSTEMS.index(system)))
        scene.redraw_devices(rng)
        chain = imaging_system(system, random_chain(rng, scene.kind, (_RENDERED, _RENDERED)), rng)
        image, _ = scene.render(Detector(chain, rng))
        yield cv2.resize(image, (recipe.size, recipe.size), interpolation=cv2.INTER_AREA)


def imaging_system(system: str, chain: XrayChain, rng: np.random.Generator) -> XrayChain:
    """
    Return a random acquisition's settings as one system of SYSTEMS would have them.

    What the systems do not fix (scatter, blur, display) stays as drawn.

    - panel: a single exposure on a flat panel: high dose, no correlated noise, sharpened, the
      whole field;
    - intensifier: an image intensifier: round field, medium dose, grain of its phosphor;
    - fluoroscopy: continuous low dose on a flat panel, blades closed to a rectangle to spare the
      patient dose, not sharpened.
    """
    whole = np.ones_like(chain.field)
    if system == 'panel':
        return replace(chain, field=whole, photons=_between(rng, 8000, 30000), grain_px=0.0,
                       sharpen=rng.uniform(0.8, 2.0))
    height, width = chain.field.shape
    x, y = coordinates(chain.field.shape)
    if system == 'fluoroscopy':
        margins = rng.uniform(0.06, 0.2, 4) * width
        inside = np.minimum(np.minimum(x - margins[0], width - 1 - margins[1] - x),
                            np.minimum(y - margins[2], height - 1 - margins[3] - y))
        return replace(chain, field=_field(inside, rng.uniform(0.5, 2.0)),
                       photons=_between(rng, 250, 800), grain_px=rng.uniform(0.3, 0.8),
                       sharpen=0.0, border=rng.uniform(0.0, 0.15))
    centre = np.array([width, height]) / 2 + rng.normal(0, 0.01, 2) * width
    inside = width * rng.uniform(0.44, 0.5) - np.hypot(x - centre[0], y - centre[1])
    return replace(chain, field=_field(inside, 0.5), photons=_between(rng, 800, 4000),
                   grain_px=rng.uniform(0.6, 1.2), border=0.0)


def _field(inside, softness) -> np.ndarray:
    return np.asarray(soft_step(inside, softness), np.float32)


def _between(rng, low, high) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _fingerprint(recipe) -> str:
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    package = Path(__file__).resolve().parent.parent
    for path in [Path(__file__).resolve(), *sorted((package / 'simulation').glob('*.py')),
                 *sorted((config_dir() / 'simulation').glob('*.yaml'))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
