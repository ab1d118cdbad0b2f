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

import array
import os
import struct
import subprocess
import sys
import zlib

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.messages import compressed_to_array, ENCODINGS, fill_camera_info
from fedefm_ros.imaging.messages import fill_compressed, fill_image, image_to_array

import numpy as np
import pytest

sensor_msgs = pytest.importorskip('sensor_msgs.msg', reason='needs ROS 2 messages')


def picture(dtype=np.uint8, shape=(37, 53), seed=0):
    """Return smooth noise, so that JPEG keeps it nearly."""
    noise = np.random.default_rng(seed).random(shape, dtype=np.float32)
    return (cv2.GaussianBlur(noise, (0, 0), 3) * np.iinfo(dtype).max).astype(dtype)


def message(**fields):
    msg = sensor_msgs.Image(encoding='mono8', height=4, width=6, step=6)
    msg.data = array.array('B', bytes(24))
    for name, value in fields.items():
        setattr(msg, name, value)
    return msg


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_encoding_goes_into_a_message_and_comes_back_as_grey(encoding):
    grey = picture(np.uint16 if '16' in encoding else np.uint8)
    channels = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4}.get(encoding, 1)
    image = grey if channels == 1 else np.repeat(grey[..., None], channels, axis=2)
    msg = sensor_msgs.Image()
    fill_image(msg, image, encoding)
    assert (msg.width, msg.height, msg.step) == (53, 37, 53 * channels * grey.itemsize)
    assert np.array_equal(image_to_array(msg), grey)
    assert image_to_array(msg).dtype == grey.dtype


@pytest.mark.parametrize('encoding, value', [('rgb8', 76), ('bgr8', 29), ('rgba8', 76),
                                             ('bgra8', 29)])
def test_the_order_of_the_channels_is_respected(encoding, value):
    image = np.zeros((5, 7, 4 if 'a' in encoding else 3), np.uint8)
    image[..., 0] = 255
    msg = sensor_msgs.Image()
    fill_image(msg, image, encoding)
    assert np.all(image_to_array(msg) == value)


@pytest.mark.parametrize('big', [0, 1])
def test_sixteen_bits_are_read_in_either_byte_order(big):
    image = picture(np.uint16, (4, 6))
    data = image.astype('>u2' if big else '<u2').tobytes()
    msg = message(encoding='mono16', step=12, is_bigendian=big, data=array.array('B', data))
    assert np.array_equal(image_to_array(msg), image)
    assert image_to_array(msg).dtype.isnative


@pytest.mark.parametrize('encoding, pixel', [('mono8', 1), ('mono16', 2), ('bgr8', 3)])
@pytest.mark.parametrize('whole', [True, False])
def test_padded_rows_are_read_with_or_without_the_last_padding(encoding, pixel, whole):
    rows = np.random.default_rng(1).integers(0, 256, (4, 6 * pixel), np.uint8)
    padded = np.pad(rows, ((0, 0), (0, 5))).tobytes()
    tight = message(encoding=encoding, step=6 * pixel, data=array.array('B', rows.tobytes()))
    msg = message(encoding=encoding, step=6 * pixel + 5,
                  data=array.array('B', padded if whole else padded[:-5]))
    assert np.array_equal(image_to_array(msg), image_to_array(tight))


def test_native_grey_is_a_read_only_view_and_not_a_copy():
    msg = message()
    image = image_to_array(msg)
    msg.data[7] = 99
    assert image[1, 1] == 99
    assert not image.flags.writeable


def test_bytes_lists_and_numpy_data_are_read_as_well():
    expected = np.arange(24, dtype=np.uint8).reshape(4, 6)

    class Plain:
        encoding, height, width, step, is_bigendian = 'mono8', 4, 6, 6, 0

    for data in (bytes(range(24)), list(range(24)), np.arange(24, dtype=np.uint8)):
        Plain.data = data
        assert np.array_equal(image_to_array(Plain), expected)


