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

"""The model that the launch tests run."""

import pytest


@pytest.fixture(scope='session')
def line_model(tmp_path_factory):
    """Return a small model whose graph is in the cache of this process and its children."""
    from fedefm_ros.segmentation.runtimes import graph_of
    from linenet import save_line_model
    folder = tmp_path_factory.mktemp('model')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
        path = save_line_model(folder / 'lines.safetensors', size=128)
        graph_of(path)
        yield path
