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

"""What a station must still know after a power cut, in one file that changes whole."""

from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
import json
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically

#: Phases of a round, in their order.
REST, LOCAL, AWAY, HOME, MIX, GATE = 'rest', 'local', 'away', 'home', 'mix', 'gate'

#: An announcement has no room for a greater one. It is never made: after it there is none.
LAST_ROUND = (1 << 32) - 1
#: Rounds that others may be ahead: a station that was away for three years, in each night of which
#: they made ninety, still finds them. Who claims more, or brings no model, moves nobody's counter.
LEAP = 100_000


@dataclass
class Journal:
    """
    The state of a station's rounds; models are named as in work.Work.

    Plain values only; `save` after every change that a restart must see.
    """

    round: int = 0  # noqa: A003 (the message's name)
    phase: str = REST
    #: The model that goes on trips and is mixed; '' before the first.
    model: str = ''
    scores: dict = field(default_factory=dict)
    #: The newest one that passed the gate, which is the station's own to use, and its file in
    #: accepted/...
    used: str = ''
    used_scores: dict = field(default_factory=dict)
    used_file: str = ''
    #: ... and the one before it, for the rollback.
    previous: str = ''
    previous_scores: dict = field(default_factory=dict)
    previous_file: str = ''
    samples: int = 0
    architecture_hash: str = ''
    #: Of the round at work: model trained at home, what came back, candidate for the gate.
    trained: str = ''
    trained_scores: dict = field(default_factory=dict)
    returned: list = field(default_factory=list)
    candidate: str = ''
    candidate_scores: dict = field(default_factory=dict)
    #: Nobody is left on the own model's trip who would take it.
    trip_over: bool = False
    #: Neighbours whose finished model was refused: name -> its round. It is not waited for.
    declined: dict = field(default_factory=dict)
    #: Idle seconds spent in the phase.
    spent: float = 0.0
    #: Newest round of any model that was taken: trained here as a visitor, or kept to teach.
    newest: int = -1
    #: Neighbours' finished models: name -> {model, round, scores}.
    neighbours: dict = field(default_factory=dict)
    #: Models of others that are here, by the hex nonce of their manifest:
    #: {manifest, stage: fetch | train, own: the model it is compared with}.
    visits: dict = field(default_factory=dict)
    #: Manifests (JSON) that are still worth announcing after a restart.
    offers: list = field(default_factory=list)
    #: Sum over the rounds: bytes, refusals by reason.
    bytes_sent: int = 0
    bytes_received: int = 0
    refusals: dict = field(default_factory=dict)
    last_refusal: str = ''
    #: Last round's: EMD weight of what came home, who took part, who was waited for in vain.
    emd_weights: dict = field(default_factory=dict)
    present: list = field(default_factory=list)
    absent: list = field(default_factory=list)
    #: Of the newest candidate that was tried in shadow: see shadow.compare.
    shadow: dict = field(default_factory=dict)
    #: One row a finished round.
    history: list = field(default_factory=list)

    KEPT_ROWS = 200

    def save(self, path: Path) -> None:
        """Write it; raises OSError."""
        del self.history[:-self.KEPT_ROWS]
        write_atomically(path, json.dumps(vars(self)).encode())

    @classmethod
    def load(cls, path: Path) -> 'Journal':
        """Return the journal of a file, a new one where there is none."""
        if not path.is_file():
            return cls()
        try:
            values = json.loads(path.read_text(encoding='utf-8'))
            known = {one.name for one in fields(cls)}
            made = cls(**{name: value for name, value in values.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise FedefmError(f'{path} is damaged ({error}); move the folder away to join the '
                              'federation anew') from error
        if type(made.round) is not int or not 0 <= made.round <= LAST_ROUND:
            raise FedefmError(f'{path}: there is no round {made.round!r}; set "round" in it to '
                              'the one that the other stations are in, or move the folder away '
                              'to join the federation anew')
        return made

    def in_reach(self, number: int) -> bool:
        """Return whether others can be in a round by honest work, old ones included."""
        return number <= self.round + LEAP and number < LAST_ROUND

    def models(self) -> set[str]:
        """Return the names of all models that are still needed."""
        named = {self.model, self.used, self.previous, self.trained, self.candidate,
                 *self.returned}
        named |= {entry['model'] for entry in self.neighbours.values()}
        named |= {visit.get('own', '') for visit in self.visits.values()}
        return named - {''}
