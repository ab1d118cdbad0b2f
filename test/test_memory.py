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

"""What the process does with memory."""

import platform
import subprocess
import sys

from fedefm_ros.memory import peak_bytes

import pytest

# Page faults of 200 times four buffers of 4 MiB, which are freed together.
FAULTS = """
import resource, sys
import numpy as np
from fedefm_ros.memory import keep_freed_memory

def make(count):
    for _ in range(count):
        held = [np.ones(4 << 20, np.uint8) for _ in range(4)]
        del held

if sys.argv[1] == 'kept':
    assert keep_freed_memory()
make(5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
make(200)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    """Return the page faults of a new process."""
    made = subprocess.run([sys.executable, '-c', FAULTS, how], capture_output=True, text=True,
                          check=True)
    return int(made.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='mallopt is of glibc')
def test_freed_images_are_used_again():
    assert faults('kept') < 200 < faults('given back')


def test_the_peak_is_what_was_once_in_use():
    before = peak_bytes()
    assert before > 1 << 20
    held = bytearray(b'x') * (before + (64 << 20))
    assert peak_bytes() > before + (32 << 20)
    del held
    assert peak_bytes() > before + (32 << 20)
