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

"""Labels exported by CVAT as "CVAT for images 1.1" or "CVAT for video 1.1"."""

from collections import defaultdict
from functools import partial
from pathlib import Path
import re
from xml.etree import ElementTree

import cv2

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.labels import Label
from fedefm_ros.evaluation.labels import turned

import numpy as np

#: CVAT calls the frames of a video so, without a suffix.
_VIDEO_FRAME = re.compile(r'frame_(\d+)')


def parse_cvat(path: Path, text: str) -> dict[str, Label]:
    """
    Return the labels of each frame.

    Polylines are centrelines, polygons and masks are areas; other shapes say nothing of
    instruments and are left out. A label's name must hold ``catheter`` or ``wire``.

    :param path: for messages.
    Raises FedefmError that names the file and what is wrong.
    """
    # No export has a document type, and entities could make a small file huge.
    if re.search(r'<!(DOCTYPE|ENTITY)', text, re.IGNORECASE):
        raise FedefmError(f'{path}: declares a document type; CVAT exports have none')
    try:
        root = ElementTree.fromstring(text.encode('utf-8'))
    except ElementTree.ParseError as error:
        raise FedefmError(f'{path} is no XML that can be read: {error}') from error
    if root.tag != 'annotations':
        raise FedefmError(f'{path} is not of CVAT: its root is <{root.tag}>, not <annotations>')
    try:
        frames = {**_images(root), **_tracks(root)}
    except (ValueError, KeyError, TypeError) as error:
        raise FedefmError(f'{path}: {error}') from error
    if not frames:
        raise FedefmError(f'{path}: holds neither <image> nor <track>; export as "CVAT for '
                          'images" or "CVAT for video"')
    return frames


def _images(root):
    found = {}
    for image in root.iter('image'):
        name = image.get('name') or ''
        number = _VIDEO_FRAME.fullmatch(name)
        size = _size(image.get('width'), image.get('height'), f'image {name!r}')
        shapes = [(shape, shape.get('label')) for shape in image]
        found[str(int(number[1])) if number else name] = _label(shapes, size, f'image {name!r}')
    return found


def _tracks(root):
    """Return the frames of a video; CVAT writes out those between key frames, too."""
    original = root.find('.//original_size')
    by_frame = defaultdict(list)
    for track in root.iter('track'):
        for shape in track:
            if shape.get('outside') != '1':
                by_frame[int(shape.get('frame'))].append((shape, track.get('label')))
    if not by_frame:
        return {}
    if original is None:
        raise ValueError('has tracks and no <original_size>')
    size = _size(original.findtext('width'), original.findtext('height'), 'original_size')
    return {str(frame): _label(shapes, size, f'frame {frame}')
            for frame, shapes in sorted(by_frame.items())}


def _size(width, height, where):
    try:
        size = int(width), int(height)
    except (TypeError, ValueError):
        size = 0, 0
    if min(size) < 1:
        raise ValueError(f'{where} has width {width!r} and height {height!r}')
    return size


def _label(shapes, size, where):
    lines, areas = [], []
    for shape, name in shapes:
        if shape.tag not in ('polyline', 'polygon', 'mask'):
            continue
        kind = _kind(name, where)
        if shape.tag == 'mask':
            areas.append((kind, _run_lengths(shape, size, where)))
            continue
        points = _points(shape, where)
        if shape.tag == 'polygon':
            areas.append((kind, points))
        else:
            lines.append(turned(kind, points, size))
    draw = partial(_draw, areas, size, where) if areas else None
    return Label(None if areas and not lines else tuple(lines), draw)


def _kind(name, where):
    text = (name or '').lower()
    if 'wire' in text:
        return labels.GUIDEWIRE
    if 'catheter' in text:
        return labels.CATHETER
    raise ValueError(f'{where} has a label {name!r}, neither a catheter nor a guidewire')


def _points(shape, where):
    try:
        points = np.array([[float(v) for v in point.split(',')]
                           for point in shape.get('points', '').split(';')])
        if points.ndim == 2 and points.shape[1] == 2 and len(points) >= 2 \
                and np.isfinite(points).all():
            return points
    except ValueError:
        pass
    raise ValueError(f'{where} has a {shape.tag} with points {shape.get("points")!r}, not two or '
                     'more "x,y" with ";" between')


def _run_lengths(shape, size, where):
    """Return (rows, columns) of a mask: runs of outside and inside by turns, row by row."""
    try:
        runs = [int(run) for run in shape.get('rle', '').split(',')]
        left, top, width, height = (int(shape.get(key))
                                    for key in ('left', 'top', 'width', 'height'))
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where} has a mask without usable numbers ({error})') from error
    if min(left, top, width, height, *runs) < 0 or sum(runs) != width * height \
            or left + width > size[0] or top + height > size[1]:
        raise ValueError(f'{where} has a mask whose runs do not fill its box within the image')
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    rows, columns = np.nonzero(inside)
    return rows + top, columns + left


def _draw(areas, size, where, shape):
    if shape != size[::-1]:
        raise FedefmError(f'{where} was labelled at {size[0]} x {size[1]} pixels, but is '
                          f'{shape[1]} x {shape[0]}')
    mask = np.zeros(shape, np.uint8)
    # Guidewires last: one inside a catheter is drawn over it.
    for kind, area in sorted(areas, key=lambda entry: entry[0]):
        if isinstance(area, tuple):
            mask[area] = kind
        else:
            cv2.fillPoly(mask, [np.rint(area).astype(np.int32)], kind)
    return mask
