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
Graphs kept between starts, so that a station need not import torch to segment.

An entry is named after the SHA-256 of its checkpoint, which was checked in full when the entry
was made; a damaged entry is made anew, and a cache that cannot be written costs only time.
"""

import logging
import os
from pathlib import Path
import subprocess
import sys
import tempfile

from fedefm_ros.backbones.checkpoint import CheckpointFile, read_file
from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.segmentation.runtimes.graph import Graph, GRAPH_VERSION

_log = logging.getLogger(__name__)
_EXPORT_SECONDS = 300


def cache_folder() -> Path:
    """Return where graphs are kept: ``$XDG_CACHE_HOME/fedefm_ros/graphs``."""
    base = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    return Path(base) / 'fedefm_ros' / 'graphs'


def graph_of(path: str | Path, *, background: bool = False, int8: bool = False) -> Graph:
    """
    Return the graph of a checkpoint file, from the cache or freshly exported.

    The export runs in another process unless torch is loaded in this one anyway: a live node
    neither grows by torch nor stops for its import.

    :param background: give way to everything else on the machine.
    :param int8: quantised, see ``quantise``.
    Raises FedefmError as ``load_checkpoint``.
    """
    file = read_file(path)
    kind = '.int8.graph' if int8 else '.graph'
    entry = cache_folder() / f'{file.sha256}-{GRAPH_VERSION}{kind}'
    graph = _cached(entry, file)
    if graph is not None:
        return graph
    data = _export_here(file, int8) if 'torch' in sys.modules else _export_elsewhere(
        file, ['background'] * background + ['int8'] * int8)
    graph = Graph.from_bytes(data)
    if graph.checkpoint_sha256 != file.sha256:
        raise FedefmError(f'{file.path} changed while it was read; try again')
    try:
        write_atomically(entry, data)
    except OSError as error:
        _log.warning('the exported network cannot be kept in %s (%s); every start will export it '
                     'anew', entry.parent, error.strerror or error)
    return graph


def _cached(entry: Path, file: CheckpointFile) -> Graph | None:
    try:
        data = entry.read_bytes()
    except OSError:
        return None
    try:
        graph = Graph.from_bytes(data)
        if graph.checkpoint_sha256 == file.sha256:
            return graph
        problem = 'it belongs to another checkpoint'
    except (FedefmError, ValueError, KeyError) as error:
        problem = str(error)
    _log.warning('%s is exported anew: %s', entry, problem)
    return None


def _export_here(file: CheckpointFile, int8: bool) -> bytes:
    from fedefm_ros.backbones.checkpoint import check
    from fedefm_ros.segmentation.runtimes.export import export_as
    return export_as(check(file), int8).to_bytes()


def _export_elsewhere(file: CheckpointFile, words: list[str]) -> bytes:
    package_parent = str(Path(__file__).resolve().parents[3])
    search = os.pathsep.join(filter(None, [package_parent, os.environ.get('PYTHONPATH')]))
    with tempfile.TemporaryDirectory(prefix='fedefm_ros-') as folder:
        target = Path(folder) / 'graph'
        try:
            done = subprocess.run(
                [sys.executable, '-m', 'fedefm_ros.segmentation.runtimes.export',
                 os.fspath(file.path.resolve()), os.fspath(target),
                 *words],
                env={**os.environ, 'PYTHONPATH': search}, stdin=subprocess.DEVNULL, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=_EXPORT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise FedefmError(f'{file.path} could not be exported within '
                              f'{_EXPORT_SECONDS} s') from error
        if done.returncode == 1 and done.stdout.strip():
            raise FedefmError(done.stdout.strip())
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ['no message'])[-1]
            raise FedefmError(f'{file.path} could not be exported (exit {done.returncode}): '
                              f'{last}')
        return target.read_bytes()
