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

"""`demo --closed-loop`: the navigation example steers the simulated robot to each artery."""

from collections.abc import Iterator
import os
from pathlib import Path
from typing import Any

from fedefm_ros.commands import output
from fedefm_ros.commands.processes import Processes
from fedefm_ros.errors import FedefmError

EYES = ('segmentation', 'truth')
"""What the navigation acts on: what the segmentation finds, or the ground truth beside it."""
#: Stops that the supervisor lifts in a try, as an operator would after a look.
_RESUMES = 5


def closed_loop(tries: int = 10, *, targets: tuple[str, ...] = ('LSA', 'LCCA', 'RCCA'),
                eyes: tuple[str, ...] = EYES, model: str = 'realtime', runtime: str = 'auto',
                rate: float = 15.0, first_seed: int = 0, seconds: float = 90.0,
                in_process: bool = False, out: Path = Path('output/closed_loop'),
                json_file: Path | None = None) -> dict[str, Any]:
    """
    Try to reach each target from several seeds; print a table, write pictures and JSON.

    :param tries: seeds for each target and each kind of eyes, 1 or more.
    :param eyes: of ``EYES``.
    :param rate: images a second.
    :param seconds: time for one try.
    :param in_process: without ROS, all in lock-step: repeatable whatever the machine's load, with
        segmentation for one runtime and precision ('auto' chooses both by timing).
    :returns: the figures as in the JSON: tries, reached{LSA,LCCA,RCCA}, force_limit_exceeded
        (with segmentation where it was asked for), truth{the same}, rows, pictures.
    :raises FedefmError: MuJoCo is missing, a node has died, wrong arguments.
    """
    from fedefm_ros.simulation.robot.phantom import TARGETS
    from fedefm_ros.simulation.robot.rod import import_mujoco
    if tries < 1 or not set(targets) <= set(TARGETS) or not set(eyes) <= set(EYES) or not eyes:
        raise FedefmError(f'expected 1 try or more, targets of {", ".join(TARGETS)} and eyes of '
                          f'{", ".join(EYES)}; got {tries}, {targets}, {eyes}')
    import_mujoco()
    plan = [(kind, target, first_seed + index) for kind in eyes for target in targets
            for index in range(tries)]
    run = _tries_in_process if in_process else _tries_with_nodes
    rows, pictures = [], []
    with output.progress('closed loop', len(plan)) as advance:
        for row, scene in run(plan, model, runtime, rate, seconds, out):
            rows.append(row)
            advance(len(rows), f'{row["target"]} by {row["eyes"]}: '
                    f'{"reached" if row["reached"] else row["end"]}')
            if row['eyes'] == eyes[0] and row['seed'] == first_seed:
                pictures.append(_picture(scene, out / f'{row["target"]}.png'))
    figures = _figures(rows, tries, eyes, targets) | {
        'pictures': pictures, 'rate': rate, 'first_seed': first_seed, 'lock_step': in_process}
    _print(figures, eyes, targets)
    output.write_json(figures, json_file)
    return figures


def _tries_in_process(plan, model, runtime, rate, seconds, out) -> Iterator[tuple[dict, dict]]:
    from fedefm_ros.segmentation.engine import SegmentationEngine
    from fedefm_ros.simulation.robot.trial import EngineEyes, run_try, true_eyes
    engine = None
    for kind, target, seed in plan:
        if kind == 'segmentation' and engine is None:
            engine = SegmentationEngine.open(model, runtime=runtime)
        seen = []
        done = run_try(seed, target, EngineEyes(engine) if kind == 'segmentation' else true_eyes,
                       rate=rate, limit_seconds=seconds, resumes=_RESUMES,
                       watch=lambda frame, found, why: seen.append(found))
        yield _row(kind, target, seed, done.reached, done.seconds, done.vessel, done.force_max,
                   done.stops), {
            'image': done.last.image, 'way': done.way, 'trace': done.trace,
            'instruments': seen[-1]}


