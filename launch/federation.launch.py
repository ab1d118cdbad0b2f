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
Start a station's federation node beside the station itself.

    ros2 launch fedefm_ros federation.launch.py namespace:=hospital_a \
        stations:=hospital_a,hospital_b,hospital_c data:=/data/labelled

docs/federation.md tells how two hospitals are set up.
"""

from fedefm_ros import station
from fedefm_ros.nodes import launching

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.actions import SetEnvironmentVariable

FORWARDED = {
    'federation': ('stations', 'keys', 'state', 'task', 'data', 'layout', 'topology',
                   'bandwidth', 'idle_after'),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then start what they ask for."""
    given = set()
    return LaunchDescription([
        OpaqueFunction(function=lambda context: given.update(context.launch_configurations)),
        DeclareLaunchArgument(
            'namespace', default_value='station',
            description="The station: namespace of its nodes, and its name in its peers' lists."),
        *launching.forwarded_arguments(FORWARDED),
        *launching.common_arguments(),
        *(SetEnvironmentVariable(*item) for item in station.dds_environment().items()),
        OpaqueFunction(function=launching.start,
                       args=[(station.FEDERATION,), FORWARDED, given]),
    ])
