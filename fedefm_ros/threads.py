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

"""How many cores a process's arithmetic takes."""

import os


def keep_numpy_on_one_core() -> None:
    """
    Let numpy's products of matrices use one thread; call it before numpy is imported.

    They are small here, and threads that wait for each other take ten times as long on cores that
    other processes want, too. Who sets OPENBLAS_NUM_THREADS has it as wanted.
    """
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
