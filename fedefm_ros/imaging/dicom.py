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

"""DICOM angiography and radiofluoroscopy (XA, RF): a file, or a folder of files as one run."""

from collections.abc import Iterator
from itertools import repeat
import logging
from pathlib import Path
import warnings

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.dicom_grey import display_table
from fedefm_ros.imaging.dicom_header import DicomHeader, is_dicom, one_line, read_header
from fedefm_ros.imaging.folder import natural_key, note_ignored, visible_files
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.jpeg_lossless import check_coded_bits
from fedefm_ros.imaging.source import ClosingSource
from fedefm_ros.imaging.stills import to_grey

import numpy as np

from pydicom.encaps import generate_frames
from pydicom.pixels import iter_pixels
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

# A frame that cannot be decoded is one FedefmError here; pydicom would add a traceback for each
# plugin that it tried and a warning for each oddity of a header.
for _name in ('pydicom', 'openjpeg'):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
warnings.filterwarnings('ignore', module='pydicom')

_log = logging.getLogger(__name__)

_GREY_TOLERANCE = 12
#: Seconds from the end of one run to the next: by then an engine has forgotten the one before.
_BETWEEN_RUNS = 1.0
"""How far the channels of a colour DICOM may lie apart and still count as grey (JPEG)."""


class DicomSource(ClosingSource):
    """
    The frames of a DICOM file, or of all DICOM files in a folder, as they are meant to be seen.

    Frames are uint8 where BitsStored <= 8, else uint16 over the full range 0 to 65535, after
    modality LUT, VOI LUT or window, and polarity (``dicom_grey.display_table``). They are decoded
    one by one. Files of a folder follow each other by series and instance number, a second after
    the end of one of several frames: another run, which does not go on where that ended.
    ``carm`` is that of the file being read.
    """

    def __init__(self, path: Path | str):
        """
        Read and check the headers, and decode the first frame.

        :raises FedefmError: nothing that can be used; the text names the file and the reason.
        """
        path = Path(path)
        self._headers = _folder_headers(path) if path.is_dir() else [read_header(path)]
        first = self._headers[0]
        for header in self._headers:
            if header.size != first.size:
                raise FedefmError(
                    f'{header.path}: {header.size[0]} x {header.size[1]} pixels, but '
                    f'{first.path.name} has {first.size[0]} x {first.size[1]}; keep runs of '
                    'different sizes in separate folders')
        self.name = path.name
        self.rate = first.rate
        self.carm: CArm = first.carm
        self.frame_count: int | None = sum(header.frame_count for header in self._headers)
        next(_images(first))

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames."""
        index, start = 0, 0.0
        for header in self._headers:
            self.carm = header.carm
            times = header.times or [number / header.rate for number in range(header.frame_count)]
            for time, image in zip(times, _images(header)):
                yield Frame(image, index, start + time)
                index += 1
            between = 1.0 / header.rate
            if header.frame_count > 1:
                between = max(between, _BETWEEN_RUNS)
            start += times[-1] + between


def _folder_headers(folder: Path) -> list[DicomHeader]:
    """Return the headers of a folder's DICOM images in order; other files are noted and left."""
    headers, ignored = [], []
    for path in visible_files(folder):
        if path.name.upper() != 'DICOMDIR' and is_dicom(path):
            headers.append(read_header(path))
        else:
            ignored.append(path)
    note_ignored(folder, ignored, 'DICOM images')
    if not headers:
        raise FedefmError(f'{folder}: no DICOM files directly in this folder')
    return sorted(headers, key=lambda header: (header.sort_key, natural_key(header.path)))


def _images(header: DicomHeader) -> Iterator[np.ndarray]:
    """Yield a file's frames as grey levels; errors name the file and the frame."""
    table, bits = None, 0
    frames = iter_pixels(header.path, correct_unused_bits=False)
    streams = _lossless_streams(header)
    for number in range(header.frame_count):
        try:
            frame = next(frames)
            stream = next(streams)
            width, height = header.size
            if frame.shape[:2] != (height, width):
                raise ValueError(f'{frame.shape[1]} x {frame.shape[0]} pixels')
            if frame.ndim == 3:
                yield _grey_of_colour(header, frame, number)
                continue
            stored = _stored_values(header, frame)
            if stream is not None:
                check_coded_bits(stream, stored)
            brightest = int(stored.max()).bit_length()
            if table is None or brightest > bits:
                last, table = table, display_table(header.dataset, 2**brightest - 1)
                if last is not None and not np.array_equal(last, table):
                    _note_brighter(header, number, bits, brightest)
                bits = brightest
        except FedefmError:
            raise
        except Exception as error:  # codecs raise nearly anything on damaged data
            reason = 'it is missing' if isinstance(error, StopIteration) else one_line(error)
            raise FedefmError(f'{header.path}: frame {number} of {header.frame_count} cannot be '
                              f'decoded: {reason}') from None
        yield table[stored]


def _note_brighter(header: DicomHeader, number: int, before: int, now: int) -> None:
    # A jump of the brightness, which networks even out, is better than wires clipped to white.
    _log.warning('%s: frame %d of %d uses %d bits, those before %d, and the file has no window; '
                 'from here on the picture is darker', header.path, number, header.frame_count,
                 now, before)


def _lossless_streams(header: DicomHeader) -> Iterator[bytes | None]:
    """Yield each frame's JPEG where damage to it would not be noticed else, None without end."""
    if header.dataset.file_meta.TransferSyntaxUID in (JPEGLossless, JPEGLosslessSV1):
        with open(header.path, 'rb') as file:
            file.seek(header.pixels_at)
            yield from generate_frames(file, number_of_frames=header.frame_count)
    yield from repeat(None)


def _stored_values(header: DicomHeader, frame: np.ndarray) -> np.ndarray:
    """Return the stored bits of each pixel as an index, without what lies beside them."""
    dataset = header.dataset
    # Two's complement bits in native order.
    native = frame.astype(frame.dtype.newbyteorder('='), copy=False)
    values = native.view(np.dtype(f'u{frame.itemsize}'))
    if dataset.BitsStored == 8 * values.itemsize:
        return values
    shift = 0
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        shift = int(dataset.HighBit) + 1 - int(dataset.BitsStored)
    return (values >> shift) & np.array(2**int(dataset.BitsStored) - 1, values.dtype)


def _grey_of_colour(header: DicomHeader, frame: np.ndarray, number: int) -> np.ndarray:
    """Return a three-channel frame as grey where it has no colour in it."""
    if frame.dtype != np.uint8:
        raise FedefmError(f'{header.path}: colour with 16 bits; expected grey frames')
    spread = frame.max(axis=2) - frame.min(axis=2)
    if (spread > _GREY_TOLERANCE).mean() > 1e-3:
        raise FedefmError(
            f'{header.path}: frame {number} of {header.frame_count} is in colour '
            f'({header.dataset.PhotometricInterpretation}); expected grey X-ray frames')
    return to_grey(frame, 'rgb')
