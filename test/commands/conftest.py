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

"""A model whose answer is known, and a cache of its own for what is exported from it."""

from linenet import save_line_model

import pytest


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp('cache')


@pytest.fixture
def use_cache(cache, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache))


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return save_line_model(tmp_path_factory.mktemp('model') / 'lines.safetensors')
