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

"""The graph of a skeleton: branches between nodes, without the spurs of ragged edges."""

from dataclasses import dataclass

from fedefm_ros.segmentation.skeleton import RING
from fedefm_ros.segmentation.skeleton import thin

import numpy as np


@dataclass
class Branch:
    """A chain of skeleton pixels between two nodes, or between a node and a free end."""

    points: np.ndarray
    """(N, 2) float64: x, y in pixels, N >= 1, in order."""
    nodes: list[int]
    """Index of the node at the first and at the last point; -1 where the end is free."""
    closed: bool = False
    """True for a ring without any node: the last point is a neighbour of the first."""

    @property
    def length(self) -> float:
        """Return the length of the chain in pixels."""
        steps = np.diff(self.points, axis=0)
        return float(np.hypot(steps[:, 0], steps[:, 1]).sum())


@dataclass
class Graph:
    """The skeleton of a mask."""

    branches: list[Branch]
    centres: list[np.ndarray]
    """Of each node: (2,) float64 x, y."""
    radii: list[float]
    """Of each node: half the width of the mask there, in pixels."""


def build_graph(mask: np.ndarray, distance: np.ndarray, max_pixels: int) -> Graph | None:
    """
    Thin a mask and split its skeleton at the junctions.

    ``mask`` (H, W) uint8 of 0 and 1, ``distance`` (H, W) float32 its distance transform in
    pixels. Returns None where the skeleton has more than ``max_pixels`` pixels.
    """
    flat, pixels = thin(mask)
    if pixels.size > max_pixels:
        return None
    stride = mask.shape[1] + 2
    ring = np.array([dy * stride + dx for dx, dy in RING], np.intp)
    around = flat[pixels[:, None] + ring] != 0
    number = np.empty(flat.size, np.intp)
    number[pixels] = np.arange(pixels.size)
    # Neighbours as pairs of pixel numbers, sorted by the first.
    rows, sides = np.nonzero(around)
    others = number[pixels[rows] + ring[sides]]
    y, x = np.divmod(pixels, stride)
    places = np.stack([x - 1.0, y - 1.0], axis=1)
    is_junction = around.sum(axis=1) >= 3
    node_of, clusters = _clusters(np.flatnonzero(is_junction), rows, others)
    centres, radii = [], []
    for members in clusters:
        cluster = places[members]
        columns, lines = cluster.astype(np.intp).T
        centres.append(cluster.mean(axis=0))
        radii.append(float(distance[lines, columns].max()))

    inner = ~is_junction[rows]
    plain = inner & ~is_junction[others]
    chain_sides = _first_and_last(pixels.size, rows[plain], others[plain])
    touching = inner & is_junction[others]
    node_sides = _first_and_last(pixels.size, rows[touching], node_of[others[touching]])
    branches = _chains(is_junction, chain_sides, node_sides, places)
    return Graph(branches, centres, radii)


