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

"""What a DICOM file's header says about its frames, checked before anything is decoded."""

from dataclasses import dataclass
from itertools import accumulate
import os
from pathlib import Path
import struct
from typing import BinaryIO

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.dicom_grey import first_number, first_value, scopes
from fedefm_ros.imaging.source import DEFAULT_RATE, usable_rate
from fedefm_ros.imaging.stills import check_size, jpeg_size

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder

_ITEM, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class DicomHeader:
    """One DICOM file that holds frames which can be segmented."""

    path: Path
    dataset: Dataset
    """All but the pixel data; the attributes that decoding needs are there and make sense."""
    frame_count: int
    rate: float
    times: tuple[float, ...] | None
    """Seconds since the first frame, one a frame; None where the frames are evenly spaced."""
    carm: CArm
    pixels_at: int
    """Byte of the file at which the pixel data's value begins."""

    @property
    def size(self) -> tuple[int, int]:
        """Return (width, height)."""
        return int(self.dataset.Columns), int(self.dataset.Rows)

    @property
    def sort_key(self) -> tuple:
        """Return what orders files: series number, series, instance number."""
        return (first_number(self.dataset, 'SeriesNumber') or 0.0,
                str(first_value(self.dataset, 'SeriesInstanceUID') or ''),
                first_number(self.dataset, 'InstanceNumber') or 0.0)


def is_dicom(path: Path) -> bool:
    """Return whether a file has DICOM's prefix; raises OSError where it cannot be read."""
    with open(path, 'rb') as file:
        return file.read(132)[128:] == b'DICM'


def read_header(path: Path) -> DicomHeader:
    """
    Read a file up to its pixel data and check that the frames can be there.

    :raises FedefmError: not DICOM, no image, colour by its kind, truncated, nonsense.
    """
    try:
        with open(path, 'rb') as file:
            if not os.fstat(file.fileno()).st_size:
                raise FedefmError(f'{path}: the file is empty')
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
            frame_count = _check_image(path, dataset)
            pixels_at = _check_extent(path, dataset, frame_count, file)
            rate, times = _timing(dataset, frame_count)
            return DicomHeader(path, dataset, frame_count, rate, times, _carm(dataset), pixels_at)
    except FedefmError:
        raise
    except InvalidDicomError:
        raise FedefmError(f'{path}: not a DICOM file (no DICM prefix at byte 128)') from None
    except OSError as error:
        raise FedefmError(f'{path}: cannot be read: {error.strerror or error}') from None
    except Exception as error:  # a damaged header makes pydicom raise nearly anything
        raise FedefmError(f'{path}: damaged DICOM header: {one_line(error)}') from None


def one_line(error: Exception) -> str:
    """Return an error's type and text on one line of at most 200 characters."""
    text = _printable(' '.join(str(error).split()))
    return f'{type(error).__name__}: {text[:200]}' if text else type(error).__name__


def _printable(text: object) -> str:
    """Return what a damaged header may hold without control characters."""
    return ''.join(letter if letter.isprintable() else '?' for letter in str(text))


def _check_image(path: Path, dataset: Dataset) -> int:
    """Check the attributes that decoding needs and return the number of frames."""
    kind = _printable(getattr(dataset.get('SOPClassUID'), 'name', 'unknown kind'))
    if 'EncapsulatedDocument' in dataset:
        raise FedefmError(f'{path}: holds a document ({kind}), not X-ray frames')
    needed = ('Rows', 'Columns', 'BitsAllocated', 'BitsStored', 'HighBit',
              'PixelRepresentation', 'SamplesPerPixel')
    numbers = {keyword: first_number(dataset, keyword) for keyword in needed}
    missing = [keyword for keyword, value in numbers.items() if value is None]
    if len(missing) == len(needed):
        raise FedefmError(f'{path}: holds no image ({kind}) or is cut short before it; expected '
                          'X-ray frames (XA or RF)')
    if missing:
        raise FedefmError(f'{path}: damaged DICOM header: no {", ".join(missing)}')
    check_size(int(numbers['Columns']), int(numbers['Rows']), str(path))
    photometric, samples = dataset.get('PhotometricInterpretation'), numbers['SamplesPerPixel']
    if samples == 1 and photometric not in ('MONOCHROME1', 'MONOCHROME2'):
        raise FedefmError(f'{path}: {_printable(photometric)} pixels; expected grey '
                          'ones (MONOCHROME1 or MONOCHROME2)')
    if samples not in (1, 3):
        raise FedefmError(f'{path}: {samples:g} samples a pixel; expected 1 (grey)')
    allocated, stored, high = (numbers[key] for key in ('BitsAllocated', 'BitsStored', 'HighBit'))
    if allocated not in (8, 16) or not stored - 1 <= high < allocated or stored < 1:
        raise FedefmError(f'{path}: {stored:g} bits in {allocated:g} (high bit {high:g}); '
                          'expected 8 to 16')
    frame_count = first_number(dataset, 'NumberOfFrames')
    frame_count = 1 if frame_count is None else int(frame_count)
    if frame_count < 1:
        raise FedefmError(f'{path}: says that it has {frame_count} frames')
    return frame_count