@pytest.mark.parametrize('fields, words', [
    ({'encoding': 'bayer_rggb8'}, 'bayer_rggb8'),
    ({'encoding': '32FC1'}, '32FC1'),
    ({'encoding': ''}, "''"),
    ({'height': 0}, '6 x 0'),
    ({'width': 0, 'step': 0}, '0 x 4'),
    ({'data': array.array('B')}, '0 bytes'),
    ({'data': array.array('B', bytes(23))}, '23 bytes'),
    ({'data': array.array('B', bytes(25))}, '25 bytes'),
    ({'step': 5}, 'step is 5'),
    ({'encoding': 'mono16'}, 'takes 12 bytes'),
    ({'height': 2**20, 'width': 2**20, 'step': 2**20}, 'Mpixel'),
    ({'height': 2**32 - 1, 'width': 1}, 'Mpixel'),
])
def test_what_cannot_be_an_image_is_refused_with_what_was_found(fields, words):
    with pytest.raises(FedefmError, match=words):
        image_to_array(message(**fields))


def test_4096_by_4096_is_accepted():
    msg = sensor_msgs.Image()
    fill_image(msg, np.zeros((4096, 4096), np.uint8), 'mono8')
    assert image_to_array(msg).shape == (4096, 4096)


def test_the_data_field_is_filled_in_the_way_that_rclpy_takes_without_a_copy():
    image, compressed = sensor_msgs.Image(), sensor_msgs.CompressedImage()
    fill_image(image, picture(np.uint16), 'mono16')
    fill_compressed(compressed, picture())
    for msg in (image, compressed):
        assert isinstance(msg.data, array.array) and msg.data.typecode == 'B'


@pytest.mark.parametrize('image, encoding', [
    (np.zeros((4, 4), np.uint8), 'mono16'), (np.zeros((4, 4), np.uint16), 'mono8'),
    (np.zeros((4, 4), np.uint8), 'rgb8'), (np.zeros((4, 4, 3), np.uint8), 'mono8'),
    (np.zeros((0, 4), np.uint8), 'mono8'), (np.zeros(4, np.uint8), 'mono8'),
    (np.zeros((4, 4), np.float32), '32FC1')])
def test_an_array_that_does_not_fit_its_encoding_is_refused(image, encoding):
    with pytest.raises(FedefmError):
        fill_image(sensor_msgs.Image(), image, encoding)


def test_a_view_with_strides_is_written_row_by_row():
    image = picture()[::2, 3:20]
    msg = sensor_msgs.Image()
    fill_image(msg, image, 'mono8')
    assert np.array_equal(image_to_array(msg), image)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_png_keeps_every_pixel(dtype):
    msg = sensor_msgs.CompressedImage()
    fill_compressed(msg, picture(dtype))
    assert msg.format.startswith(f'mono{np.dtype(dtype).itemsize * 8}; png compressed')
    assert np.array_equal(compressed_to_array(msg), picture(dtype))


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8'])
def test_colour_png_turns_to_the_same_grey_as_the_raw_message(encoding):
    image = np.random.default_rng(2).integers(0, 256, (9, 8, 4), np.uint8)
    image = image if 'a' in encoding else image[..., :3]
    raw, compressed = sensor_msgs.Image(), sensor_msgs.CompressedImage()
    fill_image(raw, image, encoding)
    fill_compressed(compressed, np.ascontiguousarray(image), encoding)
    assert np.array_equal(compressed_to_array(compressed), image_to_array(raw))


def test_jpeg_comes_back_nearly_and_refuses_16_bits():
    msg = sensor_msgs.CompressedImage()
    fill_compressed(msg, picture(), kind='jpeg')
    assert msg.format.startswith('mono8; jpeg compressed')
    assert np.abs(compressed_to_array(msg).astype(int) - picture()).max() <= 4
    with pytest.raises(FedefmError, match='png'):
        fill_compressed(msg, picture(np.uint16), kind='jpeg')


