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
Instrument geometry: from a label mask to ordered sub-pixel centrelines.

The foreground is thinned to a graph, the graph traced to paths that go straight through crossings
and over short gaps, each path cut where a guidewire leaves a catheter, and each piece centred,
smoothed and turned so that it runs from where the instrument enters to its tip.
"""

from dataclasses import dataclass
from dataclasses import field

import cv2

from fedefm_ros import labels
from fedefm_ros.segmentation.centerline import Fields
from fedefm_ros.segmentation.centerline import Line
from fedefm_ros.segmentation.centerline import refine
from fedefm_ros.segmentation.centerline import resample
from fedefm_ros.segmentation.graph import build_graph
from fedefm_ros.segmentation.graph import prune
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.instrument import length_in_mm
from fedefm_ros.segmentation.orientation import orient
from fedefm_ros.segmentation.skeleton import cut_out_blobs
from fedefm_ros.segmentation.skeleton import fill_narrow_holes
from fedefm_ros.segmentation.stretches import split_by_label
from fedefm_ros.segmentation.stretches import Stretch
from fedefm_ros.segmentation.tracing import trace
from fedefm_ros.segmentation.tracing import TracingParameters
from fedefm_ros.segmentation.whole_wire import catheter_ends

import numpy as np


#: Pixels, of an image of about 512 x 512, by which the masks of the shipped network go on beyond
#: a visible tip; models/realtime.md has what was measured.
OVERSHOOT = 0.5

# Paths are traced on a grid of about this size, a whole number of times smaller than the image.
_TRACING_SIZE = 512
# Instruments make tens of branches: from the first number on, loose pixels are left out, from the
# second on the mask is noise. The work grows with the square of their number.
_MANY_BRANCHES = 40
_MAX_BRANCHES = 300


@dataclass(frozen=True)
class GeometryParameters:
    """
    What counts as an instrument. Lengths are in pixels of an image of about 512 x 512.

    In one of about 1024 x 1024 each stands for twice as many, and so on.
    """

    spacing: float = 2.0
    """Distance between centreline points, in pixels of the image, of whatever size."""
    min_length: float = 12.0
    """Shorter instruments are left out."""
    max_width: float = 32.0
    """What is wider is no instrument and cut out."""
    spur: float = 3.0
    """Side branches that stand out less than this are the edge's raggedness."""
    lumen: float = 5.0
    """Holes narrower than this are filled."""
    border: float = 3.0
    """An end this close to the edge of the image (or of the field) enters or leaves there."""
    tracing: TracingParameters = field(default_factory=TracingParameters)
    max_foreground: float = 0.25
    """A larger share of foreground pixels is no instrument but a failed segmentation."""
    max_skeleton: float = 12.0
    """Longest skeleton, in units of the longer side of the image; more is noise."""


@dataclass(frozen=True)
class Geometry:
    """The instruments of a mask, or why there are none."""

    instruments: tuple[Instrument, ...] = ()
    refused: str = ''
    """Empty, or in words why the mask cannot be one of instruments."""


def extract_instruments(mask: np.ndarray, probability: np.ndarray | None = None, *,
                        spacing_mm: tuple[float, float] | None = None,
                        parameters: GeometryParameters = GeometryParameters(),
                        field_of_view: np.ndarray | None = None,
                        previous: tuple[Instrument, ...] = ()) -> tuple[Instrument, ...]:
    """Return the instruments of a mask, the leading one first; see ``analyse``."""
    return analyse(mask, probability, spacing_mm=spacing_mm, parameters=parameters,
                   field_of_view=field_of_view, previous=previous).instruments


