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

"""Damage to a lossless JPEG is noticed, and sound ones are not blamed."""

from fedefm_ros.imaging.jpeg_lossless import check_coded_bits

import numpy as np

import pytest


def encode(values, *, bits=8, predictor=1, shift=0, components=1, restart=None):
    """Return a JPEG of process 14 (ISO 10918-1, annex H), and what it decodes to."""
    coded = values.astype(int) >> shift
    height, width = coded.shape
    text = []
    for row in range(height):
        for column in range(width):
            left, above, corner = (
                int(coded[row - y, column - x]) if row >= y and column >= x else 0
                for x, y in ((1, 0), (0, 1), (1, 1)))
            if row == column == 0:
                guess = 1 << (bits - shift - 1)
            elif row == 0:
                guess = left
            elif column == 0:
                guess = above
            else:
                guess = [left, above, corner, left + above - corner,
                         left + ((above - corner) >> 1), above + ((left - corner) >> 1),
                         (left + above) >> 1][predictor - 1]
            difference = (int(coded[row, column]) - guess + 32767) % 65536 - 32767
            category = abs(difference).bit_length()
            rest = difference if difference >= 0 else difference + 2**category - 1
            text.append(f'{category:05b}')
            if 0 < category < 16:
                text.append(f'{rest:0{category}b}')
    text = ''.join(text)
    text += '1' * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, 'big').replace(b'\xff', b'\xff\0')

    def segment(marker, body):
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, 'big') + body

    stream = (
        b'\xff\xd8' + segment(0xC3, bytes([bits]) + height.to_bytes(2, 'big')
                              + width.to_bytes(2, 'big') + bytes([components])
                              + bytes([1, 0x11, 0]) * components)
        + segment(0xC4, bytes([0, 0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17)))
        + (segment(0xDD, restart.to_bytes(2, 'big')) if restart else b'')
        + b'\xff' + segment(0xDA, bytes([1, 1, 0, predictor, 0, shift])) + data + b'\xff\xd9')
    return stream, (coded << shift).astype(np.uint16)


def picture(bits=8, seed=0):
    """Return smooth noise over all levels, (24, 30)."""
    steps = np.random.default_rng(seed).normal(0, 2.0**bits / 20, (24, 30))
    return np.clip(2**(bits - 1) + steps.cumsum(1), 0, 2**bits - 1).astype(np.uint16)


@pytest.mark.parametrize('predictor', range(1, 8))
@pytest.mark.parametrize('bits, shift', [(8, 0), (12, 0), (16, 0), (12, 2)])
def test_sound_streams_pass(predictor, bits, shift):
    check_coded_bits(*encode(picture(bits), bits=bits, predictor=predictor, shift=shift))


def test_the_greatest_difference_has_no_bits_of_its_own():
    values = np.array([[0, 32768, 0, 65535]], np.uint16)
    check_coded_bits(*encode(values, bits=16))


@pytest.mark.parametrize('change', [
    lambda image: image[:-1], lambda image: image ^ 1, lambda image: np.roll(image, 1, 0),
    lambda image: image * 0])
def test_another_picture_than_the_coded_one_is_refused(change):
    stream, image = encode(picture())
    with pytest.raises(ValueError, match='bits (more|fewer) than its pixels take'):
        check_coded_bits(stream, change(image))


def test_a_difference_without_a_code_is_refused():
    stream, image = encode(picture())
    codes = stream.index(b'\xff\xc4') + 4 + 17
    stream = stream[:codes] + bytes([16]) * 17 + stream[codes + 17:]
    with pytest.raises(ValueError, match='no code for'):
        check_coded_bits(stream, image)


@pytest.mark.parametrize('options', [{'components': 3}, {'restart': 5}])
def test_what_it_cannot_judge_it_leaves_to_the_decoder(options):
    stream, image = encode(picture(), **options)
    check_coded_bits(stream, image * 0)


def test_other_processes_are_left_to_the_decoder():
    stream, image = encode(picture())
    check_coded_bits(stream.replace(b'\xff\xc3', b'\xff\xc1'), image * 0)


def test_damaged_headers_are_refused_and_nothing_else_is_raised():
    stream, image = encode(picture())
    random = np.random.default_rng(1)
    for _ in range(400):
        broken = bytearray(stream)
        broken[random.integers(2, 60)] = random.integers(256)
        try:
            check_coded_bits(bytes(broken[:random.integers(4, len(broken))]), image)
        except ValueError:
            pass
    with pytest.raises(ValueError, match='no end marker'):
        check_coded_bits(stream[:-2], image)
    for broken in (stream[:20], stream[:2] + b'no marker' + stream[11:]):
        with pytest.raises(ValueError, match='damaged JPEG header'):
            check_coded_bits(broken, image)
