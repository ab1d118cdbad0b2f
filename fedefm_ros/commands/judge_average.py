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

"""`judge average`: a judge between one and what was trained on from it."""

from pathlib import Path
from typing import Annotated, Optional

from fedefm_ros.commands import output

import typer


def average(
    older: Annotated[Path, typer.Argument(help='Judge that the other was trained on from.')],
    newer: Annotated[Path, typer.Argument(help='Judge that training made of it.')],
    validation: Annotated[Path, typer.Option(
        help='A folder of `judge collect` that neither was trained on: the limit is chosen on '
        'it.')],
    out: Annotated[Path, typer.Option('-o', '--out', help='Judge file to write.')],
    share: Annotated[float, typer.Option(min=0, max=1, help='Of the newer.')] = 0.5,
    between: Annotated[Optional[list[Path]], typer.Option(
        metavar='JUDGE', help='Judge by way of which the newer was trained on from the older; may '
        'be given several times.')] = None,
    kept: Annotated[float, typer.Option(
        min=0.5, max=1, help="Share of the instruments' length that the limit has to leave.")
    ] = 0.975,
    threads: Annotated[int, typer.Option(min=1, help='CPU threads.')] = 2,
    json_file: output.JsonOption = None,
):
    """
    Average the weights of a judge and of what `judge train --start` made of it.

    That keeps more of what the older could do on other images than it was trained on (WiSE-FT,
    Wortsman et al. 2022).
    """
    import torch

    from fedefm_ros.learning.averaged_judge import average_judges
    from fedefm_ros.learning.pieces import collection_of
    from fedefm_ros.learning.pieces import Pieces

    torch.set_num_threads(threads)
    model_id, scores = average_judges(older, newer, share, Pieces([validation]),
                                      collection_of(validation), kept, out, between or ())
    output.table('on pieces never trained on', ['measure', 'value'],
                 [[name, value] for name, value in scores.items()])
    output.say(f'wrote {out}, judge {model_id}')
    output.write_json({'judge': out, 'judge_id': model_id, 'share': share, **scores}, json_file)
