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

"""What a station accepts of its peers at most."""

from dataclasses import dataclass
from dataclasses import fields

from fedefm_ros.errors import FedefmError


@dataclass(frozen=True)
class Limits:
    """Bounds on sizes and on weights; checked before memory or disk is spent."""

    #: Bytes of a payload as sent.
    max_bytes: int = 1 << 30
    #: Bytes of a chunk: smaller ones cost too many questions, larger ones too much to ask again.
    min_chunk: int = 64 << 10
    max_chunk: int = 4 << 20
    max_recipients: int = 256
    #: Stops of a trip.
    max_hop: int = 256
    #: Greatest length of (theirs - own) of all weights, as a multiple of the length of own. A
    #: segmentation network that was trained for long is 3 from its random beginning, so a new
    #: station can learn from an old one; ten times the own weights are at 9. Own weights negated
    #: are at 2: they are for the held-out check.
    whole_ratio: float = 5.0
    #: The same of one tensor, whose own length counts as at least that of an average tensor of
    #: its size, as new biases are zero. Measured as above: 27.
    tensor_ratio: float = 80.0
    #: Greatest entry of running means and variances, as a multiple of the greatest own one (at
    #: least 1). These depend on the data; measured as above: several thousand in early layers.
    statistics_ratio: float = 1e5

    def __post_init__(self):
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise FedefmError(f'limit {field.name} is {getattr(self, field.name)}; expected '
                                  'more than 0')
        if self.min_chunk > self.max_chunk:
            raise FedefmError(f'limit min_chunk ({self.min_chunk}) is above max_chunk '
                              f'({self.max_chunk})')