def _tries_with_nodes(plan, model, runtime, rate, seconds, out) -> Iterator[tuple[dict, dict]]:
    from fedefm_ros import station
    from fedefm_ros.nodes.bring_up import ACTIVE
    from fedefm_ros.nodes.bring_up import LifecycleClient
    from fedefm_ros.nodes.closed_loop_supervisor import Supervisor
    from fedefm_ros.nodes.session import spinning
    os.environ.update(station.dds_environment())
    namespace = 'closed_loop'
    with Processes(out / 'logs') as lasting, \
            spinning(lambda context: Supervisor(namespace, context=context)) as supervisor:
        if any(kind == 'segmentation' for kind, *_ in plan):
            lasting.start('segmentation', station.command(
                station.SEGMENTATION, namespace=namespace,
                parameters={'model': model, 'runtime': runtime}))
            LifecycleClient(supervisor, f'/{namespace}/segmentation',
                            lasting.check).bring_to(ACTIVE)
        for kind, target, seed in plan:
            logs = out / 'logs' / f'{kind}-{target}-{seed}'
            way = _way(seed, target)
            with Processes(logs) as processes:
                lines = _command_lines(namespace, kind, target, seed, rate, way)
                for name, line in lines.items():
                    processes.start(name, line)

                def check():
                    lasting.check()
                    processes.check()
                for name in lines:
                    client = LifecycleClient(supervisor, f'/{namespace}/{name}', check)
                    client.bring_to(ACTIVE)
                    client.close()
                supervisor.forget()
                processes.wait_for(lambda: supervisor.seen.frames > 2, 30.0, 'no image arrived')
                took, stops = supervisor.supervise(seconds, _RESUMES, check)
                seen = supervisor.seen
            yield _row(kind, target, seed, seen.reached, took, seen.vessel, seen.force_max,
                       stops), {
                'image': seen.image, 'way': way, 'trace': seen.trace,
                'instruments': seen.instruments}


def _command_lines(namespace, kind, target, seed, rate, way):
    """Return the command lines of navigation and robot by node name."""
    from fedefm_ros import station
    from fedefm_ros.navigation.way import way_to_text
    navigation = station.command(
        station.NAVIGATION, namespace=namespace,
        # Three processes share this machine's cores: a slow moment holds, it need not stop.
        parameters={'way': way_to_text(way), 'frame_rate': rate, 'max_age': 0.5,
                    'patience': 1.5})
    if kind == 'truth':
        navigation += ['-r', 'segmentation/instruments:=ground_truth/instruments']
    robot = station.command(
        station.ROBOT, namespace=namespace,
        parameters={'seed': seed, 'target': target, 'rate': rate})
    return {'navigation': navigation, 'robot': robot}


def _way(seed, target):
    """Return the way that an operator would mark in an angiogram of this seed's phantom."""
    from fedefm_ros.simulation.robot.camera import RobotCamera
    from fedefm_ros.simulation.robot.phantom import Phantom
    from fedefm_ros.simulation.robot.trial import target_way
    phantom = Phantom(seed)
    return target_way(RobotCamera(phantom, seed=seed), phantom, target)


def _row(kind, target, seed, reached, seconds, vessel, force_max, stops):
    from fedefm_ros.navigation.guard import GuardParameters
    exceeded = force_max > GuardParameters.force_limit
    end = f'in {vessel}' + (f', stopped: {", ".join(stops)}' if stops else '')
    return {'eyes': kind, 'target': target, 'seed': seed, 'reached': bool(reached),
            'seconds': seconds, 'end': end, 'force_max': force_max,
            'force_limit_exceeded': exceeded,
            'exceeded_silently': exceeded and 'contact force' not in stops, 'stops': stops}


def _figures(rows, tries, eyes, targets):
    def of(kind):
        chosen = [row for row in rows if row['eyes'] == kind]
        return {
            'tries': tries,
            'reached': {target: sum(row['reached'] for row in chosen if row['target'] == target)
                        for target in targets},
            'force_limit_exceeded': sum(row['force_limit_exceeded'] for row in chosen),
            'exceeded_silently': sum(row['exceeded_silently'] for row in chosen),
            'force_max': max((row['force_max'] for row in chosen), default=0.0),
            'stops': sum(sum(row['stops'].values()) for row in chosen)}
    others = {kind: of(kind) for kind in eyes[1:]}
    return {**of(eyes[0]), 'eyes': eyes[0], **others, 'rows': rows}


def _print(figures, eyes, targets):
    rows = []
    for kind in eyes:
        found = figures if kind == eyes[0] else figures[kind]
        rows.append([kind, *(f'{found["reached"][target]} of {found["tries"]}'
                             for target in targets), f'{found["force_max"]:.2f}',
                     found['force_limit_exceeded'], found['stops']])
    output.table('reached in closed loop', [
        'steered by', *targets, 'greatest force, N', 'force limit exceeded', 'stops lifted'], rows)
    for path in figures['pictures']:
        output.results.print(f'picture: {path}', highlight=False)


def _picture(scene, path: Path) -> str:
    """Write the last image of a try with way, trace and instruments."""
    import cv2
    from fedefm_ros import labels
    import numpy as np
    picture = np.repeat(scene['image'][..., None], 3, axis=2)

    def line(points, rgb, width=1):
        if len(points) > 1:
            cells = np.rint(np.asarray(points) * 8).astype(np.int32)
            cv2.polylines(picture, [cells], False, rgb, width, cv2.LINE_AA, 3)
    line(scene['way'], (0, 158, 115))
    line(scene['trace'], (204, 121, 167))
    for found in scene['instruments']:
        line(found.centerline, labels.COLOURS[found.kind], 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture[..., ::-1]):
        raise FedefmError(f'{path} cannot be written')
    return str(path)
