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
import os
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
from fedefm_ros.federation.station.frames import read_frames
from fedefm_ros.federation.station.task import Task
from fedefm_ros.federation.transfer.codec import decode
from fedefm_ros.federation.transfer.codec import encode
from fedefm_ros.federation.transfer.fetch import Fetch
from fedefm_ros.federation.transfer.outbox import write_sealed
from fedefm_ros.federation.trust.admission import admit
from fedefm_ros.federation.trust.clipping import clip_difference
from fedefm_ros.federation.trust.clipping import default_radius
from fedefm_ros.federation.trust.clipping import privatise
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.sealing import new_key
from fedefm_ros.federation.weights import average
from fedefm_ros.federation.weights import check_state
from fedefm_ros.federation.weights import State
from fedefm_ros.federation.weights import state_bytes
from fedefm_ros.federation.weights import with_momentum
from fedefm_ros.federation.weights import without_momentum
from fedefm_ros.files import write_atomically

from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save

import torch


class Work:
    """
    Jobs by name; each returns plain values. Models are named by the hash of their file.

    The own models are pushed to the disk; those of others are not, as a power cut costs a fetch
    and what was trained on them here. The latest ones are also kept in memory.

    In the folder: models/ (states at rest), inbox/ (what is being fetched), outgoing/ (what is
    to be offered), accepted/ (models for the station, with their provenance).
    """

    #: Bytes of models that are kept in memory to be read again.
    REMEMBERED = 64 << 20

    #: File with the own model as it was sent last, where that is clipped.
    SENT = 'sent.safetensors'

    def __init__(self, task: Task, folder: Path, learning_rate: float = 0.1,
                 send_clip: float = 0.0, send_noise: float = 0.0, momentum: float = 0.0):
        """
        Put a task to work.

        :param momentum: of the gradient steps; above 0 it travels and rests with the weights.
        :param send_clip: greatest length of the change in one message; 0: no limit.
        :param send_noise: standard deviation of noise on it, as a multiple of send_clip.
        """
        self.task = task
        self._clip, self._noise = send_clip, send_noise
        self._remembered: dict[str, State] = {}
        self._folder = folder
        options = StepOptions(learning_rate, momentum)
        self._bench = Workbench(task.network, options)
        #: Gradients are clipped, and their sum with weights m^k is no longer than that.
        self._longest_momentum = 1.01 * options.clip_norm / (1 - momentum)
        # Zeros of the momentum are kept, so that what rests always has all that travels.
        self._initial = {key: value.clone() for key, value in self._bench.reference.items()}
        if momentum:
            self._initial = with_momentum(self._initial, task.network)
        self._architecture_hash = task.architecture_hash(momentum > 0)

    def start(self) -> dict:
        """Keep the weights that all stations start from; tell what the task is."""
        return {'model': self._keep(self._initial), 'samples': self.task.samples,
                'architecture_hash': self._architecture_hash}

    def local(self, model: str, steps: int, round: int) -> dict:  # noqa: A002
        """Train a model on the station's own data."""
        batches = self.task.data.batches(steps, round, 'local')
        return self._scored(local(self._bench, self.read(model), batches))

    def host(self, manifest: str, key: str, owner: str, steps: int, round: int,  # noqa: A002
             hop: int, keep: bool, seal: dict) -> dict:
        """
        Train a visitor on the station's own data (eq. 1), and seal it for its way on.

        :param keep: have it rest here, too, as it is this station's own.
        :param seal: of `pack`.
        """
        visitor = self._admitted(manifest, key, self._initial)
        batches = self.task.data.batches(steps, round, 'visit', owner, hop)
        trained = self._private(overseas(self._bench, visitor, batches), visitor)
        return {'model': self._keep(trained, push=False) if keep else '',
                'sealed': self._sealed(trained, **seal)}

    def pack(self, model: str, seal: dict) -> dict:
        """
        Write this station's own model as it is to be sent.

        :param seal: `name` of the file (two that are the same model are two files), `codec`,
            `chunk_size`, and whether to `encrypt` it, with a key that comes back with it.
        """
        state = self.read(model)
        if self._clip:
            state = self._private(state, self._sent())
            write_atomically(self._folder / self.SENT, _bytes_of(state))
        return {'sealed': self._sealed(state, **seal)}

    def try_out(self, manifest: str, key: str, own: str) -> dict:
        """Take a fetched model that is to teach: check it against the own one, and try it."""
        return self._scored(self._admitted(manifest, key, self.read(own)), push=False)

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
        return {'slowdowns': self.task.slowdowns([self._weights(name) for name in models],
                                                 self._weights(used))}

    def shadow(self, model: str, used: str, frames: str) -> dict:
        """
        Compare a model with the one in use on frames of the last procedure.

        :param frames: file of frames.write_frames; in the memory of the process that asks.
        """
        return self.task.shadow(self._weights(model), self._weights(used),
                                read_frames(Path(frames)))

    def accept(self, model: str, provenance: dict) -> dict:
        """Write a model for the station's own use, with where it comes from."""
        path = self._folder / 'accepted' / f'{provenance["name"]}.safetensors'
        model_id = self.task.export(path, self._weights(model), provenance)
        return {'path': str(path), 'model_id': model_id}

    def read(self, model: str) -> State:
        """Return a state at rest, not to be changed; FedefmError where it is damaged."""
        if model in self._remembered:
            self._remember(model, self._remembered.pop(model))
            return self._remembered[model]
        path = self._folder / 'models' / f'{model}.safetensors'
        try:
            state = load(path.read_bytes())
        except (OSError, SafetensorError) as error:
            raise FedefmError(f'{path} cannot be read ({error})') from error
        check_state(state, self._initial, str(path))
        self._remember(model, state)
        return state

    def _weights(self, model: str) -> State:
        """Return a state at rest without what only training needs."""
        return without_momentum(self.read(model))

    def _private(self, state: State, base: State) -> State:
        """Return what may be sent of a state to those who know its base."""
        if not self._clip:
            return state
        rng = torch.Generator().manual_seed(int.from_bytes(os.urandom(7), 'little'))
        return privatise(state, base, self._clip, self._noise, rng)

    def _sent(self) -> State:
        """Return the own model as it was sent last: what others have seen of it already."""
        path = self._folder / self.SENT
        try:
            state = load(path.read_bytes()) if path.is_file() else self._initial
            check_state(state, self._initial, str(path))
        except (OSError, SafetensorError) as error:
            raise FedefmError(f'{path} cannot be read ({error})') from error
        return state

    def _admitted(self, manifest: str, key: str, own: State) -> State:
        return admit(self._received(manifest, key), self._initial, own,
                     longest_momentum=self._longest_momentum)

    def _received(self, manifest: str, key: str) -> State:
        said = Manifest.from_json(manifest)
        said.check_architecture(self._architecture_hash)
        # All chunks are there and were checked: this only checks the whole, and decrypts.
        fetch = Fetch(said, self._folder / 'inbox', checked=True)
        # What was fetched stays: this process may die of the job, and is then to try once more.
        path = fetch.finish(bytes.fromhex(key) or None, keep=True)
        try:
            return decode(path, said.codec, self._initial)
        finally:
            path.unlink(missing_ok=True)

    def _sealed(self, state: State, name: str, codec: str, chunk_size: int,
                encrypt: bool) -> dict:
        key = new_key() if encrypt else None
        path = self._folder / 'outgoing' / f'{name}.bin'
        path.parent.mkdir(parents=True, exist_ok=True)
        sealed = write_sealed(path, encode(state, codec), chunk_size, key)
        return {'path': str(path), 'key': key.hex() if key else '', 'table': sealed.table.hex(),
                **vars(sealed.offered)}

    def _scored(self, state: State, push: bool = True) -> dict:
        self._bench.network.load_state_dict(without_momentum(state))
        began = time.monotonic()
        scores = self.task.score(self._bench.network.eval())
        return {'model': self._keep(state, push), 'scores': scores,
                'seconds': time.monotonic() - began}

    def _keep(self, state: State, push: bool = True) -> str:
        data = _bytes_of(state)
        name = hashlib.sha256(data).hexdigest()[:32]
        path = self._folder / 'models' / f'{name}.safetensors'
        if not path.is_file() or push:
            write_atomically(path, data, push)
        self._remember(name, state)
        return name

    def _remember(self, name: str, state: State) -> None:
        """Keep a state in memory, and the latest others as far as there is room."""
        self._remembered[name] = state
        while sum(map(state_bytes, self._remembered.values())) > self.REMEMBERED:
            del self._remembered[next(iter(self._remembered))]


def _bytes_of(state: State) -> bytes:
    return save({key: value.contiguous() for key, value in state.items()})