def _clusters(junctions: np.ndarray, rows: np.ndarray,
              others: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    """Group neighbouring junction pixels; return the group of each pixel (-1), and the groups."""
    node_of = np.full(rows[-1] + 1 if rows.size else 0, -1, np.intp)
    clusters: list[list[int]] = []
    among = set(junctions.tolist())
    for start in junctions.tolist():
        if node_of[start] >= 0:
            continue
        members, waiting = [], [start]
        node_of[start] = len(clusters)
        while waiting:
            current = waiting.pop()
            members.append(current)
            first, last = np.searchsorted(rows, (current, current + 1))
            for other in others[first:last].tolist():
                if other in among and node_of[other] < 0:
                    node_of[other] = len(clusters)
                    waiting.append(other)
        clusters.append(members)
    return node_of, clusters


def _first_and_last(count: int, rows: np.ndarray,
                    values: np.ndarray) -> tuple[list[int], list[int]]:
    """Return for each row its first and its last value, -1 where it has none, or no second."""
    first = np.full(count, -1, np.intp)
    last = first.copy()
    last[rows] = values
    first[rows[::-1]] = values[::-1]
    last[np.bincount(rows, minlength=count) < 2] = -1
    return first.tolist(), last.tolist()


def _chains(is_junction: np.ndarray, chain_sides: tuple[list[int], list[int]],
            node_sides: tuple[list[int], list[int]], places: np.ndarray) -> list[Branch]:
    """Follow the chains between the nodes, then the rings that are left."""
    one, two = chain_sides
    seen = is_junction.tolist()
    branches = []

    def follow(current: int) -> list[int]:
        chain = []
        while current >= 0:
            seen[current] = True
            chain.append(current)
            following = one[current]
            if following < 0 or seen[following]:
                following = two[current]
                if following >= 0 and seen[following]:
                    following = -1
            current = following
        return chain

    # A chain begins where a pixel has at most one neighbour in it; what is left are rings.
    ends = [index for index, other in enumerate(two) if other < 0]
    for start in ends:
        if seen[start]:
            continue
        chain = follow(start)
        first, last = node_sides[0][chain[0]], node_sides[0][chain[-1]]
        if len(chain) == 1:
            # A single pixel may join two nodes.
            last = node_sides[1][start]
        branches.append(Branch(places[chain], [first, last]))
    for start in range(len(seen)):
        if not seen[start]:
            branches.append(Branch(places[follow(start)], [-1, -1], closed=True))
    return branches


def prune(graph: Graph, excess: float) -> None:
    """
    Take out the short side branches that ragged edges and flat ends make.

    A branch with a free end goes where it reaches less than ``excess`` pixels, or less than half
    the local half-width, out of the line it stands on. Where a line forks into nothing but short
    branches it is at its end, and they may be longer: what of them is real is found again when
    the line is prolonged. Changes the graph.
    """
    for _ in range(3):
        doomed = set()
        for node, arms in arms_by_node(graph).items():
            radius = graph.radii[node]
            lengths = {index: graph.branches[index].length + 1.0 for index, _ in arms}
            loose = [index for index, end in arms if graph.branches[index].nodes[1 - end] < 0]
            longest = max(lengths, key=lengths.__getitem__)
            rest = [index for index in lengths if index != longest]
            limit = radius + max(excess, 0.5 * radius)
            if len(rest) > 1 and all(index in loose and lengths[index] <= 2.0 * radius + excess
                                     for index in rest):
                doomed.update(rest)
            else:
                doomed.update(index for index in loose if lengths[index] <= limit)
        if not doomed:
            return
        graph.branches = [branch for index, branch in enumerate(graph.branches)
                          if index not in doomed]
        _dissolve(graph)


def _dissolve(graph: Graph) -> None:
    """Join the two branches of each node that has no others, and free the end of a lone one."""
    arms = arms_by_node(graph)
    for node, members in arms.items():
        if len(members) == 1:
            index, end = members[0]
            graph.branches[index].nodes[end] = -1
        elif len(members) == 2:
            (first, first_end), (second, second_end) = members
            if first == second:
                # A ring with one node that is none any more.
                branch = graph.branches[first]
                branch.nodes = [-1, -1]
                branch.closed = True
                continue
            head, tail = graph.branches[first], graph.branches[second]
            before = head.points if first_end == 1 else head.points[::-1]
            after = tail.points if second_end == 0 else tail.points[::-1]
            joined = Branch(np.concatenate([before, graph.centres[node][None], after]),
                            [head.nodes[1 - first_end], tail.nodes[1 - second_end]])
            graph.branches[first] = joined
            graph.branches[second] = Branch(np.zeros((0, 2)), [-1, -1])
            for others in arms.values():
                for position, (index, end) in enumerate(others):
                    if index == first and end == 1 - first_end:
                        others[position] = (first, 0)
                    elif index == second and end == 1 - second_end:
                        others[position] = (first, 1)
    graph.branches = [branch for branch in graph.branches if len(branch.points)]


def arms_by_node(graph: Graph) -> dict[int, list[tuple[int, int]]]:
    arms: dict[int, list[tuple[int, int]]] = {}
    for index, branch in enumerate(graph.branches):
        for end in (0, 1):
            if branch.nodes[end] >= 0:
                arms.setdefault(branch.nodes[end], []).append((index, end))
    return arms
