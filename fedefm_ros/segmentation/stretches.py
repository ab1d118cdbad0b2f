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

from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.centerline import Fields
from fedefm_ros.segmentation.centerline import Line
from fedefm_ros.segmentation.whole_wire import CatheterEnd
from fedefm_ros.segmentation.whole_wire import whole_wire
from fedefm_ros.segmentation.whole_wire import WIRE_SHARE

import numpy as np

# A change of kind must explain this many pixels along the line where the width changes with it ...
_CHANGE = 4.0
# ... and this many where it does not: labels also flip.
_CHANGE_OF_LABEL_ALONE = 15.0
# A second change on the same line is rare.
_SECOND_CHANGE = 30.0
# What the width of a pixel's cross-section weighs beside its label.
_WIDTH_SAYS = 0.8
# What shows of a wire inside a lumen may be interrupted for this long, and must be this long.
_LUMEN_GAP = 16
_LUMEN_LENGTH = 20


@dataclass
class Stretch:
    """A part of a line that is one instrument."""

    kind: int
    line: Line
    attached: int = -1
    """0 or 1: the first or the last point lies where it leaves a catheter; -1: neither."""
    closed: bool = False
    """True for a ring, which has neither entry nor tip."""


def split_by_label(line: Line, fields: Fields, min_length: float, closed: bool = False,
                   others: Sequence[CatheterEnd] = ()) -> list[Stretch]:
    """
    Cut a line where a guidewire leaves a catheter.

    Labels flip here and there along an instrument; the cut is where two whole stretches explain
    the labels best. A guidewire that shows inside its catheter's lumen (label 2 between label 1
    on both sides) is a stretch of its own on top of the catheter's.

    ``min_length`` is in the pixels of the line; what is shorter is left out. ``others`` are ends
    of other lines, which this one may come out of.
    """
    catheter_cost, wire_cost, inside = _costs(line, fields)
    runs = _runs(inside)
    parts = _cut(catheter_cost, wire_cost, line.widths)
    if parts == [(0, len(line.widths), labels.CATHETER)]:
        # As likely as a wire in the middle that is called a catheter up to its tip.
        within = whole_wire(_wire_within(catheter_cost - wire_cost), line, others)
        parts = within if len(within) < 3 else parts
    else:
        parts = whole_wire(parts, line, others)
    result = []
    for position, (start, stop, kind) in enumerate(parts):
        attached = -1
        needed = min_length
        if kind == labels.GUIDEWIRE and len(parts) > 1:
            attached = 0 if position > 0 else 1
            needed = _CHANGE
            start, stop = _into_lumen(runs, start, stop)
        if stop - start >= max(2.0, needed) and _supported(line, start, stop):
            result.append(Stretch(kind, _part(line, start, stop), attached,
                                  closed and len(parts) == 1))
    if all(kind == labels.CATHETER for _, _, kind in parts):
        # The wire's tip is still in the lumen, or the wire left it unseen.
        result += [Stretch(labels.GUIDEWIRE, _part(line, start, stop)) for start, stop in runs]
    return result


def _supported(line: Line, start: int, stop: int) -> bool:
    """Return whether a stretch is mostly mask, not bridges from speck to speck."""
    return 2 * np.count_nonzero(line.widths[start:stop]) > stop - start


def _part(line: Line, start: int, stop: int) -> Line:
    part = slice(start, stop)
    return Line(line.points[part], line.normals[part], line.widths[part], line.plain[part])


