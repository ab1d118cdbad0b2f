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
From a skeleton graph to ordered paths.

At a junction a path goes on along the straightest continuation, judged over a stretch that is
longer than the junction is wide. Loose ends that face each other over a short gap are joined.
"""

from dataclasses import dataclass

from fedefm_ros.segmentation.arms import Arm
from fedefm_ros.segmentation.arms import link
from fedefm_ros.segmentation.arms import Links
from fedefm_ros.segmentation.arms import measure
from fedefm_ros.segmentation.arms import turn_between
from fedefm_ros.segmentation.gaps import link_gaps
from fedefm_ros.segmentation.graph import arms_by_node
from fedefm_ros.segmentation.graph import Graph

import numpy as np

# What leaving an arm without a partner costs, in radians; a pair may turn by twice as much.
_ALONE = 0.65
# How far the last two arms of a crossing may turn, in radians.
_BY_ELIMINATION = 2.1


@dataclass(frozen=True)
class TracingParameters:
    """How paths go on; lengths in pixels of the mask at hand."""

    tangent: float = 14.0
    """Length over which a direction is measured."""
    gap: float = 14.0
    """Longest stretch of background that is bridged."""
    gap_angle: float = 0.8
    """Largest angle between a loose end and the bridge, in radians."""
    overlap: float = 100.0
    """Longest stretch that two crossing instruments may share."""


@dataclass
class Path:
    """An ordered line of skeleton pixels, not smoothed yet."""

    points: np.ndarray
    """(N, 2) float64: x, y in pixels; neighbours may be far apart where a gap was bridged."""
    free: list[bool]
    """Of the first and of the last point: a free end; False where it ends at another path."""
    closed: bool = False
    """True for a ring: the last point is a neighbour of the first."""


def trace(graph: Graph, labels: np.ndarray, distance: np.ndarray,
          parameters: TracingParameters) -> list[Path]:
    """
    Join the branches of a pruned graph to paths.

    ``labels`` (H, W) uint8 is the label mask, ``distance`` (H, W) float32 the distance transform
    of its foreground. A stretch that two paths share is part of both.
    """
    links: Links = {}
    shared = _link_junctions(graph, labels, parameters, links)
    loose = [(index, end) for index, branch in enumerate(graph.branches)
             if index not in shared and not branch.closed
             for end in (0, 1) if (index, end) not in links]
    link_gaps(graph, loose, labels, distance, links, gap=parameters.gap,
              tangent=parameters.tangent, widest=parameters.gap_angle)
    return _follow(graph, links, shared)


def _best_pairs(arms: list[Arm]) -> list[tuple[int, int]]:
    """Return the pairing of the least total turn; arms may stay alone."""
    if len(arms) > 6:
        costs = sorted((turn_between(arms[i], arms[j]), i, j)
                       for i in range(len(arms)) for j in range(i))
        used: set[int] = set()
        pairs = []
        for cost, i, j in costs:
            if cost < 2 * _ALONE and not {i, j} & used:
                used |= {i, j}
                pairs.append((i, j))
        return pairs
    table = {(i, j): turn_between(arms[i], arms[j])
             for i in range(len(arms)) for j in range(i + 1, len(arms))}

    def best(rest: tuple[int, ...]) -> tuple[float, list[tuple[int, int]]]:
        if len(rest) < 2:
            return _ALONE * len(rest), []
        first, others = rest[0], rest[1:]
        cost, pairs = best(others)
        result = cost + _ALONE, pairs
        for position, other in enumerate(others):
            if table[first, other] < 2 * _ALONE:
                cost, pairs = best(others[:position] + others[position + 1:])
                if cost + table[first, other] < result[0]:
                    result = cost + table[first, other], [(first, other), *pairs]
        return result

    return best(tuple(range(len(arms))))[1]


def _link_junctions(graph: Graph, labels: np.ndarray, parameters: TracingParameters,
                    links: Links) -> set[int]:
    """Link arms across the nodes; return the branches that became a part of links."""
    arms = arms_by_node(graph)
    shared: set[int] = set()
    done: set[int] = set()
    # Two instruments that cross at a small angle share a stretch: two nodes with one branch
    # between them stand for one crossing. The shortest such branch is looked at first.
    inner = sorted((branch.length, index) for index, branch in enumerate(graph.branches)
                   if min(branch.nodes) >= 0 and branch.nodes[0] != branch.nodes[1])
    for length, index in inner:
        branch = graph.branches[index]
        first, second = branch.nodes
        radius = max(graph.radii[first], graph.radii[second])
        if first in done or second in done or length > max(parameters.overlap, 3.0 * radius):
            continue
        sides = [[measure(graph, key, labels, graph.radii[node], parameters.tangent)
                  for key in arms[node] if key[0] != index] for node in (first, second)]
        if len(sides[0]) < 2 or len(sides[1]) < 2:
            continue
        near = length <= 3.0 * radius + 4.0
        pairs = _pairs_across(sides) if near or len(sides[0]) == len(sides[1]) == 2 else []
        if not pairs:
            continue
        shared.add(index)
        done |= {first, second}
        for one, other in pairs:
            via = None
            if not near:
                via = branch.points if one in sides[0] else branch.points[::-1]
                via = via[int(radius):len(via) - int(radius)]
            link(links, one, other, via)
    for node, members in arms.items():
        if node in done:
            continue
        measured = [measure(graph, key, labels, graph.radii[node], parameters.tangent)
                    for key in members]
        for i, j in _best_pairs(measured):
            link(links, measured[i], measured[j])
    return shared


def _pairs_across(sides: list[list[Arm]]) -> list[tuple[Arm, Arm]]:
    """Pair the arms at the two ends of a shared stretch; empty where they are no crossing."""
    members = sides[0] + sides[1]
    count = len(sides[0])
    pairs = _best_pairs(members)
    if any((i < count) == (j < count) for i, j in pairs):
        return []
    rest = sorted(set(range(len(members))) - {i for pair in pairs for i in pair})
    # What is left after one good pair belongs together even where it turns sharply.
    if len(pairs) == 1 and len(rest) == 2 and (rest[0] < count) != (rest[1] < count) \
            and turn_between(members[rest[0]], members[rest[1]]) < _BY_ELIMINATION:
        pairs = [*pairs, (rest[0], rest[1])]
    return [(members[i], members[j]) for i, j in pairs] if len(pairs) > 1 else []


def _follow(graph: Graph, links: Links, shared: set[int]) -> list[Path]:
    """Walk along the links from every loose end, then around what has none."""
    seen: set[int] = set(shared)
    order = [(index, end) for index in range(len(graph.branches)) for end in (0, 1)
             if (index, end) not in links and not graph.branches[index].closed]
    order += [(index, 0) for index in range(len(graph.branches))]
    paths = []
    for start in order:
        if start[0] in seen:
            continue
        pieces, free = [], [graph.branches[start[0]].nodes[start[1]] < 0]
        closed = graph.branches[start[0]].closed
        index, end = start
        while True:
            seen.add(index)
            branch = graph.branches[index]
            points = branch.points if end == 0 else branch.points[::-1]
            leaving = (index, 1 - end)
            first = links[index, end].skip if (index, end) in links else 0
            last = links[leaving].skip if leaving in links else 0
            pieces.append(points[first:len(points) - last])
            if leaving not in links:
                free.append(branch.nodes[1 - end] < 0)
                break
            pieces.append(links[leaving].via)
            index, end = links[leaving].to
            if index in seen:
                closed = True
                free = [False, False]
                break
        paths.append(Path(np.concatenate(pieces), free, closed))
    return paths
