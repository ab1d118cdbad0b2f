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

"""Rounds of whole stations in one process: real training, sealed weights, kills and faults."""

from dataclasses import replace
import os
import random

from exchange import Exchange
from exchange import KINDS
from exchange import NAMES
from exchange import plans
from exchange import start_all
from exchange import TRUSTING

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.journal import AWAY
from fedefm_ros.federation.station.journal import GATE
from fedefm_ros.federation.station.journal import HOME
from fedefm_ros.federation.station.journal import LOCAL
from fedefm_ros.federation.station.journal import MIX
from fedefm_ros.federation.transfer.codec import decode
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.weights import MOMENTUM
from fedefm_ros.federation.weights import state_of
from fedefm_ros.federation.weights import with_momentum

import pytest

from safetensors.torch import load_file


pytestmark = pytest.mark.usefixtures('cache')


def test_all_make_their_rounds_and_learn_from_each_other(exchange):
    start_all(exchange)
    exchange.run(exchange.rounds(2))
    for name, member in exchange.members.items():
        others = sorted(set(NAMES) - {name})
        rows = member.journal.history
        assert [row['round'] for row in rows] == [-1, 0, 1]
        assert all(row['present'] == others and not row['absent'] for row in rows[1:])
        assert member.journal.refusals == {}
        # The trip's EMD weight is that of each station on it.
        assert all(0 < rows[1]['emd_weights'][other] <= 1 for other in others)
        assert rows[2]['model'] != rows[0]['model']
    # Who is the last to mix announces its own model all the same.
    assert sorted((said.round, said.owner) for said in exchange.announced
                  if said.purpose == 'aggregate') == [(0, name) for name in NAMES] + [
                      (1, name) for name in NAMES]


def test_trips_of_many_laps_pass_their_own_station_and_take_their_momentum_along(tmp_path):
    laps, rounds = 6, 2
    exchange = Exchange(tmp_path, NAMES, plans(NAMES, KINDS), momentum=0.9, laps=laps,
                        rounds=rounds, **TRUSTING)
    start_all(exchange)
    most = 0

    def ended():
        nonlocal most
        most = max([most, *(len(list((exchange.state(name) / 'outbox').iterdir()))
                            for name in NAMES)])
        return exchange.rounds(rounds)()

    exchange.run(ended, 20000)
    for name, member in exchange.members.items():
        assert member.journal.refusals == {}
        hops = [said.hop for said in exchange.announced if said.owner == name
                and said.purpose == 'overseas' and said.round == 0]
        assert hops == list(range(3 * laps - 1))
        stops = [said.recipients[0] for said in exchange.announced if said.owner == name
                 and said.purpose == 'overseas' and said.round == 0]
        assert stops.count(name) == laps - 1 and stops[-1] != name
        state = load_file(exchange.state(name) / 'models' / f'{member.journal.model}.safetensors')
        assert any(value.any() for key, value in state.items() if key.startswith(MOMENTUM))
        used = load_file(sorted((exchange.state(name) / 'accepted').glob('round*'))[-1])
        assert not any(key.startswith(MOMENTUM) for key in used)
        # What was sent on is forgotten once its trip has gone further, or is over.
        offers = [Manifest.from_json(text) for text in member.journal.offers]
        assert len(offers) < 8 and all(offer.round == rounds - 1 for offer in offers)
    assert most < 12


def test_who_has_not_had_a_model_cannot_say_that_it_has_gone_on(exchange):
    start_all(exchange)
    exchange.run(lambda: any(said.owner == 'ada' and said.hop == 1 for said in exchange.announced))
    sent_on = next(said for said in exchange.announced if said.owner == 'ada' and said.hop == 1)
    host, (last,) = exchange.members[sent_on.sender], sent_on.recipients

    def told(sender):
        """Return that the model is on its way home, by whoever says so."""
        said = replace(sent_on, sender=sender, recipients=('ada',), hop=2, purpose='return',
                       nonce=os.urandom(16), signature=b'')
        return said.signed_by(Identity.load(exchange.keys(sender)))

    assert sent_on in host._desk.offers()
    host.heard(told('ada'))
    host.heard(replace(told(last), signature=bytes(64)))
    assert sent_on in host._desk.offers() and host.journal.refusals == {}
    host.heard(told(last))
    assert sent_on not in host._desk.offers()


