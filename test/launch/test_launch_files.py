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

"""The launch files under the real launch, and a station under a real `ros2 launch`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from fedefm_ros import station
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.source import open_source
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.nodes.bring_up import ACTIVE, LifecycleClient
from fedefm_ros.nodes.session import spinning

import psutil

import pytest

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.time import Time

from sensor_msgs.msg import Image

# Submodules: Python takes the folder launch/ of this checkout for a package of that name.
MISSING = 'launch is not installed (it comes with a ROS 2 distribution)'
launch_actions = pytest.importorskip('launch.actions', reason=MISSING)
launch_sources = pytest.importorskip('launch.launch_description_sources', reason=MISSING)
launch_ros_actions = pytest.importorskip('launch_ros.actions', reason=MISSING)
LaunchContext = pytest.importorskip('launch.launch_context', reason=MISSING).LaunchContext
perform_substitutions = pytest.importorskip(
    'launch.utilities', reason=MISSING).perform_substitutions


@pytest.fixture
def description(checkout):
    """Return what station.launch.py describes."""
    return launch_sources.get_launch_description_from_python_launch_file(
        str(checkout / 'launch' / 'station.launch.py'))


def started(description, **arguments):
    """Return the actions that the launch file leads to, up to where processes would start."""
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    actions = []
    for entity in description.entities:
        if isinstance(entity, (launch_actions.DeclareLaunchArgument,
                               launch_actions.OpaqueFunction)):
            actions += entity.visit(context) or []
    return actions


def test_every_argument_says_what_it_is_for(description):
    arguments = description.get_launch_arguments()
    assert {'namespace', 'source', 'model', 'runtime', 'rate'} <= {a.name for a in arguments}
    for argument in arguments:
        assert len(argument.description) > 10, argument.name
        assert argument.default_value is not None, argument.name


def test_the_nodes_are_those_of_the_station_table(description):
    nodes = [action for action in started(description)
             if isinstance(action, launch_ros_actions.LifecycleNode)]
    assert [(node.node_package, node.node_executable) for node in nodes] == \
        [('fedefm_ros', process.executable) for process in station.PROCESSES]


def test_without_autostart_nothing_brings_the_nodes_up(description):
    kinds = [type(action) for action in started(description, autostart='False')]
    assert kinds == [launch_ros_actions.LifecycleNode] * len(station.PROCESSES)


@pytest.mark.parametrize('arguments, text', [
    ({'rate': '500'}, 'rate is 500.0, expected 0 to 240'),
    ({'rate': 'fast'}, "rate is 'fast', expected a number"),
    ({'threads': '0'}, 'threads is 0, expected 1 to 256'),
])
def test_a_value_out_of_range_stops_the_launch_before_anything_starts(
        description, arguments, text):
    with pytest.raises(FedefmError, match=text):
        started(description, **arguments)


def command_of_play(checkout, **arguments):
    """Return the command that replay.launch.py plays the bag with, word by word."""
    description = launch_sources.get_launch_description_from_python_launch_file(
        str(checkout / 'launch' / 'replay.launch.py'))
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    for entity in description.entities:
        if isinstance(entity, launch_actions.DeclareLaunchArgument):
            entity.visit(context)
    actions = [action for entity in description.entities
               if isinstance(entity, (launch_actions.SetLaunchConfiguration,
                                      launch_actions.OpaqueFunction))
               for action in entity.visit(context) or []]
    [segmentation] = [each for each in actions
                      if isinstance(each, launch_ros_actions.LifecycleNode)]
    assert segmentation.node_executable == station.SEGMENTATION.executable
    [play] = [entity for action in actions
              if isinstance(action, launch_actions.RegisterEventHandler)
              for entity in getattr(action.event_handler, 'entities', [])
              if isinstance(entity, launch_actions.ExecuteProcess)]
    return [perform_substitutions(context, word) for word in play.cmd]


def test_a_bag_is_played_as_the_images_of_the_station(checkout):
    assert command_of_play(checkout, bag='/data/a bag', image_topic='/xray', namespace='or_2',
                           rate='0.5', start='10', loop='true') == [
        'ros2', 'bag', 'play', '/data/a bag', '--clock', '--rate', '0.5', '--start-offset', '10',
        '--disable-keyboard-controls', '--topics', '/xray',
        '--remap', '/xray:=/or_2/fluoroscopy/image_raw', '--loop']
    assert command_of_play(checkout, bag='bag')[-1] == '--read-ahead-queue-size=1000'


class Receiver(Node):
    """Keeps the stamps, in nanoseconds, of the images and masks that arrive."""

    def __init__(self, context):
        super().__init__('receiver', namespace='station', context=context)
        self.images, self.masks = [], []
        self.size = self.spacing_mm = None
        self.create_subscription(
            Image, 'fluoroscopy/image_raw', self._on_image, qos_profile_sensor_data)
        self.create_subscription(Image, 'segmentation/mask', self._on_mask, 10)
        self.create_subscription(
            InstrumentArray, 'segmentation/instruments', self._on_instruments, 10)

    def _on_instruments(self, message):
        self.spacing_mm = message.pixel_spacing_x_mm

    def _on_image(self, message):
        self.images.append(Time.from_msg(message.header.stamp).nanoseconds)

    def _on_mask(self, message):
        self.masks.append(Time.from_msg(message.header.stamp).nanoseconds)
        self.size = (message.width, message.height)


class Launched:
    """A running `ros2 launch`."""

    def __init__(self, log, arguments, file='station.launch.py', **popen):
        self._log = log
        with open(log, 'wb') as output:
            self.process = subprocess.Popen(
                [shutil.which('ros2'), 'launch', 'fedefm_ros', file, *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, **popen)

    @property
    def output(self):
        """Return what it has printed so far."""
        return self._log.read_text(encoding='utf-8', errors='replace')

    def pids(self, executable):
        """Return the process ids under which a node was started, newest last."""
        return [int(pid) for pid in re.findall(
            rf'\[{executable}-\d+\]: process started with pid \[(\d+)\]', self.output)]

    def wait_until(self, condition, what, seconds=180.0):
        """Wait for a condition; fail with the output where it does not come."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f'launch ended:\n{self.output}'
            assert time.monotonic() < end, f'{what} did not come:\n{self.output}'
            time.sleep(0.05)


