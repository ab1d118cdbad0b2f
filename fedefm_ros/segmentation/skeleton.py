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
From a mask to lines one pixel wide.

Instruments cover a few thousand pixels of an image of a quarter of a million, so what is done
again and again works on lists of pixels instead of whole images.
"""

import cv2

import numpy as np

# Bit k of a neighbourhood code is the neighbour (dx, dy) = RING[k], clockwise from the top.
RING = ((0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1))


def _guo_hall_tables() -> np.ndarray:
    """Return (2, 256) bool: may a pixel with this neighbourhood go in sub-iteration 0, 1."""
    tables = np.zeros((2, 256), bool)
    for code in range(256):
        p2, p3, p4, p5, p6, p7, p8, p9 = (bool(code >> k & 1) for k in range(8))
        crossings = ((not p2 and (p3 or p4)) + (not p4 and (p5 or p6))
                     + (not p6 and (p7 or p8)) + (not p8 and (p9 or p2)))
        pairs = min((p9 or p2) + (p3 or p4) + (p5 or p6) + (p7 or p8),
                    (p2 or p3) + (p4 or p5) + (p6 or p7) + (p8 or p9))
        if crossings == 1 and 2 <= pairs <= 3:
            tables[0, code] = not ((p6 or p7 or not p9) and p8)
            tables[1, code] = not ((p2 or p3 or not p5) and p4)
    return tables


def _redundant_table() -> np.ndarray:
    """Return (256,) bool: the pixel is no end and its neighbours stay 8-connected without it."""
    table = np.zeros(256, bool)
    for code in range(256):
        ring = [bool(code >> k & 1) for k in range(8)]
        # Components of the ring under 8-adjacency: its neighbours, and sides past a corner.
        labels = list(range(8))
        for k in range(8):
            for step in (1, 2) if k % 2 == 0 else (1,):
                other = (k + step) % 8
                if ring[k] and ring[other]:
                    old, new = labels[other], labels[k]
                    labels = [new if value == old else value for value in labels]
        parts = len({labels[k] for k in range(8) if ring[k]})
        # A pixel whose four sides are all set is inside: taking it out would make a hole.
        table[code] = parts == 1 and sum(ring) >= 2 and not all(ring[::2])
    return table


_GUO_HALL = _guo_hall_tables()
_REDUNDANT = _redundant_table()
# The bit of each neighbour in a 3 x 3 window, and what is left of a code without the pixel itself,
# seen from each of its neighbours.
_BITS = np.zeros((3, 3), np.float32)
for _bit, (_dx, _dy) in enumerate(RING):
    _BITS[1 + _dy, 1 + _dx] = 1 << _bit
_WITHOUT = [np.uint8(255 - (1 << (_bit + 4) % 8)) for _bit in range(8)]


def fill_narrow_holes(mask: np.ndarray, labels: np.ndarray, width: float) -> np.ndarray:
    """
    Fill the holes of a binary mask that are narrower than ``width``.

    Such a hole is the lumen of a thick catheter or a fault of the network; the inside of a loop
    is wider and stays. Where catheter and guidewire both lie around a hole it is the gap between
    two instruments and filled only if it is narrower than half of that.

    ``mask`` is (H, W) uint8 of 0 and 1, changed and returned; ``labels`` (H, W) uint8.
    """
    contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if tree is None:
        return mask
    narrow = []
    for index in np.flatnonzero(tree.reshape(-1, 4)[:, 3] >= 0):
        contour = contours[index].reshape(-1, 2)
        # The contour runs on the pixels around the hole, so a hole one pixel wide measures two.
        measured = 2.0 * cv2.contourArea(contour) / cv2.arcLength(contour, True) - 1.0
        if measured >= width:
            continue
        if measured >= 0.5 * width:
            around = labels[contour[:, 1], contour[:, 0]]
            ones, twos = (around == 1).sum(), (around == 2).sum()
            if min(ones, twos) > 0.15 * (ones + twos):
                continue
        narrow.append(contours[index])
    if narrow:
        cv2.drawContours(mask, narrow, -1, 1, cv2.FILLED)
    return mask


def cut_out_blobs(mask: np.ndarray, distance: np.ndarray,
                  width: float) -> tuple[np.ndarray, np.ndarray]:
    """
    Take out of a mask what is wider than ``width``: no instrument, but what it touches may be.

    ``mask`` (H, W) uint8 of 0 and 1 and ``distance`` (H, W) float32, its distance transform, are
    returned as they are where there is no such place.
    """
    core = (distance > 0.5 * width).view(np.uint8)
    if not core.any():
        return mask, distance
    # Large enough to take the corners of a block along.
    size = int(1.5 * width) + 3
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    mask = mask & (1 - cv2.dilate(core, disc))
    return mask, cv2.distanceTransform(mask, cv2.DIST_L2, 3)


def thin(mask: np.ndarray, max_iterations: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """
    Thin a binary mask to lines one pixel wide (Guo and Hall 1989), 8-connected.

    Parameters
    ----------
    mask
        (H, W) uint8 of 0 and 1.
    max_iterations
        Ends the work on blobs: lines up to twice this many pixels wide become lines.

    Returns
    -------
    flat, pixels
        ``flat`` is the skeleton in a frame one pixel wider on each side, raveled, uint8;
        ``pixels`` (N,) intp are the set indices in it.

    """
    stride = mask.shape[1] + 2
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    flat = framed.ravel()
    found = cv2.findNonZero(framed)
    if found is None:
        return flat, np.zeros(0, np.intp)
    found = found.reshape(-1, 2).astype(np.intp)
    pixels = found[:, 1] * stride + found[:, 0]
    ring = np.array([dy * stride + dx for dx, dy in RING], np.intp)
    # Neighbourhood codes, kept true from here on: who goes takes its bit out of its neighbours'.
    codes = cv2.filter2D(framed, -1, _BITS, borderType=cv2.BORDER_CONSTANT).ravel()

    def take_out(gone: np.ndarray) -> np.ndarray:
        """Clear pixels; return their neighbours, (N, 8)."""
        flat[gone] = 0
        around = gone[:, None] + ring
        for side, left in zip(around.T, _WITHOUT):  # of one side each pixel comes once
            codes[side] &= left
        return around

    # 1: set and not looked at yet, 2: in the front (a border pixel).
    last_seen = np.empty(flat.size, np.int32)
    front = pixels[codes[pixels] != 255]
    flat[front] = 2
    idle = 0
    for step in range(2 * max_iterations):
        doomed = _GUO_HALL[step % 2][codes[front]]
        gone = front[doomed]
        if gone.size == 0:
            idle += 1
            if idle == 2:
                break
            continue
        idle = 0
        bared = take_out(gone).ravel()
        bared = bared[flat[bared] == 1]
        order = np.arange(bared.size, dtype=np.int32)
        last_seen[bared] = order
        bared = bared[last_seen[bared] == order]
        flat[bared] = 2
        front = np.concatenate([front[~doomed], bared])
    pixels = pixels[flat[pixels] > 0]
    flat[pixels] = 1

    # Corner pixels that nothing needs would count as junctions. Pixels of one of four interleaved
    # grids are never neighbours, so those of one grid can go at once.
    rows, columns = np.divmod(pixels, stride)
    grid = 2 * (rows & 1) + (columns & 1)
    for number in range(4):
        here = pixels[grid == number]
        take_out(here[_REDUNDANT[codes[here]]])
    return flat, pixels[flat[pixels] > 0]
