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

"""Which stretch of a line is catheter and which is guidewire."""

from dataclasses import dataclass

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.centerline import cross_sections
from fedefm_ros.segmentation.centerline import Line

import numpy as np

# A change of kind must explain this many pixels along the line.
_CHANGE = 4.0
# A second change on the same line is rare and must explain much more.
_SECOND_CHANGE = 30.0


@dataclass
class Stretch:
    """A part of a line that is one instrument."""

    kind: int
    line: Line
    attached: int = -1
    """0 or 1: the first or the last point lies where it leaves a catheter; -1: neither."""


def split_by_label(line: Line, mask: np.ndarray, min_length: float) -> list[Stretch]:
    """
    Cut a line where a guidewire leaves a catheter.

    Labels flip here and there along an instrument; the cut is where two whole stretches explain
    the labels best. A guidewire that shows inside its catheter's lumen (label 2 between label 1
    on both sides) is a stretch of its own on top of the catheter's.

    ``mask`` (H, W) uint8 is the label mask in the line's coordinates; ``min_length`` in pixels.
    """
    catheter_cost, wire_cost, inside = _costs(line, mask)
    stretches = []
    for start, stop, kind in _cut(catheter_cost, wire_cost):
        stretches.append((kind, start, stop))
    result = []
    for position, (kind, start, stop) in enumerate(stretches):
        attached = -1
        if kind == labels.GUIDEWIRE:
            if position > 0:
                attached = 0
            elif position + 1 < len(stretches):
                attached = 1
            start, stop = _into_lumen(inside, start, stop)
        elif inside[start:stop].sum() >= min_length and len(stretches) == 1:
            run = np.flatnonzero(_closed(inside[start:stop], 12))
            if run.size >= min_length:
                result.append(Stretch(labels.GUIDEWIRE,
                                      _part(line, start + run[0], start + run[-1] + 1)))
        if stop - start >= max(2.0, min_length):
            result.append(Stretch(kind, _part(line, start, stop), attached))
    return result


def _part(line: Line, start: int, stop: int) -> Line:
    part = slice(start, stop)
    return Line(line.points[part], line.normals[part], line.widths[part], line.plain[part])


def _costs(line: Line, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (N,) what each pixel of a line says against catheter, against wire; wire inside."""
    reach = int(np.ceil(0.5 * float(np.percentile(line.widths, 90)) + 1.0))
    offsets = np.arange(-reach, reach + 1, dtype=np.float64)
    section = cross_sections(mask, line.points, line.normals, offsets, cv2.INTER_NEAREST)
    away = np.abs(offsets) / np.maximum(0.5 * line.widths, 0.5)[:, None]
    within = away <= 1.0
    catheter = (section == labels.CATHETER) & within
    wire = (section == labels.GUIDEWIRE) & within
    total = np.maximum((catheter | wire).sum(axis=1), 1)
    said = (catheter | wire).any(axis=1) & line.plain
    wires = wire.sum(axis=1) / total
    flank = away > 0.6
    inside = said & (line.widths >= 5.0) & wire[:, reach] \
        & ((catheter & flank).sum(axis=1) > (wire & flank).sum(axis=1))
    catheter_cost = np.where(said & ~inside, wires, 0.0)
    wire_cost = np.where(said, np.where(inside, 1.0, 1.0 - wires), 0.0)
    return catheter_cost, wire_cost, inside


def _cut(catheter_cost: np.ndarray, wire_cost: np.ndarray,
         threshold: float = _CHANGE) -> list[tuple[int, int, int]]:
    """Return (start, stop, kind) of the stretches, at most one change, a second if it is clear."""
    count = len(catheter_cost)
    as_catheter = np.concatenate([[0.0], np.cumsum(catheter_cost)])
    as_wire = np.concatenate([[0.0], np.cumsum(wire_cost)])
    plain = min(as_catheter[-1], as_wire[-1])
    kind = labels.CATHETER if as_catheter[-1] <= as_wire[-1] else labels.GUIDEWIRE
    leaving = as_catheter + as_wire[-1] - as_wire
    entering = as_wire + as_catheter[-1] - as_catheter
    costs = min(((leaving, labels.CATHETER, labels.GUIDEWIRE),
                 (entering, labels.GUIDEWIRE, labels.CATHETER)), key=lambda item: item[0].min())
    where = int(costs[0].argmin())
    if plain - costs[0][where] < threshold:
        return [(0, count, kind)]
    result = []
    for start, stop, part_kind in ((0, where, costs[1]), (where, count, costs[2])):
        parts = _cut(catheter_cost[start:stop], wire_cost[start:stop], _SECOND_CHANGE) \
            if threshold < _SECOND_CHANGE else [(0, stop - start, part_kind)]
        result += [(start + a, start + b, k) for a, b, k in parts]
    return result


def _closed(flags: np.ndarray, gap: int) -> np.ndarray:
    """Return the longest run of flags after gaps of up to ``gap`` were closed."""
    where = np.flatnonzero(flags)
    result = np.zeros_like(flags)
    if where.size:
        breaks = np.flatnonzero(np.diff(where) > gap)
        starts = where[np.concatenate([[0], breaks + 1])]
        stops = where[np.concatenate([breaks, [where.size - 1]])]
        longest = int(np.argmax(stops - starts))
        result[starts[longest]:stops[longest] + 1] = True
    return result


def _into_lumen(inside: np.ndarray, start: int, stop: int, gap: int = 12) -> tuple[int, int]:
    """Lengthen a wire's stretch over what shows of it inside the catheter beside it."""
    while start > 0 and inside[max(0, start - gap):start].any():
        start = max(0, start - gap) + int(inside[max(0, start - gap):start].argmax())
    while stop < len(inside) and inside[stop:stop + gap].any():
        stop += len(inside[stop:stop + gap]) - int(inside[stop:stop + gap][::-1].argmax())
    return start, stop
