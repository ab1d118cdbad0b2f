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
Data sets of other groups, of one's own and of the simulator, read as they lie on disk.

``open_dataset`` gives a ``FrameSet`` of images with masks; ``ranzcr.read`` gives chest
radiographs with labels. docs/datasets.md has the layouts.
"""

from fedefm_ros.learning.datasets.catalogue import LAYOUTS, open_dataset
from fedefm_ros.learning.datasets.frames import Entry, FrameSet
from fedefm_ros.learning.datasets.split import split_groups

__all__ = ['Entry', 'FrameSet', 'LAYOUTS', 'open_dataset', 'split_groups']
