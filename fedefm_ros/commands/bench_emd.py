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

"""`bench emd`: the earth mover's distance against OpenCV and a QP layer on the same problems."""

from collections.abc import Callable
import statistics
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer


def bench_emd(
    nodes: Annotated[list[int], typer.Option(
        min=1, help='Nodes of an image, a square number; may be given several times.')
        ] = [49, 196],
    batch: Annotated[int, typer.Option(min=1, help='Pairs of images.')] = 8,
    weights: Annotated[str, typer.Option(
        help='Node weights: cross-reference or uniform.')] = 'cross-reference',
    repeats: Annotated[int, typer.Option(min=1, help='Measurements, taken in turns.')] = 30,
    threads: Annotated[int, typer.Option(
        min=1, help='Threads of our solver across the batch; torch itself computes in one.')] = 2,
    qp_nodes: Annotated[int, typer.Option(
        min=0, help='Most nodes the QP layer is run with, since its matrices grow with their '
        'fourth power: about 0.4 GB an image at 49.')] = 49,
    qp_images: Annotated[int, typer.Option(
        min=1, help='Images of the batch the QP layer is run with; its time is scaled up to the '
        'batch.')] = 1,
    json_file: output.JsonOption = None,
):
    """
    Time the EMD score and its gradient against cv2.EMD and a QP layer.

    'ours' is all a training step pays: from two networks' features through costs, weights and
    flow to the score, and the gradient back to the student's features. cv2 is only the loop of
    cv2.EMD over costs and weights that are ready, without gradient. QP is DeepEMD's layer (qpth,
    `pip install qpth`), forward and backward over the same. Medians, with the 95th percentile;
    CPU times next to the clock's, since other work on the machine slows each differently.
    """
    import torch

    from fedefm_ros.federation.emd import EmdOptions

    sides = [round(count ** 0.5) for count in nodes]
    if any(side * side != count for side, count in zip(sides, nodes)):
        raise FedefmError(f'--nodes {" ".join(map(str, nodes))}; expected square numbers, such as '
                          '49 or 196')
    options = EmdOptions(grid=None, weights=weights, gradient='through', threads=threads)
    before = torch.get_num_threads()
    # Tensors this small gain little from threads, which wait for each other on a busy machine.
    torch.set_num_threads(1)
    try:
        with output.progress('timing', len(nodes)) as advance:
            rows = []
            for side in sides:
                advance(len(rows), f'{side * side} nodes')
                rows.append(_row(side, batch, options, repeats,
                                 min(qp_images, batch) if side * side <= qp_nodes else 0))
            advance(len(rows), '')
    finally:
        torch.set_num_threads(before)
    output.table(
        f'EMD score of {batch} pairs of images, {weights} weights (ours, QP: and gradient)',
        ['nodes', 'solver', 'median ms', '95 % ms', 'CPU ms', 'times ours', 'in CPU'],
        [line for row in rows for line in _lines(row)])
    output.write_json({'rows': rows, 'weights': weights,
                       'repeats': repeats, 'threads': threads}, json_file)


def _row(side: int, batch: int, options, repeats: int, qp_images: int) -> dict:
    """Return one row of figures; the contestants take turns, so that load hits them alike."""
    import cv2
    import numpy as np
    import torch

    from fedefm_ros.federation.emd import emd_score
    from fedefm_ros.federation.emd_nodes import cosine_cost, cross_reference_weights
    from fedefm_ros.federation.emd_nodes import products, to_nodes

    student, teacher = _features(batch, side)
    student.requires_grad_()
    with torch.no_grad():
        a, b = to_nodes(student, None), to_nodes(teacher, None)
        cost = cosine_cost(a, b)
        masses = cross_reference_weights(products(a, b))
        if options.weights == 'uniform':
            masses = [torch.ones_like(mass) for mass in masses]
        masses = [mass / mass.sum(dim=1, keepdim=True) for mass in masses]
    signatures = [[np.ascontiguousarray(one.numpy()[:, None]) for one in mass] for mass in masses]
    costs = list(cost.numpy())

    def ours():
        score = emd_score(student, teacher, options)
        torch.autograd.grad(score.sum(), student)
        return score.detach().numpy()

    def opencv():
        return np.array([1 - cv2.EMD(*pair, cv2.DIST_USER, one)[0]
                         for *pair, one in zip(*signatures, costs)])

    difference = float(np.abs(ours() - opencv()).max())
    times = {'ours': [], 'cv2': []}
    for _ in range(repeats):
        times['ours'].append(_timed(ours))
        times['cv2'].append(_timed(opencv))
    row = {'nodes': side * side, 'batch': batch, 'cv2_difference': difference,
           'qp_ms': float('nan'), 'qp_note': 'not run' if not qp_images else ''}
    for name, taken in times.items():
        row |= _figures(name, taken)
    if qp_images:
        try:
            layer = _qp_layer(cost[:qp_images], *(mass[:qp_images] for mass in masses))
        except ImportError:
            row['qp_note'] = 'not installed'
        else:
            row |= _figures('qp', [_timed(layer)], batch / qp_images) | {'qp_images': qp_images}
    for other in ('cv2', 'qp'):
        for kind in ('', '_cpu'):
            row[f'{other}{kind}_ratio'] = (row.get(f'{other}{kind}_ms', float('nan'))
                                           / row[f'ours{kind}_ms'])
    return row