def _costs(line: Line, fields: Fields) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (N,) what each pixel of a line says against catheter, against wire; wire inside."""
    reach = int(np.ceil(0.5 * float(np.sort(line.widths)[int(0.9 * len(line.widths))]) + 1.0))
    offsets = np.arange(-reach, reach + 1, dtype=np.float64)
    section = fields.across(fields.labels, line.points, line.normals, offsets, cv2.INTER_NEAREST)
    away = np.abs(offsets) / np.maximum(0.5 * line.widths, 0.5)[:, None]
    within = away <= 1.0
    catheter = (section == labels.CATHETER) & within
    wire = (section == labels.GUIDEWIRE) & within
    total = np.maximum((catheter | wire).sum(axis=1), 1)
    said = (catheter | wire).any(axis=1)
    wires = wire.sum(axis=1) / total
    outer = catheter & (away > 0.4)
    inside = said & (line.widths >= 5.0) & (wire & (away <= 0.5)).any(axis=1) \
        & outer[:, :reach].any(axis=1) & outer[:, reach + 1:].any(axis=1)
    # In a crossing the other instrument speaks: it only decides what nothing else does.
    weight = np.where(line.plain, 1.0, 0.02)
    catheter_cost = weight * np.where(said & ~inside, wires, 0.0)
    wire_cost = weight * np.where(said, np.where(inside, 1.0, 1.0 - wires), 0.0)
    return catheter_cost, wire_cost, inside & line.plain


def _cut(catheter_cost: np.ndarray, wire_cost: np.ndarray, widths: np.ndarray,
         first: bool = True) -> list[tuple[int, int, int]]:
    """Return (start, stop, kind) of the stretches, at most one change, a second if it is clear."""
    count = len(catheter_cost)
    as_catheter = np.concatenate([[0.0], np.cumsum(catheter_cost)])
    as_wire = np.concatenate([[0.0], np.cumsum(wire_cost)])
    whole = min(as_catheter[-1], as_wire[-1])
    kind = labels.CATHETER if as_catheter[-1] <= as_wire[-1] else labels.GUIDEWIRE
    leaving = as_catheter + as_wire[-1] - as_wire
    entering = as_wire + as_catheter[-1] - as_catheter
    cost, before, after = min(((leaving, labels.CATHETER, labels.GUIDEWIRE),
                               (entering, labels.GUIDEWIRE, labels.CATHETER)),
                              key=lambda item: item[0].min())
    # Between the two lies what says nothing (a gap): the wire has it, the catheter ends before.
    lowest = np.flatnonzero(cost <= cost.min() + 1e-9)
    where = int(lowest[0] if before == labels.CATHETER else lowest[-1])
    gain = whole - cost[where]
    if gain < (_CHANGE if first else _SECOND_CHANGE):
        return [(0, count, kind)]
    sizes = {before: np.median(widths[:where]), after: np.median(widths[where:])}
    thinner = sizes[labels.GUIDEWIRE] <= WIRE_SHARE * sizes[labels.CATHETER]
    if thinner:
        where = _where_it_narrows(catheter_cost, wire_cost, widths, before,
                                  0.5 * (sizes[labels.CATHETER] + sizes[labels.GUIDEWIRE]))
    elif gain < _CHANGE_OF_LABEL_ALONE:
        return [(0, count, kind)]
    result = []
    for start, stop, part_kind in ((0, where, before), (where, count, after)):
        part = slice(start, stop)
        parts = _cut(catheter_cost[part], wire_cost[part], widths[part], False) \
            if first else [(0, stop - start, part_kind)]
        result += [(start + a, start + b, k) for a, b, k in parts]
    return result


def _wire_within(says_wire: np.ndarray) -> list[tuple[int, int, int]]:
    """Return (start, stop, kind) with the wire where it explains most, if that is enough."""
    total = np.concatenate([[0.0], np.cumsum(says_wire)])
    gains = total - np.minimum.accumulate(total)
    stop = int(np.argmax(gains))
    start = int(np.argmin(total[:stop + 1]))
    parts = [(0, start, labels.CATHETER), (start, stop, labels.GUIDEWIRE),
             (stop, len(says_wire), labels.CATHETER)]
    return [part for part in parts if part[0] < part[1]] if gains[stop] >= _SECOND_CHANGE \
        else [(0, len(says_wire), labels.CATHETER)]


def _where_it_narrows(catheter_cost: np.ndarray, wire_cost: np.ndarray, widths: np.ndarray,
                      before: int, middle: float) -> int:
    """Return where labels and width together change best; ``middle`` parts the two widths."""
    wide = widths > middle
    as_catheter = catheter_cost + _WIDTH_SAYS * (~wide & (widths > 0))
    as_wire = wire_cost + _WIDTH_SAYS * wide
    first, second = (as_catheter, as_wire) if before == labels.CATHETER else (as_wire, as_catheter)
    cost = np.concatenate([[0.0], np.cumsum(first - second)])
    lowest = np.flatnonzero(cost <= cost.min() + 1e-9)
    # Between the two lies what says nothing (a gap): the wire has it, the catheter ends before.
    return int(lowest[0] if before == labels.CATHETER else lowest[-1])


def _runs(inside: np.ndarray) -> list[tuple[int, int]]:
    """Return (start, stop) of where a wire shows inside a lumen."""
    where = np.flatnonzero(inside)
    if where.size < _LUMEN_LENGTH:
        return []
    breaks = np.flatnonzero(np.diff(where) > _LUMEN_GAP) + 1
    groups = np.split(where, breaks)
    # A patch of flipped labels is short; in a run most pixels agree.
    return [(int(group[0]), int(group[-1]) + 1) for group in groups
            if group.size >= max(_LUMEN_LENGTH, 0.4 * (group[-1] - group[0]))]


def _into_lumen(runs: list[tuple[int, int]], start: int, stop: int) -> tuple[int, int]:
    """Lengthen a wire's stretch over the run inside the catheter beside it."""
    for first, last in runs:
        if first < start <= last + _LUMEN_GAP and last < stop:
            return first, stop
        if first - _LUMEN_GAP <= stop < last and first > start:
            return start, last
    return start, stop
