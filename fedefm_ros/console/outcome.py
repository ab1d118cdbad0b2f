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

"""What the console can be told to do, and what came of it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Outcome:
    """How a command ended, in words for the operator."""

    done: bool
    text: str
    model_id: str = ''
    """Of the model that runs now, where the command was to load one."""


class Controls(Protocol):
    """
    The commands behind the buttons.

    Each waits for the station's answer, at most some seconds, and so is called from a thread that
    may wait. None raises: what went wrong is in the outcome.
    """

    def change(self, node: str, transition: str) -> Outcome:
        """Ask a lifecycle node (``segmentation``) to configure, activate, deactivate, cleanup."""
        ...

    def load_model(self, path: str) -> Outcome:
        """Ask the segmentation to load a shipped name or a file."""
        ...

    def set_source(self, source: str, rate: float, loop: bool) -> Outcome:
        """Give the fluoroscopy source other parameters and bring it back to where it was."""
        ...

    def pause(self, paused: bool) -> Outcome:
        """Hold or go on with the fluoroscopy source."""
        ...

    def federate(self, command: str) -> Outcome:
        """Ask the federation node: ``start_round``, ``pause`` or ``rollback``."""
        ...
