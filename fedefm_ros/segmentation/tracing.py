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
from dataclasses import field
import math

from fedefm_ros.segmentation.skeleton import Branch
from fedefm_ros.segmentation.skeleton import Graph

import numpy as np

# What leaving an arm without a partner costs, in radians; a pair may turn by twice as much.
_ALONE = 0.65
# What a change of label across a junction costs, in radians.
_OTHER_LABEL = 0.35


@dataclass(frozen=True)
class TracingParameters:
    """Lengths in pixels of an image of about 512 x 512."""

    tangent: float = 14.0
    """Length over which a direction is measured."""
    gap: float = 12.0
    """Longest stretch of background that is bridged."""
    gap_angle: float = 0.8
    """Largest angle between a loose end and the bridge, in radians."""
    overlap: float = 60.0
    """Longest stretch that two crossing instruments may share."""

    def scaled(self, factor: float) -> 'TracingParameters':
        """Return the same for an image ``factor`` times as large."""
        return TracingParameters(self.tangent * factor, self.gap * factor, self.gap_angle,
                                 self.overlap * factor)


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
    anchor: np.ndarray = field(default_factory=lambda: np.zeros(2))
    direction: np.ndarray = field(default_factory=lambda: np.zeros(2))
    """Unit vector from the end into the branch."""
    label: int = 0
    reach: float = 0.0
    """Over how many pixels the direction was measured."""

    @property
    def key(self) -> tuple[int, int]:
        return self.branch, self.end


def prune(graph: Graph, excess: float) -> None:
    """
    Take out the short side branches that ragged edges and flat ends make.

    A branch with a free end goes where it reaches less than ``excess`` pixels, or less than half
    the local half-width, out of the line it stands on. Changes the graph.
    """
    for _ in range(3):
        doomed = []
        for index, branch in enumerate(graph.branches):
            ends = [node for node in branch.nodes if node >= 0]
            if len(ends) != 1 or branch.closed:
                continue
            radius = graph.radii[ends[0]]
            if len(branch.points) <= 1.5 * radius + excess and \
                    branch.length + 1.0 <= radius + max(excess, 0.5 * radius):
                doomed.append(index)
        if not doomed:
            return
        graph.branches = [branch for index, branch in enumerate(graph.branches)
                          if index not in set(doomed)]
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
    links: dict[tuple[int, int], tuple[tuple[int, int], np.ndarray]] = {}
    shared = _link_junctions(graph, labels, parameters, links)
    _link_gaps(graph, labels, distance, parameters, links, shared)
    return _follow(graph, links, shared)


def _link(links: dict, first: tuple[int, int], second: tuple[int, int],
          via: np.ndarray | None = None) -> None:
    between = np.zeros((0, 2)) if via is None else via
    links[first] = (second, between)
    links[second] = (first, between[::-1])


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
    direction = points[stop] - points[start]
    reach = math.hypot(*direction)
    if reach > 0:
        direction = direction / reach
    stretch = points[start:stop + 1].astype(np.intp)
    values = labels[stretch[:, 1], stretch[:, 0]]
    counts = np.bincount(values, minlength=3)
    label = 0 if counts[1] == counts[2] == 0 else int(counts[1] < counts[2]) + 1
    return _Arm(index, end, points[start], direction, label, reach)


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
                    links: dict) -> set[int]:
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
        if length <= 3.0 * radius + 4.0:
            members = sides[0] + sides[1]
            pairs = [(members[i], members[j]) for i, j in _best_pairs(members)]
            crossed = [pair for pair in pairs
                       if (pair[0] in sides[0]) != (pair[1] in sides[0])]
            if len(crossed) < 2:
                continue
        else:
            pairs = _pairs_over_overlap(sides)
            if len(pairs) < 2:
                continue
        shared.add(index)
        done |= {first, second}
        for one, other in pairs:
            via = None
            if length > 3.0 * radius + 4.0:
                via = branch.points if one in sides[0] else branch.points[::-1]
            _link(links, one.key, other.key, via)
    for node, members in arms.items():
        if node in done:
            continue
        measured = [_arm(graph, key, labels, graph.radii[node], parameters.tangent)
                    for key in members]
        for i, j in _best_pairs(measured):
            _link(links, measured[i].key, measured[j].key)
    return shared


