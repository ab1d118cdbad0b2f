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

"""Matchings: an undirected graph as few sets of links that share no end."""

import numpy as np


def decompose(links: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    """
    Return the links of a graph as matchings, at most one more than its largest degree.

    links (L, 2) int: pairs of the nodes 0 to count - 1, each pair once; each matching is (k, 2)
    int, none is empty. By edge colouring (Misra and Gries, A constructive proof of Vizing's
    theorem, 1992); the same links in the same order give the same matchings everywhere.
    """
    colouring = _Colouring(count)
    for first, second in links:
        colouring.add(int(first), int(second))
    matchings = {}
    for first, second in links:
        colour = colouring.colour_of(int(first), int(second))
        matchings.setdefault(colour, []).append((int(first), int(second)))
    return tuple(np.array(matchings[colour]) for colour in sorted(matchings))


class _Colouring:
    """A proper edge colouring that grows link by link: no node has two links of one colour."""

    def __init__(self, count: int):
        self._at = [{} for _ in range(count)]         # node -> {colour: the node it leads to}
        self._colour = [{} for _ in range(count)]     # node -> {neighbour: colour}

    def colour_of(self, node: int, other: int) -> int:
        """Return the colour of a link that was added."""
        return self._colour[node][other]

    def add(self, node: int, other: int) -> None:
        """Add the link node - other and colour it, recolouring others where need be."""
        fan = self._fan(node, other)
        free_here, free_there = self._free(node), self._free(fan[-1])
        self._invert(node, free_here, free_there)
        # The inversion may have broken the fan; up to where it holds, some node has the colour.
        length = self._usable(node, fan, free_there)
        for k in range(length - 1):
            colour = self._colour[node][fan[k + 1]]
            self._clear(node, fan[k + 1])
            self._set(node, fan[k], colour)
        self._set(node, fan[length - 1], free_there)

    def _fan(self, node: int, other: int) -> list[int]:
        """Return a longest list from `other`: each link's colour is free on the one before."""
        fan, left = [other], dict(self._colour[node])
        while True:
            last = self._at[fan[-1]]
            following = next((n for n, colour in left.items() if colour not in last), None)
            if following is None:
                return fan
            fan.append(following)
            del left[following]

    def _usable(self, node: int, fan: list[int], colour: int) -> int:
        """Return how many of the fan come before and with the first on which colour is free."""
        for k, tip in enumerate(fan):
            if k and self._colour[node][tip] in self._at[fan[k - 1]]:
                break
            if colour not in self._at[tip]:
                return k + 1
        raise AssertionError('an edge colouring lost its fan')

    def _invert(self, node: int, here: int, there: int) -> None:
        """Swap two colours along the path from node; afterwards `there` is free on it."""
        path, colour = [node], there
        while colour in self._at[path[-1]]:
            path.append(self._at[path[-1]][colour])
            colour = here if colour == there else there
        pairs = list(zip(path, path[1:]))
        for a, b in pairs:
            self._clear(a, b)
        for k, (a, b) in enumerate(pairs):
            self._set(a, b, here if k % 2 == 0 else there)

    def _free(self, node: int) -> int:
        used, colour = self._at[node], 0
        while colour in used:
            colour += 1
        return colour

    def _set(self, node: int, other: int, colour: int) -> None:
        for a, b in ((node, other), (other, node)):
            self._at[a][colour] = b
            self._colour[a][b] = colour

    def _clear(self, node: int, other: int) -> None:
        for a, b in ((node, other), (other, node)):
            del self._at[a][self._colour[a].pop(b)]
