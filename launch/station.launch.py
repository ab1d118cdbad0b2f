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
Start a robot station: a fluoroscopy source and the segmentation, as lifecycle nodes.

What is started stands in fedefm_ros.station, which `./run demo` reads as well. docs/launch.md
tells how to use this file.
"""

from fedefm_ros import station
from fedefm_ros.nodes import launching
from fedefm_ros.paths import PACKAGE

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.actions import SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

FORWARDED = {
    'fluoroscopy': ('source', 'rate', 'loop'),
    'segmentation': ('model', 'runtime', 'threads'),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then start what they ask for."""
    given = set()
    return LaunchDescription([
        # Before the declarations, which fill in defaults: only what was asked for goes on top of
        # the parameter files.
        OpaqueFunction(function=lambda context: given.update(context.launch_configurations)),
        DeclareLaunchArgument(
            'namespace', default_value='station',
            description='The station: namespace of its nodes and topics.'),
        *launching.forwarded_arguments(FORWARDED),
        *launching.common_arguments(),
        DeclareLaunchArgument(
            'rviz', default_value='false', choices=list(launching.BOOLEAN),
            description='Also start RViz with config/station.rviz.'),
        # Large images need it; also in launch's own node, which is made after this.
        *(SetEnvironmentVariable(*item) for item in station.dds_environment().items()),
        OpaqueFunction(function=launching.start, args=[station.PROCESSES, FORWARDED, given]),
        Node(
            package='rviz2', executable='rviz2', name='rviz',
            namespace=LaunchConfiguration('namespace'),
            arguments=['-d', PathJoinSubstitution(
                [FindPackageShare(PACKAGE), 'config', 'station.rviz'])],
            parameters=[{'use_sim_time': launching.value_of('use_sim_time', bool)}],
            condition=IfCondition(LaunchConfiguration('rviz'))),
    ])
