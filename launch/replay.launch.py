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
from fedefm_ros.paths import PACKAGE

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import EmitEvent
from launch.actions import ExecuteProcess
from launch.actions import RegisterEventHandler
from launch.actions import SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PythonExpression
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.parameter_descriptions import ParameterValue


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then start the segmentation and, once it is active, the bag."""
    segmentation = LifecycleNode(
        package=PACKAGE, executable=station.SEGMENTATION.executable,
        name=station.SEGMENTATION.name, namespace=LaunchConfiguration('namespace'),
        parameters=[str(station.SEGMENTATION.parameter_file), {
            'use_sim_time': True,
            'model': ParameterValue(LaunchConfiguration('model'), value_type=str)}],
        autostart=True, output='screen', sigterm_timeout='10')
    play = ExecuteProcess(
        cmd=['ros2', 'bag', 'play', LaunchConfiguration('bag'), '--clock',
             '--rate', LaunchConfiguration('rate'),
             '--start-offset', LaunchConfiguration('start'),
             '--disable-keyboard-controls',
             '--topics', LaunchConfiguration('image_topic'),
             '--remap', [LaunchConfiguration('image_topic'), ':=/',
                         LaunchConfiguration('namespace'), '/fluoroscopy/image_raw'],
             PythonExpression(["'--loop' if '", LaunchConfiguration('loop'),
                               "' == 'true' else '--read-ahead-queue-size=1000'"])],
        output='screen')
    return LaunchDescription([
        DeclareLaunchArgument('bag', description='Folder or file of the bag.'),
        DeclareLaunchArgument(
            'namespace', default_value='station',
            description='The station: namespace of the segmentation and its topics.'),
        DeclareLaunchArgument(
            'image_topic', default_value='/station/fluoroscopy/image_raw',
            description="The bag's images; they are published as the station's."),
        DeclareLaunchArgument('rate', default_value='1.0', description='Times the recorded pace.'),
        DeclareLaunchArgument(
            'start', default_value='0.0',
            description='Begin so many seconds after the beginning.'),
        DeclareLaunchArgument(
            'loop', default_value='false', choices=['true', 'false'],
            description='Start anew at the end.'),
        DeclareLaunchArgument(
            'model', default_value='realtime',
            description='A .safetensors file or the name of a shipped model.'),
        DeclareLaunchArgument(
            'shutdown', default_value='true', choices=['true', 'false'],
            description='End the segmentation with the bag.'),
        *(SetEnvironmentVariable(*item) for item in station.dds_environment().items()),
        RegisterEventHandler(OnStateTransition(
            target_lifecycle_node=segmentation, goal_state='active', entities=[play])),
        RegisterEventHandler(
            OnProcessExit(target_action=play, on_exit=[EmitEvent(event=Shutdown())]),
            condition=IfCondition(LaunchConfiguration('shutdown'))),
        segmentation,
    ])
