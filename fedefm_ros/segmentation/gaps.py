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

"""Join loose ends that face each other over a short gap."""

import math

from fedefm_ros.segmentation.arms import angle_between
from fedefm_ros.segmentation.arms import Arm
from fedefm_ros.segmentation.arms import link
from fedefm_ros.segmentation.arms import Links
from fedefm_ros.segmentation.arms import measure
from fedefm_ros.segmentation.arms import OTHER_LABEL
from fedefm_ros.segmentation.graph import Graph

import numpy as np


def link_gaps(graph: Graph, loose: list[tuple[int, int]], labels: np.ndarray,
              distance: np.ndarray, links: Links, *, gap: float, tangent: float,
              widest: float) -> None:
    """
    Link loose ends that face each other.

    :param loose: the (branch, end) that may be linked.
    :param labels: (H, W) uint8 label mask.
    :param distance: (H, W) float32 distance transform of its foreground in pixels.
    :param links: where the new links go.
    :param gap: longest stretch of background in pixels.
    :param tangent: length over which directions are measured, in pixels.
    :param widest: largest angle between an end's direction and the bridge, in radians.
    """
    ends = []
    for index, end in loose:
        branch = graph.branches[index]
        # The skeleton's last pixel may lie in a corner; the width is that of its last stretch.
        last = branch.points[::-1][:12] if end else branch.points[:12]
        columns, rows = last.astype(np.intp).T
        radius = float(distance[rows, columns].max())
        arm = measure(graph, (index, end), labels, radius, tangent)
        ends.append((arm, branch.points[-end], radius))
    candidates = []
    if len(ends) < 2:
        return
    places = np.array([point for _, point, _ in ends])
    radii = np.array([radius for _, _, radius in ends])
    spans = gap + 3.0 + 2.0 * (radii[:, None] + radii)
    near = (np.abs(places[:, None] - places) <= spans[:, :, None]).all(axis=2)
    for i, j in np.argwhere(np.triu(near, 1)).tolist():
        (first, start, first_radius), (second, stop, second_radius) = ends[i], ends[j]
        span = spans[i, j]
        if first.branch == second.branch and \
                graph.branches[first.branch].length < 6.0 * span:
            continue
        cost = _bridge_cost((first, start, first_radius), (second, stop, second_radius),
                            labels, gap, widest)
        if cost is not None:
            candidates.append((cost, first, second))
    for _, first, second in sorted(candidates, key=lambda candidate: candidate[0]):
        if first.key not in links and second.key not in links:
            link(links, first, second)


def _bridge_cost(one: tuple[Arm, np.ndarray, float], other: tuple[Arm, np.ndarray, float],
                 labels: np.ndarray, gap: float, widest: float) -> float | None:
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
    angles = [angle if arm.reach >= max(4.0, 1.5 * radius) else 0.5 * widest
              for (arm, _, radius), angle in ((one, angle_between(-first.direction, step)),
                                              (other, angle_between(step, second.direction)))]
    if max(angles) > widest:
        return None
    count = int(math.hypot(*(stop - start))) + 2
    line = np.rint(start + (stop - start) * np.linspace(0.0, 1.0, count)[:, None]).astype(np.intp)
    empty = int((labels[line[:, 1], line[:, 0]] == 0).sum())
    if empty > gap:
        return None
    penalty = OTHER_LABEL if first.label != second.label else 0.0
    # Of the two ends of a short piece, both possible, the nearer one.
    return sum(angles) + (empty + count) / gap + penalty
