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
Still images (PNG, JPEG, TIFF, BMP) from bytes to one grey channel.

The header is read before anything is decoded: what is truncated, corrupt or absurdly large is
refused with a reason, where OpenCV alone would return half a picture or fill the memory.
"""

from collections.abc import Callable
import mmap
import struct
import zlib

import cv2

from fedefm_ros.errors import FedefmError

import numpy as np

Buffer = bytes | memoryview | mmap.mmap

MAX_PIXELS = 64 * 2**20
"""Largest image anything here decodes; four times a 4096 x 4096 detector."""

_PNG = b'\x89PNG\r\n\x1a\n'
_TIFF = (b'II*\0', b'MM\0*')
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_NEXT_PAGE = 0  # no tag has this number
_TIFF_TYPES = {1: 'B', 3: 'H', 4: 'I'}
# Start-of-frame markers: all of C0 to CF but DHT (C4), JPG (C8) and DAC (CC); JPEG-LS has F7.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


def kind_of(data: Buffer) -> str | None:
    """Return png, jpeg, tiff or bmp by the first bytes; None where it is none of them."""
    head = bytes(data[:8])
    if head == _PNG:
        return 'png'
    if head[:3] == b'\xff\xd8\xff':
        return 'jpeg'
    if head[:4] in _TIFF:
        return 'tiff'
    return 'bmp' if head[:2] == b'BM' else None


def check_size(width: int, height: int, what: str) -> None:
    """Raise FedefmError where an image has no pixels or more than ``MAX_PIXELS``."""
    if width <= 0 or height <= 0:
        raise FedefmError(f'{what}: the image is empty ({width} x {height} pixels)')
    if width * height > MAX_PIXELS:
        raise FedefmError(f'{what}: {width} x {height} pixels are more than this package accepts '
                          f'({MAX_PIXELS // 2**20} Mpixel); scale the image down first')


def to_grey(image: np.ndarray, order: str = 'bgr') -> np.ndarray:
    """
    Return one grey channel of an image of 1, 3 or 4 channels; depth stays.

    :param image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or uint16.
    :param order: 'bgr' or 'rgb': how the first three channels are ordered.
    :return: (H, W); luma 0.299 R + 0.587 G + 0.114 B, so equal channels keep their value.
    """
    if image.ndim == 2:
        return image
    channels = image.shape[2]
    if channels == 1:
        return image[..., 0]
    if channels == 4:
        image = image[..., :3]
    code = cv2.COLOR_BGR2GRAY if order == 'bgr' else cv2.COLOR_RGB2GRAY
    return cv2.cvtColor(np.ascontiguousarray(image), code)


def still_size(data: Buffer, what: str) -> tuple[int, int]:
    """
    Return (width, height) as the header of a PNG, JPEG, TIFF or BMP file says.

    :param data: the whole file; only the parts that matter are touched.
    :param what: how errors name it, e.g. the path.
    :raises FedefmError: not such a file, a damaged header, no or too many pixels, several pages.
    """
    head = bytes(data[:8])
    kind = kind_of(head)
    if kind is None:
        found = f'it starts with {head!r}' if head else 'it is empty'
        raise FedefmError(f'{what}: not a PNG, JPEG, TIFF or BMP image ({found})')
    width, height = _checked(_SIZES[kind], data, what)
    check_size(width, height, what)
    if kind == 'tiff' and _checked(_tiff_tags, data, what)[_NEXT_PAGE][0]:
        raise FedefmError(f'{what}: this TIFF has several pages, of which the first alone would '
                          'be read; split it into one file a page')
    return width, height


def decode_still(data: Buffer, what: str) -> np.ndarray:
    """
    Return the grey image of a PNG, JPEG, TIFF or BMP file.

    :param data: the whole file.
    :param what: how errors name it, e.g. the path.
    :return: (H, W) uint8, or uint16 where the file has 16 bits a channel (values as stored,
        or turned where a TIFF says that 0 is white).
    :raises FedefmError: not such a file, truncated, corrupt, too large, or of another depth.
    """
    width, height = still_size(data, what)
    kind = kind_of(data)
    _checked(_WHOLE[kind], data, what)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.shape[:2] != (height, width):
        raise FedefmError(f'{what}: damaged {kind.upper()} image: it cannot be decoded')
    if image.dtype not in (np.uint8, np.uint16):
        raise FedefmError(f'{what}: {image.dtype} samples; expected 8 or 16 bit unsigned')
    # OpenCV turns 8 bits where 0 is white, and leaves 16 as they are stored.
    if kind == 'tiff' and image.dtype == np.uint16 \
            and _tiff_tags(data).get(_PHOTOMETRIC) == (_WHITE_IS_ZERO,):
        image = ~image
    return to_grey(image)


def _checked(check: Callable, data: Buffer, what: str):
    """Run a check of this file and name the image in what it finds."""
    try:
        return check(data)
    except (struct.error, IndexError):
        reason = 'the file ends too early'
    except ValueError as error:
        reason = str(error)
    raise FedefmError(f'{what}: damaged {kind_of(data).upper()} image: {reason}')


def _png_size(data: Buffer) -> tuple[int, int]:
    return struct.unpack_from('>II', data, 16)


def _png_whole(data: Buffer) -> None:
    """Check every chunk's checksum up to the end chunk."""
    view = memoryview(data)
    position, tag = 8, b''
    while tag != b'IEND':
        length, tag = struct.unpack_from('>I4s', view, position)
        end = position + 8 + length
        checksum, = struct.unpack_from('>I', view, end)
        if zlib.crc32(view[position + 4:end]) != checksum:
            raise ValueError(f'wrong checksum in its {tag!r} chunk')
        position = end + 4