@pytest.fixture
def station_arguments(tmp_path, line_model):
    """Return arguments for a small, quick station: 128 x 128 pixels, a network of one layer."""
    (tmp_path / 'small.yaml').write_text(
        '/**/fluoroscopy:\n  ros__parameters:\n    size: 128\n    rate: 3.0\n')
    return [f'model:={line_model}', f'params_file:={tmp_path}/small.yaml', 'rate:=10',
            'threads:=1', 'runtime:=openvino', 'source:=simulator']


@pytest.fixture
def launched(tmp_path, monkeypatch, station_arguments):
    """Yield a launched station and a receiver; both have ended afterwards."""
    if not shutil.which('ros2'):
        pytest.skip('there is no ros2 on the PATH (it comes with a ROS 2 distribution)')
    with spinning(Receiver) as receiver:
        monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
        running = Launched(tmp_path / 'launch.log', station_arguments)
        family = psutil.Process(running.process.pid)
        try:
            yield running, receiver
        finally:
            if running.process.poll() is None:
                children = family.children(recursive=True)
                running.process.send_signal(signal.SIGINT)
                try:
                    running.process.wait(60.0)
                except subprocess.TimeoutExpired:
                    os.killpg(running.process.pid, signal.SIGKILL)
                for child in children:
                    if child.is_running():
                        child.kill()
            running.process.wait()


