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

"""The in-process engine: rounds one after the other, from wherever a run was stopped."""

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import hashlib
import json
import math
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.methods import Method
from fedefm_ros.federation.silo import StepOptions
from fedefm_ros.federation.weights import State


@dataclass(frozen=True)
class RunPlan:
    """
    How many rounds, and how their gradient steps are made; the same for all methods.

    The learning rate falls along half a cosine to `last_rate` of its value in the last round:
    silos' last steps would else show more than what they learnt together.
    """

    rounds: int = 20
    step: StepOptions = field(default_factory=StepOptions)
    last_rate: float = 0.02
    #: Share of the rounds after which the rate begins to fall.
    decay_from: float = 0.0

    def __post_init__(self):
        if self.rounds < 1 or not 0 <= self.last_rate <= 1 or not 0 <= self.decay_from <= 1:
            raise FedefmError(f'{self}: expected one or more rounds and shares from 0 to 1')

    def rate(self, number: int) -> float:
        """Return the learning rate of a round, from 0."""
        start = self.decay_from * self.rounds
        passed = max(0.0, number + 1 - start) / max(self.rounds - start, 1e-9)
        share = self.last_rate + (1 - self.last_rate) * (1 + math.cos(math.pi * passed)) / 2
        return self.step.learning_rate * share


def run(method: Method, plan: RunPlan, initial: State,
        on_round: Callable[[int, dict], None] | None = None, until: int | None = None,
        identity: dict | None = None) -> dict:
    """
    Make the rounds of a plan; go on where the method's store stopped.

    For the same plan, data, initial weights and number of threads the result is the same bit for
    bit, however often the run was stopped.

    :param initial: what all silos start from; of no account when a run goes on.
    :param on_round: called after each round with its number from 1 and the record; may raise to
        stop.
    :param until: stop after this round (for tests, and to share out a run).
    :param identity: plain values that say what else decides the run (data, seed, network).
    :returns: the record: rounds, transfers, bytes, steps, seconds (of training, by the clock) and
        the methods' notes of each round.
    :raises FedefmError: the store holds another run.
    """
    made = method.federation
    fingerprint = _fingerprint(method, plan, identity or {})
    record = made.store.record
    if record:
        if record.get('run') != fingerprint:
            raise FedefmError('the folder holds a run with another plan, method or data; choose '
                              'another folder, or remove it to start anew')
        made.transfers, made.bytes_sent = record['transfers'], record['bytes']
        made.bench.steps = record['steps']
    else:
        method.start(initial)
        record = {'run': fingerprint, 'rounds': 0, 'transfers': 0, 'bytes': 0, 'steps': 0,
                  'seconds': 0.0, 'notes': []}
        made.store.commit(record)
    last = plan.rounds if until is None else min(until, plan.rounds)
    for number in range(record['rounds'], last):
        began = time.monotonic()
        made.bench.options = replace(plan.step, learning_rate=plan.rate(number))
        made.notes = {}
        method.make_round(number)
        record = {**record, 'rounds': number + 1, 'transfers': made.transfers,
                  'bytes': made.bytes_sent, 'steps': made.bench.steps,
                  'seconds': record['seconds'] + time.monotonic() - began,
                  'notes': [*record['notes'], made.notes]}
        made.store.commit(record)
        if on_round:
            on_round(number + 1, record)
    return record


def _fingerprint(method: Method, plan: RunPlan, identity: dict) -> str:
    made = method.federation
    options = {name: repr(value) for name, value in sorted(vars(method).items())
               if name != 'federation'}
    text = json.dumps([method.name, method.scenario, options, asdict(plan), identity, made.steps,
                       made.topology.fingerprint(), [len(silo) for silo in made.silos]],
                      sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
