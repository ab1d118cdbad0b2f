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

"""The interface of every frame source, and the one place that opens an INPUT."""

from collections.abc import Iterator
import math
from pathlib import Path
import re
from typing import Protocol

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame

DEFAULT_RATE = 15.0
"""Frames per second of an input that does not tell."""

SUPPORTED = (
    'a DICOM file or folder (XA, RF), an image (PNG, JPEG, TIFF, BMP) or a folder of them, '
    'a video, a ROS 2 bag, a device (0, /dev/video0, rtsp://...) or simulator[:KIND]')


class FrameSource(Protocol):
    """
    A sequence of fluoroscopy frames.

    Iterating yields the frames once, in order, decoding lazily (one frame in memory); iterating
    again starts anew (a live device simply goes on). Errors are ``FedefmError`` and name the file.
    """

    name: str
    """Short text for people: a file's name, ``simulator``, ``/dev/video0``."""
    rate: float
    """Frames per second of the sequence; 15.0 where the input does not tell."""
    carm: CArm
    frame_count: int | None
    """None where it is endless or unknown."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames."""
        ...

    def close(self) -> None:
        """Free devices and files; may be called twice."""
        ...

    def __enter__(self) -> 'FrameSource':
        """Return itself."""
        ...

    def __exit__(self, *_) -> None:
        """Close."""
        ...


class ClosingSource:
    """What sources share: ``with source:`` closes it; by default there is nothing to close."""

    def close(self) -> None:
        """Free devices and files; may be called twice."""

    def __enter__(self):
        """Return itself."""
        return self

    def __exit__(self, *_) -> None:
        """Close."""
        self.close()


def usable_rate(rate: float) -> float | None:
    """Return a frame rate that an input claims, to 0.001; None where it is nonsense."""
    return round(rate, 3) if math.isfinite(rate) and 0.01 <= rate <= 1000.0 else None


def open_source(text: str, *, rate: float | None = None, loop: bool = False,
                size: int | None = None, seed: int = 0) -> FrameSource:
    """
    Open any INPUT; files are told by what is in them, not by their suffix.

    :param text: path, device number, ``/dev/videoN``, rtsp or http URL, ``simulator`` or
        ``simulator:KIND``, KIND also a file as in config/simulation.
    :param rate: frames per second instead of the input's own (a camera is asked for it).
    :param loop: start anew at the end, for ever; frames go on counting.
    :param size: width and height of simulated frames, 512 where None; others keep theirs.
    :param seed: of the simulator.
    :raises FedefmError: nothing there, unsupported, damaged; the text names it.
    """
    if rate is not None and usable_rate(rate) is None:
        raise FedefmError(f'rate {rate} is out of range: 0.01 to 1000 frames per second')
    text = text.strip()
    if is_simulator(text):
        from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator
        return FluoroscopySimulator(kind=text.partition(':')[2] or 'human', size=size or 512,
                                    rate=rate or DEFAULT_RATE, seed=seed)
    if is_device(text):
        from fedefm_ros.imaging.live import LiveSource
        return LiveSource(text, rate=rate)
    source = _open_path(Path(text).expanduser(), text)
    if rate is None and not loop:
        return source
    from fedefm_ros.imaging.playback import PlaybackSource
    return PlaybackSource(source, rate=rate, loop=loop)


def is_simulator(text: str) -> bool:
    """Return whether an INPUT is the simulator, and no file whose name begins alike."""
    return text.strip().partition(':')[0] == 'simulator'


def is_device(text: str) -> bool:
    """Return whether an INPUT is a live device: a number, /dev/videoN, or a URL."""
    return bool(re.fullmatch(r'\d+|/dev/video\w+|(rtsps?|rtmp|https?|udp|tcp)://.+', text))


def _open_path(path: Path, text: str) -> FrameSource:
    """Open a file or folder by its content."""
    if not text or not path.exists():
        raise FedefmError(f'{text or "(nothing)"}: no such file or folder; INPUT is {SUPPORTED}')
    try:
        kind = _folder_kind(path) if path.is_dir() else _file_kind(path)
    except OSError as error:
        raise FedefmError(f'{path}: cannot be read: {error.strerror or error}') from None
    if kind == 'dicom':
        from fedefm_ros.imaging.dicom import DicomSource
        return DicomSource(path)
    if kind == 'image':
        from fedefm_ros.imaging.folder import ImageSource
        return ImageSource(path)
    if kind == 'bag':
        from fedefm_ros.imaging.bag import BagSource
        return BagSource(path)
    if kind == 'video':
        from fedefm_ros.imaging.video import VideoSource
        return VideoSource(path)
    raise FedefmError(f'{path}: {kind}; INPUT is {SUPPORTED}')


def _folder_kind(path: Path) -> str:
    """Return dicom, image or bag by what a folder holds, else what is wrong with it."""
    from fedefm_ros.imaging.folder import visible_files
    files = visible_files(path)
    if any(file.name == 'metadata.yaml' or file.suffix in ('.mcap', '.db3', '.bag')
           for file in files):
        return 'bag'
    kinds = [_file_kind(file) for file in files]
    for kind in ('dicom', 'image'):
        if kind in kinds:
            return kind
    if 'video' in kinds:
        return 'a folder of videos: give one of them'
    return f'no usable file directly in this folder ({len(files)} files)'


def _file_kind(path: Path) -> str:
    """Return dicom, image, bag or video by a file's first bytes, else what is wrong with it."""
    from fedefm_ros.imaging.stills import kind_of
    from fedefm_ros.imaging.video import is_video
    if not path.is_file():
        return 'neither a file nor a folder'
    with open(path, 'rb') as file:
        head = file.read(512)
    if not head:
        return 'the file is empty'
    if head[128:132] == b'DICM':
        return 'dicom'
    if kind_of(head):
        return 'image'
    if head.startswith((b'\x89MCAP0\r\n', b'SQLite format 3\0', b'#ROSBAG V2.0\n')):
        return 'bag'
    if is_video(head):
        return 'video'
    # Damaged files are better refused by who knows what they should have been.
    suffixes = {'dicom': ('.dcm', '.dicom', '.ima'), 'bag': ('.mcap', '.db3', '.bag'),
                'video': ('.avi', '.mp4', '.m4v', '.mov', '.mkv', '.webm', '.mpg', '.mpeg',
                          '.wmv', '.ts'),
                'image': ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp')}
    for kind, endings in suffixes.items():
        if path.suffix.lower() in endings:
            return kind
    return f'unsupported kind of file (it starts with {head[:8]!r})'
