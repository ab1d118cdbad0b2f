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

"""The judge of pieces: its file, and the network in it on what computes it fastest."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cache
from functools import lru_cache
import logging
from pathlib import Path

from fedefm_ros.backbones.checkpoint import read_description
from fedefm_ros.backbones.checkpoint import read_file
from fedefm_ros.backbones.spec import ModelSpec
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.ends import LAYERS as END_LAYERS
from fedefm_ros.segmentation.ends import VIEW
from fedefm_ros.segmentation.overviews import LAYERS
from fedefm_ros.segmentation.overviews import SIDE
from fedefm_ros.segmentation.piece_network import ANSWERS
from fedefm_ros.segmentation.piece_network import checked
from fedefm_ros.segmentation.piece_network import OF_RELATIONS
from fedefm_ros.segmentation.piece_network import PieceNetwork
from fedefm_ros.segmentation.relations import POINTS
from fedefm_ros.segmentation.relations import Relations
from fedefm_ros.segmentation.runtimes.runtime import installed
from fedefm_ros.segmentation.strips import CHANNELS
from fedefm_ros.segmentation.strips import FACTS
from fedefm_ros.segmentation.strips import HALF
from fedefm_ros.segmentation.strips import LENGTH

import numpy as np

#: What it counts, of ``Judged`` and ``RawSegmentation``.
COUNTS = ('taken_out', 'renamed', 'unjudged')
#: The name of a judge's architecture in its file.
BACKBONE = 'piece_judge'

#: Of a judge's file.
MAX_BYTES = 1 << 22

_log = logging.getLogger(__name__)


class Judge:
    """A judge's weights, checked; numpy computes it until it is ``compiled``."""

    def __init__(self, path: str | Path):
        """
        Read and check a file; raises FedefmError where it is no judge.

        torch is not needed.
        """
        file = read_file(path, MAX_BYTES)
        spec = read_description(file)[0]
        if spec.backbone != BACKBONE or tuple(spec.labels) != ANSWERS:
            raise FedefmError(f'{path} is a model {spec.backbone!r} of {", ".join(spec.labels)}; '
                              'a judge of pieces was expected')
        from safetensors import SafetensorError
        from safetensors.numpy import load
        try:
            weights = load(file.data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise FedefmError(f'{path} is damaged: {error}') from error
        self.path = Path(path)
        self.model_id = file.model_id
        self.limit = float(spec.min_confidence)
        self.input_size = spec.input_size
        self._weights = checked(path, weights)
        self._network = PieceNetwork(self._weights)
        of_relations = {name.removeprefix(OF_RELATIONS): values for name, values
                        in self._weights.items() if name.startswith(OF_RELATIONS)}
        self._relations = Relations(of_relations) if of_relations else None
        self._threads = 1
        self._told: set[str] = set()
        self._try_out()

    def compiled(self, threads: int) -> Judge:
        """
        Return this judge as fast as it gets here; it says the same to the last digits of f32.

        OpenVINO, where it is installed and whatever the model runs on, takes an eighth of numpy's
        time. Where it cannot be used, a warning says so.

        :param threads: cores that numpy may use; OpenVINO takes one.
        """
        other = copy(self)
        other._network, other._threads = PieceNetwork(self._weights), threads
        if installed('openvino'):
            try:
                from fedefm_ros.segmentation.runtimes.pieces import compile_pieces
                other._network, other._threads = compile_pieces(self._weights), 1
            except (ImportError, FedefmError) as error:
                _log.warning('numpy computes the judge %s, which takes eight times as long: %s',
                             self.path, error)
        other._try_out()
        return other

    @property
    def relates(self) -> bool:
        """Return whether what it says of a piece depends on the others of the frame."""
        return self._relations is not None

    def __call__(self, seen: np.ndarray, around: np.ndarray, facts: np.ndarray,
                 lines: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
        """
        Return the probabilities of each piece of a frame, see ``PieceNetwork``.

        Weighed by how it winds and what the others are, if the judge has learnt that (it is
        ``relates``).

        :param seen: what ``strips`` shows of each, and ``facts`` what it tells.
        :param around: the ``overviews``.
        :param lines: ``relations.lines_of`` them; needed where it relates.
        :raises FedefmError: the probabilities are not finite.
        """
        said = self._of_each(self._network, seen, around, facts)
        if self.relates:
            if lines is None:
                raise ValueError('this judge relates pieces: their lines are needed')
            said = self._relations.weighed(said, lines)
        if not all(np.isfinite(part).all() for one in said for part in one):
            raise FedefmError(f'{self.path}: the judge gives numbers that are not finite')
        return said

    def tips(self, views: np.ndarray) -> np.ndarray:
        """
        Return what is to be seen at ends, (N, 3), see ``PieceNetwork.tip``.

        :param views: (N, LAYERS, *VIEW) of ``ends``.
        :raises FedefmError: the numbers are not finite.
        """
        said = np.array([self._network.tip(view) for view in views]).reshape(-1, 3)
        if not np.isfinite(said).all():
            raise FedefmError(f'{self.path}: the judge gives numbers that are not finite')
        return said

    def walls(self, seen: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """
        Return where the walls of instruments are, (N, places, 2), see ``PieceNetwork.walls``.

        :param seen: what ``strips`` shows of each.
        :param kinds: (N, LENGTH) uint8, what instrument each column shows.
        :raises FedefmError: the numbers are not finite.
        """
        said = np.array(self._of_each(self._network.walls, seen, kinds))
        if not np.isfinite(said).all():
            raise FedefmError(f'{self.path}: the judge gives numbers that are not finite')
        return said

    def _of_each(self, network: Callable, seen: np.ndarray, *more: np.ndarray) -> list:
        """Return what a network says of each piece, several at once where that is allowed."""
        each = _pool(self._threads).map if min(self._threads, len(seen)) > 1 else map
        return list(each(network, seen, *more))

    def tell_once(self, message: str, *values: object) -> None:
        """Log an error of which the next frames would say the same."""
        if message not in self._told:
            _log.error(message, *values)
        self._told.add(message)

    def _try_out(self) -> None:
        plain = np.full((2, CHANNELS, 2 * HALF + 1, LENGTH), 128, np.uint8)
        around = np.full((2, LAYERS, SIDE, SIDE), 128, np.uint8)
        # Two that cross: they have to do with each other.
        along = np.linspace(0.0, 100.0, POINTS, dtype=np.float32)
        lines = np.stack([np.stack([along, along], 1), np.stack([along, 100.0 - along], 1)])
        with np.errstate(all='ignore'):
            self(plain, around, np.zeros((2, FACTS), np.float32), lines)
            self.tips(np.full((1, END_LAYERS, *VIEW), 128, np.uint8))
            self.walls(plain[:1], np.ones((1, LENGTH), np.uint8))


def is_made_for(path: str | Path, spec: ModelSpec) -> bool:
    """
    Return whether models of this architecture found the pieces that a judge has learnt from.

    Raises FedefmError where the file is none of ours, OSError where there is none; only its
    description is looked at.
    """
    path = Path(path)
    state = path.stat()
    return _made_for(path, state.st_mtime_ns, state.st_size) == {
        'backbone': spec.backbone, 'config': spec.config, 'input_size': spec.input_size}


@lru_cache(4)
def _made_for(path: Path, changed: int, size: int) -> dict | None:
    """Return what a judge says it is for; a node that is configured anew does not read it anew."""
    return read_description(read_file(path, MAX_BYTES))[0].provenance.get('made_for')


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads of the process: numpy's long operations leave the others to run."""
    return ThreadPoolExecutor(threads, 'judge')
