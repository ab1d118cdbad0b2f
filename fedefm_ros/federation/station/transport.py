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

"""What the rounds ask of whatever carries messages between stations."""

from typing import Protocol

from fedefm_ros.federation.trust.manifest import Manifest


class Transport(Protocol):
    """ROS is one; tests have one within a process."""

    def announce(self, manifest: Manifest) -> None:
        """Tell all stations of a model; those that come later should hear it, too."""

    def ask(self, station: str, sha256: str, index: int) -> None:
        """
        Ask a station for a chunk.

        The answer goes to Member.chunk or Member.no_chunk; that none comes at all is possible.
        """

    def silence(self, station: str) -> float:
        """Return the seconds since a station was last heard; infinite if never."""
