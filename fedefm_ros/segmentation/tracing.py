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
import math

from fedefm_ros.segmentation.skeleton import Branch
from fedefm_ros.segmentation.skeleton import Graph

import numpy as np

# What leaving an arm without a partner costs, in radians; a pair may turn by twice as much.
_ALONE = 0.65
# What a change of label across a junction costs, in radians.
_OTHER_LABEL = 0.35
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


@dataclass
class _Arm:
    """One end of a branch, looked at from the node (or gap) there."""

    branch: int
    end: int
    anchor: np.ndarray
    """(2,) where the branch is undisturbed, x, y in pixels."""
    direction: np.ndarray
    """Unit vector from the end into the branch."""
    label: int
    reach: float
    """Over how many pixels the direction was measured."""
    skip: int
    """How many points at the end were left out: the skeleton bends there."""

    @property
    def key(self) -> tuple[int, int]:
        return self.branch, self.end


@dataclass
class _Link:
    """How a path goes on from the end of a branch."""

    to: tuple[int, int]
    """Branch and end there."""
    via: np.ndarray
    """(N, 2) the points in between, of a stretch that belongs to another path too."""
    skip: int
    """How many points before this end to leave out."""


_Links = dict[tuple[int, int], _Link]


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
        for node, arms in _arms_by_node(graph).items():
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
    arms = _arms_by_node(graph)
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


def _arms_by_node(graph: Graph) -> dict[int, list[tuple[int, int]]]:
    arms: dict[int, list[tuple[int, int]]] = {}
    for index, branch in enumerate(graph.branches):
        for end in (0, 1):
            if branch.nodes[end] >= 0:
                arms.setdefault(branch.nodes[end], []).append((index, end))
    return arms


def trace(graph: Graph, labels: np.ndarray, distance: np.ndarray,
          parameters: TracingParameters) -> list[Path]:
    """
    Join the branches of a pruned graph to paths.

    ``labels`` (H, W) uint8 is the label mask, ``distance`` (H, W) float32 the distance transform
    of its foreground. A stretch that two paths share is part of both.
    """
    links: _Links = {}
    shared = _link_junctions(graph, labels, parameters, links)
    _link_gaps(graph, labels, distance, parameters, links, shared)
    return _follow(graph, links, shared)


def _link(links: _Links, first: _Arm, second: _Arm, via: np.ndarray | None = None) -> None:
    between = np.zeros((0, 2)) if via is None else via
    links[first.key] = _Link(second.key, between, first.skip)
    links[second.key] = _Link(first.key, between[::-1], second.skip)


