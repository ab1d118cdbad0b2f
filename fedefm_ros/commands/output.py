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

"""What commands share: options, progress, a table for people, JSON for programs."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import json
import math
from pathlib import Path
from typing import Annotated
from typing import Any

from fedefm_ros.errors import FedefmError

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TextColumn
from rich.progress import TimeElapsedColumn
from rich.progress import TimeRemainingColumn
from rich.table import Table

import typer

#: Progress and remarks go to stderr, results to stdout.
remarks = Console(stderr=True, highlight=False)
results = Console(highlight=False)
#: Columns of a table that goes into a file, at most.
_WIDEST = 400

JsonOption = Annotated[Path | None, typer.Option(
    '--json', metavar='FILE', help='Write the figures to FILE as JSON, too.')]
ModelOption = Annotated[str, typer.Option(help='A .safetensors file or a shipped name.')]
JudgeOption = Annotated[str, typer.Option(
    help='Of the pieces that the model finds: a .safetensors file, none, or auto (the shipped one '
    "where it is made for the model's architecture).")]
RuntimeOption = Annotated[str, typer.Option(help='auto, openvino, onnxruntime, torch or cuda.')]


def say(text: str) -> None:
    """Print a remark."""
    remarks.print(text, markup=False)


@contextmanager
def progress(label: str, total: int | None, done: int = 0,
             ) -> Iterator[Callable[[int, str], None]]:
    """
    Show a bar with the remaining time; yields a function of (done, remark).

    :param total: how many steps there are; None shows only a count.
    """
    bar = Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                   TimeElapsedColumn(), TimeRemainingColumn(), TextColumn('{task.fields[note]}'),
                   console=remarks)
    with bar:
        task = bar.add_task(label, total=total, completed=done, note='')
        yield lambda count, note='': bar.update(task, completed=count, note=note)


def table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table; numbers are aligned to the right."""
    made = Table(title=title, title_justify='left')
    for index, column in enumerate(columns):
        number = bool(rows) and isinstance(rows[0][index], (int, float))
        made.add_column(column, justify='right' if number else 'left')
    for row in rows:
        made.add_row(*(figure(value) for value in row))
    # A file has no width: nothing in it has to be cut off.
    console = results if results.is_terminal else Console(highlight=False, width=_WIDEST)
    console.print(made)


def figure(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, float):
        return '-' if math.isnan(value) else f'{value:.3g}' if abs(value) < 100 else f'{value:.0f}'
    return str(value)


def write_json(figures: dict, path: Path | None) -> None:
    """Write figures where a path is given; numbers that are not finite become null."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_plain(figures), indent=2) + '\n', encoding='utf-8')
    except OSError as error:
        raise FedefmError(f'{path} cannot be written: {error.strerror or error}') from error


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