def analyse(mask: np.ndarray, probability: np.ndarray | None = None, *,
            spacing_mm: tuple[float, float] | None = None,
            parameters: GeometryParameters = GeometryParameters(),
            field_of_view: np.ndarray | None = None,
            previous: tuple[Instrument, ...] = (), overshoot: float = 0.0,
            quick: bool = False) -> Geometry:
    """
    Find the instruments of a mask.

    :param mask: (H, W) uint8 of ``labels`` values.
    :param probability: foreground probability, uint8 0 to 255, (H, W) or a smaller map of the
        same image; without it each instrument has confidence 1.
    :param spacing_mm: pixel pitch at the patient between rows (y) and between columns (x), in
        millimetres.
    :param parameters: what counts as an instrument.
    :param field_of_view: (H, W) bool, True inside the collimated field; its edge is an entry like
        the image's.
    :param previous: the instruments of the last frame; they decide which end is the tip where the
        mask alone does not.
    :param overshoot: pixels by which the mask goes on beyond a visible tip, see ``OVERSHOOT``.
    :param quick: two thirds of the time, ends within 3 pixels; for a look at the lines only.
    :returns: the instruments, the leading one first, or the reason why the mask was refused.
    """
    box, binary, refused = _prepare(mask, parameters)
    if binary is None:
        return Geometry(refused=refused)
    fields = _fields(mask, probability, binary, box, parameters)
    pooled, values = _pooled(fields)
    distance = cv2.distanceTransform(pooled, cv2.DIST_L2, 3)
    pooled, distance = cut_out_blobs(pooled, distance, parameters.max_width)
    limit = int(parameters.max_skeleton * max(mask.shape) / fields.factor)
    graph = build_graph(pooled, distance, limit)
    if graph is None:
        return Geometry(refused=f'a skeleton of more than {limit} pixels is noise')
    if len(graph.branches) > _MANY_BRANCHES:
        graph.branches = [branch for branch in graph.branches
                          if max(branch.nodes) >= 0 or len(branch.points) >= parameters.spur]
    if len(graph.branches) > _MAX_BRANCHES:
        return Geometry(refused=f'{len(graph.branches)} lines are noise, not instruments')
    prune(graph, parameters.spur)
    lines: list[tuple[Line, bool]] = []
    for path in trace(graph, values, distance, parameters.tracing):
        columns, rows = path.points.astype(np.intp).T
        line = refine(path, distance[rows, columns], fields, quick)
        if line is not None:
            lines.append((line, path.closed))
    ends = [catheter_ends(line, fields) for line, _ in lines]
    stretches: list[Stretch] = []
    for number, (line, closed) in enumerate(lines):
        others = [end for place, found in enumerate(ends) if place != number for end in found]
        stretches += split_by_label(line, fields, parameters.min_length, closed, others)
    for stretch in stretches:
        stretch.line = _in_image(stretch.line, fields.factor, box)
    border = border_of(parameters, mask.shape)
    overshoot *= fields.factor
    found = [_instrument(stretch, overshoot if tip_visible else 0.0, tip_visible, probability,
                         mask.shape, spacing_mm, parameters)
             for stretch, tip_visible in orient(stretches, mask.shape, border, field_of_view,
                                                previous)]
    return Geometry(tuple(sorted(found, key=_rank)))


def border_of(parameters: GeometryParameters, shape: tuple[int, int]) -> float:
    """Return how close, in pixels of an image (H, W), an end is at the edge."""
    return parameters.border * _factor_of(shape)


def _factor_of(shape: tuple[int, int]) -> int:
    """Return how many pixels of an image a cell of the tracing grid is wide."""
    return max(1, round(max(shape) / _TRACING_SIZE))


def _prepare(mask: np.ndarray, parameters: GeometryParameters):
    """Return the box (x, y, width, height) of the foreground, and it as 0 and 1, or why not."""
    binary = (mask > 0).view(np.uint8)
    foreground = cv2.countNonZero(binary)
    if foreground == 0:
        return None, None, ''
    if foreground > max(parameters.max_foreground * mask.size, 64):
        return None, None, (f'{foreground / mask.size:.0%} of the mask is foreground, at most '
                            f'{parameters.max_foreground:.0%} can be instruments')
    x, y, width, height = box = cv2.boundingRect(binary)
    binary = binary[y:y + height, x:x + width]
    edges = cv2.countNonZero(binary[:, 1:] ^ binary[:, :-1]) \
        + cv2.countNonZero(binary[1:] ^ binary[:-1])
    if edges > 4.0 * parameters.max_skeleton * max(mask.shape):
        return None, None, f'{edges} edge pixels are noise, not instruments'
    return box, binary, ''


