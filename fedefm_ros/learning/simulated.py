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

"""Simulated frames as an endless training set: sample number i is the same on every machine."""

from collections.abc import Sequence

import cv2

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.frame import GroundTruth
from fedefm_ros.segmentation.grey import grey_range, to_network
from fedefm_ros.simulation.anatomy import KINDS
from fedefm_ros.simulation.config import find, SceneConfig
from fedefm_ros.simulation.scene import Scene

import numpy as np

import torch
from torch.utils.data import Dataset

#: How many frames share an anatomy (with other devices, exposure and orientation each time):
#: an anatomy takes several times as long to make as a frame of it.
FRAMES_PER_SCENE = 4
#: How many crops are taken of a frame by default, each with other turns and grey levels.
CROPS_PER_FRAME = 2
#: Share of the crops that are drawn around a place on an instrument: most others hold little.
AIMED_SHARE = 0.5


class SimulatedFrames(Dataset):
    """Random crops of random frames; (1, C, C) float32 image and (C, C) int64 labels."""

    def __init__(self, samples: int, seed: int, crop: int = 384, size: int = 512,
                 shares: dict[str, float] | None = None, first: int = 0,
                 configs: tuple[SceneConfig, ...] = (),
                 added: Sequence[tuple[np.ndarray, np.ndarray]] = (), added_share: float = 0.0,
                 scenes_at_once: int = 1, crops_per_frame: int = CROPS_PER_FRAME):
        """
        Describe the set; samples are made when asked for.

        :param samples: how many there are.
        :param crop: side of the square crop in pixels.
        :param size: side of the simulated frame in pixels.
        :param shares: how often each kind of scene comes, by name; missing kinds: never.
        :param first: number of the first sample (to go on after an interruption).
        :param configs: settings of kinds that are not as by default.
        :param added: images and masks (``size``, ``size``) uint8 that come in between.
        :param added_share: how often, 0 to 1.
        :param scenes_at_once: scenes that take turns, a sample each: a batch of that many or
            fewer shows as many patients as it has samples. Of four batches' worth, two or four
            processes that take batches in turn make different scenes.
        :param crops_per_frame: how many samples are of one frame; 1 for whole frames, which
            would only be turned.
        :raises FedefmError: a share of nothing.
        """
        if added_share and not len(added):
            raise FedefmError('there are no images to add')
        self._added = added
        self._added_share = added_share
        self._samples = samples
        self._seed = seed
        self._crop = crop
        self._size = size
        shares = shares or {'human': 0.45, 'animal': 0.2, 'phantom': 0.2, 'simulation': 0.15}
        self._kinds = [kind for kind in KINDS if shares.get(kind)]
        weights = np.array([shares[kind] for kind in self._kinds], float)
        self._weights = weights / weights.sum()
        self._first = first
        own = {config.kind: config for config in configs}
        self._configs = [own.get(kind) or find(kind) for kind in self._kinds]
        self._crops_per_frame = crops_per_frame
        self._samples_per_scene = FRAMES_PER_SCENE * crops_per_frame
        self._scenes_at_once = scenes_at_once
        self._scenes = _Newest(scenes_at_once, self._new_scene)
        self._frames = _Newest(scenes_at_once, self._drawn)

    def __len__(self) -> int:
        """Return the number of samples left."""
        return self._samples - self._first

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one sample."""
        return self._sample(self._in_turn(index + self._first))

    def _in_turn(self, place):
        """
        Return the number of the sample at a place in the order.

        Scenes take turns. They begin one after the other, not all at once: a scene takes as long
        to make as several frames.
        """
        turn, lane = divmod(place, self._scenes_at_once)
        turn += lane * self._samples_per_scene // self._scenes_at_once
        scene, within = divmod(turn, self._samples_per_scene)
        return (scene * self._scenes_at_once + lane) * self._samples_per_scene + within

    def _sample(self, number):
        image, mask = self._frames[number // self._crops_per_frame]
        rng = np.random.default_rng((self._seed, number, 2))
        image, mask = _augmented(rng, image, mask, self._crop)
        return torch.from_numpy(image[None]), torch.from_numpy(mask.astype(np.int64))

    def _drawn(self, number):
        """Return image and mask of a frame, simulated or added."""
        rng = np.random.default_rng((self._seed, number, 3))
        if rng.random() >= self._added_share:
            image, truth = self.frame(number)
            return image, truth.mask
        image, mask = self._added[int(rng.integers(len(self._added)))]
        if image.shape != (self._size, self._size) or image.dtype != np.uint8:
            raise FedefmError(f'an added image is {image.shape} {image.dtype}, expected '
                              f'({self._size}, {self._size}) uint8')
        return image, mask

    def of_scene(self, scene: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the first sample of a scene: for sets in which no two share an anatomy."""
        return self._sample(scene * self._samples_per_scene)

    def frame(self, number: int) -> tuple[np.ndarray, GroundTruth]:
        """Return frame ``number`` before cropping: the image, (S, S) uint8, and its truth."""
        scene_number, variant = divmod(number, FRAMES_PER_SCENE)
        scene = self._scenes[scene_number]
        rng = np.random.default_rng((self._seed, scene_number, 1, variant))
        scene.redraw_devices(rng)
        return scene.render(scene.detector(rng))

    def _new_scene(self, number):
        rng = np.random.default_rng((self._seed, number, 0))
        config = self._configs[rng.choice(len(self._kinds), p=self._weights)]
        return Scene(config, rng, self._size, config.spacing_mm.draw(rng) * 512 / self._size)