def jpeg_size(data: Buffer) -> tuple[int, int]:
    """Return (width, height) from the frame header; ValueError or struct.error without one."""
    position = 2
    while True:
        mark, marker, length = struct.unpack_from('>BBH', data, position)
        if (mark, marker) == (0xFF, 0xFF):  # fill byte
            position += 1
            continue
        if mark != 0xFF:
            raise ValueError(f'no marker at byte {position}')
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from('>HH', data, position + 5)
            return width, height
        if marker == 0xDA:
            raise ValueError('no frame header before the image data')
        position += 2 + length


def _jpeg_whole(data: Buffer) -> None:
    # Coded data never contains the end marker, and thumbnails come before the frame.
    if b'\xff\xd9' not in bytes(data[-4096:]):
        raise ValueError('the file ends too early (no end marker)')


def _tiff_tags(data: Buffer) -> dict[int, tuple[int, ...]]:
    """
    Return size, photometric interpretation, where strips or tiles start and how long they are.

    They are those of the first page; ``_NEXT_PAGE`` tells where the second is, 0: there is none.
    """
    order = '<' if data[:2] == b'II' else '>'
    offset, = struct.unpack_from(order + 'I', data, 4)
    count, = struct.unpack_from(order + 'H', data, offset)
    tags: dict[int, tuple[int, ...]] = {
        _NEXT_PAGE: struct.unpack_from(order + 'I', data, offset + 2 + 12 * count)}
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, form, number = struct.unpack_from(order + 'HHI', data, entry)
        code = _TIFF_TYPES.get(form)
        if code is None or tag not in (256, 257, _PHOTOMETRIC, 273, 279, 324, 325):
            continue
        layout = f'{order}{min(number, len(data))}{code}'
        where = entry + 8
        if struct.calcsize(layout) > 4:
            where, = struct.unpack_from(order + 'I', data, where)
        tags[tag] = struct.unpack_from(layout, data, where)
    return tags


def _tiff_size(data: Buffer) -> tuple[int, int]:
    tags = _tiff_tags(data)
    if not (tags.get(256) and tags.get(257)):
        raise ValueError('no size in its directory')
    return tags[256][0], tags[257][0]


def _tiff_whole(data: Buffer) -> None:
    """Check that the strips or tiles lie in the file."""
    tags = _tiff_tags(data)
    starts, sizes = tags.get(273) or tags.get(324), tags.get(279) or tags.get(325)
    if not (starts and sizes):
        raise ValueError('no image data in its directory')
    if max(start + size for start, size in zip(starts, sizes)) > len(data):
        raise ValueError('the file ends too early')


def _bmp_size(data: Buffer) -> tuple[int, int]:
    width, height = struct.unpack_from('<ii', data, 18)
    return width, abs(height)  # negative where the rows run downwards


def _bmp_whole(data: Buffer) -> None:
    if struct.unpack_from('<I', data, 2)[0] > len(data):
        raise ValueError('the file ends too early')


_SIZES = {'png': _png_size, 'jpeg': jpeg_size, 'tiff': _tiff_size, 'bmp': _bmp_size}
_WHOLE = {'png': _png_whole, 'jpeg': _jpeg_whole, 'tiff': _tiff_whole, 'bmp': _bmp_whole}
