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

"""Lifecycle node of a simulated endovascular robot: drive commands in, fluoroscopy out."""

from pathlib import Path
import sys
import time

import cv2

from fedefm_ros.imaging.messages import fill_camera_info
from fedefm_ros.imaging.messages import fill_image
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.nodes import diagnostics
from fedefm_ros.nodes.conversion import instruments_to_message
from fedefm_ros.nodes.declaration import Parameters
from fedefm_ros.nodes.diagnostics import Diagnostics
from fedefm_ros.nodes.diagnostics import Status
from fedefm_ros.nodes.drive_commands import CATHETER
from fedefm_ros.nodes.drive_commands import DriveCommands
from fedefm_ros.nodes.drive_commands import WIRE
from fedefm_ros.nodes.lifecycle import run
from fedefm_ros.nodes.lifecycle import StationNode
from fedefm_ros.nodes.parameters import ROBOT
from fedefm_ros.segmentation.recent import Recent
from fedefm_ros.simulation.robot.camera import RobotCamera
from fedefm_ros.simulation.robot.recording import RunRecorder
from fedefm_ros.simulation.robot.robot import EndovascularRobot

from geometry_msgs.msg import WrenchStamped

import numpy as np

from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy

from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState

from std_msgs.msg import Bool
from std_msgs.msg import Header
from std_msgs.msg import String

_IMAGE_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_RELIABLE_QOS = QoSProfile(depth=5)
_TOPICS = (
    ('image', Image, 'fluoroscopy/image_raw', _IMAGE_QOS),
    ('camera_info', CameraInfo, 'fluoroscopy/camera_info', _IMAGE_QOS),
    ('joints', JointState, 'robot/joint_states', _RELIABLE_QOS),
    ('force', WrenchStamped, 'robot/contact_force', _RELIABLE_QOS),
    ('vessel', String, 'ground_truth/vessel', _LATCHED_QOS),
    ('reached', Bool, 'ground_truth/reached', _LATCHED_QOS),
    ('truth_mask', Image, 'ground_truth/mask', _RELIABLE_QOS),
    ('truth_instruments', InstrumentArray, 'ground_truth/instruments', _RELIABLE_QOS))
#: Of joint_states, in the order of ``_positions``.
_JOINTS = ('insertion', 'rotation', 'catheter_insertion', 'catheter_rotation')


