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
from typing import Protocol

from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame


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
