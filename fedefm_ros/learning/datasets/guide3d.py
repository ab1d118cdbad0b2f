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
Guide3D (airvlab/guide3d): pairs of X-ray planes of a phantom, one guidewire as points.

``ROOT/raw.json`` (points in pixels) or ``ROOT/b_spline.json`` (splines), and the images at the
paths that it names: ``VIDEO-CAMERA/NUMBER.png``. Masks are drawn as the authors draw them, an open
polyline two pixels wide.
"""

from __future__ import annotations

from functools import partial
import json
from pathlib import Path

import cv2

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.datasets.frames import Entry, FrameSet

import numpy as np

from scipy.interpolate import splev

_FILES = ('raw.json', 'b_spline.json')
#: Both names are in use: the files of the repositories have letters, the paper's numbers.
_CAMERAS = ('cameraA', 'cameraB', 'camera1', 'camera2')
_THICKNESS = 2
_SPLINE_POINTS = 400
_PUBLISHED_SHARES = {'train': 0.8, 'val': 0.1, 'test': 0.1}


def read(root: Path, annotations: str | None = None, published_part: str | None = None,
         images: Path | None = None) -> FrameSet:
    """
    Open the set; both planes of a video pair are one group.

    :param annotations: the file's name; None: raw.json, or else b_spline.json.
    :param published_part: ``train``, ``val`` or ``test`` gives that part of the authors' own
        split, 80/10/10 in time order inside each video, to compare with published figures. Its
        parts share videos, so it flatters; by default all frames, to be split by video.
    :param images: folder of the videos' folders; None: ROOT.
    :raises FedefmError: the file is missing or not of this layout; it names the frame.
    """
    if published_part is not None and published_part not in _PUBLISHED_SHARES:
        raise FedefmError(f'{root}: part {published_part!r} is not known; known are '
                          f'{", ".join(_PUBLISHED_SHARES)}')
    path = _annotation_file(root, annotations)
    entries = []
    for number, video in enumerate(_videos(path)):
        try:
            group, frames = _group(video), video['frames']
            if published_part:
                frames = _published(frames, published_part)
            for frame in frames:
                entries += _entries(path, images or root, group, frame)
        except (KeyError, TypeError, AttributeError) as error:
            raise FedefmError(f'{path}: video {number} is not as expected ({error!r}); a video '
                              'has frames, a frame has cameraA and cameraB with an image and '
                              'points (or a spline tck)') from error
    return FrameSet(str(root), entries, (labels.GUIDEWIRE,))


def centreline(camera: dict) -> np.ndarray:
    """
    Return a camera's guidewire, (N, 2) float pixels (x, y), from its points or its spline.

    Raises ValueError where there is no curve.
    """
    if 'points' in camera:
        points = np.asarray(camera['points'], float)
    else:
        spline = camera['tck']
        knots, coefficients, degree = spline['t'], spline['c'], spline['k']
        end = camera['u'][-1] if 'u' in camera else knots[-1]
        steps = np.linspace(0.0, end, _SPLINE_POINTS)
        points = np.stack(splev(steps, (np.asarray(knots, float),
                                        [np.asarray(c, float) for c in coefficients],
                                        int(degree))), axis=1)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 \
            or not np.isfinite(points).all():
        raise ValueError(f'points of shape {points.shape}, not (2 or more, 2) finite numbers')
    return points


def _annotation_file(root, name):
    for candidate in (name,) if name else _FILES:
        if (root / candidate).is_file():
            return root / candidate
    raise FedefmError(f'{root}: has no {name or " or ".join(_FILES)}')


def _videos(path):
    try:
        videos = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise FedefmError(f'{path}: is no JSON that can be read: {error}') from error
    if not isinstance(videos, list):
        raise FedefmError(f'{path}: holds {type(videos).__name__}; a list of videos was expected')
    return videos


def _group(video):
    known = [str(video[key]) for key in ('fluid', 'task', 'guidewire_type', 'video_number')
             if key in video]
    if not known:
        raise KeyError('task')
    return '-'.join(known)


def _published(frames, part):
    """Return a part of the frames in time order, cut as the authors cut."""
    first = int(_PUBLISHED_SHARES['train'] * len(frames))
    second = first + int(_PUBLISHED_SHARES['val'] * len(frames))
    cuts = {'train': (0, first), 'val': (first, second), 'test': (second, len(frames))}
    return frames[slice(*cuts[part])]


def _entries(path, root, group, frame):
    present = [name for name in _CAMERAS if name in frame]
    if not present:
        raise KeyError('cameraA')
    for name in present:
        camera = frame[name]
        image = camera['image']
        try:
            points = centreline(camera)
        except (ValueError, IndexError) as error:
            raise FedefmError(f'{path}: {image}: {error}') from error
        yield Entry(image, group, root / image, partial(_drawn, points))


def _drawn(points, shape):
    mask = np.zeros(shape, np.uint8)
    cv2.polylines(mask, [np.rint(points).astype(np.int32)], False, labels.GUIDEWIRE, _THICKNESS)
    return mask
