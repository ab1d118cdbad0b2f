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

"""`judge relate`: learn to weigh what a judge says of a piece by what the others are."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer


def relate(
    judge: Annotated[Path, typer.Argument(metavar='JUDGE', help='The judge; it stays as it is.')],
    folders: Annotated[list[Path], typer.Argument(
        metavar='PIECES...', help='Folders of `judge collect`, of frames that the judge was not '
        'trained on: of those it is surer than of others.')],
    validation: Annotated[Path, typer.Option(
        help='Another such folder, of another seed: the limit is chosen on it.')],
    out: Annotated[Path, typer.Option('-o', '--out', help='The judge that is written.')],
    steps: Annotated[int, typer.Option(
        min=1, help='Optimiser steps; fewer for fewer than some 20,000 frames.')] = 5000,
    batch: Annotated[int, typer.Option(min=1, help='Frames a step.')] = 128,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help='Peak learning rate.')] = 1e-3,
    otherwise: Annotated[int, typer.Option(
        min=0, help='How often each frame is learnt of once more, its pieces shown as another '
        'X-ray machine might show them.')] = 1,
    cut: Annotated[float, typer.Option(
        min=0, max=0.4, help="Up to which share of a piece's line is missing at either end then."
    )] = 0.15,
    missed: Annotated[float, typer.Option(
        min=0, max=0.9, help='Share of the pieces that are left out, others at each step: a '
        'network does not find all.')] = 0.2,
    kept: Annotated[float, typer.Option(
        min=0.5, max=1, help="Share of the instruments' length that the limit has to leave.")
    ] = 0.975,
    seed: Annotated[int, typer.Option(min=0, help='Decides order and first weights.')] = 1,
    threads: Annotated[int, typer.Option(min=1, help='CPU threads.')] = 2,
    json_file: output.JsonOption = None,
):
    """
    Write a judge that weighs what it says of a piece by how it winds and what the others are.

    It is learnt of whole frames, of what JUDGE says of their pieces, in some minutes.
    All other weights stay; the limit is chosen anew.
    """
    import torch

    from fedefm_ros.learning.judge_relations import learn_relations
    from fedefm_ros.learning.judge_relations import RelationsPlan
    from fedefm_ros.learning.pieces import collection_of
    from fedefm_ros.learning.pieces import Pieces

    if out.resolve() == judge.resolve():
        raise FedefmError(f'{out} is the judge itself, which stays as it is: take another file')
    torch.set_num_threads(threads)
    plan = RelationsPlan(steps=steps, batch=batch, learning_rate=learning_rate,
                         otherwise=otherwise, cut=cut, missed=missed, kept=kept, seed=seed)
    collections = [collection_of(folder) for folder in [*folders, validation]]
    with output.progress('training', steps) as advance:
        model_id, scores = learn_relations(
            judge, Pieces(folders), Pieces([validation]), collections, plan, out,
            lambda step, loss: advance(step, f'loss {loss:.3f}'))
    output.table('on pieces never trained on', ['measure', 'value'],
                 [[name, value] for name, value in scores.items()])
    output.say(f'wrote {out} ({model_id})')
    output.write_json({'judge': out, 'id': model_id, 'plan': asdict(plan), **scores}, json_file)
