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
One try in one process: robot, eyes, guard and steering in lock-step, without ROS.

For development, for figures that do not depend on the machine's load, and for recording; what
``./run demo --closed-loop`` runs by default is the same robot and steering in real nodes.
"""

from collections.abc import Callable
from dataclasses import dataclass
import re

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.navigation.guard import Guard, GuardParameters
from fedefm_ros.navigation.steering import Steering, SteeringParameters, STOP
from fedefm_ros.segmentation.frame_before import FrameBefore
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.simulation.robot.camera import RobotCamera
from fedefm_ros.simulation.robot.phantom import Phantom, STEP
from fedefm_ros.simulation.robot.robot import EndovascularRobot

import numpy as np

Eyes = Callable[[Frame], tuple[Instrument, ...]]


@dataclass(frozen=True)
class TryResult:
    """How one try went."""

    seed: int
    target: str
    reached: bool
    seconds: float
    """Simulated, until the steering said that it is there, or the time was up."""
    vessel: str
    """In which the tip was in the end."""
    force_max: float
    """N, over the whole try."""
    stops: dict[str, int]
    """How often each fault became a stop that an operator had to lift."""
    last: Frame
    way: np.ndarray
    """(N, 2) px, that was followed."""
    trace: np.ndarray
    """(M, 2) px, where the tip really was."""


def true_eyes(frame: Frame) -> tuple[Instrument, ...]:
    """Return the ground truth."""
    return frame.truth.instruments


class EngineEyes:
    """What the segmentation engine finds; nothing in a frame that it refuses."""

    def __init__(self, engine):
        """Look through a ``SegmentationEngine``."""
        self._engine = engine
        self._before = FrameBefore()

    def __call__(self, frame: Frame) -> tuple[Instrument, ...]:
        """Return the instruments in a frame."""
        try:
            raw = self._before.infer(self._engine, frame.image, round(1e9 * frame.time))
        except FedefmError:
            return ()
        return self._before.instruments(self._engine, raw, None, round(1e9 * frame.time))


def target_way(camera: RobotCamera, phantom: Phantom, target: str,
               depth: float = 0.015) -> np.ndarray:
    """
    Return the way in the image to a point in an artery, as one would mark it in an angiogram.

    :param depth: metres past the ostium where it ends.
    :returns: (N, 2) pixels about 12 px apart.
    """
    artery = phantom.vessels[target]
    goal = artery.points[min(artery.ostium + int(depth / STEP), len(artery.points) - 1)]
    way = camera.route(target)
    end = int(np.argmin(np.linalg.norm(way - camera.projection.pixels(goal[None])[0], axis=1)))
    return np.vstack([way[:end:12], way[end]])


def run_try(seed: int, target: str, eyes: Eyes = true_eyes, *, rate: float = 15.0,
            limit_seconds: float = 90.0, size: int = 512, resumes: int = 5,
            steering: SteeringParameters = SteeringParameters(),
            guard: GuardParameters = GuardParameters(patience=0.5),
            watch: Callable[[Frame, tuple[Instrument, ...], str], None] | None = None,
            ) -> TryResult:
    """
    Steer a robot of a seed to a target.

    A command is carried out while the next picture is taken: one period of delay. Stops are
    lifted, as an operator would after a look, ``resumes`` times at most; a force over its limit
    is not lifted.

    :param eyes: what is seen in a frame.
    :param rate: frames a second.
    :param limit_seconds: simulated time after which the try has failed.
    :param watch: is told every frame, what was seen, and what was done about it.
    """
    robot = EndovascularRobot(seed, target)
    camera = RobotCamera(robot.phantom, robot.wire, seed=seed, size=size, field=robot.field)
    way = target_way(camera, robot.phantom, target)
    pilot, keeper = Steering(way, steering), Guard(guard)
    keeper.resume()
    command, stops, trace, force = STOP, {}, [], 0.0
    while robot.state.time < limit_seconds:
        state = robot.step(1.0 / rate, command.insertion, command.rotation)
        force = max(force, state.force_max)
        frame = camera.frame(state)
        trace.append(camera.projection.pixels(state.tip[None])[0])
        keeper.feel(state.force_max)
        seen = eyes(frame)
        wire = keeper.see(state.time, state.time, 0.0, seen, command.moves)
        command, why = STOP, keeper.stopped or keeper.fault
        if wire is not None:
            command, why = pilot.command(state.time, wire.centerline, keeper.force_share)
        if watch is not None:
            watch(frame, seen, why)
        if why == 'there':
            break
        if keeper.stopped:
            reason = re.sub(r'( for| of)? (-?\d|nan|inf).*', '', keeper.stopped)
            stops[reason] = stops.get(reason, 0) + 1
            if reason == 'contact force' or sum(stops.values()) > resumes:
                break
            keeper.resume()
    state = robot.state
    return TryResult(seed, target, state.reached, state.time, state.vessel, force,
                     stops, frame, way, np.array(trace))