def _features(batch: int, side: int):
    """
    Return the deepest maps (B, 192, side, side) of two untrained networks for simulated frames.

    Features of networks, neighbouring nodes alike, keep all solvers busier than random numbers.
    """
    import cv2
    import numpy as np
    import torch

    from fedefm_ros.backbones import registry
    from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator

    images = []
    for seed in range(batch):
        with FluoroscopySimulator(size=256, seed=seed) as simulator:
            image = next(iter(simulator)).image
        images.append(cv2.resize(image, (32 * side, 32 * side), interpolation=cv2.INTER_AREA))
    frames = torch.from_numpy(np.stack(images))[:, None].float() / np.iinfo(images[0].dtype).max
    maps = []
    for seed in range(2):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            maps.append(registry.create('compact').eval().features(frames)[-1])
    return maps


def _qp_layer(cost, a, b) -> Callable[[], object]:
    """
    Return DeepEMD's QP layer, forward and backward, over ready costs and weights.

    min 1/2 eps |x|^2 + <c, x> with x >= 0, row sums <= a, column sums <= b and all of x = 1.
    """
    from qpth.qp import QPFunction
    import torch

    images, rows, columns = cost.shape
    count = rows * columns
    kind = {'dtype': torch.float64}
    quadratic = 1e-6 * torch.eye(count, **kind).expand(images, -1, -1)
    sums = torch.cat([torch.kron(torch.eye(rows, **kind), torch.ones(1, columns, **kind)),
                      torch.kron(torch.ones(1, rows, **kind), torch.eye(columns, **kind))])
    unequal = torch.cat([-torch.eye(count, **kind), sums]).expand(images, -1, -1)
    bounds = torch.cat([torch.zeros(images, count, **kind), a.double(), b.double()], dim=1)
    whole, one = torch.ones(images, 1, count, **kind), torch.ones(images, 1, **kind)
    cost = cost.double().reshape(images, count).requires_grad_()

    def layer():
        flow = QPFunction(verbose=-1)(quadratic, cost, unequal, bounds, whole, one)
        return torch.autograd.grad(((1 - cost) * flow).sum(), cost)

    return layer


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - clock), 1e3 * (time.process_time() - cpu)


def _figures(name: str, taken: list[tuple[float, float]], factor: float = 1.0) -> dict:
    clock, cpu = ([factor * value for value in values] for values in zip(*taken))
    tail = sorted(clock)[min(len(clock) - 1, int(0.95 * len(clock)))]
    return {f'{name}_ms': statistics.median(clock), f'{name}_p95_ms': tail,
            f'{name}_cpu_ms': statistics.median(cpu)}


def _lines(row: dict) -> list[list]:
    """Return the table's lines for one row, one line a contestant."""
    lines = [[row['nodes'], 'ours', row['ours_ms'], row['ours_p95_ms'],
              row['ours_cpu_ms'], 1.0, 1.0]]
    for name, label in (('cv2', 'cv2.EMD'), ('qp', 'QP layer')):
        if f'{name}_cpu_ms' in row:
            lines.append([row['nodes'], label] + [row[f'{name}_{key}'] for key in (
                'ms', 'p95_ms', 'cpu_ms', 'ratio', 'cpu_ratio')])
        else:
            lines.append([row['nodes'], f'{label} ({row["qp_note"]})', *[float('nan')] * 5])
    return lines
