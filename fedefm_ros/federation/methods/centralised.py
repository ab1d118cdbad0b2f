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

from fedefm_ros.federation.methods.method import Federation
from fedefm_ros.federation.methods.method import ServerMethod
from fedefm_ros.federation.silo import Batch
from fedefm_ros.federation.topology import Network

import torch


class Centralised(ServerMethod):
    """
    One model on merged data, with as many gradient steps as all silos make together.

    A round takes the very images that the silos would draw, shuffles them across silos and makes
    N x steps steps of one batch each; nothing is sent (the data would have to be).
    """

    name = 'centralised'
    scenario = 'CLL'

    def make_round(self, number: int) -> None:
        """Train on everything."""
        made = self.federation
        drawn = [list(silo.batches(made.steps, number, 'local')) for silo in made.silos]
        state = made.store.before('server')
        made.store.put('server', made.bench.train(state, _shuffled(made, drawn, number)))

    def cycle_ms(self, network: Network, step_ms: float, rounds: int) -> float:
        """Return the ms of all its steps, one after the other."""
        return len(self.federation) * self.federation.steps * step_ms


def _shuffled(made: Federation, drawn: list[list[Batch]], number: int):
    generator = torch.Generator().manual_seed(number)
    for step in range(made.steps):
        images, labels = (torch.cat(parts) for parts in zip(*(batches[step] for batches in drawn)))
        order = torch.randperm(len(images), generator=generator)
        for chosen in order.tensor_split(len(made)):
            yield images[chosen], labels[chosen]