class RobotNode(StationNode):
    """
    Moves the robot by one frame period a tick and shows it.

    One and a half periods after the stamp of the last command a drive stands. Physics runs in
    steps of the period, so a machine that is too slow gives slow motion, never larger steps.
    """

    def __init__(self) -> None:
        """Declare parameters; everything else waits for configure."""
        super().__init__('robot')
        self.settings = Parameters(self, ROBOT)
        self._robot: EndovascularRobot | None = None
        self._camera: RobotCamera | None = None
        self._recorder: RunRecorder | None = None
        self._drives: tuple[DriveCommands, ...] = ()
        self._velocities = np.zeros(len(_JOINTS))
        self._timer = self._active_publisher = None
        self._managed = {}
        self._told = (None, None)
        self._published = self._over_limit = 0
        self._force_peak = 0.0
        self._recent = Recent()
        self._busy = 0.0
        self._diagnostics = Diagnostics(
            self, {'drive': self._drive_status, 'frames': self._frames_status})

    def configure(self) -> None:
        """Build phantom, wire, catheter and camera."""
        settings = self.settings
        self._robot = EndovascularRobot(settings['seed'], settings['target'])
        self._camera = RobotCamera(
            self._robot.phantom, self._robot.wire, self._robot.catheter, seed=settings['seed'],
            size=settings['size'], field=self._robot.field)
        self._recorder = RunRecorder(
            Path(settings['record_folder']), settings['seed'], settings['record_every']) \
            if settings['record_folder'] else None
        self._published = self._over_limit = 0
        self._force_peak = 0.0
        for name, kind, topic, qos in _TOPICS:
            self._managed[name] = self.create_lifecycle_publisher(kind, topic, qos)
        # Not managed: it has to say that the procedure is over when the node is deactivated.
        self._active_publisher = self.create_publisher(Bool, 'procedure_active', _LATCHED_QOS)

    def activate(self) -> None:
        """Take commands and show the robot from now on."""
        period = 1.0 / self.settings['rate']
        self._told = (None, None)
        self._recent.clear()
        timeout = self.settings['command_timeout'] or 1.5 * period
        self._velocities = np.zeros(len(_JOINTS))
        self._drives = tuple(
            DriveCommands(self, drive, self.settings['master'], timeout, limits,
                          lambda first=first: self._publish_standing(first))
            for drive, limits, first in ((WIRE, self._robot.limits, 0),
                                         (CATHETER, self._robot.catheter_limits, 2)))
        self._timer = self.create_timer(period, lambda: self._on_tick(period))
        self._active_publisher.publish(Bool(data=True))

    def deactivate(self) -> None:
        """Stop."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
            self._active_publisher.publish(Bool(data=False))
        for drive in self._drives:
            drive.close()
        self._drives = ()

    def cleanup(self) -> None:
        """Free everything."""
        for publisher in self._managed.values():
            self.destroy_lifecycle_publisher(publisher)
        self._managed.clear()
        if self._active_publisher is not None:
            self.destroy_publisher(self._active_publisher)
        self._active_publisher = self._robot = self._camera = self._recorder = None

    def _on_tick(self, period: float) -> None:
        begun = time.monotonic()
        before = _positions(self._robot.state)
        # Where the drives have come to by now; the time it takes to compute that is no motion.
        header = Header(stamp=self.get_clock().now().to_msg(),
                        frame_id=self.settings['frame_id'])
        commands = [drive.newest() for drive in self._drives]
        state = self._robot.step(period, *commands[0], *commands[1])
        self._velocities = (_positions(state) - before) / period
        self._publish_joints(header)
        force = WrenchStamped(header=header)
        force.wrench.force.x, force.wrench.force.y = state.force_max, state.force_sum
        self._managed['force'].publish(force)
        self._watch_force(state.force_max)
        self._tell(state)
        self._publish_frame(header, self._camera.frame(state))
        self._busy = time.monotonic() - begun

    def _publish_frame(self, header: Header, frame) -> None:
        image, info = Image(header=header), CameraInfo(header=header)
        height, width = frame.image.shape
        carm = self._camera.projection.carm
        fill_image(image, frame.image, 'mono8')
        fill_camera_info(info, carm, width, height)
        self._managed['image'].publish(image)
        self._managed['camera_info'].publish(info)
        if self.settings['publish_ground_truth']:
            mask = Image(header=header)
            fill_image(mask, frame.truth.mask, 'mono8')
            self._managed['truth_mask'].publish(mask)
            self._managed['truth_instruments'].publish(instruments_to_message(
                header, frame.image.shape, frame.truth.instruments,
                spacing_mm=carm.patient_spacing_mm))
        if self._recorder is not None:
            self._recorder.add(frame)
        self._published += 1
        self._recent.add()

    def _publish_joints(self, header: Header) -> None:
        self._managed['joints'].publish(JointState(
            header=header, name=list(_JOINTS), position=_positions(self._robot.state).tolist(),
            velocity=self._velocities.tolist()))

    def _publish_standing(self, first: int) -> None:
        """Say at once that a drive stands (joints ``first`` on): no command has come in time."""
        self._velocities[first:first + 2] = 0.0
        self._publish_joints(Header(stamp=self.get_clock().now().to_msg(),
                                    frame_id=self.settings['frame_id']))

    def _tell(self, state) -> None:
        """Publish where the tip is when that has changed."""
        if self._told != (state.vessel, state.reached):
            self._told = (state.vessel, state.reached)
            self._managed['vessel'].publish(String(data=state.vessel))
            self._managed['reached'].publish(Bool(data=state.reached))

    def _watch_force(self, force: float) -> None:
        self._force_peak = max(self._force_peak, force)
        if force > self.settings['force_limit']:
            self._over_limit += 1
            self.get_logger().warning(
                f'contact force of {force:.2f} N, limit {self.settings["force_limit"]:g} N',
                throttle_duration_sec=1.0)

    def _drive_status(self) -> Status:
        if self._robot is None:
            return Status(diagnostics.OK, 'not configured')
        state = self._robot.state
        values = {
            'inserted_mm': 1e3 * state.inserted, 'rotation_deg': state.rotation * 57.29578,
            'force_max': state.force_max, 'force_sum': state.force_sum,
            'force_peak': self._force_peak, 'over_limit': self._over_limit,
            'vessel': state.vessel, 'depth_mm': 1e3 * state.depth,
            'target': self._robot.target, 'reached': state.reached,
            'catheter_inserted_mm': 1e3 * state.catheter_inserted,
            'catheter_rotation_deg': state.catheter_rotation * 57.29578}
        for before, drive in zip(('', 'catheter_'), self._drives):
            values |= {before + name: count for name, count in drive.counts.items()}
        if state.force_max > self.settings['force_limit']:
            return Status(diagnostics.WARN, f'contact force of {state.force_max:.2f} N', values)
        if not self._drives:
            return Status(diagnostics.OK, 'not active', values)
        driven = any(drive.moving for drive in self._drives)
        return Status(diagnostics.OK, 'driven' if driven else 'standing', values)

    def _frames_status(self) -> Status:
        values = {'published': self._published, 'rate': self._recent.rate(),
                  'tick_ms': 1e3 * self._busy,
                  'recorded': self._recorder.written if self._recorder else 0}
        if self._timer is not None and self._busy > 1.0 / self.settings['rate']:
            return Status(diagnostics.WARN, 'slower than its rate: slow motion', values)
        return Status(diagnostics.OK, f'{self._recent.rate():.1f} Hz', values)


def _positions(state) -> np.ndarray:
    """Return where the joints are, in the order of ``_JOINTS``: metres and radians."""
    return np.array([state.inserted, state.rotation, state.catheter_inserted,
                     state.catheter_rotation])


def main() -> None:
    """Run the node."""
    # Rendering is many small calls; a second core is the segmentation's.
    cv2.setNumThreads(1)
    sys.exit(run(RobotNode))


if __name__ == '__main__':
    main()
