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

"""The ends of branches, looked at from where paths go on: their directions and how they fit."""

from dataclasses import dataclass
import math

from fedefm_ros.segmentation.graph import Graph

import numpy as np

# What a change of label across a junction or a gap costs, in radians.
OTHER_LABEL = 0.35


@dataclass
class Arm:
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
        """Return branch and end."""
        return self.branch, self.end


@dataclass
class Link:
    """How a path goes on from the end of a branch."""

    to: tuple[int, int]
    """Branch and end there."""
    via: np.ndarray
    """(N, 2) the points in between, of a stretch that belongs to another path too."""
    skip: int
    """How many points before this end to leave out."""


Links = dict[tuple[int, int], Link]


def link(links: Links, first: Arm, second: Arm, via: np.ndarray | None = None) -> None:
    """Let paths go on from one arm to the other, both ways."""
    between = np.zeros((0, 2)) if via is None else via
    links[first.key] = Link(second.key, between, first.skip)
    links[second.key] = Link(first.key, between[::-1], second.skip)


def measure(graph: Graph, key: tuple[int, int], labels: np.ndarray, skip: float,
            tangent: float) -> Arm:
    """
    Measure the direction of a branch end over ``tangent`` pixels.

    The first ``skip`` pixels are left out; ``labels`` (H, W) uint8 is the label mask.
    """
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
    return Arm(index, end, anchor, direction, label, reach, start)


def angle_between(first: np.ndarray, second: np.ndarray) -> float:
    """Return the angle between two unit vectors in radians; a right angle where one is zero."""
    dot = float(first[0] * second[0] + first[1] * second[1])
    return math.acos(min(1.0, max(-1.0, dot)))


def turn_between(first: Arm, second: Arm) -> float:
    """Return by how much a path turns that comes in on one arm and leaves on the other."""
    turn = angle_between(-first.direction, second.direction)
    step = second.anchor - first.anchor
    distance = math.hypot(*step)
    if distance > 6.0:
        step = step / distance
        turn = max(turn, angle_between(-first.direction, step)
                   + angle_between(step, second.direction))
    if first.label != second.label and first.label and second.label:
        turn += OTHER_LABEL
    return turn
