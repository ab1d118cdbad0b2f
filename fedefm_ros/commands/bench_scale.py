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

"""`bench scale`: seconds a round and memory of federations of few and of many silos."""

from typing import Annotated

from fedefm_ros.commands import output

import typer


def scale(
    silos: Annotated[list[int], typer.Option(
        min=2, help='Silos; may be given several times.')] = [8, 32, 128],
    rounds: Annotated[int, typer.Option(min=1, help='Rounds of each.')] = 3,
    stops: Annotated[int, typer.Option(min=1, help='Stops of a trip, a step in each.')] = 2,
    width: Annotated[int, typer.Option(
        min=8, help="Channels of the network's tokens, a multiple of 8.")] = 192,
    in_memory: Annotated[bool, typer.Option(
        '--in-memory', help="Keep all silos' weights in memory, to compare.")] = False,
    json_file: output.JsonOption = None,
):
    """
    Measure rounds of FedEFM on a ring of so many silos, each size in a process of its own.

    Weights rest on disk between the silos' turns, so memory should stay while silos grow; seconds
    a round grow with them, as all silos take turns on this machine. Made-up images, one thread.
    """
    from fedefm_ros.experiments.scale import measured
    from fedefm_ros.experiments.scale import Scale

    rows = []
    with output.progress('sizes', len(silos)) as advance:
        for count in silos:
            advance(len(rows), f'{count} silos')
            rows.append(measured(Scale(count, rounds, width, stops, in_memory=in_memory)))
        advance(len(rows), '')
    output.table(f'{rounds} rounds of FedEFM on a ring, {rows[0]["model_mb"]:.1f} MB a model', [
        'silos', 's a round', 'peak MB', 'before the first round MB', 'models at once'],
        [[row['silos'], row['seconds_per_round'], row['peak_memory_mb'], row['base_memory_mb'],
          (row['peak_memory_mb'] - row['base_memory_mb']) / row['model_mb']] for row in rows])
    output.write_json({'rows': rows, 'rounds': rounds, 'stops': stops, 'in_memory': in_memory},
                      json_file)