class _Newest:
    """What a function makes of numbers; the newest few are kept."""

    def __init__(self, size, make):
        self._size = size
        self._make = make
        self._made = {}

    def __getitem__(self, number):
        if number not in self._made:
            while len(self._made) >= self._size:
                del self._made[next(iter(self._made))]
            self._made[number] = self._make(number)
        return self._made[number]


def _augmented(rng, image, mask, crop):
    """Return a random crop as the network sees it: (C, C) float32 and uint8."""
    image = _burned_in(rng, image)
    if rng.random() < 0.25:
        quality = int(rng.integers(40, 95))
        image = cv2.imdecode(
            cv2.imencode('.jpg', image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1], 0)
    low, high = grey_range(image)
    spread = high - low
    # Stations differ in what the middle of their images holds.
    low, high = low + rng.normal(0, 0.06) * spread, high + rng.normal(0, 0.06) * spread
    space = image.shape[0] - crop
    y, x = (int(rng.integers(0, space + 1)) for _ in range(2))
    if rng.random() < AIMED_SHARE:
        y, x = _around_instrument(rng, mask, crop, (y, x))
    image, mask = (a[y:y + crop, x:x + crop] for a in (image, mask))
    turns = int(rng.integers(0, 4))
    image, mask = (np.rot90(a, turns) for a in (image, mask))
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    return np.ascontiguousarray(to_network(image, low, high)), np.ascontiguousarray(mask)


def _around_instrument(rng, mask, crop, otherwise):
    """Return the corner of a crop that holds some instrument, of either class alike."""
    present = [label for label in (labels.CATHETER, labels.GUIDEWIRE) if (mask == label).any()]
    if not present:
        return otherwise
    where = np.argwhere(mask == present[int(rng.integers(len(present)))])
    place = where[int(rng.integers(len(where)))]
    corner = place - rng.integers(crop // 8, crop - crop // 8, 2)
    return tuple(np.clip(corner, 0, np.array(mask.shape) - crop))


def _burned_in(rng, image):
    """Write text or a frame into an image now and then, as consoles and screen grabbers do."""
    if rng.random() > 0.12:
        return image
    image = image.copy()
    size = image.shape[0]
    grey = int(rng.choice((255, 0, rng.integers(120, 256))))
    for _ in range(rng.integers(1, 6)):
        text = ''.join(rng.choice(list('ABCDEFLRVkms0123456789:./-+ '), rng.integers(1, 14)))
        at = (int(rng.uniform(0, 0.9) * size), int(rng.uniform(0.03, 1.0) * size))
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.3, 0.9), grey,
                    int(rng.integers(1, 3)), cv2.LINE_AA)
    return image
