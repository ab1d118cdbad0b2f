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

"""How sure a network has to be of a piece of foreground, chosen on frames of no training."""

from collections.abc import Iterable

from fedefm_ros.segmentation.postprocess import remove_specks
from fedefm_ros.segmentation.postprocess import SpeckParameters

import numpy as np

#: What is tried.
CANDIDATES = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95)
#: Of Dice, up to which the most demanding candidate is taken: what it leaves out is false
#: instruments, which are many and small and hardly count in Dice.
MARGIN = 0.001


def marked(chance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probability of foreground, (H, W) uint8, of probabilities (3, H, W)."""
    return chance.argmax(axis=0).astype(np.uint8), np.rint(255 * (1 - chance[0])).astype(np.uint8)


def lowered_min_confidence(
        least: float, frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    """
    Return the limit of weights that were trained on from others whose limit was ``least``.

    Other weights are sure in another measure: what these are right about may lie below the old
    limit. Never a higher one, for the frames are few.

    :param frames: as for ``choose_min_confidence``; not looked at where ``least`` is 0.
    """
    if not least:
        return least
    lower = tuple(candidate for candidate in CANDIDATES if candidate < least)
    return choose_min_confidence(frames, (*lower, least))[0]


def choose_min_confidence(
        frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
        candidates: tuple[float, ...] = CANDIDATES) -> tuple[float, dict[float, float]]:
    """
    Return the confidence below which pieces of foreground are better left out.

    The highest of those whose score is within MARGIN of the best; the score is the mean of the two
    instruments' Dice, each of the pixels of all frames together.

    :param frames: found labels (H, W) uint8, foreground probability (H, W) uint8, true labels.
    :param candidates: ascending.
    :returns: the chosen candidate, and what each one reached.
    """
    counts = np.zeros((len(candidates), 2, 3))
    for found, probability, truth in frames:
        for row, least in zip(counts, candidates):
            kept = remove_specks(found, probability, SpeckParameters(min_confidence=least))
            for label in (1, 2):
                here, there = kept == label, truth == label
                row[label - 1] += (here & there).sum(), here.sum(), there.sum()
    dice = 2 * counts[..., 0] / np.maximum(counts[..., 1] + counts[..., 2], 1)
    reached = dice.mean(axis=1)
    good = np.flatnonzero(reached >= reached.max() - MARGIN)
    return candidates[int(good[-1])], dict(zip(candidates, reached.tolist()))
