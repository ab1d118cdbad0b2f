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

"""The files that a bag consists of, whoever wrote it, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
import sqlite3
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag_recovery import is_torn, recover, RecoveredMcap
from fedefm_ros.imaging.folder import visible_files

import yaml

_MAGIC = (b'\x89MCAP0\r\n', b'SQLite format 3\0', b'#ROSBAG V2.0\n')
_SUFFIXES = ('.mcap', '.db3', '.bag')


def is_bag(path: Path) -> bool:
    """Return whether a file or folder is a bag of ROS 1 or 2, by its content or its name."""
    try:
        if path.is_dir():
            return any(file.name == 'metadata.yaml' or file.suffix in _SUFFIXES
                       for file in visible_files(path))
        with open(path, 'rb') as file:
            head = file.read(16)
    except OSError:
        return False
    return head.startswith(_MAGIC) or path.suffix in _SUFFIXES


def storage_files(path: Path) -> tuple[list[Path | RecoveredMcap], list[str]]:
    """
    Return what rosbags opens, and what was lost on the way there.

    The files themselves count: metadata.yaml only tells whether they are compressed and whether
    one is missing, so that a bag without it (its recorder was killed, or it was copied in part)
    reads as well. Torn MCAP files are replaced by what can be recovered of them.

    :raises FedefmError: no such file, or not one of them has a message.
    """
    whole = True
    if not path.is_dir():
        files, losses = [path], []
    else:
        whole = (path / 'metadata.yaml').exists()
        metadata, losses = _metadata(path)
        if metadata.get('compression_mode', '').lower() in ('file', 'message'):
            return [path], losses
        files = [file for file in visible_files(path) if file.suffix in _SUFFIXES]
        named = [Path(name).name for name in metadata.get('relative_file_paths') or []]
        missing = sorted(set(named) - {file.name for file in files})
        if missing:
            losses.append(f'{path}: metadata.yaml names {", ".join(missing)}, which is not there')
    if not files:
        raise FedefmError(f'{path}: damaged bag: no .mcap, .db3 or .bag file in it')
    usable = []
    for file in files:
        try:
            usable.append(_usable(file, losses, whole or file is not files[-1]))
        except FedefmError as error:
            # Of several, one that has nothing in it is a loss, not the end.
            if len(files) == 1:
                raise
            losses.append(str(error))
    if not usable:
        raise FedefmError(f'{path}: damaged bag: {"; ".join(losses)}')
    return usable, losses


def _metadata(folder: Path) -> tuple[dict, list[str]]:
    """Return the information of metadata.yaml, {} where there is none that can be read."""
    path = folder / 'metadata.yaml'
    if not path.exists():
        return {}, []
    try:
        return dict(yaml.safe_load(path.read_text(encoding='utf-8'))
                    ['rosbag2_bagfile_information']), []
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        text = ' '.join(str(error).split())[:100]
        return {}, [f'{path}: cannot be read ({text}); the files are read without it']


def _usable(file: Path, losses: list[str], whole: bool) -> Path | RecoveredMcap:
    """
    Return what can be read of a file; append what is missing to `losses`.

    :param whole: the bag's recorder came to its end, or that is not for this file to tell.
    """
    if not file.stat().st_size:
        raise FedefmError(f'{file}: damaged bag: the file is empty')
    if file.suffix == '.mcap' and is_torn(file):
        recovered = recover(file)
        first, last = recovered.times
        losses.append(
            f'{file}: torn; recovered {recovered.counts.total()} messages of '
            f'{(last - first) / 1e9:.1f} s, ending '
            f'{time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(last / 1e9))} UTC; '
            f'{recovered.lost_bytes} bytes behind them are no whole chunk')
        return recovered
    if file.suffix == '.db3' and any(_size(file.with_name(file.name + end))
                                     for end in ('-wal', '-journal')):
        _settle(file)
        losses.append(f'{file}: was not closed; the messages of its last transaction may be '
                      'missing')
    elif file.suffix == '.db3' and not whole:
        # Killed between two transactions, it looks like one that was closed.
        losses.append(f'{file}: whether it was closed cannot be told without metadata.yaml; its '
                      'last messages may be missing')
    return file


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _settle(file: Path) -> None:
    """Let SQLite complete or undo a transaction, as its readers do; rosbags would not."""
    try:
        connection = sqlite3.connect(file)
        try:
            connection.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()
            connection.execute('SELECT count(*) FROM topics').fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise FedefmError(f'{file}: damaged bag: its last transaction cannot be undone ({error}); '
                          'copy the bag to where it can be written') from error
