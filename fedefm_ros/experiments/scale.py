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
How a federation's cost grows with its silos: some rounds of one size, in a process of its own.

`python -m fedefm_ros.experiments.scale FILE` reads the settings of Scale as JSON and adds what was
measured. Only the peak of a fresh process tells what a size needs.
"""

from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
import json
from pathlib import Path
import subprocess
import sys
import tempfile

from fedefm_ros.errors import FedefmError
from fedefm_ros.memory import peak_bytes

#: Side of the images in pixels.
_SIZE = 32


@dataclass(frozen=True)
class Scale:
    """What is measured."""

    silos: int
    rounds: int = 3
    #: Channels of a token of VitClassifier; 192 gives a network of about 6 MB.
    width: int = 192
    #: Stops of a trip, a step in each; one more step is made at home.
    stops: int = 2
    batch: int = 4
    #: Keep all weights in memory, to compare.
    in_memory: bool = False


def measured(scale: Scale) -> dict:
    """
    Return what a fresh process needs for a size.

    silos, seconds_per_round, peak_memory_mb (resident), base_memory_mb (before the first round),
    model_mb.

    :raises FedefmError: the process failed; it says how.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'scale.json'
        file.write_text(json.dumps(asdict(scale)), encoding='utf-8')
        done = subprocess.run([sys.executable, '-m', __name__, str(file)], capture_output=True,
                              text=True)
        if done.returncode:
            raise FedefmError(f'{scale.silos} silos: {done.stderr.strip()[-500:]}')
        return json.loads(file.read_text(encoding='utf-8'))


class _Made:
    """A silo's data that are made when they are asked for: no silo keeps any."""

    def __init__(self, silo, batch):
        self._silo, self._batch = silo, batch

    def __len__(self):
        return 100

    def batches(self, count: int, *place) -> Iterator:
        import torch
        generator = torch.Generator().manual_seed(self._silo)
        for _ in range(count):
            yield (torch.randn(self._batch, 1, _SIZE, _SIZE, generator=generator),
                   torch.randint(12, (self._batch,), generator=generator))


def _measure(scale: Scale, folder: Path) -> dict:
    from fedefm_ros.backbones.vit_classifier import VitClassifier
    from fedefm_ros.federation.methods import create_method
    from fedefm_ros.federation.methods import Federation
    from fedefm_ros.federation.methods import FedefmOptions
    from fedefm_ros.federation.rounds import run
    from fedefm_ros.federation.rounds import RunPlan
    from fedefm_ros.federation.silo import Workbench
    from fedefm_ros.federation.store import StateStore
    from fedefm_ros.federation.topology import create_topology
    from fedefm_ros.federation.topology.networks import uniform_network
    from fedefm_ros.federation.weights import state_bytes
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    bench = Workbench(VitClassifier(width=scale.width, size=_SIZE))
    size = state_bytes(bench.reference)
    topology = create_topology('ring', uniform_network(scale.silos), 8 * size)
    federation = Federation(bench, [_Made(i, scale.batch) for i in range(scale.silos)],
                            StateStore(None if scale.in_memory else folder), topology,
                            scale.stops + 1)
    method = create_method('fedefm', federation, options=FedefmOptions(stops=scale.stops))
    # What the first steps allocate once is no matter of the silos.
    bench.train(bench.reference, _Made(0, scale.batch).batches(1))
    before = peak_bytes() / 1e6
    record = run(method, RunPlan(rounds=scale.rounds), bench.reference)
    return {'silos': scale.silos, 'seconds_per_round': record['seconds'] / record['rounds'],
            'peak_memory_mb': peak_bytes() / 1e6, 'base_memory_mb': before, 'model_mb': size / 1e6}


def _main(file: Path) -> None:
    settings = Scale(**json.loads(file.read_text(encoding='utf-8')))
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(settings, Path(folder))
    file.write_text(json.dumps(figures), encoding='utf-8')


if __name__ == '__main__':
    _main(Path(sys.argv[1]))
