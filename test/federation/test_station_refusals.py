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

"""What a station refuses of others, and what becomes of the round."""

from dataclasses import replace
from io import BytesIO

from exchange import Exchange
from exchange import KINDS
from exchange import NAMES
from exchange import plans
from exchange import start_all
from exchange import TRUSTING

from fedefm_ros.federation.station.plan import TaskPlan
from fedefm_ros.federation.trust.identity import Identity

import pytest

from safetensors.torch import load_file

import torch


pytestmark = pytest.mark.usefixtures('cache')


def forged(exchange, **changes):
    """Return an announcement of bert to ada with some fields changed, signed by bert."""
    exchange.run(lambda: any(m.sender == 'bert' and 'ada' in m.recipients
                             for m in exchange.announced), 20000)
    true = next(m for m in exchange.announced if m.sender == 'bert' and 'ada' in m.recipients)
    made = replace(true, **{'nonce': bytes(range(16)), **changes})
    return made.signed_by(Identity.load(exchange.keys('bert')))


@pytest.mark.parametrize('reason, changes', [
    ('too_large', {'size': 10 << 30}),
    ('wrong_architecture', {'architecture_hash': 'ab' * 32}),
    ('wrong_version', {'protocol_version': 99}),
    ('unknown_owner', {'owner': 'mallory', 'purpose': 'overseas'}),
    ('wrong_route', {'owner': 'cleo', 'purpose': 'aggregate'}),
])
def test_an_announcement_that_cannot_be_right_is_refused_and_counted(exchange, reason, changes):
    start_all(exchange)
    manifest = forged(exchange, **changes)
    before = exchange.members['ada'].journal.refusals.get(reason, 0)
    exchange.members['ada'].heard(manifest)
    assert exchange.members['ada'].journal.refusals[reason] == before + 1


def test_strangers_changed_and_repeated_announcements_are_refused(exchange, tmp_path):
    start_all(exchange)
    manifest = forged(exchange)
    ada = exchange.members['ada']
    stranger = Identity.create(tmp_path / 'mallory', 'mallory')
    ada.heard(replace(manifest, sender='mallory').signed_by(stranger))
    assert ada.journal.refusals['unknown_key'] == 1
    ada.heard(replace(manifest, round=manifest.round + 1))
    assert ada.journal.refusals['bad_signature'] == 1
    exchange.run(exchange.rounds(2))
    taken = next(m for m in exchange.announced if m.sender == 'bert' and 'ada' in m.recipients)
    ada.heard(taken)
    assert ada.journal.refusals.get('replayed') or ada.journal.refusals.get('stale')


@pytest.mark.parametrize('reason, spoil', [
    ('not_finite', lambda value: value.fill_(float('nan'))),
    ('norm', lambda value: value.mul_(1e6)),
])
def test_weights_that_are_not_sane_never_teach(tmp_path, monkeypatch, reason, spoil):
    exchange = Exchange(tmp_path, NAMES, plans(NAMES, KINDS), rounds=1, encrypt=False,
                        **TRUSTING)
    start_all(exchange)
    work = exchange.crews['bert']._work

    honest = work._sealed

    def poisoned(state, **seal):
        return honest({key: spoil(value.clone()) if value.is_floating_point() else value
                       for key, value in state.items()}, **seal)
    monkeypatch.setattr(work, '_sealed', poisoned)
    exchange.run(exchange.rounds(1), 20000)
    for name in ('ada', 'cleo'):
        journal = exchange.members[name].journal
        assert journal.refusals.get(reason) or journal.refusals.get('not_finite'), \
            journal.refusals
        state = load_file(exchange.state(name) / 'models' / f'{journal.model}.safetensors')
        assert all(value.isfinite().all() for value in state.values())


def test_a_pickle_in_place_of_weights_is_refused(tmp_path, monkeypatch):
    exchange = Exchange(tmp_path, NAMES, plans(NAMES, KINDS), rounds=1, encrypt=False,
                        codec='safetensors', **TRUSTING)
    start_all(exchange)
    payload = BytesIO()
    torch.save({'weights': torch.zeros(4)}, payload)
    work = exchange.crews['bert']._work
    honest = work._sealed

    def pickled(state, **seal):
        with monkeypatch.context() as patch:
            patch.setattr('fedefm_ros.federation.station.work.encode',
                          lambda *_: payload.getvalue())
            return honest(state, **seal)
    monkeypatch.setattr(work, '_sealed', pickled)
    exchange.run(exchange.rounds(1), 20000)
    journal = exchange.members['ada'].journal
    assert set(journal.refusals) & {'malformed', 'bad_codec', 'too_large'}, journal.refusals


def test_stations_with_another_task_refuse_each_other(tmp_path):
    made = plans(NAMES, KINDS)
    made['cleo'] = TaskPlan('foundation', 'simulator:phantom', images=12, held_out=6, size=64,
                            batch=8, model='', seed=3)
    exchange = Exchange(tmp_path, NAMES, made, rounds=1, deadline=5.0, **TRUSTING)
    start_all(exchange, deadline=5.0)
    exchange.run(exchange.rounds(1), 20000)
    assert exchange.members['ada'].journal.refusals.get('wrong_architecture')
    assert exchange.members['ada'].journal.history[-1]['present'] == ['bert']


def test_a_model_that_a_stop_refuses_goes_on_to_the_next(tmp_path):
    made = plans(NAMES, KINDS)
    made['bert'] = TaskPlan('foundation', 'simulator:animal', images=12, held_out=6, size=64,
                            batch=8, model='', seed=3)
    exchange = Exchange(tmp_path, NAMES, made, rounds=2, deadline=1e6, **TRUSTING)
    start_all(exchange)
    ada, cleo = exchange.members['ada'], exchange.members['cleo']
    # Nobody's deadline comes; bert is on both trips, first on one and last on the other.
    exchange.run(lambda: all(member.journal.round == 2 for member in (ada, cleo)), 6000)
    for member, other in ((ada, 'cleo'), (cleo, 'ada')):
        for row in member.journal.history[1:]:
            assert row['present'] == [other] and row['absent'] == ['bert']
    assert any(m.purpose == 'refused' and m.sender == 'bert' for m in exchange.announced)
    # Whom all refuse goes on alone.
    exchange.run(lambda: exchange.members['bert'].journal.round == 2, 20000)
    assert exchange.members['bert'].journal.history[-1]['present'] == []


def test_only_who_was_asked_can_refuse_and_only_once(exchange):
    start_all(exchange)
    exchange.run(lambda: any(m.purpose == 'overseas' and m.owner == m.sender == 'ada'
                             for m in exchange.announced))
    offer = next(m for m in exchange.announced if m.owner == m.sender == 'ada')
    asked, other = offer.recipients[0], next(
        name for name in NAMES if name not in ('ada', offer.recipients[0]))
    ada = exchange.members['ada']

    def next_stops():
        return [m.recipients for m in exchange.announced
                if m.sender == m.owner == 'ada' and m.purpose == 'overseas']
    ada.heard(offer.refusal_by(other).signed_by(Identity.load(exchange.keys(other))))
    ada.heard(replace(offer.refusal_by(asked), sender=asked, signature=bytes(64)))
    assert next_stops() == [(asked,)]
    assert ada.journal.refusals == {'bad_signature': 1}
    told = offer.refusal_by(asked).signed_by(Identity.load(exchange.keys(asked)))
    ada.heard(told)
    ada.heard(told)
    assert next_stops() == [(asked,), (other,)]