def _arm(graph: Graph, key: tuple[int, int], labels: np.ndarray, skip: float,
         tangent: float) -> _Arm:
    """Measure the direction of a branch end, leaving out the first ``skip`` pixels of it."""
    index, end = key
    points = graph.branches[index].points
    if end == 1:
        points = points[::-1]
    count = len(points)
    start = int(min(skip, count // 3))
    stop = int(min(start + tangent, count - 1))
    third = max(1, (stop - start + 1) // 3)
    near = points[start:start + third].mean(axis=0)
    direction = points[stop + 1 - third:stop + 1].mean(axis=0) - near
    reach = math.hypot(*direction)
    if reach > 0:
        direction = direction / reach
    anchor = near - direction * 0.5 * (third - 1)
    stretch = points[start:stop + 1].astype(np.intp)
    values = labels[stretch[:, 1], stretch[:, 0]]
    counts = np.bincount(values, minlength=3)
    label = 0 if counts[1] == counts[2] == 0 else int(counts[1] < counts[2]) + 1
    return _Arm(index, end, anchor, direction, label, reach, start)


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    """Return the angle between two unit vectors in radians; a right angle where one is zero."""
    dot = float(first[0] * second[0] + first[1] * second[1])
    return math.acos(min(1.0, max(-1.0, dot)))


def _turn(first: _Arm, second: _Arm) -> float:
    """Return by how much a path turns that comes in on one arm and leaves on the other."""
    turn = _angle(-first.direction, second.direction)
    step = second.anchor - first.anchor
    distance = math.hypot(*step)
    if distance > 6.0:
        step = step / distance
        turn = max(turn, _angle(-first.direction, step) + _angle(step, second.direction))
    if first.label != second.label and first.label and second.label:
        turn += _OTHER_LABEL
    return turn


def _best_pairs(arms: list[_Arm]) -> list[tuple[int, int]]:
    """Return the pairing of the least total turn; arms may stay alone."""
    if len(arms) > 6:
        costs = sorted((_turn(arms[i], arms[j]), i, j)
                       for i in range(len(arms)) for j in range(i))
        used: set[int] = set()
        pairs = []
        for cost, i, j in costs:
            if cost < 2 * _ALONE and not {i, j} & used:
                used |= {i, j}
                pairs.append((i, j))
        return pairs
    table = {(i, j): _turn(arms[i], arms[j])
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
                    links: _Links) -> set[int]:
    """Link arms across the nodes; return the branches that became a part of links."""
    arms = _arms_by_node(graph)
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
        sides = [[_arm(graph, key, labels, graph.radii[node], parameters.tangent)
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
            _link(links, one, other, via)
    for node, members in arms.items():
        if node in done:
            continue
        measured = [_arm(graph, key, labels, graph.radii[node], parameters.tangent)
                    for key in members]
        for i, j in _best_pairs(measured):
            _link(links, measured[i], measured[j])
    return shared


def _pairs_across(sides: list[list[_Arm]]) -> list[tuple[_Arm, _Arm]]:
    """Pair the arms at the two ends of a shared stretch; empty where they are no crossing."""
    members = sides[0] + sides[1]
    count = len(sides[0])
    pairs = _best_pairs(members)
    if any((i < count) == (j < count) for i, j in pairs):
        return []
    rest = sorted(set(range(len(members))) - {i for pair in pairs for i in pair})
    # What is left after one good pair belongs together even where it turns sharply.
    if len(pairs) == 1 and len(rest) == 2 and (rest[0] < count) != (rest[1] < count) \
            and _turn(members[rest[0]], members[rest[1]]) < _BY_ELIMINATION:
        pairs = [*pairs, (rest[0], rest[1])]
    return [(members[i], members[j]) for i, j in pairs] if len(pairs) > 1 else []


def _link_gaps(graph: Graph, labels: np.ndarray, distance: np.ndarray,
               parameters: TracingParameters, links: _Links, shared: set[int]) -> None:
    """Link loose ends that face each other over background no longer than the gap allowed."""
    ends = []
    for index, branch in enumerate(graph.branches):
        if index in shared or branch.closed:
            continue
        for end in (0, 1):
            if (index, end) in links:
                continue
            point = branch.points[-end]
            # The skeleton's last pixel may lie in a corner; the width is that of its last stretch.
            last = branch.points[::-1][:12] if end else branch.points[:12]
            columns, rows = last.astype(np.intp).T
            radius = float(distance[rows, columns].max())
            arm = _arm(graph, (index, end), labels, radius, parameters.tangent)
            ends.append((arm, point, radius))
    candidates = []
    if len(ends) < 2:
        return
    places = np.array([point for _, point, _ in ends])
    radii = np.array([radius for _, _, radius in ends])
    spans = parameters.gap + 3.0 + 2.0 * (radii[:, None] + radii)
    near = (np.abs(places[:, None] - places) <= spans[:, :, None]).all(axis=2)
    for i, j in np.argwhere(np.triu(near, 1)).tolist():
        (first, start, first_radius), (second, stop, second_radius) = ends[i], ends[j]
        span = spans[i, j]
        if first.branch == second.branch and \
                graph.branches[first.branch].length < 6.0 * span:
            continue
        cost = _bridge_cost((first, start, first_radius), (second, stop, second_radius),
                            labels, parameters)
        if cost is not None:
            candidates.append((cost, first, second))
    for _, first, second in sorted(candidates, key=lambda candidate: candidate[0]):
        if first.key not in links and second.key not in links:
            _link(links, first, second)


def _bridge_cost(one: tuple[_Arm, np.ndarray, float], other: tuple[_Arm, np.ndarray, float],
                 labels: np.ndarray, parameters: TracingParameters) -> float | None:
    """
    Return how badly two loose ends fit, or None where they must not be joined.

    Each is given by its arm, its last point and the half-width of the mask there.
    """
    (first, start, _), (second, stop, _) = one, other
    step = second.anchor - first.anchor
    distance = math.hypot(*step)
    if distance == 0:
        return None
    step = step / distance
    # What is not longer than wide has no direction worth the name.
    angles = [angle if arm.reach >= max(4.0, 1.5 * radius) else 0.5 * parameters.gap_angle
              for (arm, _, radius), angle in ((one, _angle(-first.direction, step)),
                                              (other, _angle(step, second.direction)))]
    if max(angles) > parameters.gap_angle:
        return None
    count = int(math.hypot(*(stop - start))) + 2
    line = np.rint(start + (stop - start) * np.linspace(0.0, 1.0, count)[:, None]).astype(np.intp)
    empty = int((labels[line[:, 1], line[:, 0]] == 0).sum())
    if empty > parameters.gap:
        return None
    penalty = _OTHER_LABEL if first.label != second.label else 0.0
    # Of the two ends of a short piece, both possible, the nearer one.
    return sum(angles) + (empty + count) / parameters.gap + penalty


def _follow(graph: Graph, links: _Links, shared: set[int]) -> list[Path]:
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
