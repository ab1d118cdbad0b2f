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

"""`judge limit`: how sure a judge has to be of a piece for it to stay."""

from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer

_SHARES = (0.96, 0.965, 0.97, 0.9725, 0.975, 0.9775, 0.98, 0.985)


def limit(
    judge: Annotated[Path, typer.Argument(metavar='JUDGE', help='The judge; it stays as it is.')],
    validation: Annotated[Path, typer.Option(
        help='A folder of `judge collect` that it was not trained on.')],
    kept: Annotated[float, typer.Option(
        min=0.5, max=1, help="Share of the instruments' length that the limit has to leave.")
    ] = 0.975,
    out: Annotated[Path | None, typer.Option(
        '-o', '--out', help='Judge to write that has this limit; by default none.')] = None,
    threads: Annotated[int, typer.Option(min=1, help='CPU threads.')] = 2,
    json_file: output.JsonOption = None,
):
    """
    Show what other limits of a judge would leave and let through; write it with one of them.

    A higher limit lets fewer false instruments stay and takes out more true ones. The weights
    stay.
    """
    import torch

    from fedefm_ros.learning.judge_limit import limits_of
    from fedefm_ros.learning.judge_limit import with_limit
    from fedefm_ros.learning.pieces import collection_of
    from fedefm_ros.learning.pieces import Pieces

    if out is not None and out.resolve() == judge.resolve():
        raise FedefmError(f'{out} is the judge itself, which stays as it is: take another file')
    torch.set_num_threads(threads)
    collection = collection_of(validation)
    rows = limits_of(judge, Pieces([validation]), collection, sorted({*_SHARES, kept}))
    output.table('on pieces never trained on',
                 ['length that stays', 'limit', 'instruments that stay', 'false a frame'], rows)
    written = {}
    if out is not None:
        chosen = next(row for row in rows if row.kept == kept)
        written = {'judge': out, 'id': with_limit(judge, chosen, collection, out)}
        output.say(f"wrote {out} ({written['id']}) with a limit of {chosen.limit:.3f}")
    output.write_json({**written, 'kept': kept, 'limits': [row._asdict() for row in rows]},
                      json_file)
