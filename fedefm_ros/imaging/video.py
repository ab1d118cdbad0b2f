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

"""Video files through OpenCV."""

from collections.abc import Iterator
import os
from pathlib import Path

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.source import ClosingSource, DEFAULT_RATE, usable_rate
from fedefm_ros.imaging.stills import check_size, to_grey

# A video that cannot be read is one FedefmError here; FFmpeg would add a line for each damaged
# block, on stderr.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')

# (offset, bytes): AVI, MP4 and MOV, Matroska and WebM, MPEG-PS, MPEG-1/2, WMV, FLV, Ogg
_MAGIC = ((8, b'AVI '), (4, b'ftyp'), (4, b'moov'), (0, b'\x1aE\xdf\xa3'), (0, b'\0\0\1\xba'),
          (0, b'\0\0\1\xb3'), (0, b'0&\xb2u\x8ef\xcf\x11'), (0, b'FLV\1'), (0, b'OggS'))


def is_video(head: bytes) -> bool:
    """Return whether a file's first 512 bytes are those of a video container."""
    transport_stream = head[:1] == b'G' and head[188:189] == b'G' and head[376:377] == b'G'
    return transport_stream or any(head[at:at + len(magic)] == magic for at, magic in _MAGIC)


class VideoSource(ClosingSource):
    """The frames of a video file; colour is turned to grey."""

    def __init__(self, path: Path | str):
        """
        Open the file and decode its first frame.

        :raises FedefmError: no video in it, damaged, too large; the text names the file.
        """
        self._path = Path(path)
        if not self._path.is_file() or not self._path.stat().st_size:
            raise FedefmError(f'{path}: the file is {"empty" if self._path.is_file() else "gone"}')
        capture = self._open()
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        readable = capture.read()[0]
        rate = usable_rate(capture.get(cv2.CAP_PROP_FPS))
        capture.release()
        if not readable:
            raise FedefmError(f'{path}: no frame can be decoded (damaged, or no video in it)')
        self.name = self._path.name
        self.rate = rate or DEFAULT_RATE
        self.carm = CArm()
        self.frame_count = int(count) if 0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames."""
        capture = self._open()
        try:
            index, shape = 0, None
            while True:
                good, image = capture.read()
                if not good:
                    break
                if shape is not None and image.shape != shape:
                    raise FedefmError(f'{self._path}: the frame size changes at frame {index}')
                shape = image.shape
                yield Frame(to_grey(image), index, index / self.rate)
                index += 1
        finally:
            capture.release()
        # Containers count inexactly, but not by a tenth.
        if self.frame_count and index < self.frame_count * 0.9 - 1:
            raise FedefmError(f'{self._path}: ends after {index} of {self.frame_count} frames '
                              '(truncated or damaged)')

    def _open(self) -> cv2.VideoCapture:
        """Return an open capture at the first frame."""
        try:
            # An absolute path: OpenCV takes names with a colon or a percent sign for others.
            capture = cv2.VideoCapture(str(self._path.resolve()))
        except cv2.error:
            capture = None
        if capture is None or not capture.isOpened():
            raise FedefmError(f'{self._path}: cannot be opened as a video (damaged, or no video '
                              'in it)')
        check_size(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
                   int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), str(self._path))
        return capture
