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

"""What `./run train` refuses before it begins."""

from fedefm_ros.commands.train import train
from fedefm_ros.errors import FedefmError
from fedefm_ros.paths import config_dir

import pytest

HUMAN = config_dir() / 'simulation' / 'training' / 'human.yaml'


def test_two_files_of_scenes_of_one_kind_are_refused(tmp_path):
    with pytest.raises(FedefmError, match='two files are of one kind'):
        train(out=tmp_path / 'run', scenes=[HUMAN, HUMAN])
    assert not (tmp_path / 'run').exists()


def test_a_file_of_scenes_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FedefmError, match='absent.yaml: cannot be read'):
        train(out=tmp_path / 'run', scenes=[tmp_path / 'absent.yaml'])
