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

"""A station outlives what a peer says, its peers' removal, and what is written in its journal."""

from dataclasses import replace
import json

from canned import Ada

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.journal import Journal
from fedefm_ros.federation.station.journal import LAST_ROUND
from fedefm_ros.federation.station.journal import LEAP
from fedefm_ros.federation.trust.peers import Peers

import pytest


@pytest.fixture
def ada(tmp_path):
    """Give a station that has a model of its own."""
    made = Ada(tmp_path)
    made.start()
    assert made.run(made.has_trained)
    return made


def rewrite(ada, **changes):
    """Stop ada and change what its journal says."""
    ada.member.close()
    path = ada.folder / 'state' / 'journal.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize('purpose', ['aggregate', 'overseas'])
@pytest.mark.parametrize('number', [LAST_ROUND, 10 ** 6])
def test_no_station_follows_another_into_a_round_that_cannot_be(ada, purpose, number):
    ada.member.heard(ada.said_by('bert', payload=b'x', purpose=purpose, round=number))
    ada.run(seconds=60)
    journal = ada.member.journal
    assert journal.refusals == {'ahead': 1} and 0 < journal.round < 100
    # Bert's next model, and who hears of it, are none the worse for it.
    ada.member.heard(ada.said_by('bert', payload=b'x', round=journal.round))
    assert ada.run(lambda: 'bert' in journal.neighbours)


def test_only_a_model_that_came_moves_the_counter(ada):
    journal = ada.member.journal
    ada.member.heard(ada.said_by('bert', round=journal.round + 500))
    assert ada.run(lambda: journal.refusals.get('unreachable')) and journal.round < 100
    number = journal.round + 500
    ada.member.heard(ada.said_by('cleo', payload=b'x', round=number))
    assert ada.run(lambda: journal.round == number)
    ada.member.heard(ada.said_by('cleo', payload=b'x', round=LEAP))
    assert ada.run(lambda: journal.round == LEAP), 'who was away for long is left behind'


def test_the_counter_ends_without_ending_the_station(ada):
    rewrite(ada, round=LAST_ROUND - 1, phase='away')
    ada.start()
    assert ada.run(lambda: ada.member.journal.round == LAST_ROUND)
    made = len(ada.member.journal.history)
    ada.run()
    assert ada.member.journal.round == LAST_ROUND and len(ada.member.journal.history) == made


@pytest.mark.parametrize('number', [LAST_ROUND + 1, -1, 'one', 0.5])
def test_a_journal_of_an_impossible_round_says_what_to_do(ada, number):
    rewrite(ada, round=number)
    with pytest.raises(FedefmError, match='set "round" in it'):
        Journal.load(ada.folder / 'state' / 'journal.json')


def test_a_counter_that_was_led_astray_can_be_set_right(ada):
    journal = ada.member.journal
    entry = {'model': journal.model, 'round': 10 ** 6, 'scores': {}}
    absurd = ada.said_by('bert', round=10 ** 6)
    rewrite(ada, round=10 ** 6, newest=10 ** 6)
    journal = ada.start(interval=1e9).journal
    honest = ada.said_by('cleo', payload=b'x', round=2)
    ada.member.heard(honest)
    assert 'set "round" in its journal.json' in journal.last_refusal
    rewrite(ada, round=2, newest=10 ** 6, neighbours={'bert': entry}, declined={'cleo': 10 ** 6},
            visits={absurd.nonce.hex(): {'manifest': absurd.to_json(), 'stage': 'fetch'}})
    journal = ada.start().journal
    assert journal.neighbours == journal.declined == journal.visits == {}
    ada.member.heard(honest)
    assert ada.run(lambda: journal.round == 3)


