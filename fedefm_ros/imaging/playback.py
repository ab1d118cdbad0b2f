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

"""A source played again at its end, or at another rate."""

from collections.abc import Iterator
from dataclasses import replace

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.source import ClosingSource, FrameSource


class PlaybackSource(ClosingSource):
    """Another source's frames with times stretched to a rate and, if asked for, without an end."""

    def __init__(self, source: FrameSource, *, rate: float | None = None, loop: bool = False):
        """
        Wrap a source, which is closed with this one.

        :param rate: frames per second on average; the source's own where None.
        :param loop: start anew at the end, for ever; index and time go on.
        """
        self._source = source
        self._loop = loop
        self.name = source.name
        self.rate = rate or source.rate
        self.frame_count = None if loop else source.frame_count

    @property
    def carm(self) -> CArm:
        """Return the C-arm of the source."""
        return self._source.carm

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames."""
        stretch = self._source.rate / self.rate
        index, start = 0, 0.0
        while True:
            first, time = index, start
            for frame in self._source:
                time = start + frame.time * stretch
                yield replace(frame, index=index, time=time)
                index += 1
            if not self._loop:
                return
            if index == first:
                raise FedefmError(f'{self.name}: has no frames to play again')
            start = time + 1.0 / self.rate

    def close(self) -> None:
        """Close the source."""
        self._source.close()
