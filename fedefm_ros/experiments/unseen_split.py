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
Which silo holds which kinds of data, for a wanted share of unseen kinds.

'x % unseen' is the share of a silo's kinds that no other silo has, the mean over silos: at 100 %
no kind is at two silos; at 0 % each is.
"""

from dataclasses import dataclass

from fedefm_ros.errors import FedefmError

import numpy as np


@dataclass(frozen=True)
class KindSplit:
    """The kinds of each silo, sorted, and the share of unseen kinds this makes."""

    kinds: tuple[tuple[int, ...], ...]
    unseen: float


def split_kinds(kinds: int, silos: int, unseen: float, seed: int) -> KindSplit:
    """
    Deal kinds to silos.

    The rule: kinds are put in a random order (numpy's default_rng(seed)). The first E are
    exclusive and dealt one by one, to silo 0, 1, 2, ... and around; each of the others goes to the
    next two silos around, from where the dealing stopped. Of a silo's kinds then about
    E / (E + 2 (kinds - E)) are its own, so E = 2 unseen kinds / (1 + unseen), rounded. The share
    that is reached is counted, not assumed: exact at 0 and 1, else within a few percent.

    :param unseen: 0 to 1.
    :raises FedefmError: fewer kinds than silos, fewer than two silos, or a share out of range.
    """
    if silos < 2 or kinds < silos or not 0 <= unseen <= 1:
        raise FedefmError(f'{kinds} kinds for {silos} silos, {unseen:g} of them unseen; expected '
                          'two or more silos, at least as many kinds, and a share from 0 to 1')
    order = np.random.default_rng(seed).permutation(kinds)
    exclusive = round(2 * unseen * kinds / (1 + unseen))
    held: list[set[int]] = [set() for _ in range(silos)]
    for place, kind in enumerate(order[:exclusive]):
        held[place % silos].add(int(kind))
    for place, kind in enumerate(order[exclusive:]):
        for turn in (0, 1):
            held[(exclusive + 2 * place + turn) % silos].add(int(kind))
    return KindSplit(tuple(tuple(sorted(own)) for own in held), unseen_share(held))


def unseen_share(held) -> float:
    """Return the share of a silo's kinds that no other silo has, the mean over silos."""
    shares = []
    for i, own in enumerate(held):
        others = set().union(*(other for j, other in enumerate(held) if j != i))
        shares.append(len(set(own) - others) / len(own))
    return float(np.mean(shares))


def deal_samples(labels: np.ndarray, split: KindSplit, seed: int) -> list[np.ndarray]:
    """
    Return the indices of each silo's samples: those of its kinds.

    A kind at several silos is dealt among them in equal, disjoint parts.

    :param labels: (M,) kinds.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in split.kinds]
    for kind in sorted(set().union(*split.kinds)):
        owners = [i for i, own in enumerate(split.kinds) if kind in own]
        samples = rng.permutation(np.nonzero(labels == kind)[0])
        for owner, part in zip(owners, np.array_split(samples, len(owners))):
            parts[owner].append(part)
    return [np.sort(np.concatenate(part)) for part in parts]
