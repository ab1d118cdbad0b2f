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
Where along a piece one instrument ends and the other begins.

A wire that comes out of a catheter is one line with it, and a network that calls all of it a wire
leaves nothing by which geometry could cut it. The judge says what each place along a piece is;
here that becomes one class for all of it, or two with one change between them.
"""

from __future__ import annotations

from itertools import permutations

from fedefm_ros.segmentation.piece_network import GRAIN

import numpy as np

# How much likelier (in nats) two classes must make what is said of the places than the best one:
# what is surely said of 16 columns (3.9, see below) is enough. 1 to 4 decide nearly the same.
_MIN_GAIN = 2.0
# What a place is said to be is not surer than that: a place may be hidden by another line.
_LEAST = 0.02


def places_of(columns: np.ndarray) -> np.ndarray:
    """
    Return the place along a strip that tells what each point is, (N,) int.

    That in which it lies, or the next one, where the middle of that one lies beyond the piece:
    what is said of such a place was never learnt.

    :param columns: (N,) of the strip, ascending.
    """
    places = columns // GRAIN
    half = GRAIN // 2
    first, last = -((half - columns[0]) // GRAIN), (columns[-1] - half) // GRAIN
    return np.clip(places, first, last) if first <= last else places


def divided(places: np.ndarray, weights: np.ndarray, whole: int) -> np.ndarray:
    """
    Return what each place along a piece is, (N,) uint8: one value, or two with one change.

    :param places: (N, 3) probabilities of ``piece_network.ANSWERS``, from one end to the other.
    :param weights: (N,) how much each counts: 1 for what was seen once.
    :param whole: what the piece is as a whole, which stands where two are not clearly better.
    """
    said = np.log(np.maximum(places, _LEAST)) * weights[:, None]
    before = np.concatenate([np.zeros((1, said.shape[1])), np.cumsum(said, axis=0)])
    total = before[-1]
    most, best = float(total.max()) + _MIN_GAIN, None
    for first, last in permutations(range(said.shape[1]), 2):
        gains = before[:, first] + total[last] - before[:, last]
        change = int(gains.argmax())
        if gains[change] > most:
            most, best = float(gains[change]), (change, first, last)
    if best is None:
        return np.full(len(places), whole, np.uint8)
    change, first, last = best
    return np.repeat(np.array([first, last], np.uint8), [change, len(places) - change])
