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

"""`judge train`: learn what pieces are from collected ones."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

from fedefm_ros.backbones.checkpoint import read_file
from fedefm_ros.commands import output
from fedefm_ros.commands.devices import check_device
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.piece_network import ALONG, WIDTHS

import typer


def train(
    folders: Annotated[list[Path], typer.Argument(
        metavar='PIECES...', help='Folders of `judge collect`.')],
    validation: Annotated[Path, typer.Option(
        help='Another such folder, of another seed: the limit is chosen on it.')],
    out: Annotated[Path, typer.Option(
        '-o', '--out', help='Folder for the run; one that holds a stopped run goes on.')],
    steps: Annotated[int, typer.Option(min=1, help='Optimiser steps in all.')] = 6000,
    batch: Annotated[int, typer.Option(min=2, help='Pieces a step.')] = 64,
    learning_rate: Annotated[float, typer.Option(help='Peak learning rate.')] = 2e-3,
    optimiser: Annotated[str, typer.Option(help='adamw or muon.')] = 'adamw',
    widths: Annotated[str, typer.Option(
        help="Channels of the network's five layers over a strip, and of that along it.")
    ] = ','.join(map(str, (*WIDTHS, ALONG))),
    start: Annotated[Optional[Path], typer.Option(
        metavar='JUDGE', help='Begin with the weights of this judge, of the same widths.')] = None,
    walls_only: Annotated[bool, typer.Option(
        '--walls-only', help='Train what tells the walls of instruments only, on pieces that '
        'have some; all else stays as in --start, the limit, too.')] = False,
    wall_weight: Annotated[float, typer.Option(
        min=0, max=100, help='How much the loss of walls counts beside that of what pieces are; '
        '0: what tells walls stays as in --start.')] = 1.0,
    whole_wall_weight: Annotated[float, typer.Option(
        min=0, max=100, help='How much the mean error of walls along a piece counts beside that '
        'of its places.')] = 0.0,
    noise: Annotated[float, typer.Option(
        min=0, max=128, help='Largest deviation of the noise added to strips, in grey levels; '
        "a strip's own is 32.")] = 6.0,
    hidden: Annotated[float, typer.Option(
        min=0, max=1, help='Share of the pieces of which some stretches are hidden.')] = 0.0,
    appearance: Annotated[float, typer.Option(
        min=0, max=1, help='Share of the pieces that are shown as another X-ray machine might: of '
        'other sharpness, contrast, grain and magnification.')] = 0.0,
    kept: Annotated[float, typer.Option(
        min=0.5, max=1, help="Share of the instruments' length that the limit has to leave.")
    ] = 0.975,
    seed: Annotated[int, typer.Option(min=0, help='Decides order and first weights.')] = 1,
    threads: Annotated[int, typer.Option(min=1, help='CPU threads of the training.')] = 2,
    workers: Annotated[int, typer.Option(min=0, help='Processes that read pieces.')] = 0,
    device: Annotated[str, typer.Option(help='cpu or cuda.')] = 'cpu',
    check_every: Annotated[int, typer.Option(min=1, help='Steps between validations, which also '
                                             'write the state a killed run goes on from.')] = 1000,
    json_file: output.JsonOption = None,
):
    """
    Train a judge of pieces.

    DIR gets judge.safetensors (after each validation), state.pt, log.jsonl and tensorboard/.
    Stop it at will: the same command goes on, and ends with the same weights.
    """
    import torch

    from fedefm_ros.learning.judging import JudgePlan
    from fedefm_ros.learning.judging import JudgeTrainer
    from fedefm_ros.learning.pieces import collection_of
    from fedefm_ros.learning.pieces import Pieces

    check_device(device)
    if walls_only and start is None:
        raise FedefmError('--walls-only needs --start JUDGE, of which the rest stays')
    if whole_wall_weight and not wall_weight:
        raise FedefmError('--whole-wall-weight counts nothing beside --wall-weight 0: leave out '
                          'one of them')
    *over, along = _numbers(widths)
    torch.set_num_threads(threads)
    collections = [collection_of(folder) for folder in [*folders, validation]]
    if any(one.shows_frames_of(collections[-1]) for one in collections[:-1]):
        raise FedefmError(f'{validation} shows frames that are trained on: it is of the same '
                          + ('images' if collections[-1].images else 'seed'))
    if len({str(one.made_for) for one in collections}) > 1:
        raise FedefmError('the folders hold what models of different architectures found')
    plan = JudgePlan(steps=steps, batch=batch, learning_rate=learning_rate,
                     optimiser=optimiser, widths=tuple(over), along=along,
                     walls_only=walls_only, wall_weight=wall_weight,
                     whole_wall_weight=whole_wall_weight, noise=noise,
                     hidden=hidden, appearance=appearance, kept=kept,
                     start='' if start is None else read_file(start).model_id, seed=seed)
    trainer = JudgeTrainer(plan, out, Pieces(folders), Pieces([validation]), collections, device,
                           workers, start)
    if trainer.step:
        output.say(f'goes on from step {trainer.step} in {out}')
    with output.progress('training', steps, trainer.step) as advance:
        trainer.run(lambda step, loss: advance(step, f'loss {loss:.3f}'), check_every)
    result = trainer.log[-1]
    output.table('averaged weights on pieces never trained on', ['measure', 'value'],
                 [[name, value] for name, value in result.items()])
    output.say(f'wrote {out / "judge.safetensors"}')
    output.write_json({'judge': out / 'judge.safetensors', 'plan': asdict(plan), **result},
                      json_file)


def _numbers(widths: str) -> list[int]:
    """Return the six widths; raises FedefmError."""
    try:
        found = [int(word) for word in widths.split(',')]
    except ValueError:
        found = []
    if len(found) != len(WIDTHS) + 1 or min(found) < 1:
        raise FedefmError(f'--widths {widths}: {len(WIDTHS) + 1} whole numbers with commas '
                          'between them were expected, such as 24,32,48,64,72,96')
    return found
