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

"""Choosing a runtime and a precision by a short measurement."""

from __future__ import annotations

from dataclasses import dataclass, replace
import logging
import os
from pathlib import Path
import time

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.preprocess import prepare, Prepared
from fedefm_ros.segmentation.runtimes import runtime as runtimes
from fedefm_ros.segmentation.runtimes.graph import Graph
from fedefm_ros.segmentation.runtimes.picture import line_picture
from fedefm_ros.segmentation.runtimes.runtime import Runtime

import numpy as np

_log = logging.getLogger(__name__)

#: Another precision than f32 is taken only where this share of the labels is the same.
AGREEMENT = 0.999
# Below this a runtime in f32 computes something else than the network.
_BROKEN = 0.98
_ROUNDS = 7
_ROUNDS_ALONE = 3
_BUDGET_SECONDS = 1.5


@dataclass(frozen=True)
class Measurement:
    """How one candidate did on the test picture."""

    runtime: str
    precision: str
    median_ms: float
    """NaN where it was not timed."""
    agreement: float
    """Share of pixels whose label is that of torch in f32; NaN where it did not run."""
    note: str = ''
    """Why it was refused; empty where it may be taken."""

    def __str__(self) -> str:
        """Return 'openvino bf16 9.1 ms (99.98 % as f32)'."""
        text = f'{self.runtime} {self.precision}'
        if not np.isnan(self.median_ms):
            text += f' {self.median_ms:.1f} ms'
        if not np.isnan(self.agreement):
            text += f' ({100 * self.agreement:.2f} % as f32)'
        return f'{text}: {self.note}' if self.note else text


def select(graph: Graph, path: Path, *, runtime: str = 'auto', precision: str = 'auto',
           threads: int = 2,
           timed: bool = True) -> tuple[Runtime, tuple[Measurement, ...]]:
    """
    Return the fastest fitting runtime, warmed up, and how every candidate did.

    A runtime or precision that is named is taken, however fast it is.

    :param timed: False spares the cores the timing, where only one candidate is asked for.
    Raises FedefmError where none works.
    """
    if precision not in runtimes.PRECISIONS:
        raise FedefmError(f'precision {precision!r} is not known; known are '
                          f'{", ".join(runtimes.PRECISIONS)}')
    if threads < 1:
        raise FedefmError(f'{threads} threads cannot compute; at least 1 is needed')
    picture = prepared_test_picture(graph)
    built: list[Runtime] = []
    measurements: list[Measurement] = []
    for name, grade in _candidates(runtime, precision):
        try:
            candidate = runtimes.compile_runtime(name, graph, path, threads=threads,
                                                 precision=grade)
            agreement = _check(candidate, picture, graph.reference)
        except FedefmError as error:
            if runtime != 'auto' and precision != 'auto':
                raise
            measurements.append(Measurement(name, grade, float('nan'), float('nan'), str(error)))
            continue
        strayed = grade != 'f32' and precision == 'auto' and agreement < AGREEMENT
        built.append(candidate)
        measurements.append(Measurement(name, grade, float('nan'), agreement,
                                        'too far from f32' if strayed else ''))
    for candidate in built:
        candidate(picture)  # the first call, in the check, is slower than all others
    if timed or len(built) > 1:
        _time(built, picture, measurements)
    fitting = [m for m in measurements if not m.note]
    if not fitting:
        raise FedefmError(f'no runtime can run {path}: '
                          + '; '.join(str(m) for m in measurements))
    best = min(fitting, key=lambda m: m.median_ms)
    chosen = next(r for r in built if (r.name, r.precision) == (best.runtime, best.precision))
    _log.info('%s: %s with %d threads; measured %s', path, best, threads,
              ', '.join(str(m) for m in measurements))
    return chosen, tuple(measurements)


def prepared_test_picture(graph: Graph) -> Prepared:
    """Return the test picture as this network takes it."""
    size = graph.spec.input_size
    return prepare(line_picture(size), size, graph.spec.normalisation)


def bare_times(runtime: Runtime, picture: Prepared, runs: int, rate: float = 0.0) -> np.ndarray:
    """
    Return the wall times of bare inference in milliseconds, (runs,).

    :param rate: inferences a second; 0: one after the other, with caches that stay warm.
    """
    runtime(picture)
    times = np.empty(runs)
    for index in range(runs):
        start = time.perf_counter()
        runtime(picture)
        times[index] = time.perf_counter() - start
        if rate:
            time.sleep(max(0.0, 1.0 / rate - times[index]))
    return times * 1e3


def _candidates(runtime: str, precision: str) -> list[tuple[str, str]]:
    if runtime != 'auto':
        names = [runtime]
    else:
        names = [name for name in ('openvino', 'onnxruntime') if runtimes.installed(name)]
        # Importing torch takes a second, so it is tried only where it may win.
        if os.path.exists('/dev/nvidia0') and runtimes.installed('cuda'):
            names.append('cuda')
        names = names or ['torch']
    if precision != 'auto':
        return [(name, precision) for name in names]
    candidates = []
    for name in names:
        try:
            # In int8 a network has to be made anew first, and some pixels of an instrument
            # differ: only where it is asked for.
            candidates += [(name, grade) for grade in runtimes.precisions(name)
                           if grade != 'int8']
        except FedefmError:
            if runtime != 'auto':
                raise
    return candidates


def _check(runtime: Runtime, picture: Prepared, reference: np.ndarray) -> float:
    """Return the share of labels that are torch's; refuse nonsense."""
    name = f'{runtime.name} in {runtime.precision}'
    try:
        found, probability = runtime(picture)
    except Exception as error:  # each runtime has its own, unrelated types
        raise FedefmError(f'{name} cannot run the network: '
                          f'{runtimes.one_line(error)}') from error
    if found.shape != reference.shape or probability.shape != reference.shape:
        raise FedefmError(f'{name} gives {found.shape} and {probability.shape} for a picture of '
                          f'{reference.shape}')
    if found.max() >= len(labels.NAMES):
        raise FedefmError(f'{name} gives label {found.max()}, which does not exist')
    if probability.min() == probability.max():
        raise FedefmError(f'{name} gives the probability {probability.max() / 255:.2f} everywhere '
                          'in a picture with lines; the weights see nothing')
    agreement = float(np.mean(found == reference))
    if runtime.precision == 'f32' and agreement < _BROKEN:
        raise FedefmError(f'{name} gives other labels than torch in '
                          f'{100 * (1 - agreement):.1f} % of the test picture')
    return agreement


def _time(built: list[Runtime], picture: Prepared, measurements: list[Measurement]) -> None:
    """Fill in the medians; candidates take turns, so that a busy moment hits all alike."""
    times: dict[tuple[str, str], list[float]] = {(r.name, r.precision): [] for r in built}
    start = time.perf_counter()
    for _ in range(_ROUNDS if len(built) > 1 else _ROUNDS_ALONE):
        for runtime in built:
            begin = time.perf_counter()
            runtime(picture)
            times[runtime.name, runtime.precision].append(time.perf_counter() - begin)
        if time.perf_counter() - start > _BUDGET_SECONDS:
            break
    for index, measurement in enumerate(measurements):
        taken = times.get((measurement.runtime, measurement.precision))
        if taken:
            measurements[index] = replace(measurement, median_ms=1e3 * float(np.median(taken)))
