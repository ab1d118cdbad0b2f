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
A few frames of the last procedure, for the trial in shadow: in memory only, never on a disk.

They lie in an anonymous file of the process that took them; another process of the same user can
open it for as long as this one keeps it. Needs no torch.
"""

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence
import os
from pathlib import Path
import time

from fedefm_ros.errors import FedefmError

import numpy as np


class FrameMemory:
    """The newest frames, one a period at most, as whatever the caller has of them."""

    def __init__(self, count: int, period: float = 1.0,
                 clock: Callable[[], float] = time.monotonic):
        """
        Start with none.

        :param count: frames that are kept; 0: none ever.
        :param period: seconds between two of them, at least: neighbours look alike.
        """
        self._kept: deque = deque(maxlen=count)
        self._period, self._clock = period, clock
        self._then = -float('inf')
        self._file: int | None = None

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def add(self, frame) -> None:
        """Keep a frame if it is time for one; costs nothing else."""
        now = self._clock()
        if self._kept.maxlen and now - self._then >= self._period:
            self._kept.append(frame)
            self._then = now

    def as_file(self, decode: Callable[[object], np.ndarray]) -> str:
        """
        Return the path of an anonymous file with the frames, '' where there are none.

        It is valid until the next call, `clear`, or the end of this process.

        :param decode: makes an image, (H, W) uint8 or uint16, of what was added; a FedefmError
            leaves that frame out.
        """
        self._close()
        images = []
        for frame in self._kept:
            try:
                images.append(decode(frame))
            except FedefmError:
                continue  # the segmentation refuses and counts it
        if not images:
            return ''
        self._file = os.memfd_create('fedefm_frames')
        with open(self._file, 'wb', closefd=False) as file:
            write_frames(images, file)
        return f'/proc/{os.getpid()}/fd/{self._file}'

    def clear(self) -> None:
        """Forget all frames."""
        self._kept.clear()
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def write_frames(frames: Sequence[np.ndarray], file) -> None:
    """
    Write frames for another process.

    :param frames: (H, W) uint8 or uint16, of any sizes.
    :param file: binary, open for writing.
    """
    np.savez(file, *frames)


def read_frames(path: Path) -> list[np.ndarray]:
    """Return what write_frames wrote, in its order; raises FedefmError."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return [found[name] for name in found.files]
    except (OSError, ValueError) as error:
        raise FedefmError(f'the frames in {path} cannot be read: {error}') from error
