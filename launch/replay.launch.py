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
Replay a bag with `ros2 bag play` into a segmentation that lives in the bag's time.

`./run replay` does the same without a distribution. docs/bags.md tells how to use this file.
"""

from fedefm_ros import station
from fedefm_ros.nodes import launching

from launch import LaunchContext
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import EmitEvent
from launch.actions import ExecuteProcess
from launch.actions import OpaqueFunction
from launch.actions import RegisterEventHandler
from launch.actions import SetEnvironmentVariable
from launch.actions import SetLaunchConfiguration
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PythonExpression
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition

FORWARDED = {'segmentation': ('model', 'runtime', 'threads')}
#: What the station's launch file leaves to the caller.
FIXED = {'use_sim_time': 'true', 'autostart': 'true', 'respawn': 'false'}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then start the segmentation and, once it is active, the bag."""
    given = set()
    return LaunchDescription([
        # Before the declarations: only what was asked for goes on top of the parameter files.
        OpaqueFunction(function=lambda context: given.update(context.launch_configurations)),
        DeclareLaunchArgument('bag', description='Folder or file of the bag.'),
        DeclareLaunchArgument(
            'namespace', default_value='station',
            description='The station: namespace of the segmentation and its topics.'),
        DeclareLaunchArgument(
            'image_topic', default_value='/station/fluoroscopy/image_raw',
            description="The bag's images; they are published as the station's."),
        DeclareLaunchArgument(
            'rate', default_value='1.0', description='Times the recorded pace.'),
        DeclareLaunchArgument(
            'start', default_value='0.0',
            description='Begin so many seconds after the beginning.'),
        DeclareLaunchArgument(
            'loop', default_value='false', choices=['true', 'false'],
            description='Start anew at the end.'),
        *launching.forwarded_arguments(FORWARDED),
        *(argument for argument in launching.common_arguments() if argument.name not in FIXED),
        DeclareLaunchArgument(
            'shutdown', default_value='true', choices=['true', 'false'],
            description='End the segmentation with the bag.'),
        *(SetLaunchConfiguration(*item) for item in FIXED.items()),
        *(SetEnvironmentVariable(*item) for item in station.dds_environment().items()),
        OpaqueFunction(function=_start, args=[given]),
    ])


def _start(context: LaunchContext, given: set[str]) -> list:
    """Return the segmentation and what plays the bag as soon as it is active."""
    actions = launching.start(context, (station.SEGMENTATION,), FORWARDED, given)
    segmentation = next(each for each in actions if isinstance(each, LifecycleNode))
    play = _play()
    return [
        RegisterEventHandler(OnStateTransition(
            target_lifecycle_node=segmentation, goal_state='active', entities=[play])),
        RegisterEventHandler(
            OnProcessExit(target_action=play, on_exit=[EmitEvent(event=Shutdown())]),
            condition=IfCondition(LaunchConfiguration('shutdown'))),
        RegisterEventHandler(OnProcessExit(target_action=segmentation, on_exit=_end)),
        *actions]


def _end(event: ProcessExited, context: LaunchContext) -> EmitEvent | None:
    """End the rest with the segmentation, unless all is ending already."""
    if context.is_shutdown:
        return None
    return EmitEvent(event=Shutdown(reason='the segmentation has ended'))


def _play() -> ExecuteProcess:
    image = LaunchConfiguration('image_topic')
    return ExecuteProcess(
        cmd=['ros2', 'bag', 'play', LaunchConfiguration('bag'), '--clock',
             '--rate', LaunchConfiguration('rate'),
             '--start-offset', LaunchConfiguration('start'),
             '--disable-keyboard-controls', '--topics', image,
             '--remap', [image, ':=/', LaunchConfiguration('namespace'),
                         '/fluoroscopy/image_raw'],
             # Its own default where nothing else is to be said: an empty word would be one more.
             PythonExpression(["'--loop' if '", LaunchConfiguration('loop'),
                               "' == 'true' else '--read-ahead-queue-size=1000'"])],
        output='screen')
