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
Splits by patient or sequence, decided by a seed and by nothing else.

Neighbouring frames of a sequence are almost copies: a split by frame would test on what was
trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
import hashlib
import math

from fedefm_ros.errors import FedefmError


def split_groups(groups: Iterable[str], shares: dict[str, float],
                 seed: int) -> dict[str, frozenset[str]]:
    """
    Divide groups into parts.

    The groups are put in the order of SHA-256('seed/group'), which is the same on every machine
    and does not depend on how files were listed, and cut at the cumulated shares (the nearest
    whole number of groups, at least one a part).

    :param shares: part -> share; positive, they are divided by their sum.
    :returns: part -> its groups; disjoint, none empty, together all.
    :raises FedefmError: fewer groups than parts, or shares that are not positive.
    """
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(
        f'{seed}/{group}'.encode()).digest())
    if not shares or not all(share > 0 and math.isfinite(share) for share in shares.values()):
        raise FedefmError(f'the shares {shares} must be positive numbers')
    if len(ordered) < len(shares):
        raise FedefmError(
            f'{len(ordered)} patient(s) or sequence(s) ({", ".join(ordered[:3])}) cannot be '
            f'divided into {", ".join(shares)}; frames of one are never divided. Say how names '
            'tell the patient (a group pattern), or give a set with more')
    total = sum(shares.values())
    parts, start, cumulated = {}, 0, 0.0
    for number, (part, share) in enumerate(shares.items()):
        cumulated += share
        left = len(shares) - number - 1
        end = round(cumulated / total * len(ordered)) if left else len(ordered)
        end = min(max(end, start + 1), len(ordered) - left)
        parts[part] = frozenset(ordered[start:end])
        start = end
    return parts
