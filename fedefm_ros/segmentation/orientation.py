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
Which end of a line is the tip.

In this order:

1. An end at the edge of the image, or of the collimated field, is the entry. Where both ends are
   there, the tip is not visible; the entry is then the end that was the entry in the last frame,
   else the lower one in the image (instruments mostly come from the groin, which C-arms show at
   the bottom), else the left one.
2. The end of a guidewire at a catheter is the entry.
3. The end nearer to the last frame's tip of the same kind is the tip.
4. An end that faces the tip of an instrument already turned goes on from there: the entry.
5. The end of a guidewire that is clearly nearer to a catheter's tip is the entry: what lies in
   between is too faint to see.
6. The end nearer to the edge is the entry: instruments come from outside.

A ring has no end and no visible tip.
"""

from fedefm_ros import labels
from fedefm_ros.segmentation.centerline import Line
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.stretches import Stretch

import numpy as np

# How far from a catheter a guidewire may begin, in units of the border width.
_ATTACHED = 4.0


def orient(stretches: list[Stretch], shape: tuple[int, int], border: float,
           field_of_view: np.ndarray | None,
           previous: tuple[Instrument, ...]) -> list[tuple[Stretch, bool]]:
    """
    Turn each stretch so that it runs from entry to tip.

    ``shape`` is the image's (H, W), ``border`` in pixels how close to the edge an end is at it.
    Returns each stretch with whether its tip is visible.
    """
    done: list[tuple[Stretch, bool]] = []
    open_ones = []
    # Catheters first: guidewires start at them.
    for stretch in sorted(stretches, key=lambda item: item.kind):
        if stretch.closed:
            done.append((stretch, False))
            continue
        entries = [at_edge(stretch.line.points[end], shape, border, field_of_view)
                   for end in (0, -1)]
        if all(entries):
            last = _last_tip(stretch, previous)
            if last is None:
                first, second = stretch.line.points[0], stretch.line.points[-1]
                last = int(second[1] < first[1] - border
                           or (abs(second[1] - first[1]) <= border and second[0] >= first[0]))
            done.append((_turned(stretch, last), False))
        elif any(entries):
            done.append((_turned(stretch, int(entries[0])), True))
        else:
            open_ones.append(stretch)
    catheters = [stretch.line.points for stretch in stretches if stretch.kind == labels.CATHETER]
    for stretch in open_ones:
        tip = _tip_from_catheter(stretch, catheters, border)
        if tip is None:
            tip = _last_tip(stretch, previous)
        if tip is None:
            tip = _tip_from_fragment(stretch, [item.line for item, _ in done], 20.0 * border)
        if tip is None and stretch.kind == labels.GUIDEWIRE:
            tip = _tip_away_from(_long_catheter_tips(done), stretch)
        if tip is None:
            gaps = [_edge_distance(stretch.line.points[end], shape) for end in (0, -1)]
            tip = int(gaps[1] >= gaps[0])
        done.append((_turned(stretch, tip), True))
    return done


def _turned(stretch: Stretch, tip: int) -> Stretch:
    """Return the stretch with end ``tip`` (0 or 1) last."""
    if tip == 1:
        return stretch
    line = stretch.line
    return Stretch(stretch.kind, Line(line.points[::-1], line.normals[::-1], line.widths[::-1],
                                      line.plain[::-1]))


def _edge_distance(point: np.ndarray, shape: tuple[int, int]) -> float:
    """Return how far a point is from the nearest edge of the image in pixels."""
    height, width = shape
    x, y = point
    return float(min(x + 0.5, y + 0.5, width - 0.5 - x, height - 0.5 - y))


def at_edge(point: np.ndarray, shape: tuple[int, int], border: float,
            field_of_view: np.ndarray | None) -> bool:
    """Return whether a point, (2,), is so close to the edge of the image, or of the field."""
    if _edge_distance(point, shape) <= border + 0.5:
        return True
    if field_of_view is None:
        return False
    x, y = np.rint(point).astype(int)
    reach = int(np.ceil(border))
    around = field_of_view[max(0, y - reach):y + reach + 1, max(0, x - reach):x + reach + 1]
    return not around.all()


def _last_tip(stretch: Stretch, previous: tuple[Instrument, ...]) -> int | None:
    """Return which end is clearly nearer to the last frame's tip (and entry) of the same kind."""
    ends = stretch.line.points[[0, -1]]
    best = None
    for instrument in previous:
        if instrument.kind != stretch.kind:
            continue
        entry, tip = instrument.centerline[0], instrument.centerline[-1]
        straight = np.linalg.norm(ends[0] - entry) + np.linalg.norm(ends[1] - tip)
        turned = np.linalg.norm(ends[1] - entry) + np.linalg.norm(ends[0] - tip)
        if best is None or min(straight, turned) < best[0]:
            best = (min(straight, turned), int(straight <= turned))
    length = float(np.linalg.norm(np.diff(stretch.line.points, axis=0), axis=1).sum())
    if best is None or best[0] > 0.5 * length + 20.0:
        return None
    return best[1]


def _tip_from_catheter(stretch: Stretch, catheters: list[np.ndarray],
                       border: float) -> int | None:
    """Return the free end of a guidewire that begins at a catheter."""
    if stretch.attached >= 0 and stretch.kind == labels.GUIDEWIRE:
        return 1 - stretch.attached
    if stretch.kind != labels.GUIDEWIRE or not catheters:
        return None
    ends = stretch.line.points[[0, -1]]
    near = [min(float(np.linalg.norm(points - end, axis=1).min()) for points in catheters)
            for end in ends]
    if min(near) > _ATTACHED * border or abs(near[0] - near[1]) < border:
        return None
    return int(near[0] < near[1])


def _tip_from_fragment(stretch: Stretch, others: list[Line], reach: float) -> int | None:
    """Return the far end of a piece that goes on from another one's tip."""
    points = stretch.line.points
    best = None
    for other in others:
        tip = other.points[-1]
        heading = tip - other.points[-min(len(other.points), 12)]
        for end in (0, -1):
            step = points[end] - tip
            distance = float(np.linalg.norm(step))
            if distance > reach or float(step @ heading) <= 0.7 * distance * float(
                    np.linalg.norm(heading)):
                continue
            if best is None or distance < best[0]:
                best = (distance, 1 if end == 0 else 0)
    return None if best is None else best[1]


def _long_catheter_tips(done: list[tuple[Stretch, bool]]) -> list[np.ndarray]:
    """Return the tips that wires may come out of; short pieces of catheter are doubtful."""
    seen = [item.line.points for item, visible in done
            if visible and item.kind == labels.CATHETER]
    longest = max((len(points) for points in seen), default=0)
    return [points[-1] for points in seen if 2 * len(points) >= longest]


def _tip_away_from(tips: list[np.ndarray], stretch: Stretch) -> int | None:
    """
    Return the end that is clearly farther from the nearest of the catheters' tips.

    Clearly: by half of the distance between the ends, so that the piece leads away rather than
    past.
    """
    if not tips:
        return None
    ends = stretch.line.points[[0, -1]]
    near = np.linalg.norm(np.array(tips)[:, None] - ends, axis=2).min(axis=0)
    if abs(near[1] - near[0]) < 0.5 * float(np.linalg.norm(ends[1] - ends[0])):
        return None
    return int(near[1] > near[0])
