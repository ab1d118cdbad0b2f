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

"""Per-frame figures as CSV, written frame by frame, and as Parquet where pyarrow is there."""

import csv
import math
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.rows import line_row
from fedefm_ros.evaluation.rows import mask_row
from fedefm_ros.evaluation.temporal import Steadiness

import numpy as np

_EMPTY = np.zeros((1, 1), np.uint8)
_NAMES = ('contestant', 'sequence', 'frame')
_COLUMNS = (*_NAMES, 'index', 'time', 'missing', 'work_ms',
            'latency_ms', 'tip_error_px', *mask_row(_EMPTY, _EMPTY), *line_row((), ()),
            *Steadiness().add(_EMPTY, ()))


class FrameFile:
    """One line a frame and contestant; empty fields where nothing was there to measure."""

    def __init__(self, path: Path, names: list[str]):
        """
        Start the file.

        :param names: the contestants'.
        """
        self.path = path
        self._names = names
        try:
            self._file = path.open('w', encoding='utf-8', newline='')
        except OSError as error:
            raise FedefmError(f'{path} cannot be written: {error.strerror}') from error
        self._writer = csv.writer(self._file)
        self._write(_COLUMNS)

    def __call__(self, case, shown) -> None:
        """Write a frame."""
        for name, (_, row) in zip(self._names, shown):
            known = {'contestant': name, 'sequence': case.sequence, 'frame': case.name,
                     'index': case.index, 'time': case.time, **row}
            self._write([_text(known.get(column, math.nan)) for column in _COLUMNS])

    def close(self) -> list[Path]:
        """Finish; return the files: the CSV, and a Parquet beside it where that can be."""
        try:
            self._file.close()
        except OSError as error:
            raise FedefmError(f'{self.path} cannot be written: {error.strerror}') from error
        path = self.path.with_suffix('.parquet')
        try:
            return [self.path, path] if _write_parquet(self.path, path) else [self.path]
        except OSError as error:
            raise FedefmError(f'{path} cannot be written: {error.strerror or error}') from error

    def _write(self, fields):
        try:
            self._writer.writerow(fields)
        except OSError as error:
            raise FedefmError(f'{self.path} cannot be written: {error.strerror}') from error


def _write_parquet(source: Path, path: Path) -> bool:
    """Write a CSV of frames as Parquet; return False where pyarrow is not there."""
    try:
        import pyarrow
        from pyarrow import csv as arrow_csv
        from pyarrow import parquet
    except ImportError:
        return False
    # Named, not guessed: frames may be called 000012, and a column may be empty.
    types = {name: pyarrow.string() if name in _NAMES else
             pyarrow.int64() if name == 'index' else pyarrow.float64() for name in _COLUMNS}
    parquet.write_table(arrow_csv.read_csv(
        source, convert_options=arrow_csv.ConvertOptions(column_types=types)), path)
    return True


def write_tables(folder: Path, summary) -> list[Path]:
    """Write the figures by contestant, and by contestant and sequence; return the files."""
    keys = [measure.key for measure in summary.measures]
    classes = folder / 'summary.csv'
    rows = [['contestant', 'measure', 'meaning', 'value', 'low_95', 'high_95']]
    for each in summary.contestants:
        for measure in summary.measures:
            low, high = each['ci95'][measure.key]
            rows.append([each['name'], measure.key, measure.title,
                         _text(_at(each, measure.key)), _text(low), _text(high)])
    _write_csv(classes, rows)
    sequences = folder / 'sequences.csv'
    rows = [['contestant', 'sequence', 'frames', *keys]]
    for each in summary.contestants:
        rows += [[each['name'], one['name'], one['frames'], *(_text(one[key]) for key in keys)]
                 for one in each['sequences']]
    _write_csv(sequences, rows)
    return [classes, sequences]


def _at(tree, key):
    for name in key.split('.'):
        tree = tree[name]
    return tree


def _write_csv(path, rows):
    try:
        with path.open('w', encoding='utf-8', newline='') as file:
            csv.writer(file).writerows(rows)
    except OSError as error:
        raise FedefmError(f'{path} cannot be written: {error.strerror}') from error


def _text(value):
    if isinstance(value, float):
        return '' if math.isnan(value) else f'{value:.6g}'
    return value