def test_a_trip_that_ends_at_its_own_station_is_a_return(tmp_path):
    exchange = Exchange(tmp_path, ('ada', 'bert'), plans(('ada', 'bert'), KINDS), laps=3,
                        rounds=1, **TRUSTING)
    for name in ('ada', 'bert'):
        exchange.start(name)
    # Bert's model is at its own station, after a lap; ada is gone before it is sent on.
    exchange.run(lambda: any(
        visit['stage'] == 'train' and Manifest.from_json(visit['manifest']).owner == 'bert'
        and Manifest.from_json(visit['manifest']).purpose == 'overseas'
        for visit in exchange.members['bert'].journal.visits.values()), 20000)
    exchange.kill('ada')
    exchange.run(lambda: exchange.members['bert'].journal.round == 1, 20000)
    journal = exchange.members['bert'].journal
    assert journal.history[-1]['present'] == ['ada'], journal.history
    audit = (exchange.state('bert') / 'audit.jsonl').read_text()
    assert 'did not come home' not in audit


@pytest.mark.parametrize('momentum', [0.0, 0.9])
def test_what_is_sent_is_weights_and_nothing_else(tmp_path, momentum):
    exchange = Exchange(tmp_path, NAMES, plans(NAMES, KINDS), rounds=1, encrypt=False,
                        codec='safetensors', momentum=momentum, **TRUSTING)
    payloads = {}
    exchange.tamper = lambda asker, station, index, data: \
        payloads.setdefault((asker, station), []).append(data) or [data]
    start_all(exchange)
    exchange.run(exchange.rounds(1))
    network = exchange._tasks['ada'].network
    table = with_momentum(state_of(network), network) if momentum else state_of(network)
    sizes = {manifest.sha256: manifest.size for manifest in exchange.announced}
    for chunks in payloads.values():
        data = b''.join(chunks)
        while data:
            # Chunks come in order here; each payload must be a table of just these tensors.
            size = next(iter(sizes.values()))
            part, data = data[:size], data[size:]
            assert decode(part, 'safetensors', table).keys() == table.keys()
    # A header and the tensors: no byte is left that could be of an image.
    assert len(set(sizes.values())) == 1
    weights = sum(value.numel() * value.element_size() for value in table.values())
    assert next(iter(sizes.values())) - weights < (16384 if momentum else 8192)


def test_sealed_weights_are_for_their_receivers_only(exchange):
    start_all(exchange)
    exchange.run(lambda: len(exchange.sent) > 3)
    assert not any(b'stem' in data or b'\x28\xb5\x2f\xfd' in data[:4] for data in exchange.sent)


def test_a_visitor_that_comes_before_the_own_first_job_is_sent_on(exchange):
    for name in ('ada', 'cleo'):
        exchange.start(name)
    exchange.start('bert')
    crew = exchange.crews['bert']
    submit = crew.submit
    crew.submit = lambda tag, *told, **more: tag == 'start' or submit(tag, *told, **more)
    exchange.run(lambda: any(said.sender == 'bert' for said in exchange.announced))
    assert exchange.members['bert'].journal.architecture_hash == ''
    # What the station wrote down it understands, and others take it.
    exchange.kill('bert')
    exchange.start('bert')
    exchange.run(exchange.rounds(2))
    assert all(exchange.members[name].journal.refusals == {} for name in ('ada', 'cleo'))


@pytest.mark.parametrize('phase', [LOCAL, AWAY, HOME, MIX, GATE])
def test_a_station_that_dies_in_any_phase_goes_on(exchange, phase):
    start_all(exchange)
    exchange.run(lambda: 'bert' in exchange.members and
                 exchange.members['bert'].journal.phase == phase, 20000)
    exchange.kill('bert')
    for _ in range(5):
        exchange.tick()
    exchange.start('bert')
    exchange.run(exchange.rounds(2))
    assert exchange.members['bert'].journal.history[-1]['round'] == 1
    for name in NAMES:
        assert sorted(path.suffix for path in (exchange.state(name) / 'models').iterdir()
                      ) == ['.safetensors'] * len(list(
                          (exchange.state(name) / 'models').iterdir()))
        for path in (exchange.state(name) / 'accepted').glob('*.safetensors'):
            assert all(value.isfinite().all() for value in load_file(path).values())


