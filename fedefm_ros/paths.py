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
Where the shipped models, parameter files and launch files are.

They are data of the package and lie in one of three places: the checkout (also where colcon
installed with --symlink-install), share/fedefm_ros of a colcon or distribution install, or
fedefm_ros/share of a pip install.
"""

from functools import lru_cache
from pathlib import Path

from fedefm_ros.errors import FedefmError

PACKAGE = 'fedefm_ros'


def checkout() -> Path | None:
    """Return the root of the source checkout this code runs from; None if it is installed."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / 'package.xml').is_file() else None


@lru_cache
def share_dir() -> Path:
    """Return the folder that has config/, launch/ and models/; FedefmError if there is none."""
    package = Path(__file__).resolve().parent
    prefixes = [parent / 'share' / PACKAGE for parent in package.parents]
    candidates = [checkout(), package / 'share', *prefixes]
    for folder in candidates:
        if folder and (folder / 'config').is_dir():
            return folder
    raise FedefmError(
        f'no config/ found for the package in {package}; expected it in '
        f'share/{PACKAGE} of the same install: install the package again')


def models_dir() -> Path:
    """Return the folder of the shipped weights (*.safetensors)."""
    return share_dir() / 'models'


def config_dir() -> Path:
    """Return the folder of the parameter files (*.yaml)."""
    return share_dir() / 'config'


def launch_dir() -> Path:
    """Return the folder of the launch files (*.launch.py)."""
    return share_dir() / 'launch'
