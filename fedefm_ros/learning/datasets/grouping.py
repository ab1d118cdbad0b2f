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

"""Which images belong together, told by what sets their names apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
import re

from fedefm_ros.errors import FedefmError

_NUMBER = re.compile(r'(\d+)')
_SEPARATORS = ' \t_.#-'
# Before a number: what it counts is no frame.
_GROUP_WORD = re.compile(
    r'(?<![a-z])(patient|pat|p|case|subject|subj|sub|study|exam|series|sequence|seq|video|vid|v|'
    r'run|scene|clip)[\s_.#-]*$', re.IGNORECASE)


@dataclass(frozen=True)
class Grouping:
    """The patient or sequence of each of some names."""

    groups: dict[str, str]
    """Name -> its group."""
    clear: bool
    """False where more than half of the images would be a group of their own by a guess."""


def groups_by_name(names: Sequence[str], pattern: str | None = None) -> Grouping:
    """
    Return the patients or sequences that file names tell of.

    Without a pattern a group is the name without the frame's number. That is the number at its
    end, as in 'patient2-0012'. Where there is none, or it counts something else and says so
    ('0012_seq3'), it is the one number that varies among names that are equal but for their
    numbers, those after such words aside; where several vary, the name stays whole.

    :param names: of all the images that are compared, without suffix.
    :param pattern: regular expression whose first group is the answer; it is taken at its word.
    :raises FedefmError: the pattern does not fit a name.
    """
    if pattern is not None:
        return Grouping({name: _matched(name, pattern) for name in names}, clear=True)
    alike = defaultdict(list)
    for name in names:
        parts = _NUMBER.split(name)
        alike[tuple(parts[::2])].append(parts)
    groups = {}
    for texts, found in alike.items():
        place = _frame_number(texts, found)
        groups |= {''.join(parts): _without(parts, place) for parts in found}
    sizes = Counter(groups[name] for name in names)
    alone = sum(size == 1 for size in sizes.values())
    return Grouping(groups, clear=alone <= max(1, len(names) / 2))


def _frame_number(texts: tuple[str, ...], names: list[list[str]]) -> int | None:
    """
    Return which number of names that differ in numbers only is the frame's; None: none is.

    :param texts: what is between the numbers, which are at the odd places of the names' parts.
    """
    last = 2 * len(texts) - 3 if len(texts) > 1 and not texts[-1] else None
    if last is not None and not _GROUP_WORD.search(texts[-2]):
        return last
    varying = [place for place in range(1, 2 * len(texts) - 1, 2)
               if not _GROUP_WORD.search(texts[place // 2])
               and len({parts[place] for parts in names}) > 1]
    return varying[0] if len(varying) == 1 else last


def _without(parts: list[str], place: int | None) -> str:
    """Return a name without one of its numbers and without what set that apart."""
    if place is None:
        return ''.join(parts)
    before, after = ''.join(parts[:place]).rstrip(_SEPARATORS), ''.join(parts[place + 1:])
    return before + after if before else after.lstrip(_SEPARATORS)


def _matched(name: str, pattern: str) -> str:
    try:
        found = re.search(pattern, name)
        if found and found.group(1) is not None:
            return found.group(1)
    except (re.error, IndexError) as error:
        raise FedefmError(f'the group pattern {pattern!r} is no regular expression with one '
                          f'group: {error}') from error
    raise FedefmError(f'the group pattern {pattern!r} does not fit the name {name!r}')
