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

"""Labelled frames of the simulator in memory, divided by scene, for experiments on few labels."""

from dataclasses import dataclass
from functools import lru_cache

from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.simulated import FRAMES_PER_SCENE
from fedefm_ros.learning.simulated import SimulatedFrames
from fedefm_ros.segmentation.grey import grey_range
from fedefm_ros.segmentation.grey import to_network
from fedefm_ros.simulation.anatomy import KINDS

import numpy as np

import torch


@dataclass(frozen=True)
class FrameRecipe:
    """What decides every pixel of the frames."""

    #: Scenes (an anatomy each) to train on, and other ones to test on.
    scenes: int = 60
    test_scenes: int = 40
    #: Frames of a scene: other devices, exposure and orientation, the same anatomy.
    frames: int = 4
    #: Side in pixels of a frame, the whole field of view; a multiple of 32.
    size: int = 128
    seed: int = 7
    #: Kinds of scenes, each as often: one, as in the paper's three sets, or several.
    kinds: tuple[str, ...] = ('phantom',)

    def __post_init__(self):
        object.__setattr__(self, 'kinds', tuple(self.kinds))
        if not self.kinds or set(self.kinds) - set(KINDS):
            raise FedefmError(f'kinds {self.kinds}; expected some of {", ".join(KINDS)}')
        if min(self.scenes, self.test_scenes) < 1 or not 1 <= self.frames <= FRAMES_PER_SCENE \
                or self.size % 32 or not 32 <= self.size <= 512:
            raise FedefmError(f'{self}: expected one or more scenes, 1 to {FRAMES_PER_SCENE} '
                              'frames, and a size that is a multiple of 32 from 32 to 512')


@dataclass(frozen=True)
class LabelledFrames:
    """Images (N, S, S) float32 as a network sees them, masks (N, S, S) uint8, scenes (N,)."""

    images: torch.Tensor
    masks: torch.Tensor
    scenes: np.ndarray

    def of_scenes(self, scenes) -> 'LabelledFrames':
        """Return the frames of some scenes."""
        chosen = np.isin(self.scenes, scenes)
        return LabelledFrames(self.images[chosen], self.masks[chosen], self.scenes[chosen])


@lru_cache(maxsize=2)
def labelled_frames(recipe: FrameRecipe) -> tuple[LabelledFrames, LabelledFrames]:
    """Return the training and the test frames of a recipe; they share no scene."""
    source = SimulatedFrames(1, recipe.seed, size=recipe.size,
                             shares=dict.fromkeys(recipe.kinds, 1.0))
    images, masks = [], []
    total = recipe.scenes + recipe.test_scenes
    for scene in range(total):
        for variant in range(recipe.frames):
            image, truth = source.frame(scene * FRAMES_PER_SCENE + variant)
            images.append(to_network(image, *grey_range(image)))
            masks.append(truth.mask)
    numbers = np.repeat(np.arange(total), recipe.frames)
    frames = LabelledFrames(torch.from_numpy(np.stack(images)),
                            torch.from_numpy(np.stack(masks)), numbers)
    return (frames.of_scenes(range(recipe.scenes)),
            frames.of_scenes(range(recipe.scenes, total)))


def chosen_scenes(recipe: FrameRecipe, share: float, seed: int) -> list[int]:
    """
    Return the scenes of which the labels are given: a share of all, at least one.

    For one seed a smaller share's scenes are among a larger one's.
    """
    order = np.random.default_rng((recipe.seed, seed)).permutation(recipe.scenes)
    return sorted(map(int, order[:max(1, round(share * recipe.scenes))]))


def random_crops(frames: LabelledFrames, rng: np.random.Generator, batch: int,
                 crop: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Return random crops, turned and mirrored: (B, 1, C, C) float32 and (B, C, C) int64.

    Half of them hold a pixel of an instrument, where the frame has one: most others hold none.
    """
    images, masks = [], []
    for index in rng.integers(0, len(frames.images), batch):
        image, mask = frames.images[index], frames.masks[index]
        space = mask.shape[0] - crop
        corner = rng.integers(0, space + 1, 2)
        where = torch.nonzero(mask)
        if rng.random() < 0.5 and len(where):
            pixel = where[int(rng.integers(len(where)))].numpy()
            corner = np.clip(pixel - rng.integers(0, crop, 2), 0, space)
        y, x = map(int, corner)
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        for values, kept in ((image, images), (mask, masks)):
            part = torch.rot90(values[y:y + crop, x:x + crop], turns, (0, 1))
            kept.append(part.flip(1) if mirrored else part)
    return torch.stack(images)[:, None], torch.stack(masks).long()
