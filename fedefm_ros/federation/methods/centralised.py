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

"""Centralised training: the data of all silos in one place, the ceiling of the others."""

from itertools import islice

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.methods.method import Federation
from fedefm_ros.federation.methods.method import ServerMethod
from fedefm_ros.federation.silo import Batch
from fedefm_ros.federation.topology import Network

import torch


class Centralised(ServerMethod):
    """
    One model on merged data.

    A round takes the very images that the silos would draw, shuffles them across silos and makes
    N x steps steps of one batch each; nothing is sent (the data would have to be).
    """

    name = 'centralised'
    scenario = 'CLL'

    def __init__(self, federation: Federation, steps: str = 'all'):
        """
        Set up.

        :param steps: 'all', as many as all silos' models make together (each image is used once,
            as the silos do); 'one', as many as the model of one silo makes.
        :raises FedefmError: anything else.
        """
        super().__init__(federation)
        if steps not in ('all', 'one'):
            raise FedefmError(f'steps {steps!r}; expected all or one')
        self.steps = steps

    def make_round(self, number: int) -> None:
        """Train on everything."""
        made = self.federation
        drawn = [list(silo.batches(made.steps, number, 'local')) for silo in made.silos]
        state = made.store.before('server')
        batches = _shuffled(made, drawn, number)
        if self.steps == 'one':
            batches = islice(batches, 0, None, len(made))
        made.store.put('server', made.bench.train(state, batches))

    def cycle_ms(self, network: Network, step_ms: float, rounds: int) -> float:
        """Return the ms of all its steps, one after the other."""
        models = len(self.federation) if self.steps == 'all' else 1
        return models * self.federation.steps * step_ms


def _shuffled(made: Federation, drawn: list[list[Batch]], number: int):
    generator = torch.Generator().manual_seed(number)
    for step in range(made.steps):
        images, labels = (torch.cat(parts) for parts in zip(*(batches[step] for batches in drawn)))
        order = torch.randperm(len(images), generator=generator)
        for chosen in order.tensor_split(len(made)):
            yield images[chosen], labels[chosen]
