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
Whether a lossless JPEG's coded bits are those of the picture that was decoded from them.

The format has no checksum, and its decoders go on behind damage: Huffman codes find their feet
again, but then as a rule not at the same pixel, and each error is carried on by the prediction.
A sound stream ends at its last pixel, within the padding of the last byte (ITU-T T.81, F.1.2.3
and annex H); a damaged one hardly ever does.
"""

from __future__ import annotations

from dataclasses import dataclass
import struct

import numpy as np

_LOSSLESS, _TABLES, _SCAN, _RESTART = 0xC3, 0xC4, 0xDA, 0xDD


@dataclass(frozen=True)
class _Scan:
    """What the headers of a stream with one component say (T.81, B.2)."""

    bits: int
    predictor: int
    shift: int
    """Low bits that were not coded."""
    lengths: np.ndarray
    """(17,) bits of the code of each category; 0: it has none."""
    coded_bits: int


def check_coded_bits(stream: bytes, image: np.ndarray) -> None:
    """
    Raise ValueError where a lossless JPEG does not end where its picture does.

    :param stream: JPEG of process 14, any predictor. Streams with several components or with
        restart intervals, and of other processes, are not looked at.
    :param image: (H, W) unsigned: what it was decoded to.
    """
    try:
        scan = _scan(stream)
    except (struct.error, IndexError):
        raise ValueError('damaged JPEG header') from None
    if scan is None:
        return
    categories = _categories(image.astype(np.int32) >> scan.shift, scan)
    counts = np.bincount(categories.ravel(), minlength=17)
    if (counts[scan.lengths == 0] > 0).any():
        raise ValueError('damaged JPEG data: differences that the file has no code for')
    # A difference of category n has n bits of its own behind the code; 16 means 32768, without.
    own = np.append(np.arange(16), 0)
    spare = scan.coded_bits - int(counts @ (scan.lengths + own))
    if not 0 <= spare < 8:
        raise ValueError(f'damaged JPEG data: {abs(spare)} bits '
                         f'{"more" if spare > 0 else "fewer"} than its pixels take')


def _scan(stream: bytes) -> _Scan | None:
    """Return what the headers say; None where the stream is of a kind that is not looked at."""
    at, bits, tables = 2, 0, {}
    while True:
        if stream[at] != 0xFF:
            raise ValueError(f'damaged JPEG header: no marker at byte {at}')
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        length, = struct.unpack_from('>H', stream, at + 2)
        body = stream[at + 4:at + 2 + length]
        at += 2 + length
        if marker == _LOSSLESS:
            bits = body[0]
            if body[5] != 1:
                return None
        elif 0xC0 <= marker <= 0xCF and marker not in (_TABLES, 0xC8, 0xCC):
            return None
        elif marker == _TABLES:
            tables.update(_code_lengths(body))
        elif marker == _RESTART and body != b'\0\0':
            return None
        elif marker == _SCAN:
            table, predictor, shift = body[2] >> 4, body[3], body[5] & 15
            if not bits or table not in tables or not 1 <= predictor <= 7:
                raise ValueError('damaged JPEG header')
            return _Scan(bits, predictor, shift, tables[table], _coded_bits(stream, at))


def _code_lengths(body: bytes) -> dict[int, np.ndarray]:
    """Return the bits of each category's code, a table's number -> (17,) (T.81, B.2.4.2)."""
    tables, at = {}, 0
    while at < len(body):
        counts, lengths = body[at + 1:at + 17], np.zeros(17, np.int64)
        number, at = body[at] & 15, at + 17
        for length, count in enumerate(counts, 1):
            for category in body[at:at + count]:
                if category > 16:
                    raise ValueError('damaged JPEG header: a category above 16')
                lengths[category] = length
            at += count
        tables[number] = lengths
    return tables


def _coded_bits(stream: bytes, start: int) -> int:
    """Return the bits from here to the next marker, stuffed bytes (T.81, B.1.1.5) not counted."""
    data = np.frombuffer(stream, np.uint8, offset=start)
    marks = np.flatnonzero(data[:-1] == 0xFF)
    after = data[marks + 1]
    ends = marks[after != 0]
    if not ends.size:
        raise ValueError('damaged JPEG data: no end marker')
    return 8 * int(ends[0] - np.count_nonzero(marks < ends[0]))


def _categories(values: np.ndarray, scan: _Scan) -> np.ndarray:
    """Return the category of each pixel's difference from its prediction (T.81, H.1.2)."""
    left, above, corner = values[1:, :-1], values[:-1, 1:], values[:-1, :-1]
    predicted = np.empty_like(values)
    predicted[0, 0] = 1 << (scan.bits - scan.shift - 1)
    predicted[0, 1:] = values[0, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[1:, 1:] = (
        left, above, corner, left + above - corner, left + ((above - corner) >> 1),
        above + ((left - corner) >> 1), (left + above) >> 1)[scan.predictor - 1]
    # Differences are taken modulo 65536, and 32768 is the one that category 16 is for.
    difference = np.abs(((values - predicted + 32767) & 65535) - 32767)
    return np.frexp(difference.astype(np.float32))[1]
