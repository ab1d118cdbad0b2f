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

"""`bench simulator`: simulated frames a second on one core, by kind."""

from collections.abc import Callable
from contextlib import contextmanager
import statistics
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.simulate import Kind

import typer

# Of the first repeat: all runs time the same pictures.
_FIRST_SEED = 880_000
_RATE = 15.0


def simulator(
    kind: Annotated[Kind, typer.Option(help='Scene; all: each of the four.')] = Kind.every,
    frames: Annotated[int, typer.Option(min=1, help='Frames of a measurement.')] = 60,
    repeats: Annotated[int, typer.Option(
        min=1, help='Measurements, each of other patients; kinds take turns.')] = 5,
    size: Annotated[int, typer.Option(min=64, max=4096, help='Side of a frame in pixels.')] = 512,
    json_file: output.JsonOption = None,
):
    """
    Time the fluoroscopy simulator in one thread; the aim is 20 frames a second at 512 x 512.

    'single' frames are those of `train` and of data sets: other devices in each and another
    anatomy for every fourth, which counts. A 'sequence' is a procedure, as a station or a video
    has it, with the making of one patient. Median of the repeats and the slowest one; by CPU time
    of all threads next to the clock's, since other work on the machine slows only the latter.
    """
    from fedefm_ros.simulation.anatomy import KINDS

    kinds = KINDS if kind is Kind.every else (kind.value,)
    work = {(name, mode): [] for name in kinds for mode in _MODES}
    total = len(work) * repeats
    with _one_thread(), output.progress('timing', total) as advance:
        for name, mode in work:
            _MODES[mode](name, 1, size, _FIRST_SEED - 1)  # what is loaded and cached once
        for repeat in range(repeats):
            for number, ((name, mode), taken) in enumerate(work.items()):
                advance(repeat * len(work) + number, f'{name}, {mode}')
                clock, cpu = time.perf_counter(), time.process_time()
                _MODES[mode](name, frames, size, _FIRST_SEED + repeat)
                taken.append((time.perf_counter() - clock, time.process_time() - cpu))
        advance(total, '')
    rows = [_row(name, mode, frames, taken) for (name, mode), taken in work.items()]
    output.table(f'Frames a second of {size} x {size} in one thread; {frames} frames, {repeats} '
                 'repeats',
                 ['kind', 'frames', 'median', 'slowest', 'by CPU, median', 'slowest',
                  'CPU ms a frame'],
                 [[row['kind'], row['mode'], row['fps'], row['fps_slowest'], row['cpu_fps'],
                   row['cpu_fps_slowest'], row['cpu_ms']] for row in rows])
    output.write_json({'rows': rows, 'frames': frames, 'repeats': repeats, 'size': size},
                      json_file)


def _single(kind: str, frames: int, size: int, seed: int) -> None:
    """Make frames that are apart, as a training draws them."""
    from fedefm_ros.learning.simulated import SimulatedFrames
    simulated = SimulatedFrames(frames, seed, size=size, shares={kind: 1.0})
    for number in range(frames):
        simulated.frame(number)


def _sequence(kind: str, frames: int, size: int, seed: int) -> None:
    """Make the first frames of a procedure."""
    from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator
    for _ in zip(range(frames), FluoroscopySimulator(kind, size, _RATE, seed)):
        pass


_MODES: dict[str, Callable[[str, int, int, int], None]] = {
    'single': _single, 'sequence': _sequence}


@contextmanager
def _one_thread():
    """Let OpenCV and torch compute in this thread only, meanwhile."""
    import cv2
    import torch

    from fedefm_ros.memory import keep_freed_memory
    keep_freed_memory()  # as the processes have it that simulate for a training or a station
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def _row(kind: str, mode: str, frames: int, taken: list[tuple[float, float]]) -> dict:
    """Return the figures of one kind and mode from (seconds, CPU seconds) of each repeat."""
    clock, cpu = zip(*taken)
    return {'kind': kind, 'mode': mode,
            'fps': frames / statistics.median(clock), 'fps_slowest': frames / max(clock),
            'cpu_fps': frames / statistics.median(cpu), 'cpu_fps_slowest': frames / max(cpu),
            'cpu_ms': 1e3 * statistics.median(cpu) / frames}
