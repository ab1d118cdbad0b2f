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

"""`average`: a model between one and what was trained on from it."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer


def average(
    older: Annotated[Path, typer.Argument(help='Model that the other was trained on from.')],
    newer: Annotated[Path, typer.Argument(help='Model that training made of it.')],
    out: Annotated[Path, typer.Option('-o', '--out', help='Model file to write.')],
    share: Annotated[float, typer.Option(min=0, max=1, help='Of the newer.')] = 0.5,
    json_file: output.JsonOption = None,
):
    """
    Average the weights of a compact model and of what `./run train --from` made of it.

    That keeps more of what the older could do on other images than it was trained on (WiSE-FT,
    Wortsman et al. 2022). How sure a piece has to be is taken from the newer.
    """
    from fedefm_ros.backbones.checkpoint import load_checkpoint
    from fedefm_ros.backbones.checkpoint import save_checkpoint
    from fedefm_ros.backbones.compact import CompactUNet
    from fedefm_ros.backbones.inheritance import averaged

    checkpoints = [load_checkpoint(path) for path in (older, newer)]
    networks = [checkpoint.network() for checkpoint in checkpoints]
    for path, network in zip((older, newer), networks):
        if not isinstance(network, CompactUNet):
            raise FedefmError(f'{path} is no compact model: it cannot be averaged')
    network = averaged(*networks, share)
    spec = checkpoints[1].spec
    model_id = save_checkpoint(out, network, replace(spec, provenance={
        **spec.provenance, 'averaged': {
            'older': checkpoints[0].model_id, 'newer': checkpoints[1].model_id, 'share': share}}))
    output.say(f'wrote {out}, model {model_id}')
    output.write_json({'model': out, 'model_id': model_id, 'share': share}, json_file)