def _pairs_over_overlap(sides: list[list[_Arm]]) -> list[tuple[_Arm, _Arm]]:
    """Pair the two arms at one end of a long shared stretch with the two at the other."""
    if len(sides[0]) != 2 or len(sides[1]) != 2:
        return []
    a, b = sides[0]
    c, d = sides[1]
    straight, crossed = [(a, c), (b, d)], [(a, d), (b, c)]
    # Over a long stretch directions say little; the label does, then the change of direction.
    best = min((straight, crossed), key=lambda pairs: sum(_turn(*pair) for pair in pairs))
    along = sides[1][0].anchor + sides[1][1].anchor - a.anchor - b.anchor
    norm = math.hypot(*along)
    if norm == 0:
        return []
    along = along / norm
    inwards = all(_angle(-arm.direction, along) < 1.0 for arm in sides[0])
    outwards = all(_angle(arm.direction, along) < 1.0 for arm in sides[1])
    return best if inwards and outwards else []


def _link_gaps(graph: Graph, labels: np.ndarray, distance: np.ndarray,
               parameters: TracingParameters, links: dict, shared: set[int]) -> None:
    """Link loose ends that face each other over background no longer than the gap allowed."""
    ends = []
    for index, branch in enumerate(graph.branches):
        if index in shared or branch.closed:
            continue
        for end in (0, 1):
            if (index, end) in links:
                continue
            point = branch.points[-end]
            radius = float(distance[int(point[1]), int(point[0])]) if branch.nodes[end] < 0 \
                else graph.radii[branch.nodes[end]]
            arm = _arm(graph, (index, end), labels, radius, parameters.tangent)
            ends.append((arm, point, radius))
    candidates = []
    for i, (first, start, first_radius) in enumerate(ends):
        for second, stop, second_radius in ends[i + 1:]:
            span = parameters.gap + 2.0 * (first_radius + second_radius)
            dx, dy = stop - start
            if abs(dx) > span or abs(dy) > span:
                continue
            if first.branch == second.branch and \
                    graph.branches[first.branch].length < 6.0 * span:
                continue
            cost = _bridge_cost(first, second, start, stop, labels, parameters)
            if cost is not None:
                candidates.append((cost, first.key, second.key))
    for _, first, second in sorted(candidates, key=lambda candidate: candidate[0]):
        if first not in links and second not in links:
            _link(links, first, second)


def _bridge_cost(first: _Arm, second: _Arm, start: np.ndarray, stop: np.ndarray,
                 labels: np.ndarray, parameters: TracingParameters) -> float | None:
    """Return how badly two loose ends fit, or None where they must not be joined."""
    step = second.anchor - first.anchor
    distance = math.hypot(*step)
    if distance == 0:
        return None
    step = step / distance
    # A speck has no direction worth the name.
    angles = [angle if arm.reach >= 4.0 else 0.5 * parameters.gap_angle
              for arm, angle in ((first, _angle(-first.direction, step)),
                                 (second, _angle(step, second.direction)))]
    if max(angles) > parameters.gap_angle:
        return None
    count = int(math.hypot(*(stop - start))) + 2
    line = np.rint(start + (stop - start) * np.linspace(0.0, 1.0, count)[:, None]).astype(np.intp)
    empty = int((labels[line[:, 1], line[:, 0]] == 0).sum())
    if empty > parameters.gap:
        return None
    penalty = _OTHER_LABEL if first.label != second.label else 0.0
    return sum(angles) + empty / parameters.gap + penalty


def _follow(graph: Graph, links: dict, shared: set[int]) -> list[Path]:
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
            pieces.append(branch.points if end == 0 else branch.points[::-1])
            leaving = (index, 1 - end)
            if leaving not in links:
                free.append(branch.nodes[1 - end] < 0)
                break
            (index, end), via = links[leaving]
            pieces.append(via)
            if index in seen:
                closed = True
                free = [False, False]
                break
        paths.append(Path(np.concatenate(pieces), free, closed))
    return paths