def spoil(exchange, name, model):
    """Kill a station with its journal written, and leave of a model what a power cut may."""
    exchange.members[name]._desk.save()
    exchange.kill(name)
    path = exchange.state(name) / 'models' / f'{model}.safetensors'
    path.write_bytes(bytes(path.stat().st_size))


def test_a_visitor_that_trained_in_a_power_cut_is_fetched_and_trained_again(exchange):
    start_all(exchange)

    def trains():
        return [visit for visit in exchange.members['bert'].journal.visits.values()
                if visit['stage'] == 'train']
    exchange.run(trains, 20000)
    exchange.members['bert']._desk.save()
    exchange.kill('bert')
    # What had been sealed, and not been told of, is of no use without its key.
    left = exchange.state('bert') / 'outgoing' / 'left.bin'
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b'half')
    exchange.start('bert')
    assert not trains() and exchange.members['bert'].journal.visits
    assert not left.exists()
    exchange.run(exchange.rounds(2), 20000)
    # It came home after all; bert itself refuses what it hears again and has taken.
    assert all(exchange.members[name].journal.refusals == {} for name in ('ada', 'cleo'))
    assert set(exchange.members['bert'].journal.refusals) <= {'replayed', 'stale'}


def test_a_neighbours_model_that_a_power_cut_spoilt_is_done_without(exchange):
    start_all(exchange)
    exchange.run(lambda: exchange.members['bert'].journal.neighbours, 20000)
    name, entry = next(iter(exchange.members['bert'].journal.neighbours.items()))
    spoil(exchange, 'bert', entry['model'])
    exchange.start('bert')
    assert name not in exchange.members['bert'].journal.neighbours
    exchange.run(exchange.rounds(2), 20000)


def test_a_job_that_its_process_died_of_can_be_done_again(tmp_path, monkeypatch):
    exchange = Exchange(tmp_path, NAMES, plans(NAMES, KINDS), rounds=1, **TRUSTING)
    start_all(exchange)
    for crew in exchange.crews.values():
        for do in ('host', 'try_out'):
            def twice(do=getattr(crew._work, do), **told):
                do(**told)  # nobody is left to tell of it
                return do(**told)
            monkeypatch.setattr(crew._work, do, twice)
    exchange.run(exchange.rounds(1), 20000)
    for name, member in exchange.members.items():
        assert member.journal.refusals == {} and member.journal.history[-1]['absent'] == []
        assert list((exchange.state(name) / 'inbox').iterdir()) == []


def test_an_absent_station_is_named_and_the_others_go_on(exchange):
    for name in ('ada', 'bert'):
        exchange.start(name)
    exchange.run(exchange.rounds(2))
    for name, other in (('ada', 'bert'), ('bert', 'ada')):
        row = exchange.members[name].journal.history[-1]
        assert row['present'] == [other] and row['absent'] == ['cleo']


def test_a_station_that_vanishes_with_a_visitor_holds_nobody_up(exchange):
    start_all(exchange)
    exchange.run(lambda: any(visit['stage'] == 'train' for visit in
                             exchange.members['cleo'].journal.visits.values()), 20000)
    exchange.kill('cleo')
    exchange.run(exchange.rounds(2), 20000)
    assert 'cleo' in exchange.members['ada'].journal.history[-1]['absent']


def test_a_station_that_comes_back_goes_on_in_the_others_round(tmp_path):
    exchange = Exchange(tmp_path, NAMES, plans(NAMES, KINDS), **TRUSTING)
    start_all(exchange)
    exchange.run(lambda: all(m.journal.history for m in exchange.members.values()), 20000)
    exchange.kill('cleo')
    exchange.run(lambda: exchange.members['ada'].journal.round >= 6, 40000)
    exchange.start('cleo')
    exchange.run(lambda: exchange.members['cleo'].journal.round >= 6, 20000)
    rounds = [row['round'] for row in exchange.members['cleo'].journal.history]
    # It did not go through those that it had missed one by one.
    assert len(rounds) < 6


