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

"""Tables of an experiment as text: what the command prints, and files to keep."""

from collections.abc import Sequence
import csv
from io import StringIO
from pathlib import Path

from fedefm_ros.files import write_atomically

#: Figures of a row -> headings.
COLUMNS = {
    'scenario': 'scenario', 'method': 'method', 'unseen_reached': 'unseen %',
    'accuracy_mean': 'accuracy %', 'accuracy_std': '+-', 'accuracy_unseen_mean': 'on unseen %',
    'accuracy_foundation_mean': 'aggregate %', 'megabytes': 'MB sent', 'transfers': 'models sent',
    'cycle_ms': 'cycle ms', 'seconds_per_round': 's a round', 'gradient_steps': 'steps'}
_SHARES = ('unseen_reached', 'accuracy_mean', 'accuracy_std', 'accuracy_unseen_mean',
           'accuracy_foundation_mean')


def cell(row: dict, key: str):
    """Return a figure of a row as tables show it: shares in percent."""
    return round(100 * row[key], 1) if key in _SHARES else row[key]


def markdown(rows: Sequence[dict]) -> str:
    """Return the table of rows in Markdown, with the seeds of each; one seed has no spread."""
    headings = [*COLUMNS.values(), 'seeds']
    lines = [headings, ['---'] * len(headings)]
    for row in rows:
        cells = {key: _text(key, cell(row, key)) for key in (*COLUMNS, 'seeds')}
        if row['seeds'] < 2:
            cells['accuracy_std'] = ''
        lines.append(list(cells.values()))
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def write_tables(rows: Sequence[dict], runs: Sequence[dict], folder: Path,
                 name: str) -> list[Path]:
    """Write the table, NAME.md, and the figures of each run, NAME.csv; return their paths."""
    table, figures = folder / f'{name}.md', folder / f'{name}.csv'
    write_atomically(table, markdown(rows).encode())
    text = StringIO()
    writer = csv.DictWriter(text, list(runs[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(runs)
    write_atomically(figures, text.getvalue().encode())
    return [table, figures]


def _text(key, value) -> str:
    if key in ('transfers', 'gradient_steps'):
        return f'{value:.0f}'
    return f'{value:.1f}' if isinstance(value, float) else str(value)