def _fields(mask: np.ndarray, probability: np.ndarray | None, binary: np.ndarray,
            box: tuple[int, int, int, int], parameters: GeometryParameters) -> Fields:
    """Return what lines are measured in: the box around the foreground with a free margin."""
    factor = _factor_of(mask.shape)
    x, y, width, height = box
    # One cell of the coarser grid on each side, and whole cells.
    margins = (factor, factor + -height % factor, factor, factor + -width % factor)
    window = (slice(y, y + height), slice(x, x + width))

    def framed(image: np.ndarray) -> np.ndarray:
        return cv2.copyMakeBorder(image, *margins, cv2.BORDER_CONSTANT, value=0)

    values = framed(mask[window])
    solid = cv2.morphologyEx(framed(binary), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8),
                             borderType=cv2.BORDER_CONSTANT, borderValue=0)
    fill_narrow_holes(solid, values, parameters.lumen * factor)
    chance = None
    if probability is not None:
        if probability.shape != mask.shape:
            probability = cv2.resize(probability, mask.shape[::-1],
                                     interpolation=cv2.INTER_LINEAR)
        chance = framed(probability[window])
    return Fields(solid * np.uint8(255), values, chance, factor)


def _pooled(fields: Fields) -> tuple[np.ndarray, np.ndarray]:
    """Return foreground (0 and 1) and labels on the grid on which paths are traced."""
    factor = fields.factor
    solid, values = fields.solid, fields.labels
    if factor > 1:
        # The largest value of each cell, so that a thin wire stays whole.
        cell = np.ones((factor, factor), np.uint8)
        solid = cv2.dilate(solid, cell, anchor=(0, 0))[::factor, ::factor]
        values = cv2.dilate(values, cell, anchor=(0, 0))[::factor, ::factor]
    return (solid > 0).view(np.uint8), values


def _in_image(line: Line, factor: int, box: tuple[int, int, int, int]) -> Line:
    """Return a line in pixels of the image instead of cells of the tracing grid."""
    points = line.points * factor + (factor - 1) / 2.0 + np.array(box[:2]) - factor
    return Line(points, line.normals, line.widths * factor, line.plain)


def _instrument(stretch: Stretch, overshoot: float, tip_visible: bool,
                probability: np.ndarray | None, shape: tuple[int, int],
                spacing_mm: tuple[float, float] | None,
                parameters: GeometryParameters) -> Instrument:
    centerline = resample(_drawn_back(stretch.line.points, overshoot), parameters.spacing)
    confidence = 1.0
    if probability is not None:
        # Cells of a smaller probability map, which covers the same image.
        height, width = probability.shape
        cells = (centerline + 0.5) * (width / shape[1], height / shape[0])
        x = np.clip(cells[:, 0], 0, width - 1).astype(np.intp)
        y = np.clip(cells[:, 1], 0, height - 1).astype(np.intp)
        confidence = float(probability[y, x].mean() / 255.0)
    return Instrument(stretch.kind, centerline, confidence, tip_visible,
                      length_in_mm(centerline, spacing_mm))


def _drawn_back(points: np.ndarray, by: float) -> np.ndarray:
    """Return a line whose last point lies so many pixels nearer to the one before it."""
    step = points[-2] - points[-1]
    back = step * min(1.0, by / max(float(np.hypot(*step)), 1e-9))
    return np.concatenate([points[:-1], points[-1:] + back])


def _rank(instrument: Instrument) -> tuple:
    """Sort the leading instrument to the front: visible tip, guidewire, then confidence."""
    return (not instrument.tip_visible, instrument.kind != labels.GUIDEWIRE,
            -instrument.confidence, -instrument.length_px)