@pytest.mark.timeout(400)
def test_masks_arrive_from_the_first_frame_on_and_ctrl_c_ends_everything(launched):
    running, receiver = launched
    running.wait_until(lambda: len(receiver.masks) > 10, 'masks')
    # From the parameter file; its rate is overruled by the argument.
    assert receiver.size == (128, 128)
    # The distance to the patient is not in camera_info: the launch file asks the source.
    with open_source('simulator', size=128) as simulator:
        assert receiver.spacing_mm == pytest.approx(simulator.carm.patient_spacing_mm[1])
    assert min(receiver.masks) <= min(receiver.images), 'the first frames were lost'
    assert 'fluoroscopy]: ' in running.output and ': 10 Hz' in running.output
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert len(children) >= 2
    running.process.send_signal(signal.SIGINT)
    running.process.wait(60.0)
    assert not [child for child in children if child.is_running()]
    assert running.output.count('process has finished cleanly') == 2, running.output


@pytest.mark.timeout(600)
@pytest.mark.parametrize('killed, survivor', [
    (station.SEGMENTATION, station.FLUOROSCOPY), (station.FLUOROSCOPY, station.SEGMENTATION)])
def test_a_killed_node_is_started_again_and_segmenting_goes_on(launched, killed, survivor):
    running, receiver = launched
    running.wait_until(lambda: len(receiver.masks) > 3, 'masks')
    [pid] = running.pids(killed.executable)
    os.kill(pid, signal.SIGKILL)
    running.wait_until(lambda: len(running.pids(killed.executable)) == 2, 'the second process')
    restarted = time.time_ns()
    running.wait_until(lambda: receiver.masks[-1] > restarted, 'a mask of a new frame')
    assert len(running.pids(survivor.executable)) == 1
    client = LifecycleClient(receiver, f'/station/{killed.name}')
    # The first request may be one that only the dead process could take.
    running.wait_until(lambda: client.state(1.0) == ACTIVE, 'its state')


# In the place of `ros2` for what the launch file starts: rosbag2 is not on PyPI.
PLAYER = """#!/bin/sh
[ "$1 $2" = "bag play" ] || exit 9
printf '%s\\n' "$@" > {words}
shift 2
exec {python} -m fedefm_ros.cli replay "$1" --namespace station --json {figures}
"""


@pytest.mark.timeout(400)
def test_a_bag_is_replayed_into_an_active_segmentation_and_all_ends_with_it(
        tmp_path, monkeypatch, line_model):
    if not shutil.which('ros2'):
        pytest.skip('there is no ros2 on the PATH (it comes with a ROS 2 distribution)')
    from fedefm_ros.commands.convert import convert
    convert('simulator', tmp_path / 'bag', frames=45, size=128, start=1_600_000_000)
    (tmp_path / 'bin').mkdir()
    player, words, figures = (tmp_path / name for name in ('bin/ros2', 'words', 'figures.json'))
    player.write_text(PLAYER.format(words=words, figures=figures, python=sys.executable))
    player.chmod(0o755)
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    path = f'{player.parent}{os.pathsep}{os.environ["PATH"]}'
    with spinning(Receiver) as receiver:
        running = Launched(
            tmp_path / 'launch.log', [f'bag:={tmp_path}/bag', f'model:={line_model}',
                                      'runtime:=openvino', 'threads:=1'],
            'replay.launch.py', env={**os.environ, 'PATH': path})
        try:
            assert running.process.wait(180.0) == 0, running.output
        finally:
            if running.process.poll() is None:
                os.killpg(running.process.pid, signal.SIGKILL)
                running.process.wait()
        assert words.read_text().splitlines()[:4] == ['bag', 'play', f'{tmp_path}/bag', '--clock']
        assert json.loads(figures.read_text())['frames'] == 45
        # Their stamps are the bag's: the segmentation lives in its time.
        assert receiver.masks and set(receiver.masks) <= set(receiver.images)
        assert min(receiver.masks) >= 1_600_000_000 * 10**9
        assert max(receiver.masks) < 1_600_000_100 * 10**9
    assert 'segmentation is active' in running.output
    assert running.output.count('process has finished cleanly') == 2, running.output
