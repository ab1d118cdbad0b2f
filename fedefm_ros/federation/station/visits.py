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

"""Models of others at this station: asked for, fetched, trained or tried, sent on."""

from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station import journal as phases
from fedefm_ros.federation.station.crew import Outcome
from fedefm_ros.federation.station.desk import Desk
from fedefm_ros.federation.trust.held_out import held_out_refusal
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.trust.sealing import open_key

FETCH, TRAIN = 'fetch', 'train'


class Visits:
    """Every announced model of use, by the nonce of its manifest, until it is done with."""

    #: Models of others that are here at once; a further one is refused.
    MOST = 64

    def __init__(self, desk: Desk):
        self._desk = desk

    def take_up(self) -> None:
        """Set going again what was under way when the journal was written."""
        self._forget_strangers()
        for key, visit in list(self._desk.journal.visits.items()):
            try:
                visit['stage'] = FETCH
                self._desk.inbox.expect(key, self._manifest(key))
            except Refused as refused:
                self._give_up(key, refused)

    def _forget_strangers(self) -> None:
        """Do without what is of a station that was struck off, or of a round out of reach."""
        desk, journal, known = self._desk, self._desk.journal, set(self._desk.options.stations)
        visits = [key for key in journal.visits if not self._is_known(self._manifest(key))]
        for key in visits:
            del journal.visits[key]
        # To whom they go counts, too: the key is sealed for who is to get them no more.
        offers = [said for said in desk.offers()
                  if not self._is_known(said) or not known.issuperset(said.recipients)]
        desk.withdraw(offers)
        journal.neighbours = {name: entry for name, entry in journal.neighbours.items()
                              if name in known and journal.in_reach(entry['round'])}
        journal.declined = {name: number for name, number in journal.declined.items()
                            if journal.in_reach(number)}
        if not journal.in_reach(journal.newest):
            journal.newest = -1
        if visits or offers:
            desk.note('forgotten', text=f'{len(visits)} models that were here and {len(offers)} '
                      'offers: of no station on the list, or of a round out of reach')
            desk.touch()

    def _is_known(self, manifest: Manifest) -> bool:
        return ({manifest.owner, manifest.sender} <= set(self._desk.options.stations)
                and self._desk.journal.in_reach(manifest.round))

    def heard(self, manifest: Manifest) -> None:
        """Take an announcement; what is not for this station is passed over, bad ones counted."""
        desk, key = self._desk, manifest.nonce.hex()
        own = desk.options.name
        if manifest.sender == own or key in desk.journal.visits:
            return  # the last: told again, as after a restart
        for_us = own in manifest.recipients
        if not for_us and not any(offer.owner == manifest.owner for offer in desk.offers()):
            return  # not even looked at closely
        try:
            manifest.verify(desk.peers)
            desk.withdraw(self._past(manifest))
            if not for_us:
                return
            if manifest.purpose == 'refused':
                self._pass_over(manifest)
                return
            desk.guard.check(manifest)
        except Refused as refused:
            if for_us:
                desk.refuse(refused, manifest)
            return
        try:
            if not self._is_wanted(manifest):
                return
            if len(desk.journal.visits) >= self.MOST:
                raise Refused('too_many', f'{self.MOST} models are here already')
            desk.inbox.expect(key, manifest)
        except Refused as refused:
            self._refuse(refused, manifest)
            return
        desk.journal.visits[key] = {'manifest': manifest.to_json(), 'stage': FETCH}
        desk.touch()

    def pump(self) -> None:
        """Go on fetching; hand what is complete to the crew."""
        complete, failed = self._desk.inbox.pump()
        for key in complete:
            self._desk.journal.visits[key]['stage'] = TRAIN
            self._desk.touch()
            self._hand_over(key)
        for key, refused in failed:
            self._give_up(key, refused)

    def finished(self, what: str, key: str, outcome: Outcome) -> None:
        """Take what came of a job for a visit."""
        if key not in self._desk.journal.visits:
            if what == 'host' and outcome.result:
                Path(outcome.result['sealed']['path']).unlink(missing_ok=True)
            return
        if outcome.error:
            # A peer's fault costs the peer's model, nothing else.
            self._give_up(key, Refused(outcome.reason or 'failed', outcome.error))
        elif what == 'host':
            self._send_on(key, outcome.result)
        else:
            self._take(key, outcome.result)

    def are_of(self, number: int) -> bool:
        """Return whether a model of a round is here."""
        return any(self._manifest(key).round == number for key in self._desk.journal.visits)

    def _is_wanted(self, manifest: Manifest) -> bool:
        """Return whether a true announcement is of use; raises Refused where it is wrong."""
        options, journal = self._desk.options, self._desk.journal
        for name in (manifest.owner, manifest.sender):
            if name not in options.stations:
                raise Refused('unknown_owner', f'{name} is none of the stations')
        if journal.architecture_hash:  # not known before the first job; each job checks it, too
            manifest.check_architecture(journal.architecture_hash)
        if manifest.round < journal.round - options.staleness:
            far = journal.round - manifest.round > phases.LEAP
            raise Refused('stale', f'a model of round {manifest.round} from {manifest.sender}; '
                          f'this station is in round {journal.round}'
                          + '; if the others are right, stop it and set "round" in its '
                          'journal.json to theirs' * far)
        if not journal.in_reach(manifest.round):
            raise Refused('ahead', f'a model of round {manifest.round} from {manifest.sender}; '
                          f'this station is in round {journal.round}, and by honest work none '
                          'is so far ahead')
        if manifest.purpose == 'overseas':
            route = options.route(manifest.owner, manifest.round)
            if manifest.hop >= len(route) or route[manifest.hop] != options.name:
                raise Refused('wrong_route', f'stop {manifest.hop} of the trip of '
                              f'{manifest.owner} is not this station')
            return True
        if manifest.purpose == 'return':
            if manifest.owner != options.name:
                raise Refused('wrong_route', f'{manifest.sender} returns a model of '
                              f'{manifest.owner}')
            if manifest.round != journal.round or journal.phase != phases.AWAY:
                raise Refused('late', f'the model that {manifest.sender} returns is of round '
                              f'{manifest.round}; this station is in round {journal.round}, '
                              f'{journal.phase}')
            return not journal.returned
        if manifest.owner != manifest.sender:
            raise Refused('wrong_route', f'{manifest.sender} offers a model of {manifest.owner} '
                          'as its own')
        known = journal.neighbours.get(manifest.owner)
        return known is None or known['round'] < manifest.round

    def _hand_over(self, key: str) -> None:
        desk, manifest = self._desk, self._manifest(key)
        secret = ''
        if manifest.sealed_keys:
            place = manifest.recipients.index(desk.options.name)
            try:
                secret = open_key(manifest.sealed_keys, place, desk.identity).hex()
            except Refused as refused:
                self._give_up(key, refused)
                return
        told = {'manifest': manifest.to_json(), 'key': secret}
        if manifest.purpose == 'overseas':
            desk.crew.submit(f'host {key}', 'host', urgent=True, **told, owner=manifest.owner,
                             steps=desk.options.stop_steps, round=manifest.round,
                             hop=manifest.hop, keep=manifest.owner == desk.options.name,
                             seal=desk.seal(key))
        else:
            # In the books, so that it stays even if the round ends before the job begins.
            own = desk.journal.trained or desk.journal.model
            desk.journal.visits[key]['own'] = own
            desk.touch()
            desk.crew.submit(f'try_out {key}', 'try_out', urgent=True, **told, own=own)

    def _send_on(self, key: str, result: dict) -> None:
        manifest = self._manifest(key)
        try:
            packed = self._desk.packed(result['sealed'])
        except FedefmError as error:
            self._give_up(key, Refused('failed', str(error)))
            return
        hop, stop = self._next_stop(manifest)
        self._note_round(manifest)
        # Before it is announced, which writes both at once: it is not sent on twice.
        self._done_with(key)
        if not stop and manifest.owner == self._desk.options.name:
            self._desk.discard(packed)
            self._came_home(manifest, result['model'])
            return
        self._desk.announce(packed, 'overseas' if stop else 'return', manifest.owner,
                            manifest.round, hop, (stop or manifest.owner,),
                            manifest.architecture_hash)

    def _take(self, key: str, result: dict) -> None:
        """Keep a model that may teach, unless it does badly on the station's own data."""
        desk, manifest = self._desk, self._manifest(key)
        journal = desk.journal
        self._done_with(key)
        refused = held_out_refusal(journal.scores.get('score', 0.0), result['scores']['score'],
                                   desk.options.peer_margin)
        if refused:
            self._refuse(refused, manifest)
            return
        self._note_round(manifest)
        if manifest.purpose == 'aggregate':
            if journal.neighbours.get(manifest.owner, {}).get('round', -1) > manifest.round:
                return  # one whose piece was lost comes after the next round's
            journal.neighbours[manifest.owner] = {
                'model': result['model'], 'round': manifest.round, 'scores': result['scores']}
        else:
            self._came_home(manifest, result['model'])

    def _note_round(self, manifest: Manifest) -> None:
        """Know the others' round: by a model that is good for something, not by a word alone."""
        self._desk.journal.newest = max(self._desk.journal.newest, manifest.round)

    def _came_home(self, manifest: Manifest, model: str) -> None:
        journal = self._desk.journal
        if journal.phase == phases.AWAY and manifest.round == journal.round:
            journal.returned = [model]
            journal.present = sorted({*journal.present, manifest.sender})

    def _past(self, manifest: Manifest) -> list[Manifest]:
        """Return what is offered in vain once this is true: its model has gone on, or is home."""
        own = self._desk.options.name
        offers = [offer for offer in self._desk.offers() if offer.owner == manifest.owner]
        if manifest.purpose == 'aggregate':
            return [offer for offer in offers if offer.owner == manifest.sender
                    and offer.round <= manifest.round]
        if manifest.purpose not in ('overseas', 'return'):
            return []
        # Only who has had the model since can say so.
        route = self._desk.options.route(manifest.owner, manifest.round) if offers else ()
        past = [offer for offer in offers if offer.round == manifest.round
                and offer.purpose == 'overseas'
                and manifest.sender in route[offer.hop:manifest.hop]]
        # One of the own stays: it says that the trip has begun.
        return past[:-1] if manifest.owner == own else past

    def _next_stop(self, manifest: Manifest) -> tuple[int, str]:
        return self._desk.next_stop(manifest.owner, manifest.round, manifest.hop + 1)

    def _give_up(self, key: str, refused: Refused) -> None:
        self._refuse(refused, self._manifest(key))
        self._done_with(key)

    def _refuse(self, refused: Refused, manifest: Manifest) -> None:
        """Refuse a true announcement, so that nobody waits for what will not come of it."""
        journal = self._desk.journal
        if manifest.purpose == 'aggregate' and manifest.round >= journal.round:
            # One of a round out of reach says nothing of those to come.
            journal.declined[manifest.sender] = (
                manifest.round if journal.in_reach(manifest.round) else journal.round)
        if manifest.purpose == 'return' and manifest.round == journal.round:
            journal.trip_over = True
        self._desk.refuse(refused, manifest)
        self._desk.tell_refusal(manifest)

    def _pass_over(self, refusal: Manifest) -> None:
        """Send a model that a station does not take to the next stop, or home."""
        desk, journal = self._desk, self._desk.journal
        desk.guard.check(refusal)
        found = desk.take_back(refusal)
        if found is None:
            return
        self._mark(refusal)
        said, packed = found
        desk.note('passed over', refusal.sender, f'round {said.round}', f'model of {said.owner}')
        hop, stop = desk.next_stop(said.owner, said.round, said.hop + 1)
        if said.owner != desk.options.name:
            desk.announce(packed, 'overseas' if stop else 'return', said.owner, said.round, hop,
                          (stop or said.owner,), said.architecture_hash)
        elif stop and (journal.round, journal.phase) == (said.round, phases.AWAY):
            desk.announce(packed, 'overseas', said.owner, said.round, hop, (stop,),
                          said.architecture_hash)
        else:
            desk.discard(packed)
            journal.trip_over |= journal.round == said.round
            desk.touch()

    def _mark(self, manifest: Manifest) -> None:
        try:
            self._desk.guard.mark(manifest)
        except Refused as error:  # its round is over meanwhile
            self._desk.note('not marked', reason=str(error))

    def _done_with(self, key: str) -> None:
        self._mark(self._manifest(key))
        self._desk.inbox.forget(key)
        del self._desk.journal.visits[key]
        self._desk.touch()

    def _manifest(self, key: str) -> Manifest:
        return Manifest.from_json(self._desk.journal.visits[key]['manifest'])
