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

"""Code in an interpreter of its own, to see what gets imported."""

from pathlib import Path
import subprocess
import sys
import textwrap

_REPOSITORY = Path(__file__).resolve().parents[1]


def run_python(code):
    """Run code in a new interpreter; fail with its output where it fails; return its output."""
    start = f'import sys; sys.path.insert(0, {str(_REPOSITORY)!r})\n'
    done = subprocess.run([sys.executable, '-c', start + textwrap.dedent(code)],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
