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
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Annotated
from xml.etree import ElementTree

from fedefm_ros import paths
from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer

#: More failures than these have another cause than a busy machine.
_REPEATED = 8
_TESTS_FAILED = 1
"""Exit code of pytest."""

app = typer.Typer(add_completion=False)


@app.command(context_settings={'ignore_unknown_options': True})
def test(
    arguments: Annotated[list[str] | None, typer.Argument(
        help='Given to pytest, which runs in the checkout: test/imaging, -k tip, ...')] = None,
) -> None:
    """
    Run the linters and all tests.

    The linters are a test, too (test/test_flake8.py). Runs two processes at once unless -n or
    --pdb is given. A few tests that fail then are run again, alone: many work with real
    processes, which a machine busy with other tests can starve. What fails again has failed; what
    does not is named.
    """
    root = paths.checkout()
    if root is None:
        raise FedefmError('the tests are in the source checkout only; run ./run test there')
    given = arguments or []
    os.chdir(root)
    # One thread of mathematics each: the processes share the cores.
    environment = {'OMP_NUM_THREADS': '1'} | os.environ
    command = [sys.executable, '-m', 'pytest', *given]
    if any(a.startswith(('-n', '--pdb')) for a in given):
        os.execve(sys.executable, command, environment)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'report.xml'
        code = _call([*command, '-n', '2', '--dist', 'loadfile', '--no-loadscope-reorder',
                      f'--junitxml={report}'], environment)
        failed = _failed(report) if code == _TESTS_FAILED else []
    if not 0 < len(failed) <= _REPEATED:
        raise typer.Exit(code)
    output.say(f'{len(failed)} failed beside other tests; once more, alone: {", ".join(failed)}')
    raise typer.Exit(_call([*command, '-n', '0', '--last-failed'], environment))


def _call(command: list[str], environment: dict[str, str]) -> int:
    """Return the exit code of a program; a Ctrl-C is its own affair."""
    with subprocess.Popen(command, env=environment) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def _failed(report: Path) -> list[str]:
    """Return the names of the tests that a JUnit report says have failed."""
    cases = ElementTree.parse(report).iter('testcase')
    return [f'{case.get("classname")}.{case.get("name")}' for case in cases
            if case.find('failure') is not None or case.find('error') is not None]
