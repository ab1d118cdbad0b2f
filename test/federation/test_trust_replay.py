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

"""Announcements are taken once, whatever restarts, clocks and floods there are."""

from dataclasses import replace

from couriers import manifest_of
from couriers import start_python

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.trust.replay import ReplayGuard

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

import pytest


def refusal(guard, manifest):
    try:
        guard.check(manifest)
    except Refused as refused:
        return refused.reason


def test_what_was_taken_is_refused_after_a_restart_too(tmp_path):
    guard, made = ReplayGuard(tmp_path / 'replay.json'), manifest_of()
    guard.check(made)
    guard.taken(made)
    for known in (guard, ReplayGuard(tmp_path / 'replay.json')):
        assert refusal(known, made) == 'replayed'
        with pytest.raises(Refused):
            known.taken(made)
        assert refusal(known, manifest_of()) is None  # another of the same round


def test_what_was_seen_but_not_taken_can_be_gone_on_with(tmp_path):
    guard, made = ReplayGuard(tmp_path / 'replay.json'), manifest_of()
    guard.check(made)
    assert refusal(guard, made) is None
    restarted = ReplayGuard(tmp_path / 'replay.json')
    assert refusal(restarted, made) is None
    restarted.taken(made)
    assert refusal(restarted, made) == 'replayed'


def test_one_senders_nonce_is_another_senders_affair(tmp_path):
    guard, made = ReplayGuard(tmp_path / 'replay.json'), manifest_of()
    guard.taken(made)
    assert refusal(guard, replace(made, sender='gamma')) is None


def test_rounds_that_are_long_over_are_stale(tmp_path):
    guard = ReplayGuard(tmp_path / 'replay.json', staleness=2)
    guard.taken(manifest_of(round=10))
    assert refusal(guard, manifest_of(round=8)) is None
    assert refusal(guard, manifest_of(round=7)) == 'stale'
    assert refusal(guard, manifest_of('gamma', round=0)) is None
    assert refusal(ReplayGuard(tmp_path / 'replay.json', staleness=2),
                   manifest_of(round=7)) == 'stale'


@pytest.mark.parametrize('stamp', [0, 1, (1 << 31) * 10 ** 9])
def test_clocks_do_not_matter(tmp_path, stamp):
    guard = ReplayGuard(tmp_path / 'replay.json')
    guard.taken(manifest_of(round=5, stamp_ns=10 ** 18))
    assert refusal(guard, manifest_of(round=5, stamp_ns=stamp)) is None
    assert refusal(guard, manifest_of(round=6, stamp_ns=stamp)) is None


@settings(max_examples=40, deadline=None)
@given(rounds=strategies.lists(strategies.integers(0, 12), min_size=1, max_size=40))
def test_nothing_is_taken_twice_however_little_is_remembered(tmp_path_factory, rounds):
    path = tmp_path_factory.mktemp('guard') / 'replay.json'
    guard, taken = ReplayGuard(path, staleness=4, remembered=3), []
    for number in rounds:
        made = manifest_of(round=number)
        if refusal(guard, made) is None:
            guard.taken(made)
            taken.append(made)
        for known in (guard, ReplayGuard(path, staleness=4, remembered=3)):
            assert all(refusal(known, old) in ('replayed', 'stale') for old in taken)
    assert path.stat().st_size < 600


@pytest.mark.parametrize('text', ['', '[]', '{"alpha": 1}', '{"alpha": {"oldest": "x"}}', '\udcff',
                                  '{"alpha": {"oldest": 1, "taken": [1]}}'])
def test_a_damaged_memory_is_not_taken_for_an_empty_one(tmp_path, text):
    (tmp_path / 'replay.json').write_bytes(text.encode(errors='surrogateescape'))
    with pytest.raises(FedefmError, match='starts anew'):
        ReplayGuard(tmp_path / 'replay.json')


def test_on_a_full_disk_it_is_still_remembered_until_the_restart(tmp_path):
    child = start_python("""
import resource
from pathlib import Path
from couriers import manifest_of
from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.replay import ReplayGuard
guard, made = ReplayGuard(Path(sys.argv[1]) / 'replay.json'), manifest_of()
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
for method in (guard.taken, guard.check):
    try:
        method(made)
    except FedefmError as error:
        print(type(error).__name__, getattr(error, 'reason', ''))
""", tmp_path)
    assert child.communicate(timeout=60)[0].split('\n')[:2] == ['FedefmError ', 'Refused replayed']
    assert not list(tmp_path.iterdir())
