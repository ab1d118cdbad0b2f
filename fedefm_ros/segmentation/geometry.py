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
from fedefm_ros.segmentation.centerline import Line
from fedefm_ros.segmentation.centerline import refine
from fedefm_ros.segmentation.centerline import resample
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.orientation import orient
from fedefm_ros.segmentation.skeleton import build_graph
from fedefm_ros.segmentation.skeleton import fill_narrow_holes
from fedefm_ros.segmentation.stretches import Stretch
from fedefm_ros.segmentation.stretches import split_by_label
from fedefm_ros.segmentation.tracing import prune
from fedefm_ros.segmentation.tracing import trace
from fedefm_ros.segmentation.tracing import TracingParameters

import numpy as np


@dataclass(frozen=True)
class GeometryParameters:
    """
    What counts as an instrument. Lengths are in pixels of a 512 x 512 image.

    They grow with the longer side of the image: at 1024 x 1024 each stands for twice as many.
    """

    spacing: float = 2.0
    """Distance between centreline points, in pixels of the image at hand (not scaled)."""
    min_length: float = 12.0
    """Shorter instruments are left out."""
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
            previous: tuple[Instrument, ...] = ()) -> Geometry:
    """
    Find the instruments of a mask.

    Parameters
    ----------
    mask
        (H, W) uint8 of ``labels`` values.
    probability
        Foreground probability, uint8 0 to 255, (H, W) or smaller by a whole factor; without it
        each instrument has confidence 1.
    spacing_mm
        Pixel pitch at the patient between rows (y) and between columns (x), in millimetres.
    parameters
        What counts as an instrument.
    field_of_view
        (H, W) bool, True inside the collimated field; its edge is an entry like the image's.
    previous
        The instruments of the last frame; they decide which end is the tip where the mask alone
        does not.

    Returns
    -------
    The instruments, the leading one first, or the reason why the mask was refused.

    """
    height, width = mask.shape
    scale = max(1.0, max(height, width) / 512.0)
    binary = (mask > 0).view(np.uint8)
    foreground = cv2.countNonZero(binary)
    if foreground == 0:
        return Geometry()
    if foreground > parameters.max_foreground * mask.size and foreground > 4096:
        return Geometry(refused=f'{foreground / mask.size:.0%} of the mask is foreground, '
                                f'at most {parameters.max_foreground:.0%} can be instruments')
    # Work on the box around the foreground, with a free pixel on each side.
    left, top, box_width, box_height = cv2.boundingRect(binary)
    window = (slice(top, top + box_height), slice(left, left + box_width))
    binary = cv2.copyMakeBorder(binary[window], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    offset = np.array([left - 1.0, top - 1.0])
    edges = cv2.countNonZero(binary[:, 1:] ^ binary[:, :-1]) \
        + cv2.countNonZero(binary[1:] ^ binary[:-1])
    limit = parameters.max_skeleton * max(height, width)
    if edges > 4.0 * limit:
        return Geometry(refused=f'{edges} edge pixels are noise, not instruments')
    binary = cv2.morphologyEx(binary, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8),
                              borderType=cv2.BORDER_CONSTANT, borderValue=0)
    values = cv2.copyMakeBorder(mask[window], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    fill_narrow_holes(binary, values, parameters.lumen * scale)
    # The image ends where the box does: an instrument that leaves there does not get thinner.
    distance = cv2.distanceTransform(binary, cv2.DIST_L2, 3)
    graph = build_graph(binary, distance, int(limit))
    if graph is None:
        return Geometry(refused=f'a skeleton of more than {int(limit)} pixels is noise')
    prune(graph, parameters.spur * scale)
    paths = trace(graph, values, distance, parameters.tracing.scaled(scale))

    chance = None
    if probability is not None:
        if probability.shape != mask.shape:
            probability = cv2.resize(probability, (width, height),
                                     interpolation=cv2.INTER_LINEAR)
        chance = cv2.copyMakeBorder(probability[window], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    solid = binary * np.uint8(255)
    stretches: list[Stretch] = []
    for path in paths:
        line = refine(path, solid, chance, distance)
        if line is not None:
            stretches += split_by_label(line, values, parameters.min_length * scale)
    for stretch in stretches:
        stretch.line = _moved(stretch.line, offset)
    found = []
    for stretch, tip_visible in orient(stretches, (height, width), parameters.border * scale,
                                       field_of_view, previous):
        found.append(_instrument(stretch, tip_visible, probability, spacing_mm, parameters))
    found.sort(key=_rank)
    return Geometry(tuple(found))


def _moved(line: Line, offset: np.ndarray) -> Line:
    return Line(line.points + offset, line.normals, line.widths, line.plain)


def _instrument(stretch: Stretch, tip_visible: bool, probability: np.ndarray | None,
                spacing_mm: tuple[float, float] | None,
                parameters: GeometryParameters) -> Instrument:
    centerline = resample(stretch.line.points, parameters.spacing)
    confidence = 1.0
    if probability is not None:
        height, width = probability.shape
        x = np.clip(np.rint(centerline[:, 0]), 0, width - 1).astype(np.intp)
        y = np.clip(np.rint(centerline[:, 1]), 0, height - 1).astype(np.intp)
        confidence = float(probability[y, x].mean() / 255.0)
    length_mm = float('nan')
    if spacing_mm is not None:
        steps = np.diff(centerline, axis=0)
        length_mm = float(np.hypot(steps[:, 0] * spacing_mm[1], steps[:, 1] * spacing_mm[0]).sum())
    return Instrument(stretch.kind, centerline, confidence, tip_visible, length_mm)


def _rank(instrument: Instrument) -> tuple:
    """Sort the leading instrument to the front: visible tip, guidewire, then confidence."""
    return (not instrument.tip_visible, instrument.kind != labels.GUIDEWIRE,
            -instrument.confidence, -instrument.length_px)
