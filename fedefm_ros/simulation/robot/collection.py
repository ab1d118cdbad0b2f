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
A scripted master: runs of the robot that are kept as a data set, like the paper's EISimulation.

The wire is steered to an artery by the ground truth; the catheter follows it at a distance; then
both are drawn back. By hand, with a joystick: ``endovascular_robot_sim`` with ``master:=joy``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.navigation.steering import Command, Steering, STOP
from fedefm_ros.simulation.robot.camera import RobotCamera
from fedefm_ros.simulation.robot.phantom import TARGETS
from fedefm_ros.simulation.robot.recording import RunRecorder
from fedefm_ros.simulation.robot.robot import EndovascularRobot
from fedefm_ros.simulation.robot.trial import target_way

#: How far the catheter stays behind the wire's tip, metres, and how fast it follows, m/s.
_BEHIND = 0.045
_FOLLOWING = 0.012
_BACK = -0.03


@dataclass(frozen=True)
class RunResult:
    """What came of one run."""

    seed: int
    target: str
    reached: bool
    images: int
    """How many were kept."""
    catheter_mm: float
    """How far the catheter was in at most."""
    force_max: float
    """N, over the whole run."""


def record_run(folder: Path, seed: int, target: str, *, every: int = 5, seconds: float = 40.0,
               rate: float = 15.0, size: int = 512, test: bool = False, catheter: bool = True,
               watch: Callable[[Frame], None] = lambda frame: None) -> RunResult:
    """
    Drive in and back, and keep every n-th image with its mask in AIOZ's layout.

    :param folder: the data set; runs of other seeds go beside each other.
    :param seed: of phantom, view, X-ray chain, wire; one patient to those who split the set.
    :param target: one of ``phantom.TARGETS``.
    :param seconds: simulated time; at three quarters of it, or once the wire is there, both are
        drawn back.
    :param test: keep it in the set's test part.
    :param catheter: it follows the wire; else it stays in the introducer.
    :raises FedefmError: unknown target, MuJoCo is missing, the folder cannot be written.
    """
    if target not in TARGETS:
        raise FedefmError(f'target {target!r} is unknown; known: {", ".join(TARGETS)}')
    robot = EndovascularRobot(seed, target)
    camera = RobotCamera(robot.phantom, robot.wire, robot.catheter, seed=seed, size=size,
                         field=robot.field)
    # The steering's distances are pixels of a 512 px picture.
    scale = 512.0 / size
    pilot = Steering(scale * target_way(camera, robot.phantom, target))
    recorder = RunRecorder(folder, seed, every, test)
    command, follow, back, reached = STOP, 0.0, False, False
    farthest = force = 0.0
    while robot.state.time < seconds:
        state = robot.step(1.0 / rate, command.insertion, command.rotation, follow)
        frame = camera.frame(state)
        recorder.add(frame)
        watch(frame)
        reached |= state.reached
        farthest, force = max(farthest, state.catheter_inserted), max(force, state.force_max)
        command, follow = STOP, 0.0
        wire = next((one for one in frame.truth.instruments if one.kind == labels.GUIDEWIRE), None)
        if not back and wire is not None:
            command, word = pilot.command(state.time, scale * wire.centerline)
            back = word == 'there'
            if catheter and state.inserted - state.catheter_inserted > _BEHIND:
                follow = _FOLLOWING
        back |= wire is None or state.time > 0.75 * seconds
        if back:
            command, follow = Command(insertion=_BACK), _BACK
    return RunResult(seed, target, reached, recorder.written, 1e3 * farthest, force)
