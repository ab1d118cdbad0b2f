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

"""`test`: linters and all tests of a source checkout."""

import os
import sys
from typing import Annotated

from fedefm_ros import paths
from fedefm_ros.errors import FedefmError

import typer

app = typer.Typer(add_completion=False)


@app.command(context_settings={'ignore_unknown_options': True})
def test(
    arguments: Annotated[list[str] | None, typer.Argument(
        help='Given to pytest, which runs in the checkout: test/imaging, -k tip, ...')] = None,
) -> None:
    """
    Run the linters and all tests.

    The linters are tests, too (test/test_flake8.py, test/test_pep257.py). Runs two processes at
    once unless -n or --pdb is given.
    """
    root = paths.checkout()
    if root is None:
        raise FedefmError('the tests are in the source checkout only; run ./run test there')
    given = arguments or []
    parallel = [] if any(a.startswith(('-n', '--pdb')) for a in given) \
        else ['-n', '2', '--dist', 'loadfile', '--no-loadscope-reorder']
    os.chdir(root)
    # One thread of mathematics each: the processes share the cores.
    environment = {'OMP_NUM_THREADS': '1'} | os.environ
    os.execve(sys.executable,
              [sys.executable, '-m', 'pytest', *parallel, *given], environment)
