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

"""Names of codecs: 'safetensors', then '+topkNN', '+fp16', '+zstd', or some, in this order."""

from dataclasses import dataclass
import re

from fedefm_ros.federation.trust.refusal import Refused

_NAME = re.compile(r'safetensors(?:\+topk([1-9][0-9]{0,2}))?(\+fp16)?(\+zstd)?')


@dataclass(frozen=True)
class CodecName:
    """What a codec's name says."""

    topk: int | None
    """Per mille of the entries, 1 to 999, that are sent, as a difference; None: all."""
    fp16: bool
    zstd: bool


def parse_codec(codec: str) -> CodecName:
    """Return what a name says; raises Refused('bad_codec')."""
    found = _NAME.fullmatch(codec) if isinstance(codec, str) else None
    if found is None:
        raise Refused('bad_codec', f'codec {str(codec)[:64]!r} is not known; expected safetensors '
                      'with +topkNN (1 to 999 per mille), +fp16 and +zstd in this order, or none')
    return CodecName(int(found[1]) if found[1] else None, bool(found[2]), bool(found[3]))
