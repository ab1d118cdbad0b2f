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

"""What the launch files share: arguments from the parameter tables, nodes that are brought up."""

from fedefm_ros import station
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.source import is_device
from fedefm_ros.imaging.source import open_source
from fedefm_ros.nodes.bring_up import ACTIVE
from fedefm_ros.nodes.bring_up import INACTIVE
from fedefm_ros.nodes.bring_up import LifecycleClient
from fedefm_ros.nodes.parameters import Parameter
from fedefm_ros.nodes.parameters import TABLES
from fedefm_ros.paths import PACKAGE

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.actions import RegisterEventHandler
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessStart
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterFile
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.ros_adapters import get_ros_node

BOOLEAN = ('true', 'false', 'True', 'False')

#: Parameters that a launch file takes as arguments, by node; their defaults are the table's.
Forwarded = dict[str, tuple[str, ...]]


def forwarded_arguments(forwarded: Forwarded) -> list[DeclareLaunchArgument]:
    """Return the declarations of the parameters that are arguments as well."""
    return [_argument(parameter) for name in forwarded
            for parameter in _parameters(name, forwarded)]


def common_arguments() -> list[DeclareLaunchArgument]:
    """Return the declarations that all launch files have, but the namespace."""
    return [
        DeclareLaunchArgument(
            'params_file', default_value='',
            description='Parameter file (YAML) on top of those in config/; arguments given here '
                        'go before it.'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', choices=list(BOOLEAN),
            description='Take the time from topic /clock.'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Of all nodes.'),
        DeclareLaunchArgument(
            'autostart', default_value='true', choices=list(BOOLEAN),
            description='Configure and activate the nodes, each once the one before is active.'),
        DeclareLaunchArgument(
            'respawn', default_value='true', choices=list(BOOLEAN),
            description='Start a node that ended again, and with autostart bring it up again.'),
    ]


def start(context: LaunchContext, processes: tuple[station.StationProcess, ...],
          forwarded: Forwarded, given: set[str]) -> list:
    """
    Return the nodes, and with autostart what brings them up each time they start.

    :param given: names of the arguments that were asked for; only these go on top of the
        parameter files.
    """
    nodes = [_node(context, process, forwarded, given) for process in processes]
    if not IfCondition(LaunchConfiguration('autostart')).evaluate(context):
        return nodes
    bring_up = [
        RegisterEventHandler(OnProcessStart(target_action=node, on_start=[
            OpaqueFunction(function=_bring_up, args=[node, before])]))
        for node, before in zip(nodes, [None, *nodes])]
    return [*bring_up, *nodes]


def value_of(argument: str, kind: type) -> ParameterValue:
    """Return an argument as a parameter's value of a type."""
    return ParameterValue(LaunchConfiguration(argument), value_type=kind)


def _parameters(node: str, forwarded: Forwarded) -> list[Parameter]:
    return [parameter for parameter in TABLES[node]
            if parameter.name in forwarded.get(node, ())]


def _argument(parameter: Parameter) -> DeclareLaunchArgument:
    boolean = isinstance(parameter.default, bool)
    default = str(parameter.default)
    return DeclareLaunchArgument(
        parameter.name, default_value=default.lower() if boolean else default,
        choices=list(BOOLEAN if boolean else parameter.choices) or None,
        description=parameter.description)


def _checked(context: LaunchContext, parameter: Parameter) -> ParameterValue:
    # Here, because a node that refuses a value would be started again and again.
    value = value_of(parameter.name, type(parameter.default))
    try:
        problem = parameter.problem_with(value.evaluate(context))
    except ValueError:
        problem = parameter.problem_with(LaunchConfiguration(parameter.name).perform(context))
    if problem:
        raise FedefmError(problem)
    return value


def _isocenter(context: LaunchContext) -> dict[str, float]:
    """Return what the source tells about the C-arm and camera_info cannot carry."""
    source = LaunchConfiguration('source').perform(context)
    if is_device(source):
        return {}
    try:
        with open_source(source) as opened:
            distance = opened.carm.isocenter_mm
    except FedefmError:
        return {}  # the node, which opens it next, says why
    return {'source_isocenter_mm': distance} if distance else {}


def _node(context: LaunchContext, process: station.StationProcess, forwarded: Forwarded,
          given: set[str]) -> LifecycleNode:
    parameters = [str(process.parameter_file)]
    params_file = LaunchConfiguration('params_file').perform(context)
    # A parameter file may name another source than the argument's default.
    if process == station.SEGMENTATION and 'source' in (
            given if params_file else context.launch_configurations):
        parameters.append(_isocenter(context))
    if params_file:
        parameters.append(ParameterFile(LaunchConfiguration('params_file'), allow_substs=True))
    parameters.append({'use_sim_time': value_of('use_sim_time', bool)})
    parameters.append({parameter.name: _checked(context, parameter)
                       for parameter in _parameters(process.name, forwarded)
                       if parameter.name in given})
    return LifecycleNode(
        package=PACKAGE, executable=process.executable, name=process.name,
        namespace=LaunchConfiguration('namespace'), parameters=parameters,
        ros_arguments=['--log-level', LaunchConfiguration('log_level')], output='screen',
        respawn=LaunchConfiguration('respawn'), respawn_delay=1.0,
        # A node ends itself after 8 s at the latest.
        sigterm_timeout='10')


def _bring_up(context: LaunchContext, node: LifecycleNode, before: LifecycleNode | None) -> None:
    """
    Configure and activate a node that was just started, the first time or again.

    Neither launch_ros's autostart nor its ChangeState event does that for a node that was killed:
    the former acts once, the latter waits for an answer of the process that is gone.

    :param before: node that has to be active before this one is.
    """
    ros_node = get_ros_node(context)
    pid = node.process_details['pid']

    def stopped():
        return context.is_shutdown or node.process_details['pid'] != pid

    def run():
        client = LifecycleClient(ros_node, node.node_name, stopped)
        try:
            client.bring_to(INACTIVE)
            if before:
                LifecycleClient(ros_node, before.node_name, stopped).wait_for(ACTIVE)
            if client.bring_to(ACTIVE):
                get_logger('station').info(f'{node.node_name} is active')
        except FedefmError as error:
            get_logger('station').error(str(error))
        except Exception:
            # At the end launch destroys its ROS node, perhaps in the middle of a call.
            if not context.is_shutdown:
                raise

    context.add_completion_future(context.asyncio_loop.run_in_executor(None, run))
