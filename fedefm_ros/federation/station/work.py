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

"""
The steps of a round that take time: training, coding, trying. Files in, files out.

They run in a process of their own (worker.py), so that the first frame of a procedure can stop
them at any instruction, and nothing here knows of peers, messages or rounds.
"""

import hashlib
from pathlib import Path
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.distillation import DistillationOptions
from fedefm_ros.federation.silo import come_home
from fedefm_ros.federation.silo import distil
from fedefm_ros.federation.silo import local
from fedefm_ros.federation.silo import overseas
from fedefm_ros.federation.silo import StepOptions
from fedefm_ros.federation.silo import Workbench
from fedefm_ros.federation.station.task import Task
from fedefm_ros.federation.transfer.codec import decode
from fedefm_ros.federation.transfer.codec import encode
from fedefm_ros.federation.transfer.fetch import Fetch
from fedefm_ros.federation.trust.admission import admit
from fedefm_ros.federation.trust.clipping import clip_difference
from fedefm_ros.federation.trust.clipping import default_radius
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.weights import average
from fedefm_ros.federation.weights import check_state
from fedefm_ros.federation.weights import State
from fedefm_ros.files import write_atomically

from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save


class Work:
    """
    Jobs by name; each returns plain values. Models are named by the hash of their file.

    In the folder: models/ (states at rest), inbox/ (what is being fetched), outgoing/ (what is
    to be offered), accepted/ (models for the station, with their provenance).
    """

    def __init__(self, task: Task, folder: Path, learning_rate: float = 0.1):
        self.task = task
        self._folder = folder
        self._bench = Workbench(task.network, StepOptions(learning_rate))
        self._initial = {key: value.clone() for key, value in self._bench.reference.items()}

    def start(self) -> dict:
        """Keep the weights that all stations start from; tell what the task is."""
        return {'model': self._keep(self._initial), 'samples': self.task.samples,
                'architecture_hash': self.task.architecture_hash()}

    def local(self, model: str, steps: int, round: int) -> dict:  # noqa: A002
        """Train a model on the station's own data."""
        batches = self.task.data.batches(steps, round, 'local')
        return self._scored(local(self._bench, self.read(model), batches))

    def host(self, manifest: str, key: str, owner: str, steps: int, round: int,  # noqa: A002
             hop: int) -> dict:
        """Train a visitor on the station's own data (eq. 1); its owner never sees them."""
        visitor = admit(self._received(manifest, key), self._bench.reference, self._initial)
        batches = self.task.data.batches(steps, round, 'visit', owner, hop)
        return {'model': self._keep(overseas(self._bench, visitor, batches))}

    def encode(self, model: str, codec: str, name: str) -> dict:
        """
        Write a model as it is to be sent.

        :param name: of the file; two that are the same model are two files.
        """
        path = self._folder / 'outgoing' / f'{name}.bin'
        write_atomically(path, encode(self.read(model), codec))
        return {'path': str(path)}

    def try_out(self, manifest: str, key: str, own: str) -> dict:
        """Take a fetched model that is to teach: check it against the own one, and try it."""
        state = admit(self._received(manifest, key), self._bench.reference, self.read(own))
        return self._scored(state)

    def home(self, own: str, returned: list, steps: int, round: int,  # noqa: A002
             adopt: float) -> dict:
        """Go on from what came home, and distil from it (eq. 2, 11)."""
        mine, teachers = self.read(own), [self.read(name) for name in returned]
        student = come_home(self._bench, mine, teachers[0], adopt) if teachers and adopt else mine
        batches = self.task.data.batches(steps, round, 'home')
        state, weight = distil(self._bench, student, teachers, batches, DistillationOptions())
        return {**self._scored(state), 'emd_weight': weight}

    def mix(self, own: str, before: str, others: list, shares: list) -> dict:
        """
        Average with the neighbours' models, each clipped to the own one's neighbourhood.

        :param before: the own model of the round's start: how far it went is the measure.
        """
        mine = self.read(own)
        radius = default_radius(self.read(before), mine)
        near = [clip_difference(mine, self.read(name), radius) for name in others]
        return self._scored(average([mine, *near], [1 - sum(shares), *shares]))

    def slowdowns(self, models: list, used: str) -> dict:
        """Time models beside the one in use."""
        return {'slowdowns': self.task.slowdowns([self.read(name) for name in models],
                                                 self.read(used))}

    def accept(self, model: str, provenance: dict) -> dict:
        """Write a model for the station's own use, with where it comes from."""
        path = self._folder / 'accepted' / f'{provenance["name"]}.safetensors'
        model_id = self.task.export(path, self.read(model), provenance)
        return {'path': str(path), 'model_id': model_id}

    def read(self, model: str) -> State:
        """Return a state at rest; FedefmError where it is damaged."""
        path = self._folder / 'models' / f'{model}.safetensors'
        try:
            state = load(path.read_bytes())
        except (OSError, SafetensorError) as error:
            raise FedefmError(f'{path} cannot be read ({error})') from error
        check_state(state, self._bench.reference, str(path))
        return state

    def _received(self, manifest: str, key: str) -> State:
        said = Manifest.from_json(manifest)
        said.check_architecture(self.task.architecture_hash())
        # All chunks are there: this only checks the whole, and decrypts.
        path = Fetch(said, self._folder / 'inbox').finish(bytes.fromhex(key) or None)
        try:
            return decode(path, said.codec, self._bench.reference)
        finally:
            path.unlink(missing_ok=True)

    def _scored(self, state: State) -> dict:
        self._bench.network.load_state_dict(state)
        began = time.monotonic()
        scores = self.task.score(self._bench.network.eval())
        return {'model': self._keep(state), 'scores': scores,
                'seconds': time.monotonic() - began}

    def _keep(self, state: State) -> str:
        data = save({key: value.contiguous() for key, value in state.items()})
        name = hashlib.sha256(data).hexdigest()[:32]
        path = self._folder / 'models' / f'{name}.safetensors'
        if not path.is_file():
            write_atomically(path, data)
        return name
