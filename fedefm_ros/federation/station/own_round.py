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

"""A station's own round: its phases, and what ends each."""

from collections.abc import Callable
from dataclasses import dataclass
import hashlib
import math
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station import journal as phases
from fedefm_ros.federation.station.crew import Outcome
from fedefm_ros.federation.station.desk import Desk
from fedefm_ros.federation.station.gate import Candidate
from fedefm_ros.federation.station.gate import judge
from fedefm_ros.federation.station.gate import objection
from fedefm_ros.federation.station.visits import Visits


#: Name of the accepted model that only the station's own data made.
FIRST_MODEL = 'alone'


@dataclass(frozen=True)
class Accepted:
    """A model that passed the gate, for the station's own use."""

    path: Path
    model_id: str
    round: int  # noqa: A003 (the message's name)
    scores: dict


class OwnRound:
    """
    REST -> AWAY -> HOME -> MIX -> GATE -> REST; before the first, LOCAL -> GATE.

    Attributes: wanted (an operator asked for a round), on_accepted.
    """

    #: Between two tries to open the task.
    RETRY_SECONDS = 5.0

    def __init__(self, desk: Desk, visits: Visits):
        self._desk, self._visits = desk, visits
        self.wanted = False
        self.on_accepted: Callable[[Accepted], None] = lambda accepted: None
        self._rested_since = -math.inf
        #: Model and scores that passed the gate; in use once their file is written.
        self._passed: tuple[str, dict] = ('', {})

    def take_up(self) -> None:
        """Go on where the journal says the round stopped."""
        desk, phase = self._desk, self._desk.journal.phase
        self._forget_damaged()
        desk.sweep()
        for said in desk.offers():
            desk.transport.announce(said)
        if phase != phases.REST and not self._is_announced():
            self._begin()

    def _forget_damaged(self) -> None:
        """Do without models of others that a power cut has spoilt."""
        journal, desk = self._desk.journal, self._desk
        journal.returned = [model for model in journal.returned if desk.is_whole(model)]
        journal.neighbours = {name: entry for name, entry in journal.neighbours.items()
                              if desk.is_whole(entry['model'])}

    def advance(self) -> None:
        """Leave a phase whose wait is over."""
        journal, options = self._desk.journal, self._desk.options
        overdue = journal.spent > options.deadline
        if journal.phase == phases.REST:
            if not journal.model:
                rested = self._desk.clock() - self._rested_since >= self.RETRY_SECONDS
                if 'start' not in self._desk.crew.tags and rested:
                    self._desk.crew.submit('start', 'start')
            elif self._should_start():
                self._start()
        elif journal.phase == phases.AWAY:
            if journal.returned or overdue or journal.trip_over or not self._first_stop():
                if not journal.returned:
                    self._desk.note('alone', reason=f'round {journal.round}',
                                    text='the own model did not come home')
                self._enter(phases.HOME)
        elif journal.phase == phases.MIX and 'mix' not in self._desk.crew.tags:
            missing = [name for name in options.neighbours()
                       if name not in self._fresh() and not self._desk.is_silent(name)
                       and journal.declined.get(name, -1) < journal.round]
            # Not before the own model is announced: the others wait for it.
            if overdue or not missing and self._is_announced():
                self._mix()

    def finished(self, what: str, key: str, outcome: Outcome) -> None:
        """Take what came of a job for the round."""
        journal = self._desk.journal
        if outcome.error:
            self._failed(what, outcome.error)
            return
        result = outcome.result
        if what == 'start':
            journal.model = result['model']
            journal.samples = result['samples']
            journal.architecture_hash = result['architecture_hash']
            self._enter(phases.LOCAL)
        elif what == 'pack':
            try:
                self._announce(key, self._desk.packed(result['sealed']))
            except FedefmError as error:
                self._failed(what, str(error))
        elif what == 'home':
            journal.trained, journal.trained_scores = result['model'], result['scores']
            weight = result['emd_weight']
            own = self._desk.options.name
            journal.emd_weights = {} if math.isnan(weight) else {
                name: weight for name in self._desk.options.route(own, journal.round)
                if name != own}
            self._enter(phases.MIX)
        elif what == 'slowdowns':
            self._judge(result['slowdowns'])
        elif what == 'shadow':
            self._seen_in_shadow(result)
        elif what in ('local', 'mix'):
            journal.candidate, journal.candidate_scores = result['model'], result['scores']
            self._enter(phases.GATE)
        else:  # accept
            self._in_use(Path(result['path']), result['model_id'])

    def _failed(self, what: str, why: str) -> None:
        """Leave the model of before in use; the round is over for this station."""
        journal = self._desk.journal
        self._desk.note('failed', reason=what, text=why)
        journal.last_refusal = f'{what}: {why}'
        self._rested_since = self._desk.clock()
        if journal.model:
            self._end(accepted=False)

    def accepted(self) -> Accepted | None:
        """Return the model in use as it lies there for the station; None: there is none."""
        journal = self._desk.journal
        path = self._desk.folder / 'accepted' / journal.used_file
        if not journal.used_file or not path.is_file():
            return None
        model_id = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return Accepted(path, model_id, journal.round, journal.used_scores)

    def rollback(self) -> str:
        """
        Go back to the model before the last accepted one; return a word for people.

        At once, in any phase: who asks for it has seen that the model in use is bad.
        """
        journal = self._desk.journal
        if not journal.previous:
            raise FedefmError('there is no accepted model before this one')
        path = self._desk.folder / 'accepted' / journal.previous_file
        if not path.is_file():
            raise FedefmError(f'the file of the model before this one is not in {path.parent}; '
                              'the model in use stays')
        journal.used, journal.used_scores = journal.previous, journal.previous_scores
        journal.used_file = journal.previous_file
        journal.previous = journal.previous_file = ''
        word = f'back to model {journal.used[:8]}'
        if journal.phase == phases.REST:
            journal.model, journal.scores = journal.used, journal.used_scores
        else:
            word += f'; round {journal.round} goes on, and its result has to pass the gate'
        self._desk.note('rollback', text=journal.used)
        self._desk.save()
        self.on_accepted(self.accepted())
        return word

    def _start(self) -> None:
        journal = self._desk.journal
        self.wanted = False
        # What was missed is not made up for: the round is the one that the others are in.
        if journal.newest > journal.round:
            self._desk.note('caught up', reason=f'round {journal.round} to {journal.newest}')
            journal.round = journal.newest
        journal.returned, journal.trained, journal.candidate = [], '', ''
        journal.present, journal.absent, journal.emd_weights = [], [], {}
        journal.trip_over, journal.shadow = False, {}
        self._enter(phases.AWAY)

    def _should_start(self) -> bool:
        desk, journal, options = self._desk, self._desk.journal, self._desk.options
        if journal.round >= min(options.rounds or phases.LAST_ROUND, phases.LAST_ROUND):
            return False
        if all(desk.is_silent(name) for name in options.stations if name != options.name):
            return False
        return (self.wanted or journal.newest >= journal.round
                or self._visits.are_of(journal.round)
                or desk.clock() - self._rested_since >= options.interval)

    def _enter(self, phase: str) -> None:
        self._desk.journal.phase, self._desk.journal.spent = phase, 0.0
        self._desk.touch()
        self._begin()
        self._desk.changed()

    def _begin(self) -> None:
        desk, journal, options = self._desk, self._desk.journal, self._desk.options
        if journal.phase == phases.LOCAL:
            desk.crew.submit('local', 'local', model=journal.model, steps=options.local_steps,
                             round=journal.round)
        elif journal.phase == phases.AWAY and self._first_stop():
            desk.offer(phases.AWAY, journal.model)
        elif journal.phase == phases.HOME:
            desk.crew.submit('home', 'home', own=journal.model, returned=journal.returned,
                             steps=options.home_steps, round=journal.round, adopt=options.adopt)
        elif journal.phase == phases.MIX:
            desk.offer(phases.MIX, journal.trained)
        elif journal.phase == phases.GATE:
            models = [model for model, _ in self._candidates()]
            if journal.used:
                # One by one beside the model in use, in the same minute: the load is the same.
                desk.crew.submit('slowdowns', 'slowdowns', models=models, used=journal.used)
            else:
                self._judge([1.0] * len(models))  # there is none to be slower than

    def _is_announced(self) -> bool:
        """Return whether the phase only waits for others: its own model is offered already."""
        journal = self._desk.journal
        purpose = {phases.AWAY: 'overseas', phases.MIX: 'aggregate'}.get(journal.phase)
        return any(said.owner == self._desk.options.name and said.purpose == purpose
                   and said.round == journal.round for said in self._desk.offers())

    def _announce(self, phase: str, packed) -> None:
        journal, options = self._desk.journal, self._desk.options
        if phase != journal.phase:
            self._desk.discard(packed)  # its deadline has passed meanwhile
            return
        if phase == phases.MIX:
            self._desk.announce(packed, 'aggregate', options.name, journal.round, 0,
                                options.neighbours(), journal.architecture_hash)
            return
        hop, stop = self._desk.next_stop(options.name, journal.round, 0)
        if stop:
            self._desk.announce(packed, 'overseas', options.name, journal.round, hop, (stop,),
                                journal.architecture_hash)
        else:
            self._desk.discard(packed)

    def _first_stop(self) -> str:
        return self._desk.next_stop(self._desk.options.name, self._desk.journal.round, 0)[1]

    def _fresh(self) -> dict[str, dict]:
        """Return the neighbours' models of this round or a newer one."""
        journal = self._desk.journal
        return {name: entry for name, entry in journal.neighbours.items()
                if name in self._desk.options.neighbours() and entry['round'] >= journal.round}

    def _mix(self) -> None:
        journal, options, fresh = self._desk.journal, self._desk.options, self._fresh()
        usable = {name: entry for name, entry in journal.neighbours.items()
                  if name in options.neighbours()
                  and abs(entry['round'] - journal.round) <= options.staleness}
        journal.absent = [name for name in options.neighbours() if name not in fresh]
        journal.present = sorted({*journal.present, *fresh})
        # An old model counts half for each round that it is behind; what is missing to one is
        # the own model's.
        shares = [options.share_of(name) / 2 ** abs(entry['round'] - journal.round)
                  for name, entry in usable.items()]
        self._desk.crew.submit('mix', 'mix', own=journal.trained, before=journal.model,
                               shares=shares,
                               others=[entry['model'] for entry in usable.values()])

    def _candidates(self) -> list[tuple[str, dict]]:
        """Return models and scores; where mixing spoils it, what was learnt at home may do."""
        journal = self._desk.journal
        made = [(journal.candidate, journal.candidate_scores)]
        return [*made, (journal.trained, journal.trained_scores)] if journal.trained else made

    def _judge(self, slowdowns: list[float]) -> None:
        journal, options = self._desk.journal, self._desk.options
        verdict = judge(
            [Candidate(*one, slow) for one, slow in zip(self._candidates(), slowdowns)],
            journal.used_scores.get('score', -math.inf), options.peer_margin,
            options.gate_margin, options.gate_slowdown)
        if verdict.carried:
            journal.model, journal.scores = verdict.carried.model, verdict.carried.scores
        if verdict.used is None:
            self._keep(verdict.why)
            return
        self._passed = (verdict.used.model, verdict.used.scores)
        frames = self._desk.frames() if journal.used else ''
        if frames:
            self._desk.crew.submit('shadow', 'shadow', model=verdict.used.model,
                                   used=journal.used, frames=frames)
        else:
            self._use()

    def _seen_in_shadow(self, result: dict) -> None:
        journal = self._desk.journal
        journal.shadow = result
        why = objection(result, self._desk.options.shadow_agreement)
        self._keep(why) if why else self._use()

    def _keep(self, why: str) -> None:
        """Leave the model of before in use."""
        self._desk.note('kept', reason=f'round {self._desk.journal.round}', text=why)
        self._end(accepted=False)

    def _use(self) -> None:
        """Have the model that has passed written for the station."""
        self._desk.crew.submit('accept', 'accept', model=self._passed[0],
                               provenance=self._provenance(*self._passed))

    def _in_use(self, path: Path, model_id: str) -> None:
        """Make the model that was written the station's own."""
        journal, (model, scores) = self._desk.journal, self._passed
        if model != journal.used:
            journal.previous, journal.previous_scores = journal.used, journal.used_scores
            journal.previous_file = journal.used_file
        journal.used, journal.used_scores, journal.used_file = model, scores, path.name
        self.on_accepted(Accepted(path, model_id, journal.round, scores))
        self._end(accepted=True)

    def _end(self, accepted: bool) -> None:
        journal = self._desk.journal
        first = not journal.history  # the local training before round 0
        journal.history.append({
            'round': -1 if first else journal.round, 'accepted': accepted,
            'scores': journal.used_scores, 'present': journal.present, 'absent': journal.absent,
            'emd_weights': journal.emd_weights, 'model': journal.used,
            'carried': journal.model, 'carried_scores': journal.scores,
            'shadow': journal.shadow})
        journal.round = min(journal.round + (not first), phases.LAST_ROUND)
        journal.returned, journal.trained, journal.candidate = [], '', ''
        # Trips of an ended round need not be told of any more.
        self._desk.withdraw([said for said in self._desk.offers()
                             if said.owner == self._desk.options.name
                             and said.purpose == 'overseas'])
        journal.phase, journal.spent = phases.REST, 0.0
        self._rested_since = self._desk.clock()
        self._desk.save()
        self._desk.sweep()

    def _provenance(self, model: str, scores: dict) -> dict:
        journal = self._desk.journal
        return {'name': f'round{journal.round:05d}' if journal.history else FIRST_MODEL,
                'round': journal.round, 'station': self._desk.options.name,
                'model': model, 'scores': scores, 'present': journal.present,
                'absent': journal.absent, 'emd_weights': journal.emd_weights,
                'shadow': journal.shadow,
                'neighbours': {name: [entry['round'], entry['model']]
                               for name, entry in journal.neighbours.items()}}