@pytest.mark.parametrize('text', ['png', 'mono8; png compressed ', '', 'jpeg', '8UC1; foo'])
def test_the_bytes_decide_whatever_the_format_field_says(text):
    msg = sensor_msgs.CompressedImage()
    fill_compressed(msg, picture())
    msg.format = text
    assert np.array_equal(compressed_to_array(msg), picture())


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_tiff_is_read(dtype):
    data = cv2.imencode('.tiff', picture(dtype))[1].tobytes()
    msg = sensor_msgs.CompressedImage(format='mono8; tiff compressed', data=data)
    assert np.array_equal(compressed_to_array(msg), picture(dtype))


@pytest.mark.parametrize('ending', ['.png', '.jpeg', '.tiff'])
@pytest.mark.parametrize('share', [0.0, 0.001, 0.02, 0.3, 0.7, 0.95, 0.999])
def test_a_truncated_compressed_image_is_refused(ending, share):
    data = cv2.imencode(ending, picture())[1].tobytes()
    msg = sensor_msgs.CompressedImage(format='mono8', data=data[:int(len(data) * share)])
    with pytest.raises(FedefmError):
        compressed_to_array(msg)


@pytest.mark.parametrize('ending', ['.png', '.jpeg', '.tiff'])
def test_flipped_bytes_give_an_image_or_our_error_and_nothing_else(ending, capfd):
    random = np.random.default_rng(3)
    data = np.frombuffer(cv2.imencode(ending, picture())[1].tobytes(), np.uint8)
    refused = 0
    for _ in range(150):
        broken = data.copy()
        broken[random.integers(0, len(data), random.integers(1, 5))] = random.integers(0, 256)
        msg = sensor_msgs.CompressedImage(format='mono8', data=broken.tobytes())
        try:
            image = compressed_to_array(msg)
        except FedefmError:
            refused += 1
        else:
            assert image.ndim == 2 and image.dtype in (np.uint8, np.uint16)
    assert refused > (140 if ending == '.png' else 0)


@pytest.mark.parametrize('data, words', [
    (b'', 'none'), (b'\0\0\0\1\x67\x42', 'expected PNG, JPEG or TIFF'),
    (bytes(12) + b'\x89PNG', 'expected PNG'), (b'BM' + bytes(60), 'expected PNG')])
def test_other_formats_are_refused_and_named(data, words):
    msg = sensor_msgs.CompressedImage(format='h264', data=data)
    with pytest.raises(FedefmError, match=words) as caught:
        compressed_to_array(msg)
    assert 'h264' in str(caught.value)


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    def chunk(tag, data):
        return struct.pack('>I', len(data)) + tag + data + struct.pack(
            '>I', zlib.crc32(tag + data))

    header = struct.pack('>IIBBBBB', 60000, 60000, 8, 0, 0, 0, 0)
    bomb = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(
        b'IDAT', zlib.compress(bytes(10**6))) + chunk(b'IEND', b'')
    with pytest.raises(FedefmError, match='60000 x 60000'):
        compressed_to_array(sensor_msgs.CompressedImage(format='png', data=bomb))


def test_camera_info_is_the_c_arm_as_a_pinhole():
    msg = sensor_msgs.CameraInfo()
    carm = CArm(imager_spacing_mm=(0.4, 0.2), source_detector_mm=1200.0)
    fill_camera_info(msg, carm, 512, 256)
    assert (msg.width, msg.height) == (512, 256)
    assert list(msg.k) == pytest.approx([6000, 0, 255.5, 0, 3000, 127.5, 0, 0, 1])
    assert list(msg.p) == pytest.approx([6000, 0, 255.5, 0, 0, 3000, 127.5, 0, 0, 0, 1, 0])
    assert msg.distortion_model == 'plumb_bob' and list(msg.d) == [0.0] * 5


def test_camera_info_of_an_unknown_c_arm_is_uncalibrated():
    msg = sensor_msgs.CameraInfo()
    fill_camera_info(msg, CArm(imager_spacing_mm=(0.4, 0.4)), 512, 512)
    assert not any(msg.k) and not any(msg.p)


def test_no_ros_is_imported_by_the_module():
    code = ('import sys, fedefm_ros.imaging.messages; '
            'print([m for m in ("rclpy", "sensor_msgs", "torch") if m in sys.modules])')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, '-c', code], text=True,
                                   env=environment).strip() == '[]'
