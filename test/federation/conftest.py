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

from exchange import Exchange
from exchange import KINDS
from exchange import NAMES
from exchange import plans
from exchange import TRUSTING

import pytest

import torch


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Compute small tensors in one thread: on a busy machine threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='session')
def cache(tmp_path_factory):
    """Make the images of the foundation task once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture
def exchange(tmp_path, cache):
    """Give three stations that have not been started."""
    return Exchange(tmp_path, NAMES, plans(NAMES, KINDS), rounds=2, **TRUSTING)
