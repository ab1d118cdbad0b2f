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
Tips where they are to be seen, not where the mask ends.

A mask goes on beyond a tip or stops short of it by some pixels, and where a wire comes out of a
catheter it changes from one to the other near the catheter's tip. The judge looks at each end once
more (``ends.views``) and says where the tip is.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from fedefm_ros import labels
from fedefm_ros.segmentation.centerline import resample
from fedefm_ros.segmentation.ends import views
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.instrument import length_in_mm
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.preprocess import Prepared
from fedefm_ros.segmentation.strips import directions_of

import numpy as np

# How sure the judge must be that a tip is near for it to be put there.
_SURE = 0.5
# A tip is at a line's other end where it is surer than the first of one there, and less sure than
# the second of one here.
_THERE, _NOT_HERE = 0.7, 0.3
# Pixels, in the network's, from a catheter within which a wire may come out of it: what is seen at
# its other end is the catheter's tip.
_OUT_OF = 24.0
# Pixels, likewise, from an end, and from the line as it goes on there, beyond which no tip is told
# from the view of it; one farther aside is rather another instrument's.
_FARTHEST, _ASIDE = 32.0, 8.0
# Pixels, likewise, between tips of one kind that are the same one.
_SAME = 3.0
# Pixels of a line, likewise, that bend to the tip.
_BENT = 4.0


@dataclass(frozen=True)
class Seen:
    """What a mask was made from, in the network's pixels, and who sees tips in it."""

    prepared: Prepared
    probability: np.ndarray
    """(S, S) uint8 of any instrument."""
    judge: Judge


@dataclass(frozen=True)
class _Found:
    """A tip that the judge sees, in the network's pixels."""

    of: Instrument
    tip: np.ndarray
    line: np.ndarray
    """That ends there."""
    moved: float
    """How far from the end of the mask."""


def with_seen_tips(instruments: Sequence[Instrument], seen: Seen, spacing: float,
                   is_edge: Callable[[np.ndarray], bool],
                   spacing_mm: tuple[float, float] | None = None) -> tuple[Instrument, ...]:
    """
    Return instruments with their visible tips where the judge sees them.

    At the end where they are, or the other one. Where none is seen, a tip stays, and where two
    instruments of one kind would get the same, that which is farther from it keeps its own.

    :param instruments: in pixels of the image.
    :param spacing: distance between centreline points, in pixels of the image.
    :param is_edge: tells of a point, (2,) pixels of the image, whether an instrument that ends
        there leaves the image or the field: no tip is there.
    :param spacing_mm: pixel pitch at the patient (row, column) in millimetres.
    :raises FedefmError: the judge cannot look.
    """
    shown = [instrument for instrument in instruments if instrument.tip_visible]
    if not shown:
        return tuple(instruments)
    box = seen.prepared.box
    # Pixels' middles lie at whole numbers in both.
    scale = np.array([box.inner_width / box.width, box.inner_height / box.height])

    def small(instrument: Instrument) -> np.ndarray:
        return (instrument.centerline + 0.5) * scale - 0.5

    def large(points: np.ndarray) -> np.ndarray:
        return (points + 0.5) / scale - 0.5

    catheters = [small(one) for one in instruments if one.kind == labels.CATHETER]
    inner = np.s_[:box.inner_height, :box.inner_width]
    prepared = replace(seen.prepared, image=seen.prepared.image[inner])
    lines = [small(instrument) for instrument in shown]
    ends = [list(zip((line[0], line[-1]), directions_of(line))) for line in lines]
    said = seen.judge.tips(
        views(prepared, seen.probability[inner], sum(ends, []))).reshape(-1, 2, 3)
    found = []
    for instrument, line, both, told in zip(shown, lines, ends, said):
        end = 1
        may_be_turned = not is_edge(instrument.centerline[0]) and (
            instrument.kind == labels.CATHETER or not _is_near(line[0], catheters))
        if may_be_turned and told[0, 0] > _THERE and told[1, 0] < _NOT_HERE:
            end, line = 0, line[::-1]
        (_, ahead), (sure, along, aside) = both[end], told[end]
        if sure <= _SURE or np.hypot(along, aside) > _FARTHEST or abs(aside) > _ASIDE:
            continue
        tip = line[-1] + along * ahead + aside * np.array([-ahead[1], ahead[0]])
        led = _led_to(tip, line, along)
        if led is not None and not is_edge(large(tip)):
            found.append(_Found(instrument, tip, led, float(np.hypot(along, aside))))
    moved = {id(one.of): _with(one.of, large(one.line), spacing, spacing_mm) for one in found
             if not any(_is_nearer(other, one) for other in found)}
    return tuple(moved.get(id(instrument), instrument) for instrument in instruments)


def _is_nearer(one: _Found, other: _Found) -> bool:
    """Return whether the first instrument has a better right to the tip of both."""
    return one is not other and one.of.kind == other.of.kind and one.moved < other.moved \
        and bool(np.hypot(*(one.tip - other.tip)) <= _SAME)


def _is_near(point: np.ndarray, lines: Sequence[np.ndarray]) -> bool:
    return any(np.hypot(*(line - point).T).min() <= _OUT_OF for line in lines)


def _led_to(tip: np.ndarray, line: np.ndarray, along: float) -> np.ndarray | None:
    """
    Return a line that ends at a tip which lies so far beyond its last point (or before it).

    None where less than half of it would be left.
    """
    distance = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    left = distance[-1] - max(-along, 0.0) - _BENT
    if left < 0.5 * distance[-1]:
        return None
    kept = distance < left
    last = [np.interp(left, distance, line[:, axis]) for axis in (0, 1)]
    return np.concatenate([line[kept], [last, tip]])


def _with(instrument: Instrument, line: np.ndarray, spacing: float,
          spacing_mm: tuple[float, float] | None) -> Instrument:
    line = resample(line, spacing)
    return replace(instrument, centerline=line, length_mm=length_in_mm(line, spacing_mm))
