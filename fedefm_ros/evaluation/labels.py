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

"""Ground truth that people drew, of one file: centreline JSON, Guide3D's JSON, CVAT's XML."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
import json
from pathlib import Path

import cv2

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

#: Line width with which Guide3D's authors draw their masks, in pixels.
_GUIDE3D_WIDTH = 2
#: Width and height of Guide3D's images in pixels.
_GUIDE3D_SIZE = (1024, 1024)
#: An end this close to the border of the image, in pixels, leaves it there.
_BORDER = 3.0


@dataclass(frozen=True)
class Label:
    """What is known of one frame."""

    instruments: tuple[Instrument, ...] | None
    """None where only the mask was drawn."""
    draw: Callable[[tuple[int, int]], np.ndarray] | None = None
    """From the image's shape (H, W) to its mask, uint8 labels; None where no area is known."""
    untold: frozenset[int] = frozenset()
    """Which of the instruments the file does not say of whether their tip is visible."""

    def instruments_in(self, shape: tuple[int, int]) -> tuple[Instrument, ...] | None:
        """
        Return the instruments in an image of a shape (H, W).

        An untold tip at the border of the image is not visible, as in the other layouts.
        """
        if self.instruments is None or not self.untold:
            return self.instruments
        return tuple(
            replace(one, tip_visible=bool(_depth(one.tip, shape[::-1]) > _BORDER))
            if number in self.untold else one for number, one in enumerate(self.instruments))


def read_labels(path: Path) -> dict[str, Label]:
    """
    Return the labels of each frame in a file; what it holds tells its layout.

    Names are files' names, with their folder where the file has it, or frame numbers. In Guide3D's
    and CVAT's files lines run in either direction: the end nearer to the border of the image is
    taken as the entry. Raises FedefmError that names the file and what is wrong.
    """
    text = _text(path)
    start = text.lstrip()[:1]
    if start == '<':
        from fedefm_ros.evaluation.labels_cvat import parse_cvat
        return parse_cvat(path, text)
    if start == '[':
        return _parse_guide3d(path, text)
    return _parse_centerlines(path, text)


def turned(kind: int, points: np.ndarray, size: tuple[int, int]) -> Instrument:
    """
    Return the instrument along a line of unknown direction, entry first.

    :param points: (N, 2) pixels.
    :param size: width and height of the image.
    """
    depth = _depth(points[[0, -1]], size)
    if depth[1] < depth[0]:
        points = points[::-1]
    return Instrument(kind, points, tip_visible=bool(depth.max() > _BORDER))


def _depth(points, size):
    """Return how far inside an image of a size (width, height) points lie, in pixels."""
    return np.minimum(points, np.asarray(size, float) - 1 - points).min(axis=-1)


def read_centerlines(path: Path) -> dict[str, tuple[Instrument, ...]]:
    """
    Return the instruments of each labelled frame.

    The file holds ``{"frames": {NAME: {"catheter": [[x, y], ...], "guidewire": [...]}}}`` with
    points in pixels, entry first and tip last (no points: none of that kind); NAME is a file
    name, or a frame's number in a sequence. It can hold ``{"tip_visible": {NAME: {"catheter":
    true}}}``, and further instruments as ``{"others": {NAME: [{"kind": "catheter", "points":
    [[x, y], ...], "tip_visible": true}]}}``.

    Raises FedefmError that names the file and what is wrong.
    """
    return {name: label.instruments
            for name, label in _parse_centerlines(path, _text(path)).items()}


def _text(path):
    try:
        return path.read_text(encoding='utf-8-sig')
    except OSError as error:
        raise FedefmError(f'{path} cannot be read: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise FedefmError(f'{path} is no text: {error}') from error


def _parse_centerlines(path, text):
    try:
        tree = json.loads(text)
        frames, others, tips = (tree['frames'], *(tree.get(key, {})
                                                  for key in ('others', 'tip_visible')))
        found = {}
        for name in {**frames, **others}:
            told = tips.get(name, {})
            curves = [(kind, points, told.get(kind))
                      for kind, points in frames.get(name, {}).items() if points]
            curves += [(one['kind'], one['points'], one.get('tip_visible'))
                       for one in others.get(name, ())]
            found[name] = Label(
                tuple(_instrument(*curve) for curve in curves),
                untold=frozenset(number for number, (_, _, visible) in enumerate(curves)
                                 if visible is None))
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FedefmError(f'{path} is not a centreline file ({error!r}); expected '
                          '{"frames": {NAME: {"catheter": [[x, y], ...]}}}') from error


def _instrument(kind, points, tip_visible):
    points = np.asarray(points, float)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 \
            or not np.isfinite(points).all():
        raise ValueError(f'a centreline of shape {points.shape}, not (2 or more, 2)')
    return Instrument(labels.NAMES.index(kind), points, tip_visible=tip_visible is not False)


def _parse_guide3d(path, text):
    from fedefm_ros.learning.datasets.guide3d import centreline
    try:
        cameras = [frame[name] for video in json.loads(text) for frame in video['frames']
                   for name in frame if name.startswith('camera')]
        lines = {camera['image']: camera for camera in cameras}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FedefmError(f'{path} is not a Guide3D file ({error!r}); expected [{{"frames": '
                          '[{"cameraA": {"image": NAME, "points": [[x, y], ...]}}]}]') from error
    found = {}
    for name, camera in lines.items():
        try:
            points = centreline(camera)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise FedefmError(f'{path}: {name}: {error}') from error
        found[name] = Label((turned(labels.GUIDEWIRE, points, _GUIDE3D_SIZE),),
                            partial(_draw_line, points))
    return found


def _draw_line(points, shape):
    mask = np.zeros(shape, np.uint8)
    cv2.polylines(mask, [np.rint(points).astype(np.int32)], False, labels.GUIDEWIRE,
                  _GUIDE3D_WIDTH)
    return mask
