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

"""Thinning and the graph of a skeleton."""

import cv2

from fedefm_ros.segmentation.graph import build_graph
from fedefm_ros.segmentation.skeleton import cut_out_blobs
from fedefm_ros.segmentation.skeleton import fill_narrow_holes
from fedefm_ros.segmentation.skeleton import thin

import numpy as np
import pytest


def skeleton_of(mask):
    flat, pixels = thin(mask)
    framed = flat.reshape(mask.shape[0] + 2, -1)
    assert framed.sum() == len(pixels)
    return framed[1:-1, 1:-1]


def graph_of(mask):
    return build_graph(mask, cv2.distanceTransform(mask, cv2.DIST_L2, 3), 10_000)


def drawing(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((160, 200), np.uint8)
    for _ in range(5):
        points = rng.integers(5, 155, (4, 2)).astype(np.int32)
        cv2.polylines(mask, [points], False, 1, int(rng.integers(1, 9)))
    return mask


@pytest.mark.parametrize('seed', range(12))
def test_thinning_keeps_the_pieces_and_the_holes(seed):
    mask = drawing(seed)
    thinned = skeleton_of(mask)
    assert (thinned <= mask).all()
    for connectivity, invert in ((8, False), (4, True)):
        before, after = ((1 - mask, 1 - thinned) if invert else (mask, thinned))
        frame = cv2.BORDER_CONSTANT, int(invert)
        before, after = (cv2.copyMakeBorder(image, 1, 1, 1, 1, frame[0], value=frame[1])
                         for image in (before, after))
        assert cv2.connectedComponents(before, connectivity=connectivity)[0] == \
            cv2.connectedComponents(after, connectivity=connectivity)[0]


@pytest.mark.parametrize('seed', range(12))
def test_a_skeleton_is_thin(seed):
    thinned = skeleton_of(drawing(seed))
    squares = thinned[1:, 1:] & thinned[1:, :-1] & thinned[:-1, 1:] & thinned[:-1, :-1]
    assert not squares.any()


@pytest.mark.parametrize('seed', range(12))
def test_every_pixel_of_the_skeleton_is_in_one_branch_or_node(seed):
    mask = drawing(seed)
    thinned = skeleton_of(mask)
    graph = graph_of(mask)
    chains = np.concatenate([branch.points for branch in graph.branches]).astype(int)
    assert len(np.unique(chains, axis=0)) == len(chains)
    assert thinned[chains[:, 1], chains[:, 0]].all()
    around = cv2.filter2D(thinned, -1, np.ones((3, 3)), borderType=cv2.BORDER_CONSTANT)
    assert len(chains) == ((thinned == 1) & (around <= 3)).sum()
    for branch in graph.branches:
        assert np.abs(np.diff(branch.points, axis=0)).max(initial=0) <= 1


def thinned_densely(mask):
    """Return what Guo and Hall's rules leave, looked up at every pixel of every round."""
    image = np.pad(mask, 1).astype(bool)
    idle, step = 0, 0
    while idle < 2:
        p2, p3, p4, p5, p6, p7, p8, p9 = (np.roll(image, (-dy, -dx), (0, 1)) for dx, dy in (
            (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)))
        crossings = sum((~a & (b | c)).astype(int) for a, b, c in (
            (p2, p3, p4), (p4, p5, p6), (p6, p7, p8), (p8, p9, p2)))
        pairs = np.minimum(
            sum((a | b).astype(int) for a, b in ((p9, p2), (p3, p4), (p5, p6), (p7, p8))),
            sum((a | b).astype(int) for a, b in ((p2, p3), (p4, p5), (p6, p7), (p8, p9))))
        side = (p6 | p7 | ~p9) & p8 if step % 2 == 0 else (p2 | p3 | ~p5) & p4
        gone = image & (crossings == 1) & (pairs >= 2) & (pairs <= 3) & ~side
        image &= ~gone
        idle, step = 0 if gone.any() else idle + 1, step + 1
    return image[1:-1, 1:-1]


@pytest.mark.parametrize('seed', range(12))
def test_lists_of_pixels_are_thinned_as_whole_images_are(seed):
    mask = drawing(seed)
    thinned, densely = skeleton_of(mask) > 0, thinned_densely(mask)
    assert not (thinned & ~densely).any()
    # But for corners that nothing needs.
    corners = densely & ~thinned
    neighbours = cv2.filter2D(densely.astype(np.uint8), -1, np.ones((3, 3)),
                              borderType=cv2.BORDER_CONSTANT)
    assert 0 < corners.sum() < 0.1 * densely.sum() and neighbours[corners].min() >= 3


def test_a_cross_has_four_arms_at_nodes_and_a_ring_has_none():
    mask = np.zeros((100, 100), np.uint8)
    cv2.line(mask, (10, 10), (90, 90), 1, 3)
    cv2.line(mask, (10, 90), (90, 10), 1, 3)
    graph = graph_of(mask)
    arms = [branch for branch in graph.branches if len(branch.points) > 20]
    assert len(arms) == 4
    assert all(sorted(branch.nodes)[0] == -1 and max(branch.nodes) >= 0 for branch in arms)
    ring = np.zeros((100, 100), np.uint8)
    cv2.circle(ring, (50, 50), 30, 1, 4)
    graph = graph_of(ring)
    assert [branch.closed for branch in graph.branches] == [True]
    assert graph.branches[0].length == pytest.approx(2 * np.pi * 30, rel=0.1)


def test_a_skeleton_longer_than_allowed_is_no_graph():
    mask = drawing(1)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    assert build_graph(mask, distance, 20) is None


def test_narrow_holes_are_filled_and_loops_stay_open():
    mask = np.zeros((120, 120), np.uint8)
    cv2.circle(mask, (60, 60), 40, 1, 12)
    cv2.ellipse(mask, (60, 60), (40, 40), 0, 0, 300, 0, 3)
    filled = fill_narrow_holes(mask.copy(), mask, 5.0)
    assert filled[60, 100] == 1
    assert filled[60, 60] == 0


def test_the_gap_between_a_catheter_and_a_wire_is_no_lumen():
    labels = np.zeros((60, 200), np.uint8)
    labels[20:24, 20:180] = 1
    labels[28:31, 20:180] = 2
    labels[20:31, 20:24] = labels[20:31, 176:180] = 1
    binary = (labels > 0).astype(np.uint8)
    assert fill_narrow_holes(binary.copy(), labels, 5.0)[26, 100] == 0
    same = binary.copy()
    assert fill_narrow_holes(same.copy(), same, 5.0)[26, 100] == 1


def test_blobs_are_cut_out_with_their_corners():
    mask = np.zeros((200, 200), np.uint8)
    mask[50:120, 50:120] = 1
    mask[80:85] = 1
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    left, _ = cut_out_blobs(mask, distance, 32.0)
    assert not left[50:120, 50:120].any()
    assert left[80:85, :20].all() and left[80:85, 180:].all()
