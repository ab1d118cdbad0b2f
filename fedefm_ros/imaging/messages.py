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
Image messages to arrays and back, duck-typed: no ROS import.

``msg.data`` is always filled with an ``array.array`` by ``frombytes``: rclpy takes 62 ms a MiB to
swallow a numpy array and 0.05 ms for this.
"""

import array
import sys
from typing import Any

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.stills import check_size, decode_still, kind_of, to_grey

import numpy as np

# encoding -> (sample type, channels, order of the channels)
_ENCODINGS = {
    'mono8': (np.uint8, 1, ''),
    '8UC1': (np.uint8, 1, ''),
    'mono16': (np.uint16, 1, ''),
    '16UC1': (np.uint16, 1, ''),
    'rgb8': (np.uint8, 3, 'rgb'),
    'bgr8': (np.uint8, 3, 'bgr'),
    'rgba8': (np.uint8, 4, 'rgb'),
    'bgra8': (np.uint8, 4, 'bgr'),
}

ENCODINGS = tuple(_ENCODINGS)
"""Every sensor_msgs/Image encoding that can be read and written."""


def image_to_array(msg: Any) -> np.ndarray:
    """
    Return the grey image of a sensor_msgs/Image.

    One-channel images in native byte order are read-only views of ``msg.data`` (no copy, rows may
    be padded): copy before keeping them longer than the message. Colour is turned to grey.

    :return: (H, W) uint8 or uint16.
    :raises FedefmError: unknown encoding, no or too many pixels, or sizes that contradict.
    """
    encoding, height, width, step = msg.encoding, msg.height, msg.width, msg.step
    if encoding not in _ENCODINGS:
        raise FedefmError(f'image message: encoding {encoding!r} is not supported; '
                          f'send one of {", ".join(ENCODINGS)}')
    check_size(width, height, 'image message')
    sample, channels, order = _ENCODINGS[encoding]
    dtype = np.dtype(sample)
    row = width * channels * dtype.itemsize
    if step < row:
        raise FedefmError(f'image message: step is {step}, but a row of {width} {encoding} pixels '
                          f'takes {row} bytes')
    data = _bytes_of(msg.data)
    # Some publishers leave the padding of the last row out.
    if not step * (height - 1) + row <= data.size <= step * height:
        raise FedefmError(f'image message: {data.size} bytes of data, but {width} x {height} '
                          f'{encoding} with step {step} takes {step * height}')
    if dtype.itemsize > 1:
        dtype = dtype.newbyteorder('>' if msg.is_bigendian else '<')
    shape, strides = (height, width), (step, dtype.itemsize)
    if channels > 1:
        shape, strides = (*shape, channels), (step, channels, 1)
    image = np.ndarray(shape, dtype, buffer=data, strides=strides)
    if channels > 1:
        return to_grey(image, order)
    if not dtype.isnative:
        return image.astype(sample)
    image.flags.writeable = False
    return image


def compressed_to_array(msg: Any) -> np.ndarray:
    """
    Return the grey image of a sensor_msgs/CompressedImage (PNG, JPEG or TIFF).

    The bytes decide, not ``msg.format``, which publishers fill in differently.

    :return: (H, W) uint8, or uint16 of a 16-bit PNG or TIFF.
    :raises FedefmError: another format, truncated, corrupt or too large.
    """
    data = _bytes_of(msg.data)
    what = f'compressed image message with format {msg.format!r}'
    if kind_of(data[:8].tobytes()) not in ('png', 'jpeg', 'tiff'):
        found = f'{data.size} bytes starting with {data[:8].tobytes()!r}' if data.size else 'none'
        raise FedefmError(f'{what}: expected PNG, JPEG or TIFF data, found {found}')
    return decode_still(data.data, what)


def fill_image(msg: Any, image: np.ndarray, encoding: str) -> None:
    """
    Put an array into a sensor_msgs/Image; the header is left alone.

    :param image: (H, W) or (H, W, channels), of the type that the encoding says.
    :raises FedefmError: array and encoding do not fit.
    """
    _check_fits(image, encoding)
    msg.height, msg.width = image.shape[:2]
    msg.encoding = encoding
    msg.is_bigendian = int(sys.byteorder == 'big')
    msg.step = image.shape[1] * image.itemsize * (1 if image.ndim == 2 else image.shape[2])
    msg.data = _to_array(np.ascontiguousarray(image))


def fill_compressed(msg: Any, image: np.ndarray, encoding: str | None = None, *,
                    kind: str = 'png', quality: int = 95) -> None:
    """
    Put an array into a sensor_msgs/CompressedImage; the header is left alone.

    :param image: as for ``fill_image``.
    :param encoding: of ``ENCODINGS``; where None, mono8, mono16 or rgb8, as the array is.
    :param kind: 'png' (lossless) or 'jpeg' (8 bit only; changes thin wires).
    :param quality: 1 to 100, JPEG only.
    :raises FedefmError: array, encoding and kind do not fit.
    """
    if encoding is None:
        encoding = 'rgb8' if image.ndim == 3 else f'mono{8 * image.itemsize}'
    _check_fits(image, encoding)
    if kind not in ('png', 'jpeg') or (kind == 'jpeg' and image.dtype != np.uint8):
        raise FedefmError(f'a {image.dtype} image cannot be compressed as {kind!r}; use png')
    order = _ENCODINGS[encoding][2]
    if order == 'rgb':
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3
                             else cv2.COLOR_RGBA2BGRA)
    if kind == 'png':
        # Level 1: a third of the time of the default for a few per cent more bytes.
        options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    else:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode('.' + kind, image, options)
    pixels = f'bgr{"a" if image.shape[2] == 4 else ""}8' if order else ''
    msg.format = f'{encoding}; {kind} compressed {pixels}'
    msg.data = _to_array(data)


def fill_camera_info(msg: Any, carm: CArm, width: int, height: int) -> None:
    """
    Put a C-arm as a pinhole camera into a sensor_msgs/CameraInfo; the header is left alone.

    The source is the pinhole, the detector the image plane, the central ray meets its centre.
    Where spacing or source-detector distance are unknown, K and P stay zero, ROS' word for an
    uncalibrated camera.
    """
    msg.width, msg.height = width, height
    msg.distortion_model = 'plumb_bob'
    msg.d = [0.0] * 5
    msg.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    msg.k, msg.p = [0.0] * 9, [0.0] * 12
    if carm.focal_px is not None:
        fx, fy = carm.focal_px
        cx, cy = (width - 1) / 2, (height - 1) / 2
        msg.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
        msg.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]


def _bytes_of(data: Any) -> np.ndarray:
    """Return the data field as (N,) uint8, without a copy where it is a buffer."""
    if isinstance(data, list):
        return np.array(data, np.uint8)
    view = memoryview(data)
    return np.frombuffer(view.cast('B') if view.nbytes else b'', np.uint8)


def _to_array(image: np.ndarray) -> array.array:
    """Return a contiguous array's bytes as the type that rclpy takes without a look."""
    data = array.array('B')
    data.frombytes(image.reshape(-1).view(np.uint8).data)
    return data


def _check_fits(image: np.ndarray, encoding: str) -> None:
    """Raise FedefmError where the array is not what the encoding says."""
    if encoding not in _ENCODINGS:
        raise FedefmError(f'encoding {encoding!r} is not supported; '
                          f'use one of {", ".join(ENCODINGS)}')
    sample, channels, _ = _ENCODINGS[encoding]
    found = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if image.dtype != sample or found != channels or not image.size:
        raise FedefmError(f'{encoding} takes {np.dtype(sample).name} pixels of {channels} '
                          f'channel(s), found {image.dtype} of shape {image.shape}')