def _check_extent(path: Path, dataset: Dataset, frame_count: int, file: BinaryIO) -> int:
    """Check that all pixel data is in the file, at its tag now; return where its value begins."""
    syntax = dataset.file_meta.get('TransferSyntaxUID')
    try:
        decoder = get_decoder(syntax)
    except (NotImplementedError, ValueError, TypeError, AttributeError):
        decoder = None
    if decoder is None or syntax.is_deflated:
        name = _printable(getattr(syntax, 'name', syntax))
        raise FedefmError(f'{path}: transfer syntax {name} is not supported; convert the file to '
                          'an uncompressed one')
    if not decoder.is_available:
        raise FedefmError(f'{path}: {syntax.name} needs {"; ".join(decoder.missing_dependencies)}')
    order = '<' if syntax.is_little_endian else '>'
    head = file.read(8 if syntax.is_implicit_VR else 12)
    if len(head) < 8 or struct.unpack_from(order + 'HH', head) != (0x7FE0, 0x0010):
        raise FedefmError(f'{path}: holds no pixel data (or ends before it)')
    if len(head) < (8 if syntax.is_implicit_VR else 12):
        raise FedefmError(f'{path}: truncated: ends where its pixel data starts')
    length, = struct.unpack(order + 'I', head[-4:])
    start = file.tell()
    left = os.fstat(file.fileno()).st_size - start
    if syntax.is_encapsulated:
        _check_fragments(path, dataset, frame_count, file)
        return start
    frame = (int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
             * int(dataset.SamplesPerPixel))
    if min(length, left) < frame * frame_count:
        raise FedefmError(f'{path}: truncated: {min(length, left)} bytes of pixel data, but '
                          f'{frame_count} frames take {frame * frame_count}')
    return start


def _check_fragments(path: Path, dataset: Dataset, frame_count: int, file: BinaryIO) -> None:
    """Hop over the items of encapsulated pixel data to its end."""
    end = os.fstat(file.fileno()).st_size
    items = -1  # the first one is the offset table
    while True:
        head = file.read(8)
        group, element, length = struct.unpack('<HHI', head) if len(head) == 8 else (0, 0, 0)
        if (group, element) == _DELIMITER:
            break
        where = f'frame {max(items, 0)} of {frame_count}'
        if len(head) == 8 and (group, element) != _ITEM:
            raise FedefmError(f'{path}: damaged pixel data: no item where {where} should start')
        start = file.tell()
        if len(head) < 8 or length == _UNDEFINED or start + length > end:
            raise FedefmError(f'{path}: truncated: ends within {where}')
        size = _coded_size(file.read(min(length, 65536)))
        if size not in (None, (dataset.Columns, dataset.Rows)):
            # Also what keeps a decoder from filling the memory.
            raise FedefmError(f'{path}: {where} cannot be decoded: {size[0]} x {size[1]} pixels '
                              f'where the header says {dataset.Columns} x {dataset.Rows}')
        file.seek(start + length)
        items += 1
    if items < frame_count:
        raise FedefmError(f'{path}: damaged pixel data: {max(items, 0)} of {frame_count} frames')


def _coded_size(head: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a JPEG or JPEG 2000 stream; None of anything else."""
    try:
        if head.startswith(b'\xff\x4f\xff\x51'):
            right, bottom, left, top = struct.unpack_from('>4I', head, 8)
            return right - left, bottom - top
        return jpeg_size(head) if head.startswith(b'\xff\xd8\xff') else None
    except (struct.error, ValueError):
        return None  # the decoder will say what is wrong


def _timing(dataset: Dataset, frame_count: int) -> tuple[float, tuple[float, ...] | None]:
    """Return the frame rate and, for uneven frames, their times."""
    vector = _frame_time_vector(dataset, frame_count)
    if vector:
        times = tuple(accumulate(step / 1000.0 for step in vector))
        rate = usable_rate((frame_count - 1) / times[-1])
        if rate:
            return rate, times
    for keyword in ('FrameTime', 'ActualFrameDuration', 'CineRate', 'RecommendedDisplayFrameRate'):
        value = first_number(dataset, keyword)
        if value and value > 0:
            # The first two are milliseconds a frame, the others frames a second.
            rate = usable_rate(1000.0 / value if keyword.startswith(('Fr', 'Ac')) else value)
            if rate:
                return rate, None
    return DEFAULT_RATE, None


def _frame_time_vector(dataset: Dataset, frame_count: int) -> list[float] | None:
    """Return milliseconds before each frame, 0 for the first; None where there are none."""
    for scope in scopes(dataset):
        try:
            steps = [float(step) for step in scope.get('FrameTimeVector') or ()]
        except (TypeError, ValueError):
            continue
        if len(steps) == frame_count > 1 and all(0.0 < step < 1e7 for step in steps[1:]):
            return [0.0, *steps[1:]]
    return None


def _carm(dataset: Dataset) -> CArm:
    """Return the C-arm's set-up; lengths that are not positive count as unknown."""
    def length(keyword: str) -> float | None:
        number = first_number(dataset, keyword)
        return number if number and number > 0 else None

    spacing = None
    for scope in scopes(dataset):
        value = scope.get('ImagerPixelSpacing')
        if value is not None and hasattr(value, '__len__') and len(value) == 2:
            row, column = (float(part) for part in value)
            if 0 < row < 100 and 0 < column < 100:
                spacing = (row, column)
                break
    return CArm(
        imager_spacing_mm=spacing,
        source_detector_mm=length('DistanceSourceToDetector'),
        source_patient_mm=length('DistanceSourceToPatient'),
        primary_angle_deg=first_number(dataset, 'PositionerPrimaryAngle'),
        secondary_angle_deg=first_number(dataset, 'PositionerSecondaryAngle'),
        estimated_magnification=length('EstimatedRadiographicMagnificationFactor'))
