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

"""`collect`: a data set of the simulated robot, driven by a script."""

from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output

import typer


def collect(
    out: Annotated[Path, typer.Option(
        '-o', '--out', help='Folder of the data set; runs of other seeds may be there already.')],
    runs: Annotated[int, typer.Option(min=1, help='How many, to the three arteries in turn.')] = 9,
    first_seed: Annotated[int, typer.Option(
        min=0, help='Of the first run; the others count up from it.')] = 0,
    test_runs: Annotated[int, typer.Option(
        min=0, help="How many of them, the last ones, go into the set's test part.")] = 2,
    every: Annotated[int, typer.Option(min=1, help='Keep every n-th image of 15 a second.')] = 5,
    seconds: Annotated[float, typer.Option(min=1.0, help='Simulated time of a run.')] = 40.0,
    size: Annotated[int, typer.Option(help='Side of the images in pixels.')] = 512,
    catheter: Annotated[bool, typer.Option(
        help='The catheter follows the wire; else it stays in the introducer.')] = True,
    json_file: output.JsonOption = None,
):
    """
    Drive wire and catheter of the simulated robot in and back, and keep images and masks.

    The set has AIOZ's layout, which `./run train` reads. For a set driven by hand, see
    docs/robot.md (joystick).
    """
    from fedefm_ros.simulation.robot.collection import record_run
    from fedefm_ros.simulation.robot.phantom import TARGETS

    done = []
    with output.progress('runs', runs) as advance:
        for index in range(runs):
            done.append(record_run(
                out, first_seed + index, TARGETS[index % len(TARGETS)], every=every,
                seconds=seconds, size=size, test=index >= runs - test_runs, catheter=catheter))
            advance(index + 1, f'{done[-1].images} images to {done[-1].target}')
    output.table(f'runs of the robot in {out}', [
        'seed', 'artery', 'reached', 'images', 'catheter, mm', 'greatest force, N'],
        [[run.seed, run.target, 'yes' if run.reached else 'no', run.images,
          f'{run.catheter_mm:.0f}', f'{run.force_max:.2f}'] for run in done])
    output.write_json({'images': sum(run.images for run in done),
                       'runs': [vars(run) for run in done]}, json_file)
