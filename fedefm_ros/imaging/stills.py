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

import struct
import zlib

import cv2

from fedefm_ros.errors import FedefmError

import numpy as np

MAX_PIXELS = 64 * 2**20
"""Largest image anything here decodes; four times a 4096 x 4096 detector."""

_PNG = b'\x89PNG\r\n\x1a\n'
_TIFF = (b'II*\0', b'MM\0*')
_TIFF_TYPES = {1: 'B', 3: 'H', 4: 'I'}
# Start-of-frame markers: all of C0 to CF but DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def kind_of(data: bytes) -> str | None:
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


def decode_still(data: bytes, what: str) -> np.ndarray:
    """
    Return the grey image of a PNG, JPEG, TIFF or BMP file.

    :param data: the whole file.
    :param what: how errors name it, e.g. the path.
    :return: (H, W) uint8, or uint16 where the file has 16 bits a channel (values as stored).
    :raises FedefmError: not such a file, truncated, corrupt, too large, or of another depth.
    """
    kind = kind_of(data)
    if kind is None:
        found = 'it is empty' if not len(data) else f'it starts with {bytes(data[:8])!r}'
        raise FedefmError(f'{what}: not a PNG, JPEG, TIFF or BMP image ({found})')
    try:
        width, height = _HEADERS[kind](data)
    except (struct.error, IndexError, ValueError) as error:
        reason = str(error) if type(error) is ValueError else 'the file ends too early'
        raise FedefmError(f'{what}: damaged {kind.upper()} image: {reason}') from None
    check_size(width, height, what)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.shape[:2] != (height, width):
        raise FedefmError(f'{what}: damaged {kind.upper()} image: it cannot be decoded')
    if image.dtype not in (np.uint8, np.uint16):
        raise FedefmError(f'{what}: {image.dtype} samples; expected 8 or 16 bit unsigned')
    return to_grey(image)


def _png_header(data: bytes) -> tuple[int, int]:
    """Return (width, height) after checking every chunk's checksum up to the end chunk."""
    view = memoryview(data)
    width, height = struct.unpack_from('>II', view, 16)
    position = 8
    while True:
        length, tag = struct.unpack_from('>I4s', view, position)
        end = position + 8 + length
        checksum, = struct.unpack_from('>I', view, end)
        if zlib.crc32(view[position + 4:end]) != checksum:
            raise ValueError(f'wrong checksum in its {tag!r} chunk')
        if tag == b'IEND':
            return width, height
        position = end + 4


def _jpeg_header(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the frame header; the file must have its end marker."""
    data = bytes(data)
    position = 2
    while True:
        while data[position] == 0xFF and data[position + 1] == 0xFF:
            position += 1
        mark, marker, length = struct.unpack_from('>BBH', data, position)
        if mark != 0xFF:
            raise ValueError(f'no marker at byte {position}')
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from('>HH', data, position + 5)
            break
        if marker == 0xDA:
            raise ValueError('no frame header before the image data')
        position += 2 + length
    if data.rfind(b'\xff\xd9', position) < 0:
        raise ValueError('the file ends too early (no end marker)')
    return width, height


def _tiff_header(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the first page; its strips or tiles must lie in the file."""
    order = '<' if data[:2] == b'II' else '>'
    offset, = struct.unpack_from(order + 'I', data, 4)
    count, = struct.unpack_from(order + 'H', data, offset)
    struct.unpack_from(order + 'I', data, offset + 2 + 12 * count)  # the link that ends it
    tags: dict[int, tuple[int, ...]] = {}
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, form, number = struct.unpack_from(order + 'HHI', data, entry)
        code = _TIFF_TYPES.get(form)
        if code is None or tag not in (256, 257, 273, 279, 324, 325):
            continue
        layout = f'{order}{min(number, len(data))}{code}'
        where = entry + 8
        if struct.calcsize(layout) > 4:
            where, = struct.unpack_from(order + 'I', data, where)
        tags[tag] = struct.unpack_from(layout, data, where)
    starts, sizes = tags.get(273) or tags.get(324), tags.get(279) or tags.get(325)
    if not (tags.get(256) and tags.get(257) and starts and sizes):
        raise ValueError('no size or image data in its directory')
    if max(start + size for start, size in zip(starts, sizes)) > len(data):
        raise ValueError('the file ends too early')
    return tags[256][0], tags[257][0]


def _bmp_header(data: bytes) -> tuple[int, int]:
    """Return (width, height); the file must be as long as its header says."""
    size, = struct.unpack_from('<I', data, 2)
    width, height = struct.unpack_from('<ii', data, 18)
    if size > len(data):
        raise ValueError('the file ends too early')
    return width, abs(height)


_HEADERS = {'png': _png_header, 'jpeg': _jpeg_header, 'tiff': _tiff_header, 'bmp': _bmp_header}
