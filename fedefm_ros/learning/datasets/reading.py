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

"""Images and masks from files, checked; every error names the file and the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError

import numpy as np

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')

#: What a mask's values are called unless the layout says otherwise.
OWN_VALUES = {0: labels.BACKGROUND, 1: labels.CATHETER, 2: labels.GUIDEWIRE}


def image_files(folder: Path) -> list[Path]:
    """Return the pictures in a folder and below, sorted; raises FedefmError where none is."""
    if not folder.is_dir():
        raise FedefmError(f'{folder}: no such folder')
    files = sorted(path for path in folder.rglob('*')
                   if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not files:
        raise FedefmError(f'{folder}: holds no picture ({", ".join(IMAGE_SUFFIXES)})')
    return files


def grey_image(path: Path) -> np.ndarray:
    """Return a picture as (H, W) uint8, or uint16 where the file has 16 bits; colour is mixed."""
    image = _decoded(path, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE)
    if image.dtype not in (np.uint8, np.uint16):
        raise FedefmError(f'{path}: has pixels of {image.dtype}; 8 or 16 bits were expected')
    return image


def label_array(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return the labels in a ``.npy`` file, (H, W) uint8 of 0, 1, 2; never unpickles."""
    return translate(path, _of_shape(path, _numbers(path), shape), OWN_VALUES)


def plain_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """
    Return the labels in a picture or array whose layout nothing tells, (H, W) uint8.

    It holds 0, 1, 2, or 0 and one larger value, which then is the catheter.
    """
    array = _of_shape(path, (_numbers if path.suffix == '.npy' else _indices)(path), shape)
    values = np.unique(array).tolist()
    if len(values) == 2 and values[0] == 0 and values[1] > labels.GUIDEWIRE:
        return (array > 0).astype(np.uint8) * np.uint8(labels.CATHETER)
    return translate(path, array, OWN_VALUES)


def label_picture(path: Path, shape: tuple[int, int],
                  values: Mapping[int | str, int] = OWN_VALUES) -> np.ndarray:
    """
    Return the labels in a picture whose values mean classes, (H, W) uint8.

    :param values: grey value, palette index or '#rrggbb' -> label.
    """
    if any(isinstance(value, str) for value in values):
        colours = _decoded(path, cv2.IMREAD_COLOR)[..., ::-1].astype(np.int64)
        array = (colours * (65536, 256, 1)).sum(axis=2)
        values = {_colour(value): label for value, label in values.items()}
        return translate(path, _of_shape(path, array, shape), values, '#{:06x}'.format)
    return translate(path, _of_shape(path, _indices(path), shape), values)


def binary_picture(path: Path, shape: tuple[int, int], label: int,
                   above: int = 128) -> np.ndarray:
    """
    Return the mask in a grey picture of one instrument, (H, W) uint8 of 0 and ``label``.

    A file of 0 and 1 counts as it is; else what is brighter than ``above`` is the instrument.
    Raises FedefmError where the brightest pixel is neither: such a file marks nothing by one
    reading and something by the other.
    """
    array = _of_shape(path, grey_image(path), shape)
    brightest = int(array.max())
    if brightest <= 1:
        return array.astype(np.uint8) * np.uint8(label)
    if brightest > 255:
        array, brightest = array >> 8, brightest >> 8  # all of the 16 bits are used
    if brightest <= above:
        raise FedefmError(f'{path}: its brightest pixel is {brightest}; a mask has 0 and 1, or 0 '
                          f'and values above {above}')
    return (array > above).astype(np.uint8) * np.uint8(label)


def translate(path: Path, array: np.ndarray, values: Mapping[int, int],
              name=str) -> np.ndarray:
    """Return the labels of a mask's values; raises FedefmError for a value without a meaning."""
    found = np.full(array.shape, 255, np.uint8)
    for value, label in values.items():
        found[array == value] = label
    if (found == 255).any():
        unknown = np.unique(array[found == 255])
        raise FedefmError(
            f'{path}: has the values {_few(name(v) for v in unknown.tolist())}, which mean '
            f'nothing here; known are {_few(name(value) for value in values)}')
    return found


def _decoded(path: Path, flags: int) -> np.ndarray:
    try:
        data = np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise FedefmError(f'{path}: no such file') from error
    except OSError as error:
        raise FedefmError(f'{path}: cannot be read: {error.strerror or error}') from error
    image = cv2.imdecode(data, flags) if data.size else None
    if image is None:
        raise FedefmError(f'{path}: is no picture that can be read (damaged, empty, or of '
                          'another format)')
    return image


def _numbers(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise FedefmError(f'{path}: no such file') from error
    except (OSError, ValueError, EOFError) as error:
        raise FedefmError(f'{path}: is no NumPy array that can be read: {error}') from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 \
            or array.dtype.kind not in 'buif':
        raise FedefmError(f'{path}: holds {getattr(array, "dtype", type(array).__name__)}'
                          f'{list(getattr(array, "shape", ()))}; a mask is (height, width) of '
                          'numbers')
    return array


def _indices(path: Path) -> np.ndarray:
    """Return grey values, or the indices of a palette, which OpenCV would turn into colours."""
    from PIL import Image
    _decoded(path, cv2.IMREAD_GRAYSCALE)  # the errors of a missing or broken file
    with Image.open(path) as picture:
        if picture.mode == '1':
            return np.asarray(picture).astype(np.uint8)
        if picture.mode in ('P', 'L', 'I;16', 'I'):
            return np.asarray(picture)
        colours = np.asarray(picture.convert('RGB'))
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    raise FedefmError(f'{path}: is a colour picture; say which colours mean what, such as '
                      "{'#000000': 0, '#ff0000': 1, '#00ff00': 2}")


def _of_shape(path: Path, array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if array.shape != tuple(shape):
        raise FedefmError(f'{path}: is {array.shape[1]} x {array.shape[0]} pixels, its image '
                          f'{shape[1]} x {shape[0]}')
    return array


def _colour(value: int | str) -> int:
    try:
        if isinstance(value, str) and value.startswith('#') and len(value) == 7:
            return int(value[1:], 16)
    except ValueError:
        pass
    raise FedefmError(f"mask value {value!r} must be a colour as '#ff0000', as the others are")


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ', '.join(names[:6]) + (f' and {len(names) - 6} more' if len(names) > 6 else '')