def test_a_station_that_is_struck_off_is_gone_for_good(ada):
    ada.member.heard(ada.said_by('cleo', payload=b'x'))
    assert ada.run(lambda: 'cleo' in ada.member.journal.neighbours)
    ada.member.heard(ada.said_by('cleo', round=ada.member.journal.round + 1))
    hop = ada.member._desk.options.route('cleo', 0).index('ada')
    ada.member.heard(ada.said_by('cleo' if hop == 0 else 'bert', payload=b'x', owner='cleo',
                                 purpose='overseas', hop=hop))
    assert ada.run(lambda: any(said.owner == 'cleo' for said in ada.member._desk.offers()))
    assert ada.member.journal.visits
    ada.member.close()
    Peers.read(ada.folder / 'ada').remove('cleo')
    ada.start(names=('ada', 'bert'))
    journal = ada.member.journal
    assert 'cleo' not in journal.neighbours and not journal.visits
    assert all('cleo' not in (said.owner, *said.recipients) for said in ada.member._desk.offers())
    # An honest peer that still has its model, and anybody who needs no key for this.
    ada.member.heard(ada.said_by('bert', owner='cleo', purpose='overseas', recipients=('cleo',)))
    forged = ada.said_by('cleo', purpose='overseas', recipients=('bert',))
    for said in (forged, replace(forged, signature=bytes(64)), replace(forged, recipients=())):
        ada.member.heard(said)
    ada.member.heard(ada.said_by('cleo'))
    ada.member.heard(ada.said_by('bert', owner='cleo', purpose='overseas'))
    assert {'unknown_key', 'unknown_owner'} <= set(journal.refusals)
    number = journal.round
    assert ada.run(lambda: journal.round > number + 1)


def test_the_model_in_use_is_known_after_a_restart(tmp_path):
    ada = Ada(tmp_path)
    assert ada.start(interval=0.0).accepted is None
    assert ada.run(lambda: ada.member.journal.round == 2)
    last = ada.accepted[-1]
    assert last.path.stem == 'round00001' and last.scores
    ada.member.close()
    found = ada.start(interval=1e9).accepted
    assert (found.path, found.scores) == (last.path, last.scores)
    ada.member.rollback()
    ada.member.close()
    assert ada.start(interval=1e9).accepted.path.stem == 'round00000'


@pytest.mark.parametrize('phase', ['rest', 'away', 'gate'])
def test_a_rollback_in_a_procedure_takes_the_earlier_model_at_once(ada, phase):
    assert ada.run(lambda: ada.member.journal.round == 1 and ada.member.journal.phase == phase)
    journal = ada.member.journal
    bad, told = journal.used, len(ada.accepted)
    ada.run(idle=False, seconds=1)  # a procedure has begun
    word = ada.member.rollback()
    assert len(ada.accepted) == told + 1
    assert ada.accepted[-1].path.stem == 'alone' and ada.accepted[-1] == ada.member.accepted
    assert journal.used == ada.accepted[-1].path.read_text() != bad
    assert (journal.model == journal.used) == (phase == 'rest') == ('goes on' not in word)
    with pytest.raises(FedefmError, match='no accepted model'):
        ada.member.rollback()
    # What comes of the round then has to be better than this one.
    assert ada.run(lambda: ada.accepted[-1].path.stem == 'round00001')
    assert ada.member.rollback() and ada.accepted[-1].path.stem == 'alone'


def test_a_rollback_to_a_file_that_is_gone_says_so_and_changes_nothing(ada):
    assert ada.run(lambda: ada.member.journal.round == 1)
    (ada.folder / 'state' / 'accepted' / 'alone.safetensors').unlink()
    used, told = ada.member.journal.used, len(ada.accepted)
    with pytest.raises(FedefmError, match='the model in use stays'):
        ada.member.rollback()
    assert ada.member.journal.used == used and len(ada.accepted) == told


def test_who_is_off_the_list_though_its_key_is_here_sends_no_visitors(ada):
    ada.member.close()
    ada.start(names=('ada', 'bert'))
    ada.member.heard(ada.said_by('cleo', owner='bert', purpose='overseas'))
    assert ada.member.journal.refusals == {'unknown_owner': 1}