def test_lost_repeated_reordered_and_flipped_chunks_are_healed(exchange):
    rng = random.Random(1)
    held = []

    def tamper(asker, station, index, data):
        kind = rng.randrange(30)  # five bad ones in a row would be given up
        if kind == 0:
            return []
        if kind == 1:
            return [data, data]
        if kind == 2:
            flipped = bytearray(data)
            flipped[rng.randrange(len(data))] ^= 1
            return [bytes(flipped)]
        if kind == 3:
            held.append(data)
            return [held.pop(0)] if len(held) > 1 else []
        return [data]
    exchange.tamper = tamper
    start_all(exchange, deadline=600.0)
    exchange.run(exchange.rounds(2), 40000)
    for member in exchange.members.values():
        assert member.journal.history[-1]['absent'] == []


def test_a_procedure_stops_everything_and_the_round_goes_on_afterwards(exchange):
    start_all(exchange)
    exchange.run(lambda: exchange.members['ada'].journal.phase == AWAY)
    exchange.busy.add('ada')
    exchange.tick()
    done = list(exchange.crews['ada'].done)
    sent, spent = len(exchange.sent), exchange.members['ada'].journal.spent
    for _ in range(20):
        exchange.tick()
    assert exchange.crews['ada'].done == done
    assert exchange.members['ada'].journal.spent == spent
    with pytest.raises(Refused, match='procedure'):
        exchange.members['ada'].serve('0' * 64, 0)
    exchange.busy.clear()
    exchange.run(exchange.rounds(2))
    assert len(exchange.sent) > sent


def test_the_gate_keeps_a_model_that_is_better(tmp_path):
    exchange = Exchange(tmp_path, NAMES, plans(NAMES, KINDS), rounds=1, peer_margin=1.0,
                        gate_margin=-1.0)
    start_all(exchange)
    exchange.run(exchange.rounds(1))
    for name, member in exchange.members.items():
        first, last = member.journal.history
        assert first['accepted'] and not last['accepted']
        assert last['model'] == first['model'] == member.journal.used
        # The federation itself goes on with what was learnt.
        assert last['carried'] not in ('', first['model'])
        assert [path.stem for path in (exchange.state(name) / 'accepted').glob('*')] == ['alone']


def test_rollback_goes_back_one_model(exchange):
    told = []
    start_all(exchange)
    exchange.members['ada'].observe(lambda: None, told.append)
    exchange.run(exchange.rounds(2))
    journal = exchange.members['ada'].journal
    before = journal.history[-2]['model']
    exchange.members['ada'].rollback()
    assert journal.used == journal.model == before
    assert told[-1].path.stem == 'round00000' and told[-1] == exchange.members['ada'].accepted
    with pytest.raises(FedefmError, match='no accepted model'):
        exchange.members['ada'].rollback()


def test_what_is_packed_survives_a_sweep_until_it_is_announced(exchange):
    member = exchange.start('ada')
    exchange.run(lambda: member.journal.used)
    desk = member._desk
    desk.offer('away', member.journal.model)
    outcome, = desk.crew.poll()
    assert outcome.tag == 'pack away'
    packed = offered, _ = desk.packed(outcome.result['sealed'])
    desk.sweep()
    assert desk.outbox.chunk(offered.sha256, 0)
    assert not list((exchange.state('ada') / 'outgoing').iterdir())
    desk.discard(packed)
    with pytest.raises(Refused, match='not offered'):
        desk.outbox.chunk(offered.sha256, 0)


def test_a_model_that_a_killed_worker_did_not_finish_goes_with_a_later_sweep(exchange):
    member = exchange.start('ada')
    exchange.run(lambda: member.journal.used)
    left = exchange.state('ada') / 'models' / '.0123.safetensors.ab3_x9zz'
    left.write_bytes(b'half a model')
    member._desk.sweep()
    assert left.exists()  # somebody may be writing it
    os.utime(left, (0, 0))
    member._desk.sweep()
    assert not left.exists() and list(left.parent.glob('*.safetensors'))


def test_a_member_needs_its_own_key_and_those_of_its_peers(tmp_path):
    exchange = Exchange(tmp_path, NAMES, plans(NAMES, KINDS))
    (exchange.keys('ada') / 'cleo.pub').unlink()
    with pytest.raises(FedefmError, match='no public key of cleo'):
        exchange.start('ada')


def test_manifest_reads_back(exchange):
    start_all(exchange)
    exchange.run(lambda: exchange.announced)
    manifest = exchange.announced[0]
    assert Manifest.from_json(manifest.to_json()) == manifest
