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

"""YAML files that people write."""

from pathlib import Path

from fedefm_ros.errors import FedefmError

import yaml


def read_table(path: Path) -> dict:
    """
    Return the keys and values of a YAML file.

    :raises FedefmError: no such file, not YAML, or no table; it names the file.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise FedefmError(f'{path}: cannot be read: {error.strerror or error}') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FedefmError(f'{path}: is no YAML: {" ".join(str(error).split())}') from error
    if not isinstance(values, dict):
        raise FedefmError(f'{path}: a table of keys and values was expected')
    return values
