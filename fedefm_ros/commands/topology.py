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

"""`topology`: how long rounds take and how fast models mix, by topology and network."""

import math
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer

_COLUMNS = {
    'topology': 'topology', 'cycle_ms': 'cycle ms', 'published_ms': 'published',
    'transfers': 'models sent', 'rate': 'rate', 'mixed_ms': 'ms to 1 %', 'trips_ms': 'trips ms'}
# Model size in bits and training in ms of the published cycle times.
_PUBLISHED = (4_843_243, 4.6)


def topology(
    networks: Annotated[list[str] | None, typer.Argument(
        metavar='NETWORK', help='amazon, ebone, exodus, gaia, geant, or a .json or .gml '
        'file; gaia if none is given.')] = None,
    topologies: Annotated[str, typer.Option(
        '--topologies', help='Which, with commas between; all if empty.')] = '',
    bits: Annotated[float, typer.Option(min=0, help='Size of a model.')] = _PUBLISHED[0],
    megabytes: Annotated[float | None, typer.Option(
        min=0, help='Size of a model, instead of --bits.')] = None,
    compute_ms: Annotated[float, typer.Option(min=0, help='Own training.')] = _PUBLISHED[1],
    stops: Annotated[int, typer.Option(
        min=0, help='Also time rounds in which each model visits this many silos, is trained at '
        'each for --compute-ms and comes home.')] = 0,
    budget: Annotated[float, typer.Option(help='Share of the links MATCHA uses.')] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help='Of what MATCHA draws.')] = 0,
    rounds: Annotated[int, typer.Option(min=1, help='Over which MATCHA is averaged.')] = 1000,
    markdown: Annotated[bool, typer.Option(help='Print Markdown.')] = False,
    json_file: output.JsonOption = None,
):
    """
    Compare topologies: the time of a round, models sent, how fast models become one.

    Default size and training are those of the published figures (FEMNIST).
    """
    from fedefm_ros.federation.topology import create_topology
    from fedefm_ros.federation.topology import cycle_time
    from fedefm_ros.federation.topology import load_network
    from fedefm_ros.federation.topology import TOPOLOGIES
    from fedefm_ros.federation.topology import trip
    from fedefm_ros.federation.topology import trips_time

    names = [name.strip() for name in topologies.split(',') if name.strip()] or list(TOPOLOGIES)
    unknown = [name for name in names if name not in TOPOLOGIES]
    if unknown:
        raise FedefmError(f'unknown topology {unknown[0]!r}; expected {", ".join(TOPOLOGIES)}')
    size = bits if megabytes is None else megabytes * 8e6
    loaded = [load_network(name) for name in networks or ['gaia']]
    rows = []
    with output.progress('topologies', len(loaded) * len(names)) as advance:
        for network in loaded:
            for name in names:
                advance(len(rows), f'{network.name} {name}')
                made = create_topology(name, network, size, compute_ms, budget=budget, seed=seed)
                row = {
                    'network': network.name, 'silos': len(network), 'topology': name,
                    'cycle_ms': cycle_time(made, network, size, compute_ms, rounds),
                    'transfers': made.mean_transfers(rounds), 'rate': made.rate}
                if (size, compute_ms) == _PUBLISHED:
                    row['published_ms'] = network.published_cycle_ms.get(name, math.nan)
                row['mixed_ms'] = row['cycle_ms'] * max(1.0, _rounds_to_percent(made.rate))
                if stops:
                    trips = [trip(made, 0, silo, stops) for silo in range(len(network))]
                    row['trips_ms'] = trips_time(trips, network, size, compute_ms, compute_ms)
                rows.append(row)
        advance(len(rows), '')
    for network in loaded:
        title = (f'{network.name}: {len(network)} silos, models of {size / 8e6:.3g} MB, '
                 f'{compute_ms:g} ms of training a round')
        _print(title, [row for row in rows if row['network'] == network.name], markdown)
    output.write_json({'bits': size, 'compute_ms': compute_ms, 'rows': rows}, json_file)


def _rounds_to_percent(rate: float) -> float:
    """Return the rounds until the distance to the mean is a hundredth, its square 1e-4."""
    return math.log(1e-4) / math.log(rate) if rate > 1e-12 else 1.0


def _print(title: str, rows: list[dict], markdown: bool) -> None:
    columns = {key: label for key, label in _COLUMNS.items() if key in rows[0]}
    cells = [[row[key] for key in columns] for row in rows]
    if not markdown:
        output.table(title, list(columns.values()), cells)
        return
    print(f'{title}\n\n| ' + ' | '.join(columns.values()) + ' |')
    print('|---|' + '---:|' * (len(columns) - 1))
    for row in cells:
        print('| ' + ' | '.join(output.figure(value) for value in row) + ' |')
    print()
