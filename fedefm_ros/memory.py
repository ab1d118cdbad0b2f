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

"""What this process does with memory."""

import ctypes
from pathlib import Path
import resource

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Names in glibc's malloc.h."""
_LARGEST_BLOCK = 32 << 20
"""Bytes; glibc takes no greater one. A 4096 x 4096 image of 8 bits has half of it."""
_KEPT = 256 << 20
"""Bytes at the heap's end."""


def peak_bytes() -> int:
    """
    Return the most resident memory that this process has had, in bytes.

    Of the kernel's count for this program: getrusage's (taken where there is no other) begins with
    that of the process it was started from.
    """
    try:
        for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
            if line.startswith('VmHWM:'):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def keep_freed_memory() -> bool:
    """
    Have this process reuse the memory that it frees instead of giving it back; return success.

    glibc takes a block of an image's size from the kernel and returns it when it is freed, so each
    frame's buffers (rclpy makes several copies of a message) are zeroed and mapped anew, page by
    page. Costs as much memory as was once used at a time. False where the C library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK) and mallopt(_M_TRIM_THRESHOLD, _KEPT))
