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

"""
What a payload's SHA-256 is: that of the SHA-256 of its chunks, one after the other.

A tree of two levels: who has hashed the chunks, one by one and in any order, needs no second pass
over the bytes to know the whole. Size and chunk size are signed beside it.
"""

import hashlib

#: Bytes of a chunk's SHA-256.
DIGEST = 32


def payload_sha256(table: bytes) -> str:
    """
    Return the SHA-256 (hex) of a payload.

    :param table: SHA-256 of all chunks in their order, DIGEST bytes each.
    """
    return hashlib.sha256(table).hexdigest()
