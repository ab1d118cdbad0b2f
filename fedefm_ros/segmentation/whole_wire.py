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

"""What belongs to a wire by its width, where the labels of a line say otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.centerline import Fields
from fedefm_ros.segmentation.centerline import Line

import numpy as np

Part = tuple[int, int, int]
"""Start, stop and kind of a stretch of a line."""

# A guidewire is narrower than this share of its catheter's width.
WIRE_SHARE = 0.75
# Fewer pixels than this along a line prove no change of kind.
_ENOUGH = 15.0
# A catheter no wider than its wire and shorter than this share of it is taken for a part of it.
_LITTLE = 0.33
# The second catheter on a wire's line is none where it has this share of the first one's width.
_NO_CATHETER = 0.9
# So far from a catheter's end a wire's line may begin that came out of it; and how much of a line
# tells what its end is.
_NEAR = 12.0
_END = 24


@dataclass(frozen=True)
class CatheterEnd:
    """Where a line that is called a catheter ends."""

    point: np.ndarray
    """(2,) x, y in the pixels of the line."""
    width: float
    """Of the line's last pixels."""


def catheter_ends(line: Line, fields: Fields) -> list[CatheterEnd]:
    """Return the ends of a line that are called a catheter."""
    found = []
    for last in (slice(None, _END), slice(-_END, None)):
        widths = line.widths[last]
        section = fields.across(fields.labels, line.points[last], line.normals[last],
                                np.zeros(1), cv2.INTER_NEAREST)
        if 2 * np.count_nonzero(section == labels.CATHETER) > len(widths):
            found.append(CatheterEnd(line.points[0 if last.start is None else -1],
                                     float(np.median(widths))))
    return found


def whole_wire(parts: list[Part], line: Line,
               others: Sequence[CatheterEnd]) -> list[Part]:
    """
    Give the wire what is called a catheter beside it but is no wider than the wire.

    On a line that shows, or comes out of, a wider catheter, all beyond that is a wire to its tip.
    A network's labels can be wrong for a hundred pixels on end, and the wire would end where they
    change, or run backwards from there. A microcatheter is wider than its wire and stays. Where no
    wider one shows, the labels decide, unless there is little of what they call a catheter.
    """
    widths = line.widths
    wire = [widths[start:stop] for start, stop, kind in parts if kind == labels.GUIDEWIRE]
    if not wire or len(parts) < 2:
        return parts
    limit = float(np.median(np.concatenate(wire))) / WIRE_SHARE
    says = np.where(widths > limit, 1, np.where(widths > 0, -1, 0))
    kinds = np.concatenate([np.full(stop - start, kind) for start, stop, kind in parts])
    narrow = kinds.copy()
    for place, (start, stop, kind) in enumerate(parts):
        if kind != labels.CATHETER:
            continue
        # Seen from the end that is away from the wire: wide first, then narrow.
        way = slice(start, stop) if place == 0 else slice(stop - 1, start - 1, -1)
        keep = int(np.argmax(np.concatenate([[0], np.cumsum(says[way])])))
        if stop - start - keep >= _ENOUGH:
            kinds[way][keep:] = labels.GUIDEWIRE
        if keep == 0 and stop - start < _LITTLE * sum(map(len, wire)):
            narrow[way] = labels.GUIDEWIRE
    if len(parts) == 3 and kinds[0] == kinds[-1] == labels.CATHETER:
        # No wire leads from one catheter into another. Masks of what is called a catheter come
        # out wider than a wire, but hardly as wide as the catheter that the wire came out of.
        sizes = [np.median(widths[start:stop]) for start, stop, _ in (parts[0], parts[2])]
        if min(sizes) <= _NO_CATHETER * max(sizes):
            start, stop, _ = parts[0 if sizes[0] < sizes[1] else 2]
            kinds[start:stop] = labels.GUIDEWIRE
    own = line.points[[0, -1]]
    left_another = any(end.width > limit and np.hypot(*(own - end.point).T).min() < _NEAR
                       for end in others)
    if np.count_nonzero(kinds == labels.CATHETER) < _ENOUGH and not left_another:
        kinds = narrow
    edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(kinds)]
    return [(start, stop, int(kinds[start])) for start, stop in zip(edges, edges[1:])]
