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

"""Items made in advance: order, errors, an early end."""

import threading

from fedefm_ros.evaluation.overlap import ahead

import pytest


def test_all_items_come_in_their_order():
    assert list(ahead(range(100), 3)) == list(range(100))
    assert list(ahead((), 3)) == []


def test_no_more_than_asked_for_is_made_in_advance():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    lead = []
    for number in ahead(items(), 2):
        lead.append(len(made) - number - 1)
    # Two that wait, one that is at the door.
    assert max(lead) <= 3


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise OSError('the bag is torn')

    seen = []
    with pytest.raises(OSError, match='torn'):
        for item in ahead(items(), 2):
            seen.append(item)
    assert seen == [1]


def test_the_thread_ends_when_the_items_are_left_early():
    for item in ahead(range(10**9), 2):
        if item == 5:
            break
    assert not [one for one in threading.enumerate() if one.name == 'ahead']
