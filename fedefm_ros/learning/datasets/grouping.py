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
_PERSONS = 'patient|pat|pt|p|case|subject|subj|sub'
_SEQUENCES = 'study|exam|series|sequence|seq|video|vid|v|run|scene|clip'
# Before a number.
_PERSON_WORD = re.compile(rf'(?<![a-z])({_PERSONS})[{_SEPARATORS}]*$', re.IGNORECASE)
_SEQUENCE_WORD = re.compile(rf'(?<![a-z])({_SEQUENCES})[{_SEPARATORS}]*$', re.IGNORECASE)
# A word with its number or, where neither '_pa' nor 'videos' can be meant, with one letter.
_NAMED = re.compile(
    rf'(?<![a-z])(?:(?:{_PERSONS}|{_SEQUENCES})[{_SEPARATORS}]*\d+'
    rf'|(?:patient|case|subject|study|exam|series|sequence|seq|video|vid|run|scene|clip)'
    rf'(?:[{_SEPARATORS}]+[a-z]|[a-rt-z])(?![a-z\d]))', re.IGNORECASE)


@dataclass(frozen=True)
class Grouping:
    """The patient or sequence of each of some names."""

    groups: dict[str, str]
    """Name -> its group."""
    clear: bool
    """
    False where more than half of the images would be a group of their own by a guess, or where
    what was taken for the frame's number may as well be the patient's.
    """


def groups_by_name(names: Sequence[str], pattern: str | None = None) -> Grouping:
    """
    Return the patients or sequences that file names tell of.

    Without a pattern a group is the name without the frame's number. Names that are equal but for
    their numbers are compared. The frame's number is

    1. the one at the end ('patient2-0012'), but not after a word for a patient or a sequence;
    2. else the only one that varies, those after such words aside ('0012_seq3');
    3. else, where none but those vary, the one at the end after a word for a sequence
       ('video_0012' is of 'video').

    Otherwise the name stays whole: a word for a patient and a number, with nothing else, is a
    patient ('patient3'); anything else is a guess.

    By rule 2 the number may be the patient's as well: '001_AP', '001_LAT'. Where one recurs in
    names that differ beside it, they stay whole and the grouping is not clear, unless such words
    with a number or a letter tell all of those apart ('0012_seqA', '0012_seqB').

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
    places = {texts: _frame_number(texts, found) for texts, found in alike.items()}
    doubtful = _doubtful(alike, places)
    groups, patients = {}, set()
    for texts, found in alike.items():
        place = None if texts in doubtful else places[texts]
        groups |= {''.join(parts): _without(parts, place) for parts in found}
        if len(texts) == 2 and not texts[1] and _PERSON_WORD.fullmatch(texts[0]):
            patients.update(''.join(parts) for parts in found)
    sizes = Counter(groups[name] for name in names)
    guessed = [name for name in names if name not in patients]
    alone = sum(sizes[groups[name]] == 1 for name in guessed)
    return Grouping(groups, clear=not doubtful and alone <= max(1, len(guessed) / 2))


def _frame_number(texts: tuple[str, ...], names: list[list[str]]) -> int | None:
    """
    Return which number of names that differ in numbers only is the frame's; None: none is.

    :param texts: what is between the numbers, which are at the odd places of the names' parts.
    """
    last = 2 * len(texts) - 3
    at_end = last > 0 and not texts[-1]
    free = _free_numbers(texts)
    if at_end and last in free:
        return last
    varying = [place for place in free if len({parts[place] for parts in names}) > 1]
    if len(varying) == 1:
        return varying[0]
    return last if at_end and not varying and _SEQUENCE_WORD.search(texts[-2]) else None


def _free_numbers(texts: tuple[str, ...]) -> list[int]:
    """Return the places of the numbers that follow no word for a patient or a sequence."""
    return [2 * index + 1 for index, text in enumerate(texts[:-1])
            if not (_PERSON_WORD.search(text) or _SEQUENCE_WORD.search(text))]


def _doubtful(alike: dict[tuple[str, ...], list[list[str]]],
              places: dict[tuple[str, ...], int | None]) -> set[tuple[str, ...]]:
    """Return the texts of the names whose frame's number may as well be the patient's."""
    recurring = defaultdict(dict)  # number -> what is beside it -> texts
    inside = set()  # frames' numbers that are not at the end
    for texts, found in alike.items():
        place = places[texts]
        if place is not None and (place < 2 * len(texts) - 3 or texts[-1]):
            inside.update(parts[place] for parts in found)
        for parts in found:
            for each in _free_numbers(texts) if place is None else [place]:
                recurring[parts[each]][_without(parts, each)] = texts
    doubtful = set()
    for number in inside:
        rests = recurring[number]
        named = {tuple(_NAMED.findall(rest)) for rest in rests}
        if len(rests) > 1 and (() in named or len(named) < len(rests)):
            doubtful.update(rests.values())
    return doubtful


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
